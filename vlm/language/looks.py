"""The looks into a case that a conversation may take: each a function whose signature is its JSON Schema.

Every look reads and measures, and changes nothing but the conversation's own branch of the ledger: what it measured is
evidence there, with the tool and the arguments that made it. A look that cannot look raises LookError, in words that
whoever called it can act on. None takes a path, an address or a case: there is one case, and it is open.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from vlm.ct.volume import Box, Mask, Volume
from vlm.encoder.words import meant_by
from vlm.evidence import Evidence, Measured, Measurement, Observation, Side, without_withheld
from vlm.findings.vocabulary import did_you_mean, load_vocabulary
from vlm.language.marks import (
    POINT_MM,
    as_tuple,
    ball,
    block,
    density_of,
    reaches,
    region_of,
    region_of_box,
    told_mm,
)
from vlm.language.query import Query, read_query
from vlm.language.register import LOOKS, LookError, Seen, Shown, look
from vlm.language.scene import MARKED, Likeness, OpenCase, site_of
from vlm.language.standing import stands
from vlm.language.topic import topic_of

Name = Annotated[str, Field(max_length=80)]
Place = Annotated[tuple[float, float, float], Field(description="x, y, z in RAS millimetres of the scan")]
Where = Annotated[Side | None, Field(description="the patient's side")]


def take(case: OpenCase, name: str, arguments: Mapping[str, Any]) -> Seen:
    """Take a look by its name.

    Raises:
        LookError: there is no such look, its arguments do not fit, or it cannot be taken.
    """
    if name not in LOOKS:
        raise LookError("unknown_tool", f"there is no tool {name[:40]!r}; there are: {', '.join(LOOKS)}")
    known = LOOKS[name]
    try:
        checked = known.arguments.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:60]
        raise LookError("arguments", f"{name}: {where or 'arguments'}: {first['msg']}") from None
    return known.run(case, **{key: getattr(checked, key) for key in type(checked).model_fields})


# ---- what is known already


@look
def detect(
    case: OpenCase, *, finding: Annotated[Name, Field(description="a finding, in anyone's words")], side: Where = None
) -> Seen:
    """Whether a finding is there: what the tools of the reading saw or searched, on which side and how large."""
    query = query_of(finding, side)
    standing = stands(query, case.ledger)
    parts = (standing.status.replace("_", " "), standing.side, standing.size, standing.why, standing.limit)
    return Seen(
        told="; ".join(part for part in parts if part),
        cites=standing.cites,
        data={"finding": query.findings[0], "status": standing.status, "side": standing.side, "size": standing.size},
        places=tuple(shown(case, name) for name in standing.cites if _has_place(case, name)),
    )


@look
def show(
    case: OpenCase,
    *,
    evidence: Annotated[list[Name] | None, Field(max_length=20, description="ids such as E7")] = None,
    structure: Annotated[Name | None, Field(description="an organ instead, such as the heart")] = None,
) -> Seen:
    """Where evidence or a structure lies, so that a viewer can go there."""
    if structure is not None:
        name, mask = _structure(case, structure, None)
        place = Shown(evidence="", mm=mask.centre_mm, slices=region_of(case, mask).slices, mask=name)
        return Seen(told=f"{_words(name)}, {_at(place)}", places=(place,))
    strange = [name for name in evidence or () if name not in case.ledger]
    if strange or not evidence:
        raise LookError("not_found", f"{', '.join(strange) or 'no id'} is not in this case's evidence")
    places = tuple(shown(case, name) for name in evidence if _has_place(case, name))
    if not places:
        raise LookError("not_found", "that evidence has no place in the scan: nothing was found there to point at")
    return Seen(told="; ".join(f"{p.evidence} {_at(p)}" for p in places), cites=tuple(evidence), places=places)


@look
def compare(case: OpenCase, *, finding: Annotated[Name | None, Field(description="one finding only")] = None) -> Seen:
    """What became of each finding since the prior scan: new, larger, smaller, unchanged, resolved."""
    prior = case.context.prior
    if prior is None:
        raise LookError("off", "there is no earlier scan to compare with: read it with --prior")
    wanted = None if finding is None else query_of(finding, None).findings[0]
    known = load_vocabulary()
    names = [n for n in prior.matches if n in case.ledger and _is(case.ledger[n], wanted)]
    gone = [old for old in prior.resolved if wanted is None or known.is_a(old.finding, wanted)]
    told = [f"{n} {'continues an earlier one' if prior.matches[n] else 'is new'}" for n in names]
    told += [f"an earlier {known.finding(old.finding).name} is not found now" for old in gone]
    return Seen(told="; ".join(told) or "nothing of it can be compared", cites=tuple(names))


# ---- measured now


@look
def segment(
    case: OpenCase,
    *,
    structure: Annotated[Name, Field(description="an organ, such as the left lung")],
    side: Where = None,
) -> Seen:
    """The mask of an organ or a structure, with its volume."""
    name, mask = _structure(case, structure, side)
    site, own = site_of(name)
    record = Measured(
        tool="segment", site=_known(site), side=own, region=region_of(case, mask), note=f"structure {name}",
        measurements=(Measurement(quantity="volume", value=mask.volume_ml),),
    )  # fmt: skip
    return _measured(case, record, name)


@look
def measure(
    case: OpenCase,
    *,
    structure: Annotated[Name, Field(description="an organ, such as the liver")],
    side: Where = None,
) -> Seen:
    """Volume, mean density and its spread of an organ or a structure."""
    volume = _volume(case)
    name, mask = _structure(case, structure, side)
    site, own = site_of(name)
    values = volume.hu[mask.on(volume.grid).voxels]
    if values.size == 0:
        raise LookError("not_covered", f"{_words(name)} does not lie in the scan")
    numbers = (Measurement(quantity="volume", value=mask.volume_ml), *density_of(values))
    record = Measured(
        tool="measure", site=_known(site), side=own, region=region_of(case, mask), note=f"structure {name}",
        measurements=numbers,
    )  # fmt: skip
    return _measured(case, record, name)


@look
def measure_point(case: OpenCase, *, point: Place) -> Seen:
    """Density at a point, the structure it lies in, and the evidence that is there."""
    volume = _volume(case)
    low, high = (tuple(at + step for at in point) for step in (-POINT_MM, POINT_MM))
    values = ball(volume, point)
    site, side = case.site_at(point)
    record = Measured(
        tool="measure_point", site=site, side=side, measurements=density_of(values),
        region=region_of_box(volume, as_tuple(low), as_tuple(high), point), note=f"point {told_mm(point)}",
    )  # fmt: skip
    here = case.lying_at(point)
    name = "" if site == MARKED else _words(site)
    return _measured(case, record, " ".join(part for part in (side, name) if part), here)


@look
def measure_box(case: OpenCase, *, low: Place, high: Place) -> Seen:
    """Density and volume in a box along the axes of the patient, given by two corners."""
    volume = _volume(case)
    corners = np.sort(np.array([low, high]), axis=0)
    first, last = as_tuple(corners[0]), as_tuple(corners[1])
    values = block(volume, first, last)
    record = Measured(
        tool="measure_box", site=MARKED, note=f"box {told_mm(first)} to {told_mm(last)}",
        measurements=(*density_of(values), Measurement(quantity="volume", value=values.size * volume.grid.voxel_ml)),
        region=region_of_box(volume, first, last, as_tuple(corners.mean(axis=0))),
    )  # fmt: skip
    return _measured(case, record, "", tuple(n for n, r in case.ledger if reaches(r, Box(low_mm=first, high_mm=last))))


@look
def measure_line(case: OpenCase, *, start: Place, end: Place) -> Seen:
    """The distance between two points."""
    volume = _volume(case)
    for point in (start, end):
        ball(volume, point)  # both ends lie in the scan
    length = float(np.linalg.norm(np.subtract(start, end)))
    middle = as_tuple((np.asarray(start) + np.asarray(end)) / 2)
    corners = np.sort(np.array([start, end]), axis=0)
    record = Measured(
        tool="measure_line", site=MARKED, note=f"line {told_mm(start)} to {told_mm(end)}",
        measurements=(Measurement(quantity="distance", value=length),),
        region=region_of_box(volume, as_tuple(corners[0]), as_tuple(corners[1]), middle),
    )  # fmt: skip
    return _measured(case, record, "")


@look
def grow(case: OpenCase, *, point: Place) -> Seen:
    """The lesion at a point: its mask as far as its own edge, its axes, volume and density."""
    from vlm.tools.grow import grow as grown
    from vlm.tools.nodule_measure import axes_mm

    volume = _volume(case)
    ball(volume, point)
    mask = grown(volume, point)
    if mask is None:
        raise LookError("not_found", "no edge that can be followed holds in what lies at that point")
    long, short = axes_mm(mask.voxels, mask.grid)
    site, side = case.site_at(point)
    values = volume.hu[mask.on(volume.grid).voxels]
    numbers = [("diameter", long), ("short_axis", short), ("volume", mask.volume_ml)]
    record = Measured(
        tool="grow", site=site, side=side, note=f"grown from {told_mm(point)}", region=region_of(case, mask),
        measurements=(*(Measurement(quantity=key, value=value) for key, value in numbers), *density_of(values)),
    )  # fmt: skip
    return _measured(case, record, "", case.lying_at(point))


# ---- second opinions: never evidence


@look
def zero_shot(case: OpenCase, *, finding: Name, side: Where = None) -> Seen:
    """How well the image agrees with a finding's words, by an image encoder: a score, no evidence."""
    if case.words is None:
        raise LookError("off", _off(case, "words", "no encoder that knows words is open"))
    return _opinion(case.words(query_of(finding, side).findings[0], side))


@look
def probe(case: OpenCase, *, finding: Name) -> Seen:
    """What a head trained on labelled scans says of a finding: a probability, no evidence."""
    if case.heads is None:
        raise LookError("off", _off(case, "heads", "no adapter with heads is open: see tomoscribe query"))
    return _opinion(case.heads(query_of(finding, None).findings[0]))


@look
def similar(case: OpenCase, *, count: Annotated[int, Field(ge=1, le=10)] = 5) -> Seen:
    """Cases of the library that are like this one: what both have, never their words."""
    if case.similar is None:
        raise LookError("off", _off(case, "similar", "no case library is open"))
    found: list[Likeness] = case.similar(count)
    told = [f"{one.case}: both have {', '.join(one.shared) or 'nothing named'}" for one in found]
    return Seen(told="; ".join(told) or "no case is like this one", data={"cases": [one.case for one in found]})


def _opinion(column: Mapping[str, Any]) -> Seen:
    """A column of an encoder, as it is told: a probability where it has one, else a score."""
    if column.get("state") == "off":
        raise LookError("off", str(column.get("why", "")))
    chance = column.get("probability")
    told = f"score {column.get('score')}" if chance is None else f"probability {chance[0]} ({chance[1]} to {chance[2]})"
    return Seen(told=f"{told}: {column.get('why', '')}", data=column)


# ---- shared by the looks


def query_of(finding: str, side: Side | None) -> Query:
    """The finding that somebody's words mean.

    Raises:
        LookError: nothing of the vocabulary is meant.
    """
    if finding in (known := load_vocabulary().findings):
        return Query(words=finding, findings=(finding,), side=side)
    query = read_query(finding)
    if not query.findings and (meant := meant_by(finding)):
        query = Query(words=finding, findings=(meant.finding,))
    if not query.findings:
        raise LookError("not_found", f"no finding is meant by {finding!r}{did_you_mean(finding, known)}")
    return Query(words=finding, findings=query.findings, side=side or query.side, sites=query.sites)


def shown(case: OpenCase, name: str) -> Shown:
    """Where evidence lies; it must have a region."""
    region = case.ledger[name].region
    if region is None:
        raise LookError("not_found", f"{name} has no place")
    return Shown(evidence=name, mm=region.centroid_mm, slices=region.slices, mask=region.mask)


def _has_place(case: OpenCase, name: str) -> bool:
    """Whether something was seen there: where a search found nothing there is nothing to point at."""
    record = case.ledger[name]
    return isinstance(record, Observation | Measured) and record.region is not None


def _measured(case: OpenCase, record: Measured, name: str, here: tuple[str, ...] = ()) -> Seen:
    """Keep what was measured, less what the limits of the scan take, and say it."""
    kept: Evidence = record
    if case.volume is not None:
        kept = without_withheld(record, case.volume().scan.limits)
    if not isinstance(kept, Measured) or not kept.measurements:
        raise LookError("off", "the limits of this scan take these numbers: see its intake")
    own = case.ledger.add(kept)
    numbers = ", ".join(f"{m.quantity.replace('_', ' ')} {m}" for m in kept.measurements)
    told = "; ".join(part for part in (_words(name), numbers, ", ".join(here)) if part)
    data = {m.quantity: round(m.value, 2) for m in kept.measurements}
    return Seen(told=told, cites=(own, *here), data=data, places=(shown(case, own),))


def _volume(case: OpenCase) -> Volume:
    if case.volume is None:
        raise LookError("off", _off(case, "volume", "the voxels are not at hand: ask the scan instead of its report"))
    return case.volume()


def _structure(case: OpenCase, words: str, side: Side | None) -> tuple[str, Mask]:
    """The structure that somebody's words name, with its mask."""
    if case.structures is None:
        raise LookError("off", _off(case, "structures", "no masks are at hand: ask the scan instead of its report"))
    masks = {name: mask for name, mask in case.structures().items() if mask}
    named = [name for name in masks if name == words.strip().lower().replace(" ", "_")]
    if not named:
        query = read_query(words)
        topic = topic_of(words)
        sites, side = topic.sites or query.sites, side or query.side
        named = [n for n in masks if site_of(n)[0] in sites and side in (None, site_of(n)[1])]
    if not named:
        raise LookError("not_found", f"there is no mask of {words!r}; there are: {', '.join(map(_words, masks))}")
    if len(named) > 1:
        raise LookError("arguments", f"{words!r} can be {' or '.join(map(_words, named))}: say which")
    return named[0], masks[named[0]]


def _known(site: str) -> str:
    return site if site in load_vocabulary().sites else MARKED


def _is(record: Evidence, wanted: str | None) -> bool:
    return isinstance(record, Observation) and (wanted is None or load_vocabulary().is_a(record.finding, wanted))


def _off(case: OpenCase, what: str, otherwise: str) -> str:
    return case.why_off.get(what, otherwise)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _at(place: Shown) -> str:
    told = f"at {told_mm(place.mm)} mm"
    return told if place.slices is None else f"{told}, slices {place.slices[0] + 1} to {place.slices[1] + 1}"


@functools.cache
def offers() -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    """(name, description, JSON Schema of the arguments) of every look."""
    return tuple((known.name, known.description, known.schema) for known in LOOKS.values())
