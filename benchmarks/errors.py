"""Errors of every class, made from true facts: each gives a fact that the ledger does not carry.

An error keeps the cites of the true fact unless it is an error of cites, so that the words
and the evidence disagree in exactly one thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from benchmarks.scenes import KINDS, Fact, Scene
from benchmarks.wordings import Wording
from vlm.evidence import Observation, Search
from vlm.findings.vocabulary import load_vocabulary

Change = Callable[[Fact, Scene, Wording, random.Random], Fact | None]

# Words no report vocabulary holds: other trades, made-up organs and drugs, and orders to the checker.
STRANGE = (
    "quantum", "baroque", "telescopic", "magnesium", "ferrous", "krypton", "lunar", "tectonic", "velvet", "oblongular",
    "pseudovarpal", "amoxicillin", "cisplatin", "warfarin", "sarcoplastic", "hexagonal", "volcanic", "operatic",
    "glorious", "verified", "trustworthy", "override", "approved", "neurofibrillar", "zygomorphic", "botanical",
)  # fmt: skip


def finding_swapped(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Another finding under the same cites."""
    if fact.kind not in ("present", "absent", "other"):
        return None
    vocabulary = load_vocabulary()
    others = [
        k.finding
        for k in KINDS
        if not vocabulary.is_a(fact.finding, k.finding) and not vocabulary.is_a(k.finding, fact.finding)
        and k.finding in wording.names
    ]  # fmt: skip
    return replace(fact, finding=rng.choice(others), grade=None, attribute=None)


def presence_flipped(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """There for not there, and the other way round."""
    if fact.kind == "present" and fact.certainty == "definite":
        return replace(fact, kind="absent", numbers=(), grade=None, attribute=None, count=None)
    if fact.kind == "absent":
        return replace(fact, kind="present", least=None, limits=(), count=1)
    return None


def side_flipped(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Left for right, or both for one."""
    if fact.kind not in ("present", "group") or fact.side not in ("left", "right"):
        return None
    return replace(fact, side="left" if fact.side == "right" else "right")


def site_moved(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Another lobe, zone, level or organ."""
    if fact.kind != "present" or fact.site is None:
        return None
    kind = next(k for k in KINDS if k.finding == fact.finding)
    others = [site for site in kind.sites if site != fact.site]
    others += {"upper_lobe": ["lower_lobe"], "lower_lobe": ["upper_lobe"], "chest_wall": ["liver"]}.get(fact.site, [])
    return replace(fact, site=rng.choice(others)) if others else None


def number_off(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """A number that is 10 % off, at least by one step of its rounding."""
    if not fact.numbers:
        return None
    which = rng.randrange(len(fact.numbers))
    how, text = fact.numbers[which]
    changed = _off(text, rng)
    return replace(fact, numbers=(*fact.numbers[:which], (how, changed), *fact.numbers[which + 1 :]))


def unit_wrong(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """The right digits with another unit."""
    for which, (how, text) in enumerate(fact.numbers):
        for right, wrong in ((" mm", " cm"), (" cm", " mm"), (" ml", " l"), (" %", " mm")):
            if text.endswith(right) and not (how == "fraction"):
                changed = (how, text.removesuffix(right) + wrong)
                return replace(fact, numbers=(*fact.numbers[:which], changed, *fact.numbers[which + 1 :]))
    return None


def size_under_limit(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """ "No nodule of 2 mm or more" from a search that finds 4 mm."""
    if fact.kind not in ("absent", "other") or fact.least is None:
        return None
    smallest = next((r.smallest for n, r in scene.ledger if n in fact.cites and isinstance(r, Search)), None)
    return replace(fact, least=f"{max(1, round(smallest.rounded * 0.6)):.0f} mm") if smallest else None


def count_wrong(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Another number of regions."""
    if fact.kind == "group" and isinstance(fact.count, int):
        wrong: list[int | str] = [n for n in (2, 3, 4, 5, 6) if n != fact.count]
        return replace(fact, count=rng.choice(wrong))
    if fact.kind == "present" and fact.count == 1 and fact.certainty == "definite":
        wrong = [2, 3, "multiple", "few"]
        return replace(fact, count=rng.choice(wrong), numbers=())
    return None


def grade_wrong(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Another grade of the same scale."""
    if fact.grade is None:
        return None
    ladder = [["minimal", "micro"], ["small", "mild"], ["moderate"], ["large", "severe", "marked"], ["massive"]]
    others = [g for rung in ladder if fact.grade not in rung for g in rung[:1]]
    return replace(fact, grade=rng.choice(others))


def attribute_wrong(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Solid for ground-glass, or an attribute that nothing gives."""
    if fact.kind != "present" or fact.certainty != "definite":
        return None
    if fact.attribute:
        return replace(
            fact, attribute=rng.choice([a for a in ("solid", "part_solid", "ground_glass") if a != fact.attribute])
        )
    return replace(fact, attribute=rng.choice(("spiculated", "loculated"))) if fact.finding == "lung_nodule" else None


def certainty_wrong(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Sure for doubtful, doubtful for sure."""
    if fact.kind != "present":
        return None
    if fact.certainty == "definite":
        return replace(fact, certainty="possible", grade=None, attribute=None)
    return replace(fact, certainty="definite")


def limit_dropped(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """The limit of a search left unsaid."""
    if fact.kind not in ("absent", "other") or not fact.limits:
        return None
    return replace(fact, limits=())


def limit_invented(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """A limit that the search does not have."""
    if fact.kind != "absent" or fact.limits:
        return None
    return replace(fact, limits=(rng.choice(("no_contrast", "metal", "noise")),), least=None)


def uncovered_organ(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """Something said of an organ that lies outside the scan."""
    if fact.kind not in ("present", "absent") or "pelvis" not in scene.uncovered:
        return None
    site = rng.choice(("pelvis", "uterus", "bladder", "prostate"))
    return replace(fact, site=site, side=None, numbers=fact.numbers if fact.kind == "present" else ())


def assessed_after_all(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """A denial where nothing could look, or "not covered" of what is covered."""
    if fact.kind == "not_assessed":
        return replace(fact, kind="absent", limits=(), section="heart_and_vessels")
    if fact.kind == "coverage" and 0.0 < fact.covered:
        return replace(fact, covered=0.0)
    if fact.kind == "coverage":
        return replace(fact, covered=0.5)
    return None


def prior_invented(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """A change without a prior, or another change than the prior shows."""
    if fact.kind == "change":
        return replace(fact, change=rng.choice([c for c in wording.change if c != fact.change]))
    if fact.kind == "present" and fact.certainty == "definite" and scene.prior is None:
        return replace(fact, kind="change", change=rng.choice(list(wording.change)))
    return None


def word_invented(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """A content word that nothing accounts for."""
    if fact.kind not in ("present", "absent", "other", "group", "not_assessed"):
        return None
    return replace(fact, strange=rng.choice(STRANGE))


def id_missing(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """An id that the ledger does not hold, or none at all."""
    return replace(fact, cites=rng.choice(((f"E{len(scene.ledger) + rng.randint(1, 9)}",), ())))


def id_of_another(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """The id of another observation of the same finding, where the words tell them apart."""
    if fact.kind != "present" or not fact.numbers:
        return None
    own = scene.ledger[fact.cites[0]]
    assert isinstance(own, Observation)
    told_apart = []
    for name, record in scene.ledger.observations(fact.finding).items():
        printed = {str(m) for m in record.measurements}
        if name not in fact.cites and (record.side != own.side or not printed & {str(m) for m in own.measurements}):
            told_apart.append(name)
    return replace(fact, cites=(rng.choice(told_apart),)) if told_apart else None


def id_of_another_finding(fact: Fact, scene: Scene, wording: Wording, rng: random.Random) -> Fact | None:
    """An id that exists and is about something else."""
    if fact.kind not in ("present", "absent", "other", "group"):
        return None
    vocabulary = load_vocabulary()
    others = [
        name
        for name, record in scene.ledger
        if isinstance(record, Observation | Search)
        and not vocabulary.is_a(record.finding, fact.finding) and not vocabulary.is_a(fact.finding, record.finding)
    ]  # fmt: skip
    return replace(fact, cites=(rng.choice(others),)) if others else None


ERRORS: Mapping[str, Change] = {
    "finding swapped": finding_swapped,
    "presence flipped": presence_flipped,
    "side flipped": side_flipped,
    "site moved": site_moved,
    "number off by 10 %": number_off,
    "unit wrong": unit_wrong,
    "size under the limit": size_under_limit,
    "count wrong": count_wrong,
    "grade wrong": grade_wrong,
    "attribute wrong": attribute_wrong,
    "certainty wrong": certainty_wrong,
    "limit dropped": limit_dropped,
    "limit invented": limit_invented,
    "uncovered organ": uncovered_organ,
    "not assessed, yet judged": assessed_after_all,
    "prior invented": prior_invented,
    "content word invented": word_invented,
    "id missing": id_missing,
    "id of another observation": id_of_another,
    "id of another finding": id_of_another_finding,
}


def _off(text: str, rng: random.Random) -> str:
    head, *rest = text.split(" ", 1)
    decimals = len(head.partition(".")[2])
    value = float(head)
    step = 10.0**-decimals
    if rest == ["ml"] and value >= 100:
        step = 10.0
    if rest == ["%"] and value % 5 == 0:
        step = 5.0
    amount = max(step, round(abs(value) * 0.1 / step) * step)
    wrong = value + rng.choice((-1, 1)) * amount
    if wrong <= 0:
        wrong = value + amount
    return " ".join([f"{wrong:.{decimals}f}", *rest])
