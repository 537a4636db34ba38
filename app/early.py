"""What a reading can say before it has ended: the sections whose tools have all ended, composed and checked.

In: the evidence of the tools that have ended. Out: the sentences of those sections as the finished report will have
them, unless a prior, a library or a language model changes their words. Impression and doubts wait for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vlm.evidence import Evidence, Ledger
from vlm.findings.vocabulary import load_vocabulary
from vlm.report import FINDINGS_SECTIONS, Sentence
from vlm.tools import Tool

Ended = Mapping[str, Sequence[Evidence]]  # by tool
Compose = Callable[[Ledger], Sequence[Sentence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Early:
    """A report under way."""

    sentences: tuple[Sentence, ...]
    waiting: tuple[str, ...]  # sections of findings that are still looked for


def sections_of(tool: Tool) -> frozenset[str]:
    """The sections of a report that a tool's findings stand in."""
    return frozenset(map(load_vocabulary().section_of, tool.observes))


class Teller:
    """Tells anew whenever another section stands."""

    def __init__(self, tools: Mapping[str, Tool], compose: Compose, tell: Callable[[Early], object]) -> None:
        """``compose`` words and checks a ledger; ``tell`` is called with all that stands so far."""
        self._sections = {name: sections_of(tool) for name, tool in tools.items()}
        self._compose, self._tell = compose, tell
        self._waiting: tuple[str, ...] | None = None

    def hear(self, ended: Ended) -> None:
        """Tools have ended, with this evidence."""
        at_work = [self._sections[name] for name in self._sections if name not in ended]
        waiting = tuple(key for key in FINDINGS_SECTIONS if any(key in sections for sections in at_work))
        if waiting == self._waiting:
            return
        self._waiting = waiting
        told = {"technique", *FINDINGS_SECTIONS} - set(waiting)
        ledger = Ledger()
        for name in self._sections:  # in the order of the tools, whichever ended first
            for record in ended.get(name, ()):
                ledger.add(record)
        self._tell(Early(sentences=tuple(s for s in self._compose(ledger) if s.section in told), waiting=waiting))
