"""How a query stands in a ledger: found, doubtful, looked for and not there, or not assessed and why.

The findings console, ``query`` and an agent ask here, so that all three say the same. Only measured evidence
speaks; a place or size that the evidence cannot tell apart from the one asked for makes it doubtful, not true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vlm.evidence import CONDITIONS, Evidence, Ledger, Observation, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding.places import overlaps, place_fit
from vlm.language.denials import usable
from vlm.language.query import Query, Size

Status = Literal["present", "uncertain", "absent", "limited", "not_assessed"]
STATUSES: tuple[Status, ...] = ("present", "uncertain", "absent", "limited", "not_assessed")
SIZES = ("diameter", "score", "height_loss", "volume", "fraction", "ratio", "thickness")  # the first that was measured
MADE = "medical_material"  # what people put in has no severity
Fit = Literal["yes", "maybe", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the measurements say of a query."""

    status: Status
    why: str = ""  # in what way it is limited or doubtful, or why nobody could say
    cites: tuple[str, ...] = ()
    limit: str = ""  # "finds 90 % from 6 mm" of a search that found nothing
    side: str = ""  # of what was found
    size: str = ""


def status_of(seen: Mapping[str, Observation], searches: Mapping[str, Search]) -> tuple[Status, str]:
    """What is known of one finding, and in what way it is limited."""
    if any(record.presence == "present" for record in seen.values()):
        return "present", ""
    if seen:
        return "uncertain", ""
    good = [search for search in searches.values() if usable(search)]
    failed = dict.fromkeys(key for search in (good or list(searches.values())) for key in search.failed)
    why = ", ".join(dict.fromkeys([*(CONDITIONS[key] for key in failed), *_one_sided(list(searches.values()), good)]))
    if not good:
        return "not_assessed", why
    return ("limited" if failed or len(good) < len(searches) else "absent"), why


def _one_sided(searches: list[Search], good: list[Search]) -> list[str]:
    """The sides on which a search could not look, where it could on the other."""
    return [f"not assessed on the {s.side}" for s in searches if good and s not in good and s.side is not None]


def size_of(record: Evidence) -> str:
    """The size by which a finding is told; empty where none was measured."""
    if not isinstance(record, Observation | Search):
        return ""
    measured = next((m for quantity in SIZES if (m := record.measured(quantity))), None)
    return "" if measured is None else str(measured)


def stands(query: Query, ledger: Ledger) -> Standing:
    """Ask a ledger."""
    kinds = kinds_of(query)
    seen = {n: o for n, o in ledger.observations().items() if o.finding in kinds and o.presence != "absent"}
    fits = {name: _fit(query, record) for name, record in seen.items()}
    sure = {n: r for n, r in seen.items() if fits[n][0] == "yes" and r.presence == "present"}
    if sure:
        return _found("present", sure)
    maybe = {n: r for n, r in seen.items() if fits[n][0] != "no"}
    if maybe:
        why = dict.fromkeys(fits[n][1] or "the tool itself is not sure" for n in maybe)
        return _found("uncertain", maybe, "; ".join(why))
    return _not_found(query, kinds, ledger)


def neither(query: Query, ledger: Ledger) -> Standing | None:
    """How words stand that may mean one of several findings: not found where none of them is, else nobody can say."""
    each = [stands(replace(query, findings=(key,), either=()), ledger) for key in query.either]
    if not each or any(standing.status not in ("absent", "limited") for standing in each):
        return None
    names = " or ".join(load_vocabulary().finding(key).name for key in query.either)
    why = "; ".join(dict.fromkeys(standing.why for standing in each if standing.why))
    return Standing(
        status="limited", why="; ".join(filter(None, (f"the words may mean {names}", why))),
        cites=tuple(dict.fromkeys(name for standing in each for name in standing.cites)),
    )  # fmt: skip


def kinds_of(query: Query) -> frozenset[str]:
    """The findings of a query with all their kinds, less those it leaves out."""
    vocabulary = load_vocabulary()
    return frozenset(
        key
        for key in vocabulary.findings
        if any(vocabulary.is_a(key, wanted) for wanted in query.findings)
        and not any(vocabulary.is_a(key, left_out) for left_out in query.without)
    )


def _found(status: Status, records: Mapping[str, Observation], why: str = "") -> Standing:
    sides = {record.side for record in records.values() if record.side}
    side = "bilateral" if len(sides) > 1 else next(iter(sides), "")
    return Standing(
        status=status, why=why, cites=tuple(records), side=str(side or ""), size=size_of(next(iter(records.values())))
    )


def _fit(query: Query, record: Observation) -> tuple[Fit, str]:
    """Whether what was found is what is asked for, and what leaves it open."""
    vocabulary = load_vocabulary()
    answers = [_place(query, record), *(_size(size, record) for size in query.sizes)]
    if query.grade is not None and not vocabulary.is_a(record.finding, MADE):  # "a little tube" is a tube
        grades = vocabulary.finding(record.finding).grades
        measured = record.measured(grades.quantity) if grades else None
        known = record.attributes.get("severity") or (grades.of(measured.value) if grades and measured else None)
        answers.append(_same(query.grade, known, "its grade was not measured"))
    told = set(record.attributes.values())
    kinds = {"solid", "part_solid", "ground_glass"}
    for wanted in query.attributes:
        known = wanted if wanted in told else next(iter(told & kinds), None) if wanted in kinds else None
        answers.append(_same(wanted, known, f"whether it is {wanted.replace('_', ' ')} was not measured"))
    for fit in ("no", "maybe"):
        for found, why in answers:
            if found == fit:
                return found, why
    return "yes", ""


def _same(wanted: str, known: str | None, unmeasured: str) -> tuple[Fit, str]:
    return ("maybe", unmeasured) if known is None else ("yes" if known == wanted else "no", f"it is {known}")


def _place(query: Query, record: Observation) -> tuple[Fit, str]:
    fit, place = place_fit(query.side, query.sites, record, load_vocabulary())
    if fit == "wider":
        return "maybe", f"whether it lies in the {str(place).replace('_', ' ')} was not told apart"
    return ("yes" if fit == "within" else "no"), ""


def _size(size: Size, record: Observation) -> tuple[Fit, str]:
    measured = next((m for quantity in size.quantities if (m := record.measured(quantity))), None)
    if measured is None:
        return "maybe", "its size was not measured"
    return ("yes" if size.low <= measured.value <= size.high else "no"), ""


# ---- nothing was found


def _not_found(query: Query, kinds: Iterable[str], ledger: Ledger) -> Standing:
    vocabulary = load_vocabulary()
    there = {n: s for n, s in ledger.searches().items() if overlaps(query.side, query.sites, s, vocabulary)}
    by_key = {
        key: {n: s for n, s in there.items() if s.finding == key}
        for key in kinds
        if key in query.findings or any(s.finding == key for s in there.values())
    }
    looked = {key: status_of({}, searches) for key, searches in by_key.items() if searches}
    whole = [key for key in query.findings if key in looked and looked[key][0] != "not_assessed"]
    cites = tuple(n for key in looked for n in by_key[key])
    searches = [s for key in looked for s in by_key[key].values()]
    if not looked:
        return Standing(status="not_assessed", why="no tool looks for it")
    own = [s for key in query.findings for s in by_key.get(key, {}).values()]  # that a kind is not there does not help
    if all(status == "not_assessed" for status, _ in looked.values()) or any("often_missed" in s.failed for s in own):
        why = "; ".join(_reasons(looked))
        return Standing(status="not_assessed", why=why, cites=cites)
    doubts = _reasons({key: known for key, known in looked.items() if known[0] != "absent"}, told=True)
    doubts += _beyond(query, searches)
    if set(whole) != set(query.findings):
        told = [vocabulary.finding(key).name for key, (status, _) in looked.items() if status != "not_assessed"]
        doubts.append(f"looked for in part: {', '.join(told)}")
    limited = bool(doubts) or any(status == "limited" for key, (status, _) in looked.items() if key in whole)
    return Standing(
        status="limited" if limited else "absent", why="; ".join(doubts), cites=cites, limit=_limit(searches)
    )


def _reasons(looked: Mapping[str, tuple[Status, str]], *, told: bool = False) -> list[str]:
    """Why kinds were not judged; that no tool looks for some is no news where others are told, or hindered."""
    why = list(dict.fromkeys(why for _, why in looked.values() if why))
    better = [each for each in why if each != CONDITIONS["not_implemented"]]
    hindered = any(each != CONDITIONS["not_covered"] for each in better)
    return better if hindered or told else why


def _beyond(query: Query, searches: list[Search]) -> list[str]:
    """What is asked for and lies beyond what the searches see."""
    doubts = []
    for size in query.sizes:
        least = [s.smallest for s in searches if s.smallest is not None and s.smallest.quantity in size.quantities]
        if any(smallest.value > size.low for smallest in least):
            doubts.append(f"found reliably from {max(least, key=lambda m: m.value)} on")
    sides = {search.side for search in searches if search.side in ("left", "right")}
    if query.side in (None, "bilateral") and len(sides) == 1:
        doubts.append(f"looked for on the {next(iter(sides))} only")
    return doubts


def _limit(searches: list[Search]) -> str:
    known = [(s.smallest, s.sensitivity) for s in searches if s.smallest is not None and s.sensitivity is not None]
    if not known:
        return ""
    smallest, sensitivity = max(known, key=lambda pair: pair[0].value)
    return f"finds {sensitivity:.0%} from {smallest} on"
