"""Sampled evidence: ledgers as tools would fill them, for any finding of the vocabulary, to learn wording from.

In: a random generator. Out: a ledger of a few observations and searches. Which quantities a finding has is what the
composer's patterns name; places are the vocabulary's. Nothing here is a patient's, and no report is read. The
findings of HELD_OUT never occur, so that a measurement can ask how a model words what it never saw.
"""

from __future__ import annotations

import functools
import random

from vlm.evidence import Ledger, Measurement, Observation, Search, Side
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Prior
from vlm.language.phrases import FACT, OPTIONAL, load_phrases

HELD_OUT = frozenset({"gallstone", "hiatal_hernia", "pericardial_effusion", "splenomegaly", "pneumoperitoneum"})
RANGES = {  # of sampled values, in each quantity's unit; what a sentence says of them is a slot
    "diameter": (3, 90), "short_axis": (3, 40), "volume": (5, 1500), "fraction": (1, 45), "thickness": (3, 30),
    "distance": (2, 40), "ratio": (0.38, 0.7), "score": (1, 900), "height_loss": (20, 60), "attenuation": (-40, 160),
    "height": (60, 190),
}  # fmt: skip
DENSITIES = ("solid", "part_solid", "ground_glass", "calcified")
GRADES = ("small", "moderate", "large", "mild", "severe")
PLACES = {
    "lung": ("upper_lobe", "lower_lobe", "upper_zone", "middle_zone", "lower_zone"), "vertebra": ("T5", "T8", "L1"),
    "aorta": ("ascending_aorta", "aortic_arch", "descending_aorta"), "lymph_node": ("hilum", "axilla"),
}  # fmt: skip
LIMITS = ("partly_covered", "thick_slices", "noise", "metal", "collapse", "not_measured")


@functools.cache
def findings() -> tuple[str, ...]:
    """The findings that are sampled: those with patterns of their own four times as often as the others."""
    own = [key for key in load_phrases().findings if key not in HELD_OUT]
    others = [key for key in load_vocabulary().findings if key not in HELD_OUT and key not in own]
    return tuple(own * 4 + others)


def sample(rng: random.Random) -> tuple[Ledger, Prior | None]:
    """A ledger of four findings seen and six looked for, and at times a prior."""
    ledger = Ledger()
    seen = [ledger.add(_seen(key, rng)) for key in rng.sample(findings(), 4)]
    if rng.random() < 0.15:
        seen += [ledger.add(_seen("lung_nodule", rng)) for _ in range(7)]
    found = {record.finding for record in ledger.observations().values()}
    for key in rng.sample(findings(), 6):
        if key not in found:
            for record in _looked(key, rng):
                ledger.add(record)
    matches = {name: None if rng.random() < 0.4 else ledger.observations()[name] for name in seen}
    return ledger, Prior(matches=matches) if rng.random() < 0.3 else None


def _seen(finding: str, rng: random.Random) -> Observation:
    entry, phrases = load_vocabulary().finding(finding), load_phrases()
    named = {n for kind in ("present", "short") for n, _ in FACT.findall(phrases.pattern(finding, kind) or "")}
    always = {n for kind in ("present", "short", "several")
              for n, _ in FACT.findall(OPTIONAL.sub("", phrases.pattern(finding, kind) or ""))}  # fmt: skip
    sided = bool({"side", "place", "within"} & named) and entry.side == "sided"
    side: Side | None = rng.choice(("left", "right", "left", "right", "bilateral")) if sided else None
    measurements = tuple(
        _measure(name, rng) for name in sorted((named | always) & set(RANGES)) if name in always or rng.random() < 0.8
    )
    attributes = {"density": rng.choice(DENSITIES)} if "density" in named and rng.random() < 0.7 else {}
    if "grade" in named and entry.grades is None and rng.random() < 0.4:
        attributes["severity"] = rng.choice(GRADES)
    if "loculated" in named and rng.random() < 0.2:
        attributes["loculated"] = "yes"
    return Observation(
        tool="sampled", finding=finding, presence="present", side=side, site=_site(entry.site, named, rng),
        measurements=measurements, attributes=attributes, note="sampled",
    )  # fmt: skip


def _site(home: str | None, named: set[str], rng: random.Random) -> str | None:
    """A part of the finding's own site where its sentence tells the place."""
    parts = PLACES.get(home or "")
    return rng.choice(parts) if parts and {"site", "place", "within"} & named and rng.random() < 0.8 else home


def _looked(finding: str, rng: random.Random) -> list[Search]:
    phrases = load_phrases()
    normal = phrases.findings.get(finding, {}).get("normal", {}).get("sentence", "")
    several = phrases.pattern(finding, "several") is not None
    failed = (rng.choice(LIMITS),) if rng.random() < 0.35 else ()
    smallest = _measure("diameter" if several else "volume", rng) if "not_measured" not in failed else None
    sides: tuple[Side | None, ...] = (None,)
    if load_vocabulary().finding(finding).side == "sided" and rng.random() < 0.5:
        sides = rng.choice((("left",), ("right",), ("right", "left")))
    return [
        Search(
            tool="sampled", finding=finding, covered=0.8 if "partly_covered" in failed else 1.0, side=side,
            failed=failed, smallest=smallest, sensitivity=0.9,
            measurements=tuple(_measure(n, rng) for n, _ in FACT.findall(normal) if n in RANGES),
        )
        for side in sides
    ]  # fmt: skip


def _measure(quantity: str, rng: random.Random) -> Measurement:
    low, high = RANGES[quantity]
    return Measurement(quantity=quantity, value=rng.uniform(low, high), plus_minus=(high - low) / 200)
