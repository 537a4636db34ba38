"""Train the heads that ship: ``python -m vlm.train.measured FOLDER --bodies 100 --rates COHORT``.

Read from top to bottom. Bodies of ``train`` seeds are drawn, each with several findings of the packs, their anatomy is
found as in any scan, and what ``vlm.encoder.measures`` says of them is kept, a file a body: a killed run goes on, and
--workers draws several at once. For each column a logistic curve with a ridge is fitted to the few numbers of its own
part of the body that tell it best. Bodies that took no part in a fit (of ten parts, one after the other) say what its
score is worth: a column that is not told by them gets no head, the others their calibration, brought from how often a
finding was drawn here to how often it is in COHORT (bodies of ``tune`` seeds, of which only the truth is read). The
adapter says what it was trained on.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from vlm.encoder.adapter import Adapter, Head
from vlm.encoder.calibration import auroc, calibrate, resampled
from vlm.encoder.measured import SHIPPED, Measures
from vlm.encoder.measures import NAMES, measures
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.findings.mentions import Mention
from vlm.findings.packs import Column, load_pack
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body import Phase, body, numbered
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
BELLY = (
    "hepatic_steatosis", "hepatomegaly", "splenomegaly", "prostatomegaly", "pancreatic_atrophy", "ascites",
    "pneumoperitoneum", "submucosal_edema", "bowel_obstruction", "appendicitis", "biliary_dilatation", "gallstone",
    "surgically_absent_gallbladder", "renal_cyst", "renal_hypodensity", "hydronephrosis", "abdominal_aortic_aneurysm",
)  # fmt: skip
_HEART = ("heart.ct_ratio", "heart.ml", "heart.width", "heart.ratio", "heart.share")
_CALCIUM = ("heart.calcium", "heart.bright", "heart.valve")
_SOLID = ("core", "dense", "thick", "solid", "round", "rind", "flat", "thin")
# Of a lung, beside each number the larger and the difference of both lungs: LOOKS names them without that.
_LUNG: Mapping[str, tuple[str, ...]] = {
    "atelectasis": ("sheet", "gap", *_SOLID),
    "consolidation": _SOLID,
    "pleural_effusion": ("fluid", "gap", *_SOLID),
    "lung_nodule": ("knob", "round", "ball", "spots", "core"),
    "lung_opacity": ("haze", "p90", "patches", "knob_wide"),
    "pulmonary_fibrotic_sequela": ("rind", "line_out", "sheet_out", "vessel_out", "part"),
    "mosaic_attenuation": ("mosaic", "patches", "coarse", "medium", "sd", "p10", "p90"),
    "peribronchial_thickening": ("vessel_in", "part", "spots", "dips", "tubes", "sheet"),
    "bronchiectasis": ("tubes", "dips", "pits", "vessel_in", "part", "spots", "low", "p10"),
    "interlobular_septal_thickening": ("fine", "mean", "p50", "p90", "sheet", "vessel_out", "spots"),
    "emphysema": ("pits", "holes", "bulla", "p10", "sd", "dips", "top"),
}
# First finding of a column -> beginnings of the names of what can tell it; others are told by no number of the list.
LOOKS: Mapping[str, tuple[str, ...]] = {
    **{key: tuple(f"lung.{way}.{name}" for way in ("mean", "max", "apart") for name in names)
       for key, names in _LUNG.items()},
    "medical_material": ("metal.", "skin.soft"), "arterial_wall_calcification": ("aorta.",), "cardiomegaly": _HEART,
    "pericardial_effusion": ("heart.water", "heart.rim", "heart.ml", "heart.fat"),
    "coronary_artery_calcification": _CALCIUM, "hiatal_hernia": ("gullet.",), "lymph_node": ("nodes.",),
    "lymphadenopathy": ("nodes.",), "osteopenia": ("bone.p", "bone.sd"),
    "abdominal_aortic_aneurysm": ("aorta.abdomen.",), "anasarca": ("skin.",), "atherosclerosis": ("aorta.",),
    "splenomegaly": ("spleen.ml", "spleen.height", "spleen.radius"), "ascites": ("belly.", "calm."),
    "hepatomegaly": ("liver.ml", "liver.height", "wide"), "hepatic_steatosis": ("liver.hu", "liver.over"),
    "hydronephrosis": ("kidney.",), "renal_cyst": ("kidney.",), "renal_hypodensity": ("kidney.",),
    "pneumoperitoneum": ("belly.gas", "free."), "fracture": ("bone.",),
    "aortic_valve_calcification": (*_CALCIUM, "aorta.chest."), "bowel_obstruction": ("bowel.", "belly.gas", "calm."),
    "submucosal_edema": ("bowel.",), "gallstone": ("bile.",), "pancreatic_atrophy": ("bed.",),
    "biliary_dilatation": ("bile.", "liver.tubes", "liver.water", "liver.p2"),
    "surgically_absent_gallbladder": ("metal.", "bile."), "appendicitis": ("belly.right_low", "belly.strands", "calm."),
}  # fmt: skip
LOOKS = {**LOOKS, "emphysema": (*LOOKS["emphysema"], "skin.air", "skin.wall_air")}  # of either kind
FOLDS, RIDGE, FEATURES = 10, 3.0, 6  # parts; on weights; numbers that a head looks at
LEAST_OF_A_KIND = 6  # bodies with a finding, and without
# A chest gets no findings of the belly, nor a belly of the chest: what tells the two apart must not seem to tell them.
CHEST_SEEN, BELLY_SEEN = "lung.mean.ml", "belly.fat"
LEAST_KNOWN = 0.5  # of a column's numbers that a body must have to teach or to judge it
LEAST_AUROC = 0.6  # of bodies that took no part, and surely better than a coin (the interval says so): else no head
CHANCE = 0.5
PRIOR_BODIES = 20.0  # of the common share, beside those that were counted
FAR = 1.25  # times the greatest distance seen: scans beyond are out of the domain
Floats = NDArray[np.float64]


# ---- bodies


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """One body: its numbers, and what it holds."""

    patient: str
    vector: Floats  # (len(NAMES),), NaN where nothing was found
    truth: Mapping[str, int]  # "pack: column" -> 1, 0, or -1 where its phase does not show it


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
    path, version = folder / f"body-{number:05d}.json", f"{Measures.identity}, {SPACING_MM} mm"
    if not path.is_file():
        phase, region, words = words_of(seed)
        drawn = body(seed=seed, phase=phase, region=region, spacing_mm=SPACING_MM, findings=numbered(words),
                     skip_impossible=True)  # fmt: skip
        told = {
            "seed": seed, "version": version,
            "measures": [None if np.isnan(v) else round(float(v), 5) for v in measures(Case(drawn.volume))],
            "findings": [{"finding": truth.finding, "visible": truth.visible} for truth in drawn.truth],
        }  # fmt: skip
        unready = path.with_suffix(".part")
        unready.write_text(json.dumps(told), encoding="utf-8")
        unready.replace(path)
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["version"] != version:
        raise UsageError(f"E_USAGE: {path.name} holds other numbers ({told['version']}). Name an empty folder.")
    values = np.array([np.nan if v is None else v for v in told["measures"]], dtype=np.float64)
    return Taught(patient=str(seed), vector=values, truth=truths_of(told["findings"]))


def every_body(folder: Path, count: int, workers: int) -> list[Taught]:
    """The first bodies of the training seeds in their order, whoever drew them; 0 workers are one a processor.

    Raises:
        UsageError: a process died over a body, or the folder holds other numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[int, Taught] = {}
    for number, body_ in in_parallel(functools.partial(taught, folder), range(count), workers=workers):
        if isinstance(body_, str):
            raise UsageError(f"E_USAGE: body {number}: {body_}.")
        made[number] = body_
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


def columns() -> dict[str, Column]:
    """ "pack: column" of all columns that LOOKS knows, one for each set of findings."""
    every = {f"{pack.name}: {column.name}": column for pack in map(load_pack, PACKS) for column in pack.columns}
    first: dict[tuple[str, ...], str] = {}
    for name, column in every.items():
        first.setdefault(column.findings, name)
    return {name: every[name] for name in first.values() if every[name].findings[0] in LOOKS}


# ---- heads


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A head in the space of standardised numbers, and what bodies that took no part in a fit scored."""

    weight: Floats  # (D,)
    bias: float
    rows: NDArray[np.intp]  # the bodies that were judged
    scores: Floats
    truth: NDArray[np.int_]


def curve(x: Floats, y: Floats) -> Floats:
    """(F + 1,) weights and intercept of a logistic curve with a ridge, by Newton's way."""
    design = np.c_[x, np.ones(len(x))]
    ridge = np.diag(np.r_[np.full(x.shape[1], RIDGE), 1e-6])
    at = np.r_[np.zeros(x.shape[1]), logit(np.clip(y.mean(), 1e-3, 1 - 1e-3))]
    for _ in range(25):
        chance = expit(design @ at)
        bend = (design * np.maximum(chance * (1 - chance), 1e-3)[:, None]).T @ design + ridge
        step = np.linalg.solve(bend, design.T @ (chance - y) + ridge @ at)
        at = at - step
        if np.abs(step).max() < 1e-5:
            break
    return np.asarray(at)


def head(z: Floats, y: NDArray[np.int_], looks: NDArray[np.intp]) -> tuple[Floats, float]:
    """Weights (D,) on the numbers that tell a finding best, and the intercept."""
    apart = np.array([abs(auroc(z[:, n], y) - 0.5) for n in looks])
    best = looks[np.argsort(-apart, kind="stable")[:FEATURES]]
    at = curve(z[:, best], y.astype(np.float64))
    weight = np.zeros(z.shape[1])
    weight[best] = at[:-1]
    return weight, float(at[-1])


def parts(y: NDArray[np.int_]) -> NDArray[np.intp]:
    """(N,) the part of ten of each body, by chance, with as many of either kind in each part as in the others.

    Else a part with more of a finding is judged by a fit that saw less of it, and a head without worth seems worse than
    a coin (Parker, BMC Bioinformatics 2007;8:326).
    """
    order = np.random.default_rng(0).permutation(len(y))
    part = np.empty(len(y), dtype=np.intp)
    part[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % FOLDS
    return part


def fitted(bodies: Sequence[Taught], name: str, column: Column, mean: Floats, scale: Floats) -> Fitted | str:
    """The head of a column, or why it gets none."""
    looks = np.array([n for n, told in enumerate(NAMES) if told.startswith(LOOKS[column.findings[0]])], dtype=np.intp)
    vectors, truth = np.array([one.vector for one in bodies]), np.array([one.truth[name] for one in bodies])
    known = np.isfinite(vectors[:, looks]).mean(axis=1) >= LEAST_KNOWN
    known &= np.isfinite(vectors[:, NAMES.index(BELLY_SEEN if column.findings[0] in BELLY else CHEST_SEEN)])
    rows = np.flatnonzero(known & (truth >= 0))
    y = truth[rows]
    if min(y.sum(), len(y) - y.sum()) < LEAST_OF_A_KIND:
        return f"{y.sum()} of {len(y)} bodies with it, expected at least {LEAST_OF_A_KIND} with and without"
    z = np.nan_to_num((vectors[rows] - mean) / scale)
    scores, part = np.zeros(len(rows)), parts(y)
    for fold in range(FOLDS):
        held = part == fold
        weight, bias = head(z[~held], y[~held], looks)
        scores[held] = z[held] @ weight + bias
    drawn = [auroc(scores[i], y[i]) for i in resampled(np.arange(len(y)))]
    if (value := auroc(scores, y)) < LEAST_AUROC or np.nanpercentile(drawn, 2.5) <= CHANCE:
        return f"AUROC {value:.2f} of bodies that took no part ({y.sum()} of {len(y)} with it)"
    weight, bias = head(z, y, looks)
    return Fitted(weight=weight, bias=bias, rows=rows, scores=scores, truth=y)


def rates_of(cohort: Path, wanted: Mapping[str, Column]) -> dict[str, float]:
    """Column -> how often it is there, of the bodies of a cohort that can show it; few are drawn to the mean.

    Raises:
        UsageError: a body is not of the tuning seeds.
    """
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(cohort.glob("case-*/truth.json"))]
    only("tune", [one["asked"]["seed"] for one in told])
    rows = [(one["asked"]["region"], truths_of(one["findings"])) for one in told]
    seen = {
        name: [row[name] == 1 for region, row in rows if region in ("trunk", _part_of(column)) and row[name] >= 0]
        for name, column in wanted.items()
    }
    common = sum(map(sum, seen.values())) / max(1, sum(map(len, seen.values())))
    return {name: (sum(held) + PRIOR_BODIES * common) / (len(held) + PRIOR_BODIES) for name, held in seen.items()}


def _part_of(column: Column) -> str:
    return "abdomen" if column.findings[0] in BELLY else "chest"


def adapter_of(bodies: Sequence[Taught], cohort: Path, command: str) -> tuple[Adapter, dict[str, str]]:
    """Heads with their calibrations, and a line of every column."""
    vectors = np.array([one.vector for one in bodies])
    mean = np.nan_to_num(np.nanmean(vectors, axis=0))
    scale = np.nan_to_num(np.nanstd(vectors, axis=0)) + 0.02  # what never changed is no reason to be far away
    made = {name: (column, fitted(bodies, name, column, mean, scale)) for name, column in columns().items()}
    good = {name: (column, one) for name, (column, one) in made.items() if isinstance(one, Fitted)}
    lines = {name: one for name, (_, one) in made.items() if isinstance(one, str)}
    rates = rates_of(cohort, {name: column for name, (column, _) in good.items()})
    trained_on = f"{len(bodies)} synthetic bodies"
    heads = []
    for name, (column, one) in good.items():
        told = calibrate(
            one.scores, one.truth.tolist(), [bodies[n].patient for n in one.rows], column=column.name, score="heads",
            identity=str(Measures.identity), cohort=f"{trained_on}, {rates[name]:.0%} of them with it",
        )  # fmt: skip
        assert not isinstance(told, str), told  # LEAST_OF_A_KIND is more than it asks for
        told = replace(told, intercept=told.intercept + float(logit(rates[name]) - logit(one.truth.mean())))
        heads.append(Head(column=column.name, findings=column.findings, calibration=told, share=rates[name]))
        low, high = told.auroc[1:]
        lines[name] = f"AUROC {told.auroc[0]:.2f} ({low:.2f}-{high:.2f}), {one.truth.sum()} of {len(one.truth)} with it"
    width = len(NAMES)
    adapter = Adapter(
        name="measured", base=str(Measures.identity), means={"": mean}, directions=np.eye(width, dtype=np.float32),
        scale=scale.astype(np.float32), up=np.zeros((0, width), np.float32),
        weight=np.array([one.weight for _, one in good.values()], dtype=np.float32),
        bias=np.array([one.bias for _, one in good.values()], dtype=np.float32), heads=tuple(heads), farthest=0.0,
        trained_on=trained_on, command=command,
    )  # fmt: skip
    away = [adapter.distance(Measures.embedding(one.vector)) for one in bodies]
    return replace(adapter, farthest=FAR * max(away)), dict(sorted(lines.items()))


def say(line: str) -> None:
    """Tell who started it."""
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Draw what is missing, fit, say what every column is worth, and write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where bodies are kept")
    parser.add_argument("--bodies", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw; 0 is one a processor")
    parser.add_argument("--rates", type=Path, required=True, help="a cohort of tune seeds, for how often findings are")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    bodies = every_body(options.folder, options.bodies, options.workers)
    told = f"{options.folder.name} --bodies {options.bodies} --rates {options.rates.name}"
    command = f"python -m vlm.train.measured {told}"
    adapter, lines = adapter_of(bodies, options.rates, command)
    for name, line in lines.items():
        say(f"{name}: {line}")
    say(f"{len(adapter.heads)} heads, farthest {adapter.farthest:.1f}, {adapter.save(options.out)} bytes")


if __name__ == "__main__":
    main()
