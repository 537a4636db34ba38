"""Random ledgers for the counterfactual suite, and the true facts that they carry.

A scene is a ledger as the tools would fill it (observations, searches with and without
failed conditions, measured structures, coverage) with every Fact that it makes true.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vlm.evidence import Coverage, Evidence, Ledger, Measured, Measurement, Observation, Search, Side
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Prior

FactKind = Literal[
    "present", "group", "absent", "other", "not_assessed", "coverage", "measured", "not_enlarged", "change"
]
M = Measurement


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that can be said: what it is, where, how much, and the ids it rests on."""

    kind: FactKind
    finding: str = ""
    cites: tuple[str, ...] = ()
    side: Side | None = None
    site: str | None = None
    numbers: tuple[tuple[str, str], ...] = ()  # (how it is worded, printed text)
    grade: str | None = None
    attribute: str | None = None
    count: int | str | None = None
    certainty: Literal["definite", "likely", "possible"] = "definite"
    least: str | None = None  # "6 mm" of "no nodule of 6 mm or more"
    limits: tuple[str, ...] = ()
    change: str | None = None
    covered: float = 1.0
    section: str = "lungs_and_pleura"
    strange: str | None = None  # a content word that nothing accounts for


@dataclass(frozen=True)
class Scene:
    """A ledger and what is true of it."""

    ledger: Ledger
    facts: list[Fact] = field(default_factory=list)
    prior: Prior | None = None
    uncovered: tuple[str, ...] = ()  # sites outside the field of view


@dataclass(frozen=True)
class Kind:
    """How a finding is sampled."""

    finding: str
    sided: bool
    sites: tuple[str, ...]  # of observations; () leaves the finding's own
    measure: Callable[[random.Random], tuple[Measurement, ...]]
    smallest: Measurement | None
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    most: int = 1
    often: float = 0.4
    paired_search: bool = False
    countable: bool = True


def _length(low: float, high: float) -> Callable[[random.Random], tuple[Measurement, ...]]:
    return lambda r: (M(quantity="diameter", value=r.uniform(low, high), plus_minus=1.0),)


def _solid(low: float, high: float, *, distance: bool) -> Callable[[random.Random], tuple[Measurement, ...]]:
    def measure(r: random.Random) -> tuple[Measurement, ...]:
        long_axis = r.uniform(low, high)
        lengths = (
            M(quantity="diameter", value=long_axis, plus_minus=1.0),
            M(quantity="short_axis", value=long_axis * r.uniform(0.6, 0.95), plus_minus=1.0),
            M(quantity="volume", value=long_axis**3 / 2000),
        )
        return (*lengths, M(quantity="distance", value=r.uniform(2, 40))) if distance else lengths

    return measure


def _node(r: random.Random) -> tuple[Measurement, ...]:
    short_axis = r.uniform(10.6, 30)
    return (
        M(quantity="diameter", value=short_axis * r.uniform(1.1, 1.8), plus_minus=1.0),
        M(quantity="short_axis", value=short_axis, plus_minus=1.0),
    )


def _one(quantity: str, low: float, high: float) -> Callable[[random.Random], tuple[Measurement, ...]]:
    return lambda r: (M(quantity=quantity, value=r.uniform(low, high), plus_minus=abs(high - low) / 50),)


def _fluid(r: random.Random) -> tuple[Measurement, ...]:
    return (M(quantity="volume", value=r.choice((20, 80, 400, 1400)) * r.uniform(0.8, 1.4), plus_minus=9.0),)


def _nothing(_: random.Random) -> tuple[Measurement, ...]:
    return ()


LOBES = ("upper_lobe", "lower_lobe")
ZONES = ("upper_zone", "middle_zone", "lower_zone")
DENSITY = (("density", ("solid", "part_solid", "ground_glass")),)
KINDS = (
    Kind(
        "lung_nodule", True, LOBES, _solid(4.6, 29, distance=True), M(quantity="diameter", value=4.0), DENSITY, most=4
    ),
    Kind("lung_mass", True, LOBES, _solid(31, 95, distance=False), M(quantity="diameter", value=30.0), often=0.2),
    Kind("pleural_effusion", True, (), _fluid, M(quantity="volume", value=15.0), paired_search=True),
    Kind(
        "pneumothorax",
        True,
        (),
        _one("volume", 10, 900),
        M(quantity="volume", value=5.0),
        often=0.2,
        paired_search=True,
    ),
    Kind("consolidation", True, ZONES, _one("fraction", 3, 40), M(quantity="volume", value=2.0), countable=False),
    Kind("ground_glass_opacity", True, ZONES, _one("fraction", 3, 40), M(quantity="volume", value=3.0), often=0.3),
    Kind(
        "atelectasis", True, ("lower_lobe",), _one("fraction", 3, 30), M(quantity="volume", value=3.0), countable=False
    ),
    Kind("emphysema", True, ZONES, _one("fraction", 2, 45), M(quantity="fraction", value=1.0), countable=False),
    Kind("bronchiectasis", True, LOBES, _nothing, M(quantity="diameter", value=6.0), often=0.2, countable=False),
    Kind("cardiomegaly", False, (), _one("ratio", 0.51, 0.7), None, countable=False),
    Kind("pericardial_effusion", False, (), _one("thickness", 4.6, 30), M(quantity="thickness", value=4.0), often=0.3),
    Kind(
        "coronary_artery_calcification",
        False,
        (),
        _one("score", 2, 900),
        M(quantity="score", value=1.0),
        countable=False,
    ),
    Kind("aortic_calcification", False, (), _one("score", 5, 900), M(quantity="score", value=1.0), countable=False),
    Kind(
        "lymphadenopathy",
        True,
        ("hilum", "axilla"),
        _node,
        M(quantity="short_axis", value=10.0),
        most=2,
    ),
    Kind("hiatal_hernia", False, (), _length(20, 90), M(quantity="diameter", value=20.0), often=0.3),
    Kind(
        "vertebral_fracture",
        False,
        ("T5", "T8", "T12", "L1"),
        _one("height_loss", 20, 60),
        M(quantity="height_loss", value=20.0),
    ),
    Kind("kidney_stone", True, (), _length(2.6, 18), M(quantity="diameter", value=3.0), most=2),
    Kind("gallstone", False, (), _length(3.6, 25), M(quantity="diameter", value=4.0), often=0.3),
    Kind("ascites", False, (), _fluid, M(quantity="volume", value=30.0), often=0.3, countable=False),
    Kind(
        "pneumoperitoneum",
        False,
        (),
        _one("volume", 1, 90),
        M(quantity="volume", value=1.0),
        often=0.15,
        countable=False,
    ),
    Kind("splenomegaly", False, (), _one("height", 131, 190), None, often=0.2, countable=False),
    Kind("pacemaker", True, ("chest_wall",), _nothing, M(quantity="diameter", value=20.0), often=0.2),
)
BLIND = ("pulmonary_embolism", "liver_lesion")
FAILING = ("partly_covered", "thick_slices", "noise", "metal", "collapse", "not_measured")
STRUCTURES = (("ascending_aorta", 28, 39), ("descending_aorta", 20, 30), ("pulmonary_artery", 22, 32))


def sample(rng: random.Random) -> Scene:
    """A random scene: some findings present, some searched for without result, some not looked for."""
    ledger, facts = Ledger(), []
    matches: dict[str, Observation | None] = {}
    for kind in rng.sample(KINDS, 12):
        facts += _sampled(kind, ledger, rng, matches)
    facts += _blind(ledger, rng) + _covered(ledger, rng) + _structures(ledger, rng)
    prior = Prior(matches=matches) if rng.random() < 0.3 else None
    if prior:
        facts += _changes(ledger, matches, facts)
    uncovered = tuple(r.site for _, r in ledger if isinstance(r, Coverage) and r.covered == 0.0)
    return Scene(ledger, facts, prior, uncovered)


def _sampled(kind: Kind, ledger: Ledger, rng: random.Random, matches: dict[str, Observation | None]) -> list[Fact]:
    vocabulary = load_vocabulary()
    section = vocabulary.section_of(kind.finding)
    seen: dict[str, Observation] = {}
    if rng.random() < kind.often:
        for _ in range(rng.randint(1, kind.most)):
            record = _observation(kind, rng, list(seen.values()))
            if record is not None:
                seen[name := ledger.add(record)] = record
                if rng.random() < 0.7:
                    matches[name] = _earlier(record, rng)
    facts = [_present(kind, name, record, section, rng) for name, record in seen.items()]
    if kind.most > 1 and len(seen) > 1:
        facts += _groups(kind, seen, section)
    return facts + _searched(kind, seen, ledger, section, rng)


def _observation(kind: Kind, rng: random.Random, before: list[Observation]) -> Observation | None:
    side: Side | None = rng.choice(("left", "right")) if kind.sided else None
    site = rng.choice(kind.sites) if kind.sites else None
    if any(other.side == side and other.site == site for other in before) and kind.finding != "lung_nodule":
        return None
    attributes = {key: rng.choice(values) for key, values in kind.attributes if rng.random() < 0.8}
    doubtful = rng.random() < 0.12
    return Observation(
        tool=kind.finding,
        finding=kind.finding,
        presence="uncertain" if doubtful else "present",
        probability=rng.choice((0.3, 0.45, 0.7, 0.8)) if doubtful else rng.choice((None, 0.95)),
        side=side,
        site=site,
        measurements=kind.measure(rng),
        attributes=attributes,
        note="sampled",
    )


def _earlier(record: Observation, rng: random.Random) -> Observation | None:
    if not record.measurements or rng.random() < 0.2:
        return None
    first = record.measurements[0]
    factor = rng.choice((0.5, 1.0, 1.7))
    old = M(quantity=first.quantity, value=first.value * factor, plus_minus=first.plus_minus)
    return Observation(
        tool=record.tool, finding=record.finding, presence="present", measurements=(old,), note="sampled"
    )


def _present(kind: Kind, name: str, record: Observation, section: str, rng: random.Random) -> Fact:
    grades = load_vocabulary().findings[kind.finding].grades
    measured = record.measured(grades.quantity) if grades else None
    grade = grades.of(measured.value) if grades and measured else None
    certainty: Literal["definite", "likely", "possible"] = "definite"
    if record.presence == "uncertain":
        certainty = "likely" if (record.probability or 0) >= 0.6 else "possible"
    return Fact(
        kind="present",
        finding=kind.finding,
        cites=(name,),
        side=record.side,
        site=record.site,
        numbers=_printed(record, rng),
        grade=grade if grade and certainty == "definite" and rng.random() < 0.5 else None,
        attribute=record.attributes.get("density") if certainty == "definite" and rng.random() < 0.6 else None,
        count=1 if kind.countable else None,
        certainty=certainty,
        section=section,
    )


def _printed(record: Observation, rng: random.Random) -> tuple[tuple[str, str], ...]:
    """What a sentence prints of an observation: crossed or single lengths, in millimetres or centimetres."""
    long_axis, short_axis = record.measured("diameter"), record.measured("short_axis")
    node = record.finding == "lymphadenopathy"  # a single length of a node is its short axis
    printed: list[tuple[str, str]] = []
    if long_axis and short_axis and rng.random() < 0.5:
        printed.append(("size", f"{long_axis.rounded:.0f} x {short_axis.rounded:.0f} mm"))
    elif long_axis or short_axis:
        length = short_axis if node else long_axis
        assert length is not None
        shown = f"{length.rounded / 10:.1f} cm" if rng.random() < 0.25 else str(length)
        printed.append(("size", shown))
    if (gap := record.measured("distance")) and rng.random() < 0.4:
        printed.append(("distance", str(gap)))
    for quantity, how in (
        ("volume", "volume"), ("fraction", "fraction"), ("score", "score"), ("ratio", "ratio"),
        ("height_loss", "height_loss"), ("thickness", "size"), ("height", "size"),
    ):  # fmt: skip
        if (measured := record.measured(quantity)) and not printed:
            printed.append((how, str(measured)))
    return tuple(printed) if rng.random() < 0.8 else ()


def _groups(kind: Kind, seen: dict[str, Observation], section: str) -> list[Fact]:
    sure = {n: r for n, r in seen.items() if r.presence == "present"}
    facts = []
    for side in ("left", "right"):
        there = [name for name, record in sure.items() if record.side == side]
        if len(there) > 1 and len(there) == sum(r.side == side for r in seen.values()):
            home = load_vocabulary().findings[kind.finding].site
            facts.append(
                Fact(
                    kind="group",
                    finding=kind.finding,
                    cites=tuple(there),
                    side=side,
                    site=home,
                    count=len(there),
                    section=section,
                )
            )
    return facts


def _searched(kind: Kind, seen: dict[str, Observation], ledger: Ledger, section: str, rng: random.Random) -> list[Fact]:
    sides: tuple[Side | None, ...] = ("right", "left") if kind.paired_search else (None,)
    failed = (rng.choice(FAILING),) if rng.random() < 0.3 else ()
    facts, clean = [], []
    for side in sides:
        found = sum(side is None or record.side == side for record in seen.values())
        measured = (
            (M(quantity="ratio", value=rng.uniform(0.38, 0.49)),)
            if kind.finding == "cardiomegaly" and not found
            else ()
        )
        name = ledger.add(
            Search(
                tool=kind.finding,
                finding=kind.finding,
                covered=rng.uniform(0.5, 0.95) if "partly_covered" in failed else 1.0,
                found=found,
                side=side,
                smallest=None if "not_measured" in failed else kind.smallest,
                sensitivity=0.9,
                failed=failed,
                measurements=measured,
            )
        )
        limits = failed
        if kind.smallest is None and not measured and "not_measured" not in limits:
            limits = (*limits, "not_measured")
        base = Fact(kind="absent", finding=kind.finding, cites=(name,), side=side, limits=limits, section=section)
        if measured:
            facts.append(
                Fact(
                    kind="not_enlarged",
                    finding=kind.finding,
                    cites=(name,),
                    numbers=(("ratio", str(measured[0])),),
                    section=section,
                )
            )
            facts[-1] = facts[-1] if not limits else _with(facts[-1], kind="absent", numbers=(), limits=limits)
        elif found == 0:
            facts.append(_with(base, least=_least(kind, rng) if not failed else None))
            clean.append(base)
        elif kind.most > 1:
            facts.append(_with(base, kind="other", least=_least(kind, rng) if not failed else None))
    if len(clean) == 2:
        facts.append(_with(clean[0], side=None, cites=tuple(name for fact in clean for name in fact.cites)))
    return facts


def _least(kind: Kind, rng: random.Random) -> str | None:
    if kind.smallest is None or kind.smallest.unit != "mm" or rng.random() < 0.5:
        return None
    return f"{kind.smallest.rounded + rng.choice((0, 2)):.0f} mm"


def _blind(ledger: Ledger, rng: random.Random) -> list[Fact]:
    facts = []
    for finding in BLIND:
        reason = rng.choice(("no_contrast", "not_implemented", "not_found"))
        covered = 1.0 if reason == "no_contrast" else 0.0
        name = ledger.add(Search(tool=finding, finding=finding, covered=covered, failed=(reason,)))
        facts.append(
            Fact(kind="not_assessed", finding=finding, cites=(name,), limits=(reason,), section="not_assessed")
        )
    return facts


def _covered(ledger: Ledger, rng: random.Random) -> list[Fact]:
    facts = []
    for site, choices in (
        ("pelvis", (0.0, 0.0, 1.0)),
        ("upper_abdomen", (0.3, 0.7, 1.0)),
        ("thyroid", (0.0, 0.5, 1.0)),
    ):
        covered = rng.choice(choices)
        name = ledger.add(Coverage(tool="coverage", site=site, covered=covered))
        if covered < 1.0:
            facts.append(Fact(kind="coverage", cites=(name,), site=site, covered=covered, section="not_assessed"))
    return facts


def _structures(ledger: Ledger, rng: random.Random) -> list[Fact]:
    site, low, high = rng.choice(STRUCTURES)
    measured = M(quantity="diameter", value=rng.uniform(low, high))
    name = ledger.add(Measured(tool="widths", site=site, measurements=(measured,), note="sampled"))
    return [
        Fact(kind="measured", cites=(name,), site=site, numbers=(("size", str(measured)),), section="heart_and_vessels")
    ]


def _changes(ledger: Ledger, matches: dict[str, Observation | None], facts: list[Fact]) -> list[Fact]:
    from vlm.grounding.rules_change import change_between

    changed = []
    for fact in facts:
        if fact.kind != "present" or fact.certainty != "definite" or fact.cites[0] not in matches:
            continue
        record: Evidence = ledger[fact.cites[0]]
        shown = change_between(matches[fact.cites[0]], record) if isinstance(record, Observation) else None
        if shown:
            changed.append(_with(fact, kind="change", change=shown))
    return changed


def _with(fact: Fact, **changes: object) -> Fact:
    from dataclasses import replace

    return replace(fact, **changes)  # type: ignore[arg-type]  # the fields of Fact
