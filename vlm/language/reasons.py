"""Evidence in words, for "why?" and "how sure?": what measured it, where, how far it can be relied on.

What stands here tells of the tools and of words; it claims nothing of the patient.
"""

from __future__ import annotations

from collections.abc import Iterator

from vlm.evidence import CONDITIONS, Coverage, Evidence, Measured, Measurement, Observation, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.events import Event, Note
from vlm.language.phrases import capital
from vlm.language.register import LOOKS
from vlm.tools import load_tools


def line_of(name: str, record: Evidence) -> str:
    """One line of evidence: what measured it, what, where, how sure."""
    if isinstance(record, Coverage):
        return f"{name}: {record.site.replace('_', ' ')}, {covered_of(record)} ({record.tool})"
    about = load_vocabulary().finding(record.finding).name if isinstance(record, Observation | Search) else record.site
    place = " ".join(part.replace("_", " ") for part in (record.side, record.site) if part and part != about)
    what = f"{about.replace('_', ' ')}{f' ({place})' if place else ''}"
    parts = [what, *(number(m) for m in record.measurements)]
    if isinstance(record, Search):
        parts += limits_of(record)
    if record.region is not None:
        first, last = record.region.slices
        parts.append(f"slices {first + 1} to {last + 1}")
    done = {Observation: "seen", Search: "searched", Measured: "measured"}[type(record)]
    by = f"{done} by {record.tool.replace('_', ' ')}"
    if isinstance(record, Search) and not record.looked:
        return f"{name}: {'; '.join(parts)}"  # nothing searched, whoever says so
    return f"{name}: {by}: {'; '.join(parts)}"


def number(m: Measurement) -> str:
    """A measurement with its interval."""
    spread = "" if m.plus_minus is None else f" ± {m.plus_minus:.2g}"
    return f"{m.quantity.replace('_', ' ')} {m}{spread}"


def limit_of(search: Search) -> str:
    """How far a search can be relied on."""
    name = load_vocabulary().finding(search.finding).name
    where = f" on the {search.side}" if search.side in ("left", "right") else ""
    return f"{capital(name)}{where}: {'; '.join(limits_of(search))}"


def limits_of(search: Search) -> list[str]:
    """How much of the place was looked at, what would have been found there, what stood in the way."""
    failed = ", ".join(CONDITIONS[key] for key in search.failed)
    if not search.looked:
        return [f"not searched, {failed or CONDITIONS['not_covered']}"]
    parts = [f"{search.covered:.0%} of the place looked at"]
    if search.smallest is not None and search.sensitivity is not None:
        parts.append(f"found {search.sensitivity:.0%} of those of {search.smallest} or more where the truth was known")
    else:
        parts.append("the smallest that it finds has not been measured")
    return [*parts, *([f"limited by: {failed}"] if failed else [])]


def sureness_of(record: Evidence) -> str:
    """How sure an observation is, and how exact its numbers are."""
    if not isinstance(record, Observation):
        return line_of("", record).removeprefix(": ")
    name, sure = load_vocabulary().finding(record.finding).name, record.presence.replace("_", " ")
    known = (
        "it gives no calibrated probability"
        if record.probability is None
        else f"calibrated probability {record.probability:.0%}"
    )
    exact = [number(m) for m in record.measurements if m.plus_minus is not None]
    doubt = [record.note] if record.presence == "uncertain" and record.note else []
    return "; ".join([f"The tool {record.tool.replace('_', ' ')} calls {name} {sure}", *doubt, known, *exact])


def tool_told(tool: str) -> str:
    """What a tool of the reading, or a look of the conversation, is."""
    name, known = tool.replace("_", " "), load_tools().get(tool)
    if known is not None:
        return f"{name} version {known.version}: {known.summary}"
    return f"{name}: {LOOKS[tool].description}" if tool in LOOKS else name


def covered_of(record: Coverage) -> str:
    """How much of a place lies in the scan."""
    return "not covered" if record.covered == 0 else "covered" if record.covered >= 0.98 else "partly covered"


def meaning_of(finding: str, *, always: bool = False) -> Iterator[Event]:
    """A finding's name in a patient's words, where the vocabulary has some."""
    entry = load_vocabulary().finding(finding)
    simple = next((words for words in entry.lay if words != entry.name), None)
    if simple:
        yield Note(text=f"{capital(entry.name)}: {simple}.", about="meaning")
    elif always:
        words = ", ".join(words for words in entry.words[:4] if words != entry.name)
        told = f"also called {words}" if words else "I have no simpler words for it"
        yield Note(text=f"{capital(entry.name)}: {told}.", about="meaning")
