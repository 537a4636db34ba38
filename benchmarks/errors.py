"""Errors of every class, made from true facts: each gives a fact that the ledger does not carry.

An error keeps the cites of the true fact unless it is an error of cites, so that the words
and the evidence disagree in exactly one thing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.scenes import KINDS, Fact, Scene
from benchmarks.wordings import Wording
from vlm.evidence import Observation, Search
from vlm.findings.vocabulary import load_vocabulary


@dataclass(frozen=True)
class Truth:
    """A true fact, the scene that carries it, and how it will be worded."""

    fact: Fact
    scene: Scene
    wording: Wording
    rng: random.Random


Change = Callable[[Truth], Fact | None]

# Words no report vocabulary holds: other trades, made-up organs and drugs, and orders to the checker.
STRANGE = (
    "quantum", "baroque", "telescopic", "magnesium", "ferrous", "krypton", "lunar", "tectonic", "velvet", "oblongular",
    "pseudovarpal", "amoxicillin", "cisplatin", "warfarin", "sarcoplastic", "hexagonal", "volcanic", "operatic",
    "glorious", "verified", "trustworthy", "override", "approved", "neurofibrillar", "zygomorphic", "botanical",
)  # fmt: skip

LADDER = (("minimal", "micro", "trace"), ("small", "mild"), ("moderate",), ("large", "severe", "marked"), ("massive",))


def finding_swapped(true: Truth) -> Fact | None:
    """Another finding under the same cites."""
    if true.fact.kind not in ("present", "absent", "other"):
        return None
    vocabulary = load_vocabulary()
    others = [
        k.finding
        for k in KINDS
        if not vocabulary.is_a(true.fact.finding, k.finding) and not vocabulary.is_a(k.finding, true.fact.finding)
        and k.finding in true.wording.names
    ]  # fmt: skip
    return replace(true.fact, finding=true.rng.choice(others), grade=None, attribute=None)


def presence_flipped(true: Truth) -> Fact | None:
    """There for not there, and the other way round."""
    if true.fact.kind == "present" and true.fact.certainty == "definite":
        return replace(true.fact, kind="absent", numbers=(), grade=None, attribute=None, count=None)
    if true.fact.kind == "absent":
        return replace(true.fact, kind="present", least=None, limits=(), count=1)
    return None


def side_flipped(true: Truth) -> Fact | None:
    """Left for right, or both for one."""
    if true.fact.kind not in ("present", "group") or true.fact.side not in ("left", "right"):
        return None
    return replace(true.fact, side="left" if true.fact.side == "right" else "right")


def site_moved(true: Truth) -> Fact | None:
    """Another lobe, zone, level or organ."""
    if true.fact.kind != "present" or true.fact.site is None:
        return None
    kind = next(k for k in KINDS if k.finding == true.fact.finding)
    others = [site for site in kind.sites if site != true.fact.site]
    others += {"upper_lobe": ["lower_lobe"], "lower_lobe": ["upper_lobe"], "chest_wall": ["liver"]}.get(
        true.fact.site, []
    )
    return replace(true.fact, site=true.rng.choice(others)) if others else None


def number_off(true: Truth) -> Fact | None:
    """A number that is 10 % off, at least by one step of its rounding."""
    if not true.fact.numbers:
        return None
    which = true.rng.randrange(len(true.fact.numbers))
    how, text = true.fact.numbers[which]
    changed = _off(text, true.rng)
    return replace(true.fact, numbers=(*true.fact.numbers[:which], (how, changed), *true.fact.numbers[which + 1 :]))


def unit_wrong(true: Truth) -> Fact | None:
    """The right digits with another unit."""
    for which, (how, text) in enumerate(true.fact.numbers):
        for right, wrong in ((" mm", " cm"), (" cm", " mm"), (" ml", " l"), (" %", " mm")):
            if text.endswith(right) and how != "fraction":
                changed = (how, text.removesuffix(right) + wrong)
                return replace(
                    true.fact, numbers=(*true.fact.numbers[:which], changed, *true.fact.numbers[which + 1 :])
                )
    return None


def size_under_limit(true: Truth) -> Fact | None:
    """ "No nodule of 2 mm or more" from a search that finds 4 mm."""
    if true.fact.kind not in ("absent", "other") or true.fact.least is None:
        return None
    smallest = next((r.smallest for n, r in true.scene.ledger if n in true.fact.cites and isinstance(r, Search)), None)
    return replace(true.fact, least=f"{max(1, round(smallest.rounded * 0.6)):.0f} mm") if smallest else None


def count_wrong(true: Truth) -> Fact | None:
    """Another number of regions."""
    if true.fact.kind == "group" and isinstance(true.fact.count, int):
        wrong: list[int | str] = [n for n in (2, 3, 4, 5, 6) if n != true.fact.count]
        return replace(true.fact, count=true.rng.choice(wrong))
    if true.fact.kind == "present" and true.fact.count == 1 and true.fact.certainty == "definite":
        wrong = [2, 3, "multiple", "few"]
        return replace(true.fact, count=true.rng.choice(wrong), numbers=())
    return None


def grade_wrong(true: Truth) -> Fact | None:
    """Another grade of the same scale."""
    if true.fact.grade is None:
        return None
    others = [rung[0] for rung in LADDER if true.fact.grade not in rung]
    return replace(true.fact, grade=true.rng.choice(others))


def attribute_wrong(true: Truth) -> Fact | None:
    """Solid for ground-glass, or an attribute that nothing gives."""
    if true.fact.kind != "present" or true.fact.certainty != "definite":
        return None
    if true.fact.attribute:
        return replace(
            true.fact,
            attribute=true.rng.choice([a for a in ("solid", "part_solid", "ground_glass") if a != true.fact.attribute]),
        )
    return (
        replace(true.fact, attribute=true.rng.choice(("spiculated", "loculated")))
        if true.fact.finding == "lung_nodule"
        else None
    )


def certainty_wrong(true: Truth) -> Fact | None:
    """Sure for doubtful, doubtful for sure."""
    if true.fact.kind != "present":
        return None
    if true.fact.certainty == "definite":
        return replace(true.fact, certainty="possible", grade=None, attribute=None)
    return replace(true.fact, certainty="definite")


def limit_dropped(true: Truth) -> Fact | None:
    """The limit of a search left unsaid."""
    if true.fact.kind not in ("absent", "other") or not true.fact.limits:
        return None
    return replace(true.fact, limits=())


def limit_invented(true: Truth) -> Fact | None:
    """A limit that the search does not have."""
    if true.fact.kind != "absent" or true.fact.limits:
        return None
    return replace(true.fact, limits=(true.rng.choice(("no_contrast", "metal", "noise")),), least=None)


def uncovered_organ(true: Truth) -> Fact | None:
    """Something said of an organ that lies outside the scan."""
    if true.fact.kind not in ("present", "absent") or "pelvis" not in true.scene.uncovered:
        return None
    site = true.rng.choice(("pelvis", "uterus", "bladder", "prostate"))
    return replace(true.fact, site=site, side=None, numbers=true.fact.numbers if true.fact.kind == "present" else ())


def assessed_after_all(true: Truth) -> Fact | None:
    """A denial where nothing could look, or "not covered" of what is covered."""
    if true.fact.kind == "not_assessed":
        return replace(true.fact, kind="absent", limits=(), section="heart_and_vessels")
    if true.fact.kind == "coverage" and true.fact.covered > 0.0:
        return replace(true.fact, covered=0.0)
    if true.fact.kind == "coverage":
        return replace(true.fact, covered=0.5)
    return None


def prior_invented(true: Truth) -> Fact | None:
    """A change without a prior, or another change than the prior shows."""
    if true.fact.kind == "change":
        return replace(true.fact, change=true.rng.choice([c for c in true.wording.change if c != true.fact.change]))
    if true.fact.kind == "present" and true.fact.certainty == "definite" and true.scene.prior is None:
        return replace(true.fact, kind="change", change=true.rng.choice(list(true.wording.change)))
    return None


def word_invented(true: Truth) -> Fact | None:
    """A content word that nothing accounts for."""
    if true.fact.kind not in ("present", "absent", "other", "group", "not_assessed"):
        return None
    return replace(true.fact, strange=true.rng.choice(STRANGE))


def id_missing(true: Truth) -> Fact | None:
    """An id that the ledger does not hold, or none at all."""
    return replace(true.fact, cites=true.rng.choice(((f"E{len(true.scene.ledger) + true.rng.randint(1, 9)}",), ())))


def id_of_another(true: Truth) -> Fact | None:
    """The id of another observation of the same finding, where the words tell them apart."""
    if true.fact.kind != "present" or not true.fact.numbers:
        return None
    own = true.scene.ledger[true.fact.cites[0]]
    assert isinstance(own, Observation)
    told_apart = []
    for name, record in true.scene.ledger.observations(true.fact.finding).items():
        printed = {str(m) for m in record.measurements}
        if name not in true.fact.cites and (
            record.side != own.side or not printed & {str(m) for m in own.measurements}
        ):
            told_apart.append(name)
    return replace(true.fact, cites=(true.rng.choice(told_apart),)) if told_apart else None


def id_of_another_finding(true: Truth) -> Fact | None:
    """An id that exists and is about something else."""
    if true.fact.kind not in ("present", "absent", "other", "group"):
        return None
    finding, is_a = true.fact.finding, load_vocabulary().is_a
    others = [
        name
        for name, record in true.scene.ledger
        if isinstance(record, Observation | Search)
        if not is_a(record.finding, finding) and not is_a(finding, record.finding)
    ]
    return replace(true.fact, cites=(true.rng.choice(others),)) if others else None


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
