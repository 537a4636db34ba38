"""The engine of a user's own label map: TotalSegmentator's, an annotator's, or the truth of a phantom."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from vlm.anatomy.engines.protocol import LabelMap, MapEngine, with_wholes
from vlm.ct.volume import Grid
from vlm.errors import UsageError, shown
from vlm.evidence import Case

STRUCTURE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
LABEL = re.compile(r'<Label[^>]*\bKey="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?([A-Za-z0-9_]+)')  # TotalSegmentator's header


def given(mapped: LabelMap, name: str = "labels", version: str = "given") -> MapEngine:
    """The engine of a map that is at hand; what it tells is taken as it stands."""
    return MapEngine(
        name=name, version=version, label=lambda _: mapped, structures=with_wholes(mapped.names.values()), vouched=True
    )


def from_file(path: Path) -> MapEngine:
    """The engine of a label map in a file: NIfTI whose names stand in its header, NAME.json, or names.json beside it.

    Raises:
        UsageError: there is no such file, or no names of its numbers.
    """
    names, told = names_of(path)

    def label(case: Case) -> LabelMap:
        voxels = on_grid(path, case.volume.grid)
        if not voxels.any() and names:
            raise UsageError(f"E_USAGE: {shown(path.name)} has no label where the scan lies. Is it of this scan?")
        return LabelMap(voxels, case.volume.grid, names)

    return MapEngine(
        name="labels", version=shown(path.name), label=label, structures=with_wholes(told.values()), vouched=True
    )


def names_of(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names by number; and of those only the ones that are drawn wherever they are, where the file tells that.

    Raises:
        UsageError: there is no such file, or no names of its numbers.
    """
    if not path.is_file():
        raise UsageError(f"E_USAGE: {shown(path.name)} is no file, expected a label map in NIfTI.")
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    for beside in (path.with_name(f"{stem}.json"), path.with_name("names.json")):
        if beside.is_file():
            return _of_json(beside)
    names: dict[int, str] = {}
    try:
        extensions = nibabel.load(path).header.extensions
    except (OSError, ImageFileError) as fault:
        raise UsageError(f"E_USAGE: {shown(path.name)} is not NIfTI, expected a label map in NIfTI.") from fault
    for extension in extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        names |= {int(number): name for number, name in LABEL.findall(text)}
    if not names:
        raise UsageError(
            f"E_USAGE: {shown(path.name)} names no label, expected {shown(stem)}.json or names.json beside it "
            'such as {"1": "liver"}, or the header that TotalSegmentator --ml writes.'
        )
    return names, names


def _of_json(path: Path) -> tuple[dict[int, str], dict[int, str]]:
    wrong = UsageError(f'E_USAGE: {shown(path.name)} holds no names of labels, expected such as {{"1": "liver"}}.')
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        table: Mapping[str, str] = told.get("labels", told)
        names = {int(number): str(name) for number, name in table.items()}
        complete = {str(name) for name in told.get("complete", names.values())}
    except (OSError, ValueError, AttributeError, TypeError) as fault:
        raise wrong from fault
    if not names or not all(STRUCTURE.fullmatch(name) for name in names.values()):
        raise wrong
    return names, {number: name for number, name in names.items() if name in complete}


def on_grid(path: Path, grid: Grid) -> NDArray[np.uint16]:
    """(X, Y, Z): the number of a map's nearest voxel at each voxel of ``grid``; axes parallel, 0 beyond the map.

    Raises:
        UsageError: it is no NIfTI in three dimensions, or its axes are not the scan's.
    """
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        stored: NDArray[np.uint16] = np.asanyarray(image.dataobj).astype(np.uint16)
    except (OSError, EOFError, ValueError, ImageFileError) as fault:
        raise UsageError(f"E_USAGE: {shown(path.name)} cannot be read, expected a label map in NIfTI.") from fault
    relative = np.linalg.inv(image.affine) @ grid.affine
    off_axis = relative[:3, :3] - np.diag(np.diag(relative[:3, :3]))
    if stored.ndim != 3 or (np.abs(off_axis) @ np.array(grid.shape)).max() > 1.0:
        raise UsageError(f"E_USAGE: {shown(path.name)} has other axes than the scan, expected a map on its grid.")
    out = stored
    for axis, size in enumerate(grid.shape):
        index = np.rint(np.arange(size) * relative[axis, axis] + relative[axis, 3]).astype(int)
        out = np.take(out, np.clip(index, 0, stored.shape[axis] - 1), axis=axis)
        beyond = (index < 0) | (index >= stored.shape[axis])
        out[tuple(beyond if n == axis else slice(None) for n in range(3))] = 0
    return out
