"""What is said to each intent: which looks are taken, and which evidence is worded.

A reply is a function from what was asked, within its conversation, to events. ``REPLIES`` maps every intent of
``prompts/intents.toml`` to one; an intent with a ``declined`` text needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vlm.evidence import Coverage
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.answering import seen_of
from vlm.language.events import Event, Note
from vlm.language.phrases import capital
from vlm.language.reasons import covered_of, meaning_of, tool_told
from vlm.language.register import LOOKS
from vlm.language.router import intents
from vlm.language.subject import Subject
from vlm.tools import load_tools

OTHER = {"left": "right", "right": "left"}


class Reply(Subject):
    """One answer in the making, about the report, the scan as a whole or the product, too."""

    # ---- the report and the scan as a whole

    def impression(self) -> Iterator[Event]:
        """The impression, and what may be there besides: a doubt about something large must not go unsaid."""
        yield from self.teller.part("impression")
        yield from self.teller.doubts()

    def part(self, key: str) -> Iterator[Event]:
        """A part of the report."""
        yield from self.teller.part(key)

    def technique(self) -> Iterator[Event]:
        """How the scan was made."""
        yield from self._said(self.teller.reported("technique"), "This report has no line on the technique.")

    def coverage(self) -> Iterator[Event]:
        """What the scan covers: of what was named, or as a whole."""
        sites = self.topic.sites or ("chest", "upper_abdomen", "pelvis")
        known = {n: r for n, r in self.case.ledger if isinstance(r, Coverage) and r.site in sites}
        yield from self.teller.reported("technique")
        yield from self.teller.covered()
        for name, record in known.items():
            place = " ".join(filter(None, (record.side, self._named(record.site))))
            yield Note(text=f"{capital(place)}: {covered_of(record)}.", about="because", cites=(name,))

    def change(self) -> Iterator[Event]:
        """What became of it since the prior."""
        finding = self.topic.findings[0] if self.topic.findings else None
        made, seen = self.looking.call("compare", **({"finding": finding} if finding else {}))
        yield made
        if seen is None:
            yield Note(text=f"{capital(made.result)}.", about="off")
            return
        yield from self.teller.reported("comparison")
        if seen.cites:
            yield from self.teller.ids(seen.cites)
        else:
            yield Note(text=f"{capital(made.result)}.")

    def normal(self) -> Iterator[Event]:
        """What was looked for and is not there."""
        yield from self.teller.denied()

    def for_patient(self) -> Iterator[Event]:
        """The impression with the meaning of its words."""
        empty = True
        for finding, events in self.teller.lines():
            empty = False
            yield from events
            yield from meaning_of(finding)
        if empty:
            yield from self.part("impression")
        yield from self.teller.doubts()
        yield Note(text="What this means for you is for your doctor to say: this is a draft, and no diagnosis.")

    def for_referrer(self) -> Iterator[Event]:
        """The impression in one sentence, and what was not assessed."""
        yield from self.teller.in_one()
        yield from self.teller.doubts()
        yield from self.teller.part("not_assessed", "")

    def meaning(self) -> Iterator[Event]:
        """What a finding's name means."""
        for finding in self.topic.findings[:2]:
            yield from meaning_of(finding, always=True)
            if self.topic.sites and (names := seen_of(self.case.ledger, finding, self.topic.side)):
                yield from self.teller.ids(tuple(names))  # "what is that tube in my bile duct?"

    # ---- second opinions, and the product itself

    def column(self, name: str) -> Iterator[Event]:
        """What an encoder's words or a trained head say: a column of its own, never evidence."""
        finding = self.topic.findings[0] if self.topic.findings else None
        if finding is None:
            yield Note(text="Name a finding, and I ask for it.", about="clarify")
            return
        made, seen = self.looking.call(name, finding=finding)
        yield made
        yield Note(text=f"{capital(made.result)}.", about="" if seen else "off")
        yield from self._finding(finding)

    def similar(self) -> Iterator[Event]:
        """Cases of the library."""
        made, seen = self.looking.call("similar")
        yield made
        yield Note(text=f"{capital(made.result)}.", about="" if seen else "off")

    def capabilities(self) -> Iterator[Event]:
        """What can be asked, and what is looked for."""
        known, tools = load_vocabulary(), load_tools()
        named = sorted({known.finding(key).name for tool in tools.values() for key in tool.observes})
        says = [intent.says for intent in intents().values() if not intent.declined and intent.key != "social"]
        yield Note(text=f"Ask me {', '.join(says[:-1])} or {says[-1]}.")
        yield Note(text=f"The tools of a reading look for {len(named)} findings: {', '.join(named)}.")
        yield Note(text=f"In a conversation I can {', '.join(name.replace('_', ' ') for name in LOOKS)}. No diagnosis.")

    def provenance(self) -> Iterator[Event]:
        """Which tools said it."""
        names = [n for f in self.topic.findings[:2] for n in self._records(self._kinds(f))] or list(self.last)
        tools = dict.fromkeys(self.case.ledger[n].tool for n in names if n in self.case.ledger)
        if not tools:
            yield Note(
                text="Every sentence was worded from the evidence of tools and checked by rules; no model wrote it."
            )
        for tool in tools:
            cites = tuple(n for n in names if n in self.case.ledger and self.case.ledger[n].tool == tool)
            yield Note(text=tool_told(tool), about="because", cites=cites)

    def social(self) -> Iterator[Event]:
        """A greeting."""
        yield Note(text="Ask me about this scan: what was found, where, how large, and why.")

    @staticmethod
    def _said(events: Iterator[Event], otherwise: str) -> Iterator[Event]:
        empty = True
        for event in events:
            empty = False
            yield event
        if empty:
            yield Note(text=otherwise)


# What is said to an intent; one with a text of its own, or of another, needs no entry here.
REPLIES: Mapping[str, Callable[[Reply], Iterator[Event]]] = {
    "presence": Reply.about, "organ": Reply.about, "more": Reply.about,
    "size": Reply.seen, "location": Reply.seen, "severity": Reply.seen, "character": Reply.seen, "count": Reply.count,
    "structure": Reply.structure, "density": Reply.density, "segment": Reply.segment, "sides": Reply.sides,
    "limit": Reply.limit, "certainty": Reply.certainty, "why_not": Reply.why_not, "evidence": Reply.evidence,
    "provenance": Reply.provenance, "show": Reply.show, "here": Reply.here, "lesion": Reply.lesion,
    "distance": Reply.distance, "technique": Reply.technique, "coverage": Reply.coverage, "change": Reply.change,
    "normal": Reply.normal, "for_patient": Reply.for_patient, "for_referrer": Reply.for_referrer,
    "meaning": Reply.meaning, "similar": Reply.similar, "capabilities": Reply.capabilities, "social": Reply.social,
    "not_assessed": lambda reply: reply.part("not_assessed"), "to_review": lambda reply: reply.part("to_review"),
    "impression": Reply.impression, "encoder": lambda reply: reply.column("zero_shot"),
    "heads": lambda reply: reply.column("probe"),
}  # fmt: skip
