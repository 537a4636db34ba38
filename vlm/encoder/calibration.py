"""From a score to a probability with its interval, and to a threshold that finds a wanted share of what is there.

In: scores and truths of cases, each with its patient. Out: a Calibration (Platt 1999) whose uncertainty comes from
resampling patients, with the score's distribution, its AUROC and an operating point. Too few cases of either kind
give no calibration: the reason is said instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

Floats = NDArray[np.float64]
LEAST_OF_A_KIND = 5  # patients with, and patients without: with fewer neither slope nor threshold means anything
RESAMPLES = 200  # of patients
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How the score of one column becomes a probability, and how good it is on the cases that it was fitted on."""

    column: str  # a column of a pack, or a finding
    score: str  # whose: "heads" or "zero_shot"
    identity: str  # of the vectors that were scored
    cohort: str  # what the cases are, in words
    slope: float
    intercept: float
    covariance: tuple[float, float, float]  # of slope and intercept: slope², slope x intercept, intercept²
    patients: int
    positives: int  # patients
    auroc: tuple[float, float, float]  # and its 95 % interval
    quantiles: tuple[float, ...]  # of the score, at QUANTILES
    wanted_sensitivity: float
    threshold: float  # of the score
    sensitivity: tuple[float, float, float]
    specificity: tuple[float, float, float]

    @property
    def version(self) -> str:
        """12 hex digits of what it says: another cohort is another version."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def usual(self) -> float:
        """The share of its patients who had the finding."""
        return self.positives / self.patients

    def probability(self, score: float) -> tuple[float, float, float]:
        """The probability of a score and its 95 % interval."""
        aa, ab, bb = self.covariance
        middle = self.slope * score + self.intercept
        wide = 1.96 * float(np.sqrt(max(0.0, aa * score**2 + 2 * ab * score + bb)))
        return _logistic(middle), _logistic(middle - wide), _logistic(middle + wide)

    def document(self) -> dict[str, Any]:
        """As a file holds it."""
        return {**asdict(self), "version": self.version}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Calibration:
        """From ``document``; a changed one is refused.

        Raises:
            ValueError: its version is not that of what it says.
        """
        told: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in document.items() if name != "version"
        }
        made = cls(**told)
        if made.version != document.get("version"):
            raise ValueError(f"calibration of {made.column!r} is not version {document.get('version')}")
        return made


def calibrate(
    scores: Sequence[float] | Floats, truths: Sequence[int], patients: Sequence[str], *, column: str, score: str,
    identity: str, cohort: str, sensitivity: float = 0.9,
) -> Calibration | str:  # fmt: skip
    """Fit a calibration; or say in one line why there is none.

    Args:
        scores: one a case; truths: 0 or 1; patients: whose case.
        sensitivity: wanted share of those with the finding above the threshold.
    """
    s, t, who = np.asarray(scores, dtype=float), np.asarray(truths, dtype=int), np.asarray(patients)
    having, lacking = len(set(who[t == 1].tolist())), len(set(who[t == 0].tolist()))
    if min(having, lacking) < LEAST_OF_A_KIND:
        return f"{having} patients with it and {lacking} without, expected at least {LEAST_OF_A_KIND} of each"
    slope, intercept = platt(s, t)
    cut = _threshold(s, t, sensitivity)
    drawn = [_measured(s[i], t[i], cut) for i in resampled(who) if 0 < t[i].sum() < len(i)]
    spread = np.array([row[:2] for row in drawn])
    variance = np.cov(spread.T)
    low, high = np.percentile([row[2:] for row in drawn], (2.5, 97.5), axis=0)
    found = _measured(s, t, cut)
    with_interval = [(float(found[k + 2]), float(low[k]), float(high[k])) for k in range(3)]
    return Calibration(
        column=column, score=score, identity=identity, cohort=cohort, slope=float(slope), intercept=float(intercept),
        covariance=(float(variance[0, 0]), float(variance[0, 1]), float(variance[1, 1])),
        patients=len(set(who.tolist())), positives=having, auroc=with_interval[0],
        quantiles=tuple(float(q) for q in np.quantile(s, QUANTILES)), wanted_sensitivity=sensitivity, threshold=cut,
        sensitivity=with_interval[1], specificity=with_interval[2],
    )  # fmt: skip


def platt(scores: Floats, truths: NDArray[np.int_]) -> tuple[float, float]:
    """Slope and intercept of the logistic curve; targets are drawn in as Platt did, so that few cases claim little."""
    positives = int(truths.sum())
    target = np.where(truths == 1, (positives + 1) / (positives + 2), 1 / (len(truths) - positives + 2))
    spread = float(scores.std()) or 1.0
    x = (scores - scores.mean()) / spread

    def loss(at: Floats) -> tuple[float, Floats]:  # and its gradient: hundreds of resamples are fitted
        value = at[0] * x + at[1]
        wrong = expit(value) - target
        return float((np.logaddexp(0, value) - target * value).sum()), np.array([wrong @ x, wrong.sum()])

    slope, intercept = minimize(loss, np.zeros(2), method="BFGS", jac=True).x
    slope = max(float(slope), 0.0)  # a score that is wrong way round is no evidence for the contrary
    return slope / spread, float(intercept) - slope * float(scores.mean()) / spread


def auroc(scores: Floats, truths: NDArray[np.int_]) -> float:
    """Chance that a case with the finding scores above one without; ties are half. NaN where one kind is missing."""
    positives = int(truths.sum())
    negatives = len(truths) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = float(rankdata(scores)[truths == 1].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def expected_error(probabilities: Floats, truths: NDArray[np.int_], bins: int = 15) -> float:
    """ECE over bins of equal count: mean distance between what was promised and what came, weighted by cases."""
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    apart = [len(part) * abs(float(probabilities[part].mean() - truths[part].mean())) for part in parts]
    return sum(apart) / len(order)


def resampled(patients: NDArray[Any], count: int = RESAMPLES, seed: int = 0) -> list[NDArray[np.intp]]:
    """Indices of cases, drawn by patient with all of each one's cases together."""
    rng = np.random.default_rng(seed)
    names, of = np.unique(patients, return_inverse=True)
    cases = [np.flatnonzero(of == n) for n in range(len(names))]
    return [np.concatenate([cases[n] for n in rng.integers(len(names), size=len(names))]) for _ in range(count)]


def _threshold(scores: Floats, truths: NDArray[np.int_], wanted: float) -> float:
    """The greatest score at which the wanted share of those with the finding lies at or above it."""
    held = np.sort(scores[truths == 1])[::-1]
    return float(held[int(np.ceil(wanted * len(held))) - 1])


def _measured(s: Floats, t: NDArray[np.int_], cut: float) -> tuple[float, float, float, float, float]:
    """Slope, intercept, AUROC, and sensitivity and specificity at a threshold."""
    above = s >= cut
    return *platt(s, t), auroc(s, t), float(above[t == 1].mean()), float((~above[t == 0]).mean())


def _logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -40, 40))))
