"""The shared scans as open cases; what is found of their anatomy is found once for all tests of a worker."""

from __future__ import annotations

import functools

from tests.conftest import SHARED
from vlm.ct.read import read
from vlm.evidence import Case


@functools.lru_cache(maxsize=2)
def _known(name: str) -> Case:
    folder = SHARED / "ct" / name
    return Case(read(next(path for path in (folder / "ct.nii.gz", folder / "dicom.zip") if path.is_file())).volume)


def real_case(name: str) -> Case:
    """A scan by the name of its folder, without evidence or kept masks."""
    known = _known(name)
    case = Case(known.volume)
    case._parts, case._locks = known._parts, known._locks
    case.__dict__["working"] = known.working
    return case
