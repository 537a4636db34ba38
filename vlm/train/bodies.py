"""Synthetic bodies that the shipped heads learn from, drawn, looked at, and kept: a killed run goes on.

In: a folder and a number. Out: ``taught(folder, number)``: what ``vlm.encoder.measures`` says of the body and what it
holds, kept as ``body-00000.json``; and beside it ``body-00000.npz``, some 45 MB, the features of its cells and the
columns that each is part of, from which ``vlm.train.cells`` learns. Bodies are of the ``train`` seeds, each with
several findings of the packs, of graded sizes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vlm.encoder import cell_features
from vlm.encoder.cell_features import Bytes, features
from vlm.encoder.measured import BELLY
from vlm.encoder.measures import PHYSICAL, VERSION, as_vector, numbers
from vlm.encoder.scene import Bools, Floats, scene_of, touched
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.findings.mentions import Mention
from vlm.findings.packs import Column, load_pack
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body import Body, Phase, body, numbered
from vlm.phantom.body.findings import FINDINGS
from vlm.phantom.requests import ASKED_ALONE, SIZES, request
from vlm.phantom.seeds import only, seeds
from vlm.workers import in_parallel

PACKS = ("ct-rate-18", "merlin-30")
FIRST_SEED = 200_000  # of the train seeds
SPACING_MM = (1.2, 1.2, 2.0)  # as cohorts are drawn: of bodies drawn in coarser voxels many numbers are others
PHASES, OFTEN = ("plain", "arterial", "portal"), (0.6, 0.1, 0.3)
BELLY_SHARE, CLEAR_SHARE, NODULES_SHARE = 0.45, 0.06, 0.5  # of bodies
ROOM_FIRST = ("pleural_effusion", "pneumothorax")  # they take whatever lies there
# What a chest is drawn with: seven of these, one of each row at most, and one of anything else.
CHEST: tuple[tuple[str, ...], ...] = (
    ("central_venous_catheter", "port", "pacemaker", "sternotomy_wires", "surgical_clip", "tube", "coronary_stent",
     "orthopaedic_hardware", "breast_implant"),
    ("aortic_calcification", "arterial_wall_calcification", "atherosclerosis"), ("cardiomegaly",),
    ("pericardial_effusion",), ("coronary_artery_calcification",), ("hiatal_hernia",),
    ("lymphadenopathy", "lymph_node"),
    ("emphysema", "emphysema", "subcutaneous_emphysema"), ("atelectasis", "atelectasis", "lobar_collapse"),
    ("ground_glass_opacity", "lung_opacity"), ("consolidation",), ("pulmonary_fibrotic_sequela",),
    ("pleural_effusion",), ("mosaic_attenuation",), ("peribronchial_thickening",), ("bronchiectasis",),
    ("interlobular_septal_thickening",), ("aortic_valve_calcification",), ("metastatic_disease",), ("osteopenia",),
    ("anasarca",), ("vertebral_fracture", "rib_fracture", "fracture"), ("thrombosis", "pulmonary_embolism"),
)  # fmt: skip

T = TypeVar("T")
_TAKEN = hashlib.sha256(" ".join((*PHYSICAL, *cell_features.NAMES)).encode()).hexdigest()
MADE_BY = f"measures{VERSION}-{_TAKEN[:12]}, {SPACING_MM} mm"


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """One body: its numbers, and what it holds."""

    patient: str
    vector: Floats  # (len(PHYSICAL),), NaN where nothing was found
    truth: Mapping[str, int]  # "pack: column" -> 1, 0, or -1 where its phase does not show it


@dataclass(frozen=True, kw_only=True, eq=False)
class TaughtCells:
    """The cells of one body: their features, and the columns that each is part of, as bits in the order of columns."""

    inside: Bools
    values: Bytes  # (N, len(cell_features.NAMES))
    shown: NDArray[np.uint64]  # (N,)
    hidden: NDArray[np.uint64]  # (N,) what is there and its phase does not show


def words_of(seed: int) -> tuple[Phase, str, list[str]]:
    """Phase, region and findings of a body, from its seed alone."""
    rng = np.random.default_rng([seed, 77])
    phase = PHASES[int(rng.choice(3, p=OFTEN))]
    vocabulary, known = load_vocabulary(), set(FINDINGS) - ASKED_ALONE
    belly = {key for key in known if vocabulary.section_of(key) == "abdomen"}
    if rng.random() < BELLY_SHARE:
        region, keys = "abdomen", [str(key) for key in rng.choice(BELLY, 6, replace=False)]
        keys.append(str(rng.choice(sorted(belly - set(keys)))))
    else:
        rows = rng.choice(len(CHEST), 7, replace=False)
        region, keys = "chest", [str(rng.choice(CHEST[int(row)])) for row in rows]
        keys.append(str(rng.choice(sorted(known - belly - set(keys) - {"lung_nodule"}))))
        if rng.random() < NODULES_SHARE:
            keys += ["lung_nodule"] * int(rng.integers(1, 4))
    if rng.random() < CLEAR_SHARE:
        keys = []
    keys.sort(key=lambda key: key not in ROOM_FIRST)
    return cast(Phase, phase), region, [_words(key, rng) for key in keys]


def _words(finding: str, rng: np.random.Generator) -> str:
    sizes = SIZES.get(finding)
    level = None if sizes is None else float(sizes.levels[int(rng.integers(len(sizes.levels)))])
    return request(finding, rng, "body", level)


def taught(folder: Path, number: int) -> Taught:
    """A body of the training seeds, drawn and measured, or as it was kept."""
    (seed,) = only("train", seeds("train", 1, first=FIRST_SEED + number))
    path = folder / f"body-{number:05d}.json"
    if not path.is_file():
        phase, region, words = words_of(seed)
        drawn = body(seed=seed, phase=phase, region=region, spacing_mm=SPACING_MM, findings=numbered(words),
                     skip_impossible=True)  # fmt: skip
        told = {
            "seed": seed, "version": MADE_BY, "measures": _measured(drawn, path.with_suffix(".npz")),
            "findings": [{"finding": truth.finding, "visible": truth.visible} for truth in drawn.truth],
        }  # fmt: skip
        unready = path.with_suffix(".part")
        unready.write_text(json.dumps(told), encoding="utf-8")
        unready.replace(path)
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["version"] != MADE_BY:
        raise UsageError(f"E_USAGE: {path.name} holds other numbers ({told['version']}). Name an empty folder.")
    values = np.array([np.nan if v is None else v for v in told["measures"]], dtype=np.float32)
    return Taught(patient=str(seed), vector=values, truth=truths_of(told["findings"]))


def _measured(drawn: Body, path: Path) -> list[float | None]:
    """The numbers of a body; its cells are kept."""
    case = Case(drawn.volume)
    seen, masks = scene_of(case), touched(case, drawn.findings)
    cells = features(seen)
    shown, hidden = (np.zeros(len(cells.values), dtype=np.uint64) for _ in range(2))
    for truth in drawn.truth:
        held = masks[truth.mask][cells.inside]
        (shown if truth.visible else hidden)[held] |= _bits(truth.finding)
    unready = path.with_name(f"{path.stem}.part.npz")
    np.savez(unready, values=cells.values, shown=shown, hidden=hidden, inside=np.packbits(cells.inside),
             shape=cells.inside.shape)  # fmt: skip
    unready.replace(path)
    return [None if np.isnan(v) else round(float(v), 5) for v in as_vector(numbers(seen), PHYSICAL)]


def taught_cells(folder: Path, number: int) -> TaughtCells:
    """The cells that were kept of a body."""
    with np.load(folder / f"body-{number:05d}.npz") as held:
        shape = tuple(int(n) for n in held["shape"])
        inside = np.unpackbits(held["inside"], count=int(np.prod(shape))).reshape(shape).astype(bool)
        return TaughtCells(inside=inside, values=held["values"], shown=held["shown"], hidden=held["hidden"])


def every_body(folder: Path, count: int, workers: int) -> list[Taught]:
    """The first bodies of the training seeds in their order, whoever drew them; 0 workers are one a processor.

    Raises:
        UsageError: a process died over a body, or the folder holds other numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return gathered(functools.partial(taught, folder), count, workers)


def gathered(function: Callable[[int], T], count: int, workers: int) -> list[T]:
    """What it gives for 0, 1, ..., in this order, by several processes.

    Raises:
        UsageError: a process died over one.
    """
    made: dict[int, T] = {}
    for number, told in in_parallel(function, range(count), workers=workers):
        if isinstance(told, str):
            raise UsageError(f"E_USAGE: {number}: {told}.")
        made[number] = told
        say(f"{len(made)} of {count}")
    return [made[number] for number in range(count)]


def truths_of(findings: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """Column -> 1, 0, or -1 where it is there and its phase does not show it."""

    def mentions(only_visible: bool) -> list[Mention]:
        keys = [one["finding"] for one in findings if one.get("visible", True) or not only_visible]
        return [Mention(finding=key, presence="present", span=(0, 0), text="") for key in keys]

    told: dict[str, int] = {}
    for pack in map(load_pack, PACKS):
        shown, there = pack.row(mentions(True)), pack.row(mentions(False))
        told |= {f"{pack.name}: {name}": shown[name] if shown[name] == there[name] else -1 for name in there}
    return told


@functools.cache
def columns() -> Mapping[str, Column]:
    """ "pack: column" of all columns, one for each set of findings."""
    every = {f"{pack.name}: {column.name}": column for pack in map(load_pack, PACKS) for column in pack.columns}
    first: dict[tuple[str, ...], str] = {}
    for name, column in every.items():
        first.setdefault(column.findings, name)
    return {name: every[name] for name in sorted(first.values())}


@functools.cache
def _bits(finding: str) -> np.uint64:
    """A bit for each of the columns that a finding counts for."""
    told = truths_of([{"finding": finding}])
    return np.uint64(sum(1 << n for n, name in enumerate(columns()) if told[name] == 1))


def say(line: str) -> None:
    """Tell who started it."""
    sys.stderr.write(f"{line}\n")
