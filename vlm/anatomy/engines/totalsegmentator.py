"""The engine of TotalSegmentator (Wasserthal, Radiol Artif Intell 2023;5:e230024), where package and weights are there.

It runs in a process of its own, with a settings folder of its own: its usage statistics are off, nothing is
downloaded, and no licence number is in reach, so that only the free task "total" can run.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vlm.anatomy.engines.labels import names_of, on_grid
from vlm.anatomy.engines.outside import has_gpu, program, run, write_scan
from vlm.anatomy.engines.protocol import PARTS, LabelMap, MapEngine, Off, with_wholes
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.scratch import scratch_folder

COMMAND = "TotalSegmentator"
FAST = ("Dataset297_TotalSegmentator_total_3mm_1559subj",)  # one model at 3 mm
FULL = (  # five models at 1.5 mm
    "Dataset291_TotalSegmentator_part1_organs_1559subj", "Dataset292_TotalSegmentator_part2_vertebrae_1532subj",
    "Dataset293_TotalSegmentator_part3_cardiac_1559subj", "Dataset294_TotalSegmentator_part4_muscles_1559subj",
    "Dataset295_TotalSegmentator_part5_ribs_1559subj",
)  # fmt: skip


def totalsegmentator() -> MapEngine:
    """The engine; whether it is on is asked of the file system each time."""
    return MapEngine(
        name="totalsegmentator", version=_version(), label=_label, structures=STRUCTURES, vouched=True, check=off
    )


def off() -> Off | None:
    """Why it cannot run here."""
    if program(COMMAND) is None:
        return Off(
            reason=f"{COMMAND} is not found",
            remedy="pip install TotalSegmentator, here or in any environment on the PATH; then "
            "totalseg_download_weights -t total_fast",
        )
    if not (_has(FAST) or _has(FULL)):
        return Off(reason=f"no weights in {weights()}", remedy="totalseg_download_weights -t total_fast")
    return None


def weights() -> Path:
    """Where TotalSegmentator keeps its weights."""
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    return Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home / "nnunet" / "results"))


def _has(models: tuple[str, ...]) -> bool:
    return all((weights() / model).is_dir() for model in models)  # under another name it would be downloaded


def _label(case: Case) -> LabelMap:
    command, why = program(COMMAND), off()
    if command is None or why is not None:
        raise UsageError(f"E_USAGE: --anatomy totalsegmentator is off: {why.reason if why else ''}.")
    full = _has(FULL) and (has_gpu() or not _has(FAST))  # five large models take many minutes without a GPU
    with scratch_folder() as made:
        folder = made.resolve()
        settings = {"totalseg_id": "tomoscribe", "send_usage_stats": False, "prediction_counter": 0}
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        write_scan(folder / "scan.nii.gz", case.volume)
        run(
            [command, "-i", folder / "scan.nii.gz", "-o", folder / "labels.nii.gz", "--ml", "--task", "total",
             *([] if full else ["--fast"]), "--device", "gpu" if has_gpu() else "cpu", "--nr_thr_saving", "1"],
            {"TOTALSEG_HOME_DIR": str(folder), "TOTALSEG_WEIGHTS_PATH": str(weights().resolve())},
            folder / "labels.nii.gz",
        )  # fmt: skip
        names, _ = names_of(folder / "labels.nii.gz")
        return LabelMap(on_grid(folder / "labels.nii.gz", case.volume.grid), case.volume.grid, names)


def _version() -> str:
    try:
        return version(COMMAND)
    except PackageNotFoundError:
        return "of another environment"


_LEVELS = ("S1", *(f"{part}{n}" for part, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(1, count + 1)))
_PAIRED = (
    "kidney", "adrenal_gland", "subclavian_artery", "common_carotid_artery", "brachiocephalic_vein", "iliac_artery",
    "iliac_vena", "humerus", "scapula", "clavicula", "femur", "hip", "gluteus_maximus", "gluteus_medius",
    "gluteus_minimus", "autochthon", "iliopsoas", "kidney_cyst",
)  # fmt: skip
_SINGLE = (
    "spleen", "gallbladder", "liver", "stomach", "pancreas", "esophagus", "trachea", "thyroid_gland", "small_bowel",
    "duodenum", "colon", "urinary_bladder", "prostate", "sacrum", "heart", "aorta", "pulmonary_vein",
    "brachiocephalic_trunk", "atrial_appendage_left", "superior_vena_cava", "inferior_vena_cava",
    "portal_vein_and_splenic_vein", "spinal_cord", "brain", "skull", "sternum", "costal_cartilages",
)  # fmt: skip
STRUCTURES = with_wholes(  # of the task "total", version 2
    (
        *_SINGLE,
        *(f"{name}_{side}" for name in _PAIRED for side in ("left", "right")),
        *(f"vertebrae_{level}" for level in _LEVELS),
        *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)),
        *PARTS["lung_left"],
        *PARTS["lung_right"],
    )
)
