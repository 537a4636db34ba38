"""The engine of any trained nnU-Net v2 model: its folder with names of its labels, run in a process of its own.

A checkpoint of nnU-Net is a pickle, and opening one runs what is in it: name only folders from people you trust.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlm.anatomy.engines.labels import STRUCTURE, on_grid
from vlm.anatomy.engines.outside import has_gpu, program, run, write_scan
from vlm.anatomy.engines.protocol import LabelMap, MapEngine, Off, with_wholes
from vlm.errors import UsageError, shown
from vlm.evidence import Case
from vlm.scratch import scratch_folder

COMMAND = "nnUNetv2_predict_from_modelfolder"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")


def nnunet(model: Path) -> MapEngine:
    """The engine of a model folder (…/nnUNetTrainer__nnUNetPlans__3d_fullres, with dataset.json and fold_N).

    Raises:
        UsageError: the folder is not such a model, or not one for a CT.
    """
    dataset = _json(model / "dataset.json")
    names = _names(model, dataset)
    checkpoint = next((name for name in CHECKPOINTS if any(model.glob(f"fold_*/{name}"))), None)
    if checkpoint is None or not (model / "plans.json").is_file():
        raise _wrong(model, "plans.json and fold_N/checkpoint_final.pth")
    folds = sorted(path.parent.name.removeprefix("fold_") for path in model.glob(f"fold_*/{checkpoint}"))
    ending = str(dataset.get("file_ending", ".nii.gz"))

    def label(case: Case) -> LabelMap:
        command = program(COMMAND)
        if command is None:
            raise UsageError(f"E_USAGE: --anatomy nnunet is off: {COMMAND} is not found. pip install nnunetv2.")
        with scratch_folder() as made:
            folder = made.resolve()
            (folder / "in").mkdir()
            write_scan(folder / "in" / f"case_0000{ending}", case.volume)
            run(
                [command, "-i", folder / "in", "-o", folder, "-m", model.resolve(), "-f", *folds, "-chk", checkpoint,
                 "--disable_tta", "-npp", "1", "-nps", "1", "-device", "cuda" if has_gpu() else "cpu"],
                dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(folder)),
                folder / f"case{ending}",
            )  # fmt: skip
            return LabelMap(on_grid(folder / f"case{ending}", case.volume.grid), case.volume.grid, names)

    told = with_wholes(names.values())
    version = shown(f"{dataset.get('name', model.parent.name)}")
    return MapEngine(name="nnunet", version=version, label=label, structures=told, vouched=True, check=off)


def off() -> Off | None:
    """Why it cannot run here."""
    if program(COMMAND) is not None:
        return None
    return Off(reason=f"{COMMAND} is not found", remedy="pip install nnunetv2, here or in any environment on the PATH")


def _names(model: Path, dataset: Mapping[str, Any]) -> dict[int, str]:
    """Names by label: names.json of the folder, {"1": "liver"}, else those of dataset.json, {"liver": 1}."""
    channels = dataset.get("channel_names", {})
    if len(channels) != 1:
        raise _wrong(model, "a model with one image channel, a CT")
    try:
        if (model / "names.json").is_file():
            names = {int(number): str(name) for number, name in _json(model / "names.json").items()}
        else:
            names = {int(number): str(name) for name, number in dataset["labels"].items() if name != "background"}
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise _wrong(
            model, 'labels such as {"liver": 1} in dataset.json, or names.json such as {"1": "liver"}'
        ) from fault
    if not names or not all(STRUCTURE.fullmatch(name) for name in names.values()):
        raise _wrong(model, 'names.json such as {"1": "liver"}, names of letters, digits and _')
    return names


def _json(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise _wrong(path.parent, f"a readable {path.name}") from fault
    return told


def _wrong(model: Path, expected: str) -> UsageError:
    return UsageError(f"E_USAGE: {shown(model.name)} is no nnU-Net v2 model for a CT, expected {expected}.")
