"""What each case of a cohort is to hold, from its seed alone: who, how scanned, and with which findings.

``ct-rate`` gives the 18 labels of CT-RATE their prevalence there (``ct_rate.toml``), with sensible company;
``graded`` gives every finding at graded sizes, to measure what is found from which size on.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from vlm.errors import UsageError
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body import PHASES, Person
from vlm.phantom.requests import ASKED_ALONE, SIZES, Where, request

PREVALENCES = ("ct-rate", "graded")
PHASE_CHANCES = (0.7, 0.1, 0.2)  # plain, arterial, portal: most chest scans have no contrast; made
PLANE_MM, STEPS_MM = (0.75, 0.95), (1.5, 2.0, 2.5, 3.0)  # voxel width; slice steps of routine chest protocols
FIRST = ("pleural_effusion", "pneumothorax")  # fluid and free air take whatever lies there, so they come first
NODULES = (0.5, 0.2, 0.14, 0.09, 0.07)  # chance of 1, 2 … nodules where there is one; made
BOTH_SIDES = 0.35  # of effusions
GRADED_CLEAR, GRADED_FINDINGS, GRADED_NODULES = 8, 3, 3  # every eighth case is clear


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One case before it is drawn."""

    seed: int
    phase: str
    region: str
    spacing_mm: tuple[float, float, float]
    findings: tuple[str, ...]  # in words


@functools.cache
def table() -> Mapping[str, Any]:
    """ct_rate.toml: circumstances, and of each label its share, company and findings."""
    return tomllib.loads((files("vlm.phantom") / "ct_rate.toml").read_text(encoding="utf-8"))


def chances(label: Mapping[str, Any]) -> tuple[float, float]:
    """Chance of a label without and with its circumstance; over everybody they give its share."""
    often, times = table()["circumstance"][label["with"]], label["times"]
    without = label["share"] / (1 + often * (times - 1))
    return without, times * without


def not_drawn(known: Set[str]) -> tuple[str, ...]:
    """Labels of which no finding can be drawn."""
    return tuple(name for name, label in table()["label"].items() if not known & set(label["draw"]))


def plan(
    prevalence: str, seed: int, *, known: Set[str], where: Where = "body", phase: str | None = None, clear: bool = False
) -> Plan:
    """The case of a seed.

    Args:
        known: keys of the findings that can be drawn, or put into a scan.
        phase: a contrast phase for all; by chance when None.
        clear: of a graded cohort: nothing at all, to count what is seen where nothing is.

    Raises:
        UsageError: no prevalence has this name.
    """
    if prevalence not in PREVALENCES:
        raise UsageError(f"E_USAGE: --prevalence is {prevalence!r}, expected one of {', '.join(PREVALENCES)}.")
    rng = np.random.default_rng([seed, 31])
    chosen = phase or PHASES[int(rng.choice(len(PHASES), p=PHASE_CHANCES))]
    plane, step = round(float(rng.uniform(*PLANE_MM)), 3), STEPS_MM[int(rng.integers(len(STEPS_MM)))]
    region, words = "chest", []
    if prevalence == "ct-rate":
        words = _by_share(seed, rng, known, where)
    elif not clear:
        region, words = _graded(rng, known, where)
    return Plan(seed=seed, phase=chosen, region=region, spacing_mm=(plane, plane, step), findings=tuple(words))


def _by_share(seed: int, rng: np.random.Generator, known: Set[str], where: Where) -> list[str]:
    """The findings of one person at the shares of the table."""
    here = {name: bool(rng.random() < often) for name, often in table()["circumstance"].items()}
    here["old"] = Person.of(seed).age >= 65
    out: list[str] = []
    for label in sorted(table()["label"].values(), key=lambda label: not label["draw"].keys() & set(FIRST)):
        without, within = chances(label)
        present = rng.random() < (within if here[label["with"]] else without)
        able = {finding: share for finding, share in label["draw"].items() if finding in known}
        if present and able:
            total = sum(able.values())
            finding = str(rng.choice(list(able), p=[share / total for share in able.values()]))
            out += _several(finding, rng, where)
    return out


def _several(finding: str, rng: np.random.Generator, where: Where) -> list[str]:
    """A finding as often as it comes in one person: several nodules, an effusion on both sides."""
    if finding == "lung_nodule":
        count = 1 + int(rng.choice(len(NODULES), p=NODULES))
        return [request(finding, rng, where) for _ in range(count)]
    one = request(finding, rng, where)
    if finding == "pleural_effusion" and rng.random() < BOTH_SIDES:
        other = request(finding, rng, where)
        side, want = ("left", "right") if "left" in one else ("right", "left")
        return [one, other.replace(side, want)]
    return [one]


def _graded(rng: np.random.Generator, known: Set[str], where: Where) -> tuple[str, list[str]]:
    """A few findings of one region, each at one of its levels; a chest also has nodules."""
    vocabulary, known = load_vocabulary(), known - ASKED_ALONE
    belly = {finding for finding in known if vocabulary.section_of(finding) == "abdomen"}
    region = "abdomen" if belly and rng.random() < len(belly) / len(known) else "chest"
    pool = sorted((belly if region == "abdomen" else set(known) - belly) - {"lung_nodule"})
    picked = [str(name) for name in rng.permutation(pool)[:GRADED_FINDINGS]]
    if region == "chest" and "lung_nodule" in known:
        picked += ["lung_nodule"] * GRADED_NODULES
    picked.sort(key=lambda finding: finding not in FIRST)
    return ("trunk" if "bladder_stone" in picked else region), [_level(finding, rng, where) for finding in picked]


def _level(finding: str, rng: np.random.Generator, where: Where) -> str:
    sizes = SIZES.get(finding)
    level = None if sizes is None else float(sizes.levels[int(rng.integers(len(sizes.levels)))])
    return request(finding, rng, where, level)
