"""The checker: statements and a ledger go in, one verdict a statement comes out.

Every rule of ``RULES`` works on the rendered text that a person reads, whoever wrote it.
A statement gets the worst verdict that any rule gives; the first rule in the order of
``RULES`` names the reason among equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vlm.evidence import Ledger
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding.claims import Claim, Parsed, parse
from vlm.grounding.rules_absent import absent
from vlm.grounding.rules_change import change_agrees
from vlm.grounding.rules_operators import operators_are_read
from vlm.grounding.rules_place import cites_are_used, inside_the_scan, not_assessed, places_alone, places_are_accounted
from vlm.grounding.rules_present import present
from vlm.grounding.rules_report import consistent, omitted, repeated
from vlm.grounding.rules_words import (
    cites_exist,
    digits_are_read,
    doubt_is_read,
    limits_are_read,
    no_narrower_word,
    nothing_forbidden,
    vocabulary_known,
)
from vlm.grounding.verdict import NEUTRAL_SECTIONS, Context, Statement, Verdict, worst
from vlm.grounding.world import World


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as the documentation lists it."""

    name: str
    asks: str
    failing: str


RULES: Mapping[str, Rule] = {
    "G0": Rule("vocabulary", "every content word is accounted for", "unsupported"),
    "G1": Rule("cites", "every cited id is in the ledger, and a claim has one", "unsupported"),
    "G2": Rule("finding", "the finding is the cited one or an ancestor of it; its attributes too", "unsupported"),
    "G3": Rule("presence", "what is there is said to be there; an observation anywhere beats a denial", "contradicted"),
    "G4": Rule("side and site", "side, lobe, zone, level and organ equal or contain the evidence's", "contradicted"),
    "G5": Rule("number", "a number is a cited measurement, rounded by its quantity's rule", "contradicted"),
    "G6": Rule("count", "one, two, multiple, innumerable: the number of regions", "contradicted"),
    "G7": Rule("grade", "small, moderate, severe: published thresholds or the tool's severity", "contradicted"),
    "G8": Rule("certainty", "is, likely, possible: the band of the probability", "limited"),
    "G9": Rule("negation", "a search looked at the whole stated place; its limits are said", "limited or unsupported"),
    "G10": Rule("change", "a registered prior, and a difference above the joint uncertainty", "unsupported"),
    "G11": Rule("coverage", "nothing is said of what lies outside the scan, save that", "unsupported"),
    "G12": Rule("consistency", "no two sentences clash; the impression adds nothing", "contradicted"),
    "G13": Rule("omission", "every reportable observation is told once in the findings", "omission"),
    "G14": Rule("forbidden", "no identity, date, history, unlicensed advice or copied text", "unsupported"),
}
_ORDER = tuple(RULES)


def check(statements: Sequence[Statement], ledger: Ledger, *, context: Context | None = None) -> dict[str, Verdict]:
    """The worst verdict of each statement, by its id, in the order of the statements.

    Args:
        statements: what a person would read, whoever wrote it. Ids are unique.
        ledger: the evidence.
        context: registered prior, retrieved texts, forbidden strings, true numbers of the technique.
    """
    return {name: verdicts[0] for name, verdicts in explain(statements, ledger, context=context).items()}


def explain(
    statements: Sequence[Statement], ledger: Ledger, *, context: Context | None = None
) -> dict[str, list[Verdict]]:
    """Every verdict of each statement, worst first; a statement that passes has the one that says why."""
    world = World(ledger, load_vocabulary(), context or Context())
    parsed = _parse_all(statements, ledger)
    across = consistent(parsed, world)
    found = {}
    for p in parsed:
        wrong = [*judge(p, world), *across.get(p.statement.id, [])]
        wrong.sort(key=lambda verdict: _ORDER.index(verdict.rule))
        found[p.statement.id] = worst(wrong) or [_passed(p)]
    return found


def omissions(statements: Sequence[Statement], ledger: Ledger, *, context: Context | None = None) -> list[str]:
    """G13: ids of observations that the findings do not mention, in the order of the ledger."""
    return omitted(_parse_all(statements, ledger), ledger, World(ledger, load_vocabulary(), context or Context()))


def repetitions(statements: Sequence[Statement], ledger: Ledger, *, context: Context | None = None) -> list[str]:
    """G13: ids of observations that the findings mention more than once."""
    return repeated(_parse_all(statements, ledger), World(ledger, load_vocabulary(), context or Context()))


def judge(parsed: Parsed, world: World) -> list[Verdict]:
    """All that the rules on one statement say against it, in no order."""
    wrong: list[Verdict | None] = [
        vocabulary_known(parsed, world),
        cites_exist(parsed, world),
        nothing_forbidden(parsed, world),
        change_agrees(parsed, world),
        digits_are_read(parsed, world),
        no_narrower_word(parsed, world),
        doubt_is_read(parsed, world),
        limits_are_read(parsed, world),
        operators_are_read(parsed, world),
        places_are_accounted(parsed, world),
    ]
    for claim in parsed.claims:
        wrong += judge_claim(claim, parsed, world)
    if not parsed.claims or parsed.loose:
        wrong += places_alone(parsed, world)
    if not any(wrong) and parsed.statement.section not in NEUTRAL_SECTIONS:
        wrong.append(cites_are_used(parsed, world))
    if not any(wrong) and not parsed.says_something and parsed.statement.section not in NEUTRAL_SECTIONS:
        wrong.append(Verdict("unsupported", "G2", "says nothing that evidence can carry"))
    return [verdict for verdict in wrong if verdict is not None]


def judge_claim(claim: Claim, parsed: Parsed, world: World) -> Iterable[Verdict]:
    """What the rules say against one claim."""
    if not claim.mention.assessed:
        return not_assessed(claim, parsed, world)
    if outside := inside_the_scan(claim, parsed, world):
        return [outside]
    if claim.mention.presence == "absent":
        return absent(claim, parsed, world)
    return present(claim, parsed, world)


def _parse_all(statements: Sequence[Statement], ledger: Ledger) -> list[Parsed]:
    names = [statement.id for statement in statements]
    if len(set(names)) != len(names):
        raise ValueError("two statements have the same id")
    return [parse(statement, ledger) for statement in statements]


def _passed(parsed: Parsed) -> Verdict:
    if parsed.statement.section in NEUTRAL_SECTIONS and not parsed.claims:
        return Verdict("neutral", "G1", "states how the scan was made, not what it shows")
    return Verdict("supported", "G1", f"rests on {', '.join(parsed.cited)}")
