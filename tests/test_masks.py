"""Masks as files: any reader gets back what was written, where it was, and the same input gives the same bytes."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.export.masks import write_masks, write_nifti
from vlm.ct.volume import Grid, Mask

AFFINE = np.array([[0.7, 0, 0, -90.0], [0, 0.8, 0, 41.5], [0, 0, 2.5, -600.0], [0, 0, 0, 1]])
shapes = st.tuples(*(st.integers(1, 12),) * 3)


@given(shapes, st.sampled_from((0.0, 0.02, 0.6)), st.integers(0, 2**32 - 1))
def test_labels_come_back_as_they_were(shape: tuple[int, int, int], share: float, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    labels = np.asfortranarray((drawn.random(shape) < share) * drawn.integers(1, 255, shape)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one.nii.gz", Path(folder) / "two.nii.gz"
        write_nifti(one, labels, Grid(shape, AFFINE))
        write_nifti(two, labels, Grid(shape, AFFINE))
        assert one.read_bytes() == two.read_bytes()
        assert gzip.decompress(one.read_bytes())[352:] == labels.tobytes(order="F")  # and its checksum holds
        image = nibabel.load(one)
        assert np.array_equal(np.asarray(image.dataobj), labels)
        assert np.allclose(image.affine, AFFINE, atol=1e-4) and image.header.get_xyzt_units()[0] == "mm"


def test_a_mask_on_a_coarse_grid_is_written_on_that_of_the_scan(tmp_path: Path) -> None:
    fine = Grid((12, 12, 9), AFFINE)
    voxels = np.zeros((4, 4, 3), dtype=bool, order="F")
    voxels[1, 2, 1] = True
    write_masks(tmp_path, {"spot": Mask("spot", voxels, fine.coarser((3, 3, 3)))}, fine)
    back = np.asarray(nibabel.load(tmp_path / "spot.nii.gz").dataobj)
    assert back[3:6, 6:9, 3:6].all() and back.sum() == 27
