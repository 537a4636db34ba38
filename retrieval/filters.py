"""What a case must be to come back: filters of a search, and the words of a command line that say them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.facts import ORGANS, REGIONS
from vlm.errors import UsageError, shown
from vlm.findings.vocabulary import did_you_mean, load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a case must be to come back; everything that is given must hold."""

    organ: str | None = None  # search the vectors of this organ instead of the whole scan's
    region: str | None = None
    findings: tuple[str, ...] = ()  # each present, or a kind of it
    side: str | None = None  # of those findings
    size_mm: tuple[float, float] | None = None  # of those findings, both ends included
    age: tuple[int, int] | None = None
    phase: str | None = None
    before: datetime.date | None = None  # certainly made before this day, whatever the shift of dates

    @property
    def narrow(self) -> bool:
        """Whether anything but the organ is asked for."""
        return bool(self.region or self.findings or self.side or self.size_mm or self.age or self.phase or self.before)


def kinds_of(finding: str) -> list[str]:
    """A finding and every kind of it."""
    vocabulary = load_vocabulary()
    vocabulary.finding(finding)  # an unknown one is an error that names near ones
    return [key for key in vocabulary.findings if vocabulary.is_a(key, finding)]


def filters_of(
    *,
    organ: str | None,
    region: str | None,
    findings: Sequence[str],
    side: str | None,
    size: str | None,
    age: str | None,
    phase: str | None,
    before: str | None,
) -> Filters:
    """Filters from the words of a command line or a program; a word that means nothing is an error.

    Raises:
        UsageError: it names what was given and what was expected.
    """
    _one_of("--organ", organ, ORGANS)
    _one_of("--region", region, REGIONS)
    _one_of("--side", side, ("left", "right"))
    _one_of("--phase", phase, ("plain", "arterial", "portal", "enhanced"))
    for finding in findings:
        kinds_of(finding)
    years = _range("--age", age)
    try:
        day = datetime.date.fromisoformat(before) if before else None
    except ValueError:
        raise UsageError(f"E_USAGE: --before is {shown(before)}, expected a day such as 2024-05-31.") from None
    return Filters(
        organ=organ, region=region, findings=tuple(findings), side=side, size_mm=_range("--size", size),
        age=None if years is None else (int(years[0]), int(years[1])), phase=phase, before=day,
    )  # fmt: skip


def _one_of(option: str, given: str | None, known: Sequence[str]) -> None:
    if given is not None and given not in known:
        raise UsageError(
            f"E_USAGE: {option} is {shown(given)}, expected one of {', '.join(known)}{did_you_mean(given, known)}."
        )


def _range(option: str, text: str | None) -> tuple[float, float] | None:
    """ "5-20" -> (5, 20); "5" -> (5, 5)."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?", text)
    if not found:
        raise UsageError(f"E_USAGE: {option} is {shown(text)}, expected a range such as 5-20.")
    return float(found[1]), float(found[2] or found[1])
