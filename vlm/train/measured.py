"""Train the heads that ship: ``python -m vlm.train.measured FOLDER --bodies 100 --rates COHORT``.

Read from top to bottom. Bodies are those of ``vlm.train.bodies``; what the networks of ``vlm.train.cells`` say of
bodies that they did not see was kept beside them. For each column a logistic curve with a ridge is fitted to the few
numbers of its own part of the body, or of what networks see of it, that tell it best. Bodies that took no part in a fit
(of ten parts, one after the other) say what its score is worth: a column that is not told by them gets no head, the
others their calibration, brought from how often a finding was drawn here to how often it is in COHORT (bodies of
``tune`` seeds, of which only the truth is read). The adapter says what it was trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from vlm.encoder.adapter import Adapter, Head
from vlm.encoder.calibration import auroc, calibrate, resampled
from vlm.encoder.measured import BELLY_SEEN, SHIPPED, Measures, part_of
from vlm.encoder.measures import NAMES
from vlm.findings.packs import Column
from vlm.phantom.seeds import only
from vlm.train.bodies import Taught, columns, every_body, say, truths_of
from vlm.train.cells import with_cells

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
# First finding of a column -> beginnings of the names of what can tell it, beside what networks see of its cells.
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
FOLDS, RIDGE, FEATURES = 10, 0.03, 6  # parts; on weights, of standardised numbers; numbers that a head looks at
LEAST_OF_A_KIND = 6  # bodies with a finding, and without
LEAST_KNOWN = 0.5  # of a column's numbers that a body must have to teach or to judge it
LEAST_AUROC = 0.6  # of bodies that took no part, and surely better than a coin (the interval says so): else no head
CHANCE = 0.5
PRIOR_BODIES = 20.0  # of the common share, beside those that were counted
FAR = 1.25  # times the greatest distance seen: scans beyond are out of the domain
Floats = NDArray[np.float64]


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
    begin = (*LOOKS.get(column.findings[0], ()), f"cells.{name}.")
    looks = np.array([n for n, told in enumerate(NAMES) if told.startswith(begin)], dtype=np.intp)
    if not looks.size:
        return "nothing that is measured tells it"
    vectors, truth = np.array([one.vector for one in bodies]), np.array([one.truth[name] for one in bodies])
    known = np.isfinite(vectors[:, looks]).mean(axis=1) >= LEAST_KNOWN
    # A chest gets no findings of the belly, nor a belly of the chest: what tells the two apart must not tell them.
    known &= np.isfinite(vectors[:, NAMES.index(part_of(column.findings))])
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
        name: [row[name] == 1 for region, row in rows if region in ("trunk", _region_of(column)) and row[name] >= 0]
        for name, column in wanted.items()
    }
    common = sum(map(sum, seen.values())) / max(1, sum(map(len, seen.values())))
    return {name: (sum(held) + PRIOR_BODIES * common) / (len(held) + PRIOR_BODIES) for name, held in seen.items()}


def _region_of(column: Column) -> str:
    return "abdomen" if part_of(column.findings) == BELLY_SEEN else "chest"


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


def main() -> None:
    """Draw what is missing, fit, say what every column is worth, and write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where bodies are kept")
    parser.add_argument("--bodies", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw; 0 is one a processor")
    parser.add_argument("--rates", type=Path, required=True, help="a cohort of tune seeds, for how often findings are")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    bodies = with_cells(options.folder, every_body(options.folder, options.bodies, options.workers))
    told = f"{options.folder.name} --bodies {options.bodies} --rates {options.rates.name}"
    command = f"python -m vlm.train.measured {told}"
    adapter, lines = adapter_of(bodies, options.rates, command)
    for name, line in lines.items():
        say(f"{name}: {line}")
    say(f"{len(adapter.heads)} heads, farthest {adapter.farthest:.1f}, {adapter.save(options.out)} bytes")


if __name__ == "__main__":
    main()
