"""Sentences of several facts, and whole reports: what only shows when two things are said at once.

True pairs and lists, and errors that leave every word true of something: numbers, sides or
places exchanged between two findings, one item of a denied list that is there. For whole
reports: a sentence left out, one that clashes with another, an impression that adds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.facts import say, say_both, say_none
from benchmarks.scenes import Fact, Scene
from benchmarks.wordings import Wording
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Context, Statement, check, omissions

JOINED = ("numbers exchanged", "sides exchanged", "places exchanged", "one of a list is there")
WHOLE = ("sentence left out", "sentences clash", "impression adds")

Said = tuple[str, str, tuple[str, ...], str]  # label, text, cites, section


def sentences(scene: Scene, wording: Wording, rng: random.Random, *, true: str) -> Iterator[Said]:
    """Pairs and lists of a scene: the true one first, then what can be exchanged in it."""
    present = [f for f in scene.facts if f.kind == "present" and f.certainty == "definite"]
    for _ in range(3):
        if len(present) > 1:
            yield from _pair(*rng.sample(present, 2), wording, rng, true)
    denied = [f for f in scene.facts if f.kind == "absent" and not f.limits and not f.least and f.side is None]
    if len(denied) > 1:
        listed = rng.sample(denied, min(len(denied), rng.randint(2, 4)))
        yield true, say_none(listed, wording, rng), _cites(listed), listed[0].section
        searched = {f.finding: n for n, f in scene.ledger.searches().items()}
        if there := [f for f in present if f.finding in searched]:
            wrong = rng.choice(there)
            bare = replace(wrong, numbers=(), grade=None, attribute=None, side=None, site=None, count=None)
            swapped = [*listed[:-1], replace(bare, cites=(searched[wrong.finding],))]
            rng.shuffle(swapped)
            yield "one of a list is there", say_none(swapped, wording, rng), _cites(swapped), listed[0].section


def _pair(one: Fact, other: Fact, wording: Wording, rng: random.Random, true: str) -> Iterator[Said]:
    cites, section = _cites([one, other]), one.section
    yield true, say_both(one, other, wording, rng), cites, section
    if one.numbers and other.numbers and one.numbers != other.numbers and _kinds(one) == _kinds(other):
        wrong = replace(one, numbers=other.numbers), replace(other, numbers=one.numbers)
        yield "numbers exchanged", say_both(*wrong, wording, rng), cites, section
    if {one.side, other.side} == {"left", "right"} and one.finding != other.finding:
        wrong = replace(one, side=other.side), replace(other, side=one.side)
        yield "sides exchanged", say_both(*wrong, wording, rng), cites, section
    lungs = {load_vocabulary().findings[f.finding].site for f in (one, other)} == {"lung"}
    if one.site and other.site and one.site != other.site and one.side == other.side and lungs:
        wrong = replace(one, site=other.site), replace(other, site=one.site)
        yield "places exchanged", say_both(*wrong, wording, rng), cites, section


def reports(scene: Scene, wording: Wording, rng: random.Random) -> Iterator[tuple[str, bool]]:
    """(class, caught) for errors that only a whole report shows."""
    context = Context(prior=scene.prior)
    told = [f for f in scene.facts if f.kind in ("present", "absent", "other") and f.section != "not_assessed"]
    body = [
        Statement(id=f"F{n}", section=f.section, text=say(f, wording, rng), cites=f.cites) for n, f in enumerate(told)
    ]
    present = [n for n, f in enumerate(told) if f.kind == "present" and f.certainty == "definite"]
    if not present:
        return
    chosen = rng.choice(present)
    kept = [s for n, s in enumerate(body) if n != chosen]
    yield "sentence left out", told[chosen].cites[0] in omissions(kept, scene.ledger, context=context)
    searches = [n for n, s in scene.ledger.searches(told[chosen].finding).items()]
    bare = Fact(kind="absent", finding=told[chosen].finding, cites=tuple(searches))
    denial = Statement(id="D", section="impression", text=say(bare, wording, rng), cites=bare.cites)
    yield "sentences clash", check([*body, denial], scene.ledger, context=context)["D"].name == "contradicted"
    added = replace(told[chosen], numbers=())
    line = Statement(id="I", section="impression", text=say(added, wording, rng), cites=added.cites)
    yield "impression adds", check([*kept, line], scene.ledger, context=context)["I"].name == "contradicted"


def _kinds(fact: Fact) -> list[tuple[str, str]]:
    return [(how, text.split()[-1]) for how, text in fact.numbers]


def _cites(facts: list[Fact]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for fact in facts for name in fact.cites))
