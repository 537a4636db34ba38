"""Masks as NIfTI on the scan's own grid: what evidence points at, for any viewer."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from vlm.ct import Grid, Mask

COMPRESSION = 1  # masks are nearly all zero: higher levels cost seconds and win nothing


def write_nifti(path: Path, labels: NDArray[np.uint8] | NDArray[np.float32], grid: Grid) -> None:
    """Write (X, Y, Z) labels, or values, as gzip NIfTI-1 in RAS, millimetres; same input, same bytes."""
    image = nibabel.Nifti1Image(labels, grid.affine, dtype=labels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.affine, code=1)
    image.set_sform(grid.affine, code=1)
    image.header.set_slope_inter(1.0, 0.0)
    head = io.BytesIO()
    image.header.write_to(head)
    slices = (labels[:, :, k].tobytes(order="F") for k in range(labels.shape[2]))
    with path.open("wb") as stream:
        stream.writelines(_gzipped(itertools.chain((head.getvalue(),), slices)))


def _gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip member (RFC 1952). Each part is packed by itself, so that one like the last, an empty slice, is not."""
    crc = size = 0
    last = packed = b""
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflate, no name, no time
    for part in parts:
        crc, size = zlib.crc32(part, crc), size + len(part)
        if part != last:
            packer = zlib.compressobj(COMPRESSION, wbits=-zlib.MAX_WBITS)
            last, packed = part, packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
        yield packed
    yield zlib.compressobj(COMPRESSION, wbits=-zlib.MAX_WBITS).flush()
    yield struct.pack("<LL", crc, size & 0xFFFFFFFF)


def write_labels(path: Path, labels: NDArray[np.uint8], grid: Grid, *, axes: str) -> None:
    """Write RAS labels with the axes of the file that was read.

    Args:
        path: ``….nii.gz``.
        labels: (X, Y, Z) uint8, RAS.
        grid: where they lie.
        axes: where the file's own axes run, such as "LPS".
    """
    ras = nibabel.orientations.axcodes2ornt("RAS")
    turn = nibabel.orientations.ornt_transform(ras, nibabel.orientations.axcodes2ornt(axes))
    own = nibabel.orientations.apply_orientation(labels, turn)
    affine = grid.affine @ nibabel.orientations.inv_ornt_aff(turn, grid.shape)
    shape = (int(own.shape[0]), int(own.shape[1]), int(own.shape[2]))
    write_nifti(path, own, Grid(shape, affine))


def write_masks(folder: Path, masks: Mapping[str, Mask], grid: Grid) -> None:
    """Write each mask to ``folder/NAME.nii.gz`` on ``grid``; two at a time, zlib frees the interpreter."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        voxels = masks[name].on(grid).voxels
        write_nifti(folder / f"{name}.nii.gz", np.asfortranarray(voxels).view(np.uint8), grid)

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(write, sorted(masks)))
