"""Rules over the whole report: G12 (no two sentences contradict each other) and G13 (nothing is left out)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlm.evidence import Ledger, Observation, Side
from vlm.grounding.claims import Claim, Parsed
from vlm.grounding.places import side_of
from vlm.grounding.verdict import FINDINGS_SECTIONS, Verdict
from vlm.grounding.world import World

Stated = tuple[str, Claim]  # id of the statement, claim
STATING = (*FINDINGS_SECTIONS, "impression")


def consistent(parsed: Sequence[Parsed], world: World) -> dict[str, list[Verdict]]:
    """G12: per statement id, what contradicts it elsewhere, and what an impression adds to the findings."""
    wrong: dict[str, list[Verdict]] = {}
    stated: list[Stated] = [
        (p.statement.id, claim)
        for p in parsed
        if p.statement.section in STATING
        for claim in p.claims
        if claim.mention.assessed
    ]
    shown = [(name, claim) for name, claim in stated if claim.mention.presence == "present"]
    denied = [(name, claim) for name, claim in stated if claim.mention.presence == "absent"]
    for denier, denial in denied:
        for shower, claim in shown:
            if clash(claim, denial, world):
                said = f"{denial.mention.text!r} is denied in {denier} and seen in {shower}"
                for name in {denier, shower}:
                    wrong.setdefault(name, []).append(Verdict("contradicted", "G12", said))
    for name, added in impression_adds(parsed, world):
        wrong.setdefault(name, []).append(added)
    return wrong


def clash(seen: Claim, denial: Claim, world: World) -> bool:
    """True when one claim says that a thing is there and the other that no such thing is."""
    if not world.vocabulary.is_a(seen.finding, denial.finding) or denial.mention.other:
        return False
    mention = denial.mention
    if denial.numbers or mention.attributes or (mention.grade and mention.grade != seen.mention.grade):
        return False
    if mention.change is not None or seen.mention.change == "resolved":
        return False
    return _within(seen, denial.mention.side, denial.sites, world)


def impression_adds(parsed: Sequence[Parsed], world: World) -> Iterable[tuple[str, Verdict]]:
    """What the impression says and no statement of the findings says; nothing when there are no findings."""
    base = [claim for p in parsed if p.statement.section in FINDINGS_SECTIONS for claim in p.claims]
    if not any(p.statement.section in FINDINGS_SECTIONS for p in parsed):
        return
    cites = {name for p in parsed if p.statement.section in FINDINGS_SECTIONS for name in p.cited}
    for p in parsed:
        if p.statement.section != "impression":
            continue
        for claim in p.claims:
            if claim.mention.assessed and not _carries(base, claim, world):
                yield p.statement.id, Verdict("contradicted", "G12", f"the findings do not say {claim.mention.text!r}")
        strange = [name for name in p.cited if name not in cites]
        if p.claims and strange:
            yield p.statement.id, Verdict("contradicted", "G12", f"{strange[0]} is cited in the impression alone")


def omitted(parsed: Sequence[Parsed], ledger: Ledger, world: World) -> list[str]:
    """G13: ids of reportable observations that no statement of the findings mentions."""
    told = {name for p in parsed if p.statement.section in FINDINGS_SECTIONS for name in _tells(p, world)}
    return [name for name, record in ledger.observations().items() if record.presence != "absent" and name not in told]


def repeated(parsed: Sequence[Parsed], world: World) -> list[str]:
    """G13: ids of observations that more than one statement of the findings tells."""
    counts: dict[str, int] = {}
    for p in parsed:
        if p.statement.section in FINDINGS_SECTIONS:
            for name in _tells(p, world):
                counts[name] = counts.get(name, 0) + 1
    return [name for name, count in counts.items() if count > 1]


def _tells(parsed: Parsed, world: World) -> set[str]:
    """Ids of observations that a statement cites and speaks of as being there."""
    spoken = [c.finding for c in parsed.claims if c.mention.presence != "absent" and c.mention.assessed]
    told = set()
    for name, record in parsed.cited.items():
        if not isinstance(record, Observation) or record.presence == "absent":
            continue
        if any(world.vocabulary.is_a(record.finding, said) for said in spoken):
            told.add(name)
    return told


def _carries(base: Sequence[Claim], claim: Claim, world: World) -> bool:
    """True when what the findings say includes what the impression says, on every side that it names."""
    sides: tuple[Side | None, ...] = (claim.mention.side,)
    if claim.mention.side == "bilateral":
        sides = ("left", "right")
    absent = claim.mention.presence == "absent"
    same = [other for other in base if (other.mention.presence == "absent") == absent and other.mention.assessed]
    if absent:
        kinds = [o for o in same if world.vocabulary.is_a(claim.finding, o.finding)]
        return any(_within(claim, o.mention.side, o.sites, world) for o in kinds)
    kinds = [o for o in same if world.vocabulary.is_a(o.finding, claim.finding)]
    return all(any(_within(o, side, claim.sites, world) for o in kinds) for side in sides)


def _within(inner: Claim, side: str | None, sites: tuple[str, ...], world: World) -> bool:
    """True when the place of a claim lies within a side and sites (none named: anywhere)."""
    held = side_of(inner.mention.side, inner.sites)
    if side is not None and held != side and held != "bilateral":
        return False
    own = world.sites_claimed(inner.finding, inner.sites)
    return not sites or any(world.vocabulary.site_contains(outer, site) for outer in sites for site in own)
