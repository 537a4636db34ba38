"""Rules that lay one claim beside one observation: what it is, where, how big, how sure.

Each takes (claim, id, observation, world) and gives a Verdict when they disagree, None when
they agree: part of G2 (attributes), G4, G5, G7 and G8.
"""

from __future__ import annotations

from collections.abc import Mapping

from vlm.evidence import Observation
from vlm.grounding.claims import Claim
from vlm.grounding.numbers import carrying, prints
from vlm.grounding.places import place_fit, record_side, where
from vlm.grounding.verdict import Verdict
from vlm.grounding.world import World

# Grades of size and of severity are one ladder: what stands on one rung is the same thing said differently.
LADDER: Mapping[str, int] = {
    "minimal": 0, "trace": 0, "micro": 0, "small": 1, "mild": 1, "moderate": 2,
    "marked": 3, "severe": 3, "large": 3, "massive": 4,
}  # fmt: skip

# "Slight" is a word of size (minimal) and of severity (mild).
SAME_GRADE = frozenset({("slight", "minimal"), ("slight", "micro"), ("slight", "mild"), ("slight", "small")})

# What excludes each other: a thing has one of each row.
DIMENSIONS: tuple[frozenset[str], ...] = (
    frozenset({"solid", "ground_glass", "part_solid", "calcified", "cystic", "cavitary", "fat"}),
    frozenset({"smooth", "spiculated", "lobulated", "irregular"}),
    frozenset({"loculated", "layering", "free"}),
    frozenset({"centrilobular", "paraseptal", "panlobular"}),
    frozenset({"acute", "chronic"}),
    frozenset({"focal", "diffuse"}),
    frozenset({"peripheral", "central"}),
    frozenset({"homogeneous", "heterogeneous"}),
    frozenset({"enhancing", "nonenhancing"}),
    frozenset({"upper_pole", "interpolar", "lower_pole"}),
    frozenset({f"segment_{number}" for number in range(1, 9)}),
)


def attributes_agree(claim: Claim, name: str, record: Observation, _: World) -> Verdict | None:
    """G2: solid, calcified, loculated … are what the evidence says they are."""
    held = held_attributes(record)
    for attribute in claim.mention.attributes:
        if attribute in held or attribute in record.finding:  # ground-glass of a ground-glass opacity
            continue
        if attribute == "calcified" and record.finding.endswith("calcification"):
            continue  # "calcified aorta"
        if attribute == "pathological_size" and record.finding == "lymphadenopathy":
            continue  # what makes a node one of these
        rival = next((other for row in DIMENSIONS if attribute in row for other in held if other in row), None)
        if rival:
            return Verdict("contradicted", "G2", f"says {_said(attribute)}; {name} is {_said(rival)}")
        return Verdict("unsupported", "G2", f"says {_said(attribute)}; {name} does not say so")
    return None


def place_agrees(claim: Claim, name: str, record: Observation, world: World) -> Verdict | None:
    """G4: side, lobe, zone, level and organ equal or contain the evidence's."""
    fit, broken = place_fit(claim.mention.side, claim.sites, record, world.vocabulary)
    if fit == "within":
        return None
    said = where(claim.mention.side, ", ".join(claim.sites))
    seen = where(record_side(record), world.site_of(record))
    if fit == "elsewhere":
        return Verdict("contradicted", "G4", f"says {said}; {name} is {seen}")
    return Verdict("unsupported", "G4", f"says {said} ({_said(str(broken))}); {name} says no more than {seen}")


def numbers_agree(claim: Claim, name: str, record: Observation, _: World) -> Verdict | None:
    """G5: every number with a unit is a measurement of the evidence, rounded by its rule."""
    for number in claim.numbers:
        if number.kind in ("bare", "slice") or number.order == -1:
            continue
        able = carrying(number, record.measurements, record.finding)
        if not able and not _is_threshold(claim, number.in_ledger_unit, number.kind):
            return Verdict("contradicted", "G5", f"says {number} ({number.kind}); {name} has no such measurement")
        if able and not any(prints(number, m) for m in able):
            if _is_threshold(claim, number.in_ledger_unit, number.kind):
                continue
            return Verdict("contradicted", "G5", f"says {number}; {name} measures {able[0]}")
    return None


def grade_agrees(claim: Claim, name: str, record: Observation, world: World) -> Verdict | None:
    """G7: small, moderate, severe … follow the finding's published thresholds or the evidence's severity."""
    said = claim.mention.grade
    if said is None:
        return None
    grades = grades_of(record, world)
    if not grades:
        return Verdict("unsupported", "G7", f"says {said}; nothing grades {name}")
    if any(_rung(said) == _rung(grade) or (said, grade) in SAME_GRADE for grade in grades):
        return None
    return Verdict("contradicted", "G7", f"says {said}; {name} is {grades[0]}")


def certainty_agrees(claim: Claim, name: str, record: Observation, world: World) -> Verdict | None:
    """G8: "is", "likely" and "possible" follow the probability's band, or the presence where nothing is calibrated.

    The bands are the vocabulary's (``[certainty]`` of findings.toml).
    """
    mention = claim.mention
    said = "possible" if mention.presence == "uncertain" and mention.certainty == "definite" else mention.certainty
    right: tuple[str, ...] = ("possible", "likely") if record.presence == "uncertain" else ("definite",)
    if record.probability is not None:
        bands = world.vocabulary.certainty.items()
        right = tuple(word for word, (low, high) in bands if low <= record.probability <= high) or ("possible",)
    if said in right:
        return None
    reason = f"says it as {said}; {name} is {record.presence}"
    if record.probability is not None:
        reason += f" with probability {record.probability:.2f}"
    return Verdict("limited", "G8", reason, (right[0],))


RECORD_RULES = (place_agrees, numbers_agree, attributes_agree, grade_agrees, certainty_agrees)


def held_attributes(record: Observation) -> tuple[str, ...]:
    """Words that an observation's attributes hold; a key counts when its value says yes."""
    held = []
    for key, value in record.attributes.items():
        held.append(key if value.lower() in ("yes", "true", "1") else value)
    return tuple(word.replace(" ", "_").replace("-", "_") for word in held)


def grades_of(record: Observation, world: World) -> tuple[str, ...]:
    """The grades that an observation has: said by its tool, else by the vocabulary's thresholds."""
    if severity := record.attributes.get("severity"):
        return (severity,)
    entry = world.vocabulary.findings.get(record.finding)
    if entry is None or entry.grades is None:
        return ()
    measured = record.measured(entry.grades.quantity)
    grade = entry.grades.of(measured.value) if measured else None
    return (grade,) if grade else ()


def _rung(grade: str) -> int | str:
    return LADDER.get(grade, grade)


def _is_threshold(claim: Claim, value: float, kind: str) -> bool:
    """True for a number that defines the measure and is no result: "below -950 HU"."""
    return kind == "attenuation" and claim.finding == "emphysema" and value == -950.0


def _said(word: str) -> str:
    return word.replace("_", " ")
