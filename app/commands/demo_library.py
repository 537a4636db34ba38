"""A small library of synthetic chests, each read by the tools: similar cases for the demo."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import nibabel

from app.indexing import Summary, Ways, add_studies
from app.studies import Study
from retrieval.library import CaseLibrary
from vlm.phantom.chest import chest
from vlm.scratch import scratch_folder

COARSE_MM = (2.0, 2.0, 3.0)
CASES: tuple[Mapping[str, Any], ...] = (  # arguments of the phantom
    {"nodules": (("right", "upper", 14.0, 40.0),), "effusion_left_ml": 250.0},
    {"nodules": (("left", "lower", 18.0, 30.0),), "coronary_calcium_mm3": 250.0},
    {"effusion_left_ml": 450.0, "coronary_calcium_mm3": 400.0},
    {"pneumothorax_right_ml": 200.0},
    {"emphysema_fraction": 0.2, "nodules": (("right", "upper", 12.0, 40.0),)},
)


def add_demo(library: CaseLibrary, *, workers: int, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Draw each case, read it and put it in; a case that is there already is not read again."""
    with scratch_folder() as folder:
        studies = []
        for number, truth in enumerate(CASES):
            volume = chest(seed=900 + number, spacing_mm=COARSE_MM, **truth).volume
            image = nibabel.Nifti1Image(volume.hu, volume.grid.affine)
            image.header.set_xyzt_units("mm")
            path = folder / f"demo-{number}.nii"
            nibabel.save(image, path)
            os.utime(path, (0, 0))  # its time tells whether a case is the one that is there
            study = f"demo {number}"
            studies.append(Study(patient=study, study=study, source="phantom", volume=path))
        return add_studies(library, studies, ways=Ways(measure=True), workers=workers, progress=progress)
