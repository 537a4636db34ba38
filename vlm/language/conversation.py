"""A conversation about one open case: many questions, each understood in the light of those before it.

A question goes in; events come out as they happen. "It", "the other side" and "why?" mean what the turn before was
about. What is measured on the way is evidence in the conversation's own branch of the ledger. A language model that
can call tools answers where one is given; without it, or when it fails, the router reaches the same tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vlm.encoder.words import meant_by
from vlm.evidence import Observation
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.events import MOST_CHARACTERS, Call, Event, Note, Question, Said, Understood
from vlm.language.investigate import Looking, investigate
from vlm.language.models import LanguageModel, ModelError
from vlm.language.replies import OTHER, REPLIES, Reply
from vlm.language.router import Asked, intents, route, words_in
from vlm.language.scene import OpenCase
from vlm.language.topic import Topic

MOST_TURNS = 50  # of which something is remembered
NOT_UNDERSTOOD = (
    "I answer from the evidence of this reading, and found no finding, organ or part of the report in "
    'your question. Ask, for example, "Is there an effusion?" or "What was not assessed?".'
)
# Intents that are of a finding or a place: without one, they are of that of the turn before.
OF_SOMETHING = frozenset(
    {"presence", "organ", "size", "count", "location", "severity", "character", "certainty", "limit", "density",
     "change", "show", "more", "why_not", "structure", "segment", "sides", "other_side", "encoder", "heads", "meaning"}
)  # fmt: skip
# "And the effusion?" asks of the effusion what was asked before.
CARRIED = frozenset({"size", "count", "location", "severity", "character", "certainty", "limit", "density", "show",
                     "structure", "segment", "change", "presence", "organ"})  # fmt: skip
_AND = re.compile(r"^(and|what about|how about|same (for|with)|also|or)\b", re.I)
_FIRST = re.compile(r"^(the )?(first|former|yes|yeah|yep|1|a)( one)?[.!]?$", re.I)
_SECOND = re.compile(r"^(the )?(second|latter|no|2|b|other)( one)?[.!]?$", re.I)
_ASKING = re.compile(
    r"^(please|so|and|is there|are there|do (you|i) (see|have)|have i( got)?|does (he|she|it|the patient) have|any|"
    r"what about|how about|how (big|large|bad|severe|much) is|where is|show( me)?|can you see|the|an?|my|his|her)\b|\?",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is remembered of a question."""

    question: str
    intent: str
    findings: tuple[str, ...]
    sites: tuple[str, ...]
    side: str | None
    cites: tuple[str, ...]
    offered: tuple[str, str] | None = None  # two intents that were offered, because neither was sure


@dataclass
class Conversation:
    """Answers questions about a case, one after the other."""

    case: OpenCase
    model: LanguageModel | None = None
    turns: list[Turn] = field(default_factory=list)

    def answer(self, question: Question) -> Iterator[Event]:
        """The events of an answer, as they happen. Never raises for what a person may type."""
        question = replace(question, text=question.text[:MOST_CHARACTERS])
        asked = self._in_context(question)
        named = {"finding": ", ".join(asked.topic.findings), "place": ", ".join(asked.topic.sites)}
        slots = {key: value for key, value in {**named, "side": asked.topic.side or ""}.items() if value}
        yield Understood(intent=asked.intent, slots=slots, by=asked.by)
        cites: dict[str, None] = {}
        for event in self._events(question, asked):
            if isinstance(event, Said | Call):
                cites |= dict.fromkeys(event.cites)
            yield event
        self._remember(question, asked, tuple(cites))

    # ---- what is meant

    def _in_context(self, question: Question) -> Asked:
        """What a question asks for, with what it leaves out taken from the turns before."""
        last = self.turns[-1] if self.turns else None
        pointed = bool(question.point or question.box or question.line)
        if last is not None and last.offered and (picked := _picked(question.text, last.offered)):
            return Asked(intent=picked, topic=_topic(last), by="follow-up")
        if not question.text.strip() and (pointed or question.evidence):
            return Asked(intent="here", topic=Topic(), by="rules")
        asked = route(question.text, pointed=pointed)
        if pointed and not asked.sure:
            asked = replace(asked, intent="here", sure=True, other="")
        named = bool(asked.topic.findings or asked.topic.sites)
        if asked.declined and (asked.sure or not named):
            return asked
        vague = not asked.topic.findings and not asked.sure
        if not pointed and (vague or (not named and asked.intent in OF_SOMETHING)):
            asked = self._by_meaning(question.text, asked)
            named = bool(asked.topic.findings)
        if last is None:
            return asked
        asked = replace(asked, topic=replace(asked.topic, findings=asked.topic.narrowed(question.text, last.findings)))
        if not named and (asked.topic.side or asked.intent == "other_side"):
            return self._other_side(asked, last)
        short = words_in(question.text) <= 7 and bool(_AND.match(question.text.strip()))
        if (
            named
            and short
            and last.intent in CARRIED
            and (asked.topic.findings or not last.findings)  # after "how big is the nodule?", "and the heart?" is new
            and asked.intent in ("presence", "organ", "unknown", "other_side")
        ):
            kept = asked.topic if asked.topic.side else replace(asked.topic, side=None)
            return replace(asked, intent=last.intent, topic=kept, by="follow-up", sure=True, other="")
        if not named and asked.intent in OF_SOMETHING:
            return replace(asked, topic=replace(_topic(last), side=asked.topic.side or last.side))
        return asked

    def _by_meaning(self, text: str, asked: Asked) -> Asked:
        """The finding that words of no vocabulary are near to, where the extra is installed."""
        bare, before = text.strip(), ""
        while bare != before:
            before, bare = bare, _ASKING.sub("", bare).strip(" ,.?!")
        meant = meant_by(bare) or meant_by(text)
        if meant is None:
            return asked
        topic = replace(asked.topic, findings=(meant.finding,))
        intent = asked.intent if asked.sure else "presence"
        return replace(asked, topic=topic, intent=intent, sure=True, other="", by=f"meaning {meant.alike:.2f}")

    def _other_side(self, asked: Asked, last: Turn) -> Asked:
        """The last question on another side: the one that is named, or the one that was not asked for."""
        side = asked.topic.side or OTHER.get(last.side or self._side_of(last) or "")
        intent = asked.intent if asked.intent in OF_SOMETHING - {"other_side", "organ", "presence"} else last.intent
        intent = intent if intent in CARRIED else "presence"
        if intent == "presence" and not last.findings:
            intent = "organ"
        return replace(
            asked, intent=intent, topic=replace(_topic(last), side=side), by="follow-up", sure=True, other=""
        )

    def _side_of(self, last: Turn) -> str | None:
        """The one side on which lies what the last turn told."""
        cited = [self.case.ledger[name] for name in last.cites if name in self.case.ledger]
        sides = {record.side for record in cited if isinstance(record, Observation)} or {r.side for r in cited}
        return next(iter(sides)) if len(sides) == 1 else None

    # ---- what is said

    def _events(self, question: Question, asked: Asked) -> Iterator[Event]:
        if asked.declined:
            yield Note(text=intents()[asked.intent].declined, about="declined")
            return
        if asked.by.startswith("meaning"):
            names = ", ".join(load_vocabulary().finding(key).name for key in asked.topic.findings)
            yield Note(text=f"I take this to be about {names}.")
        looking = Looking(self.case)
        if self.model is not None:
            try:
                if self.model.calls_tools:
                    yield from investigate(self.case, question, self.model, looking)
                    return
                yield Note(text="The language model is off: it calls no tools, and so cannot look.", about="off")
            except ModelError as error:
                yield Note(text=f"The language model is off: {error}", about="off")
        if not asked.sure:
            yield from self._ask_back(question, asked)
            return
        if question.evidence and asked.intent == "unknown":
            asked = replace(asked, intent="here")
        last = self.turns[-1].cites if self.turns else ()
        reply = Reply(case=self.case, question=question, asked=asked, last=last, looking=looking)
        if asked.intent == "other_side" or asked.intent not in REPLIES:
            yield from reply.unclear()
            return
        yield from REPLIES[asked.intent](reply)

    def _ask_back(self, question: Question, asked: Asked) -> Iterator[Event]:
        """Two readings of an unsure question, or what was named, or that nothing was understood."""
        if asked.topic.findings or asked.topic.sites:
            reply = Reply(case=self.case, question=Question(text=""), asked=asked, last=(), looking=Looking(self.case))
            yield from reply.about()
        elif offered := _offered(question, asked):
            one, two = (intents()[key].says for key in offered)
            yield Note(text=f"Do you want to know (1) {one}, or (2) {two}?", about="clarify")
        else:
            strange = f" I do not know the word {max(asked.topic.unknown, key=len)!r}." if asked.topic.unknown else ""
            yield Note(text=NOT_UNDERSTOOD + strange, about="not_understood")

    def _remember(self, question: Question, asked: Asked, cites: tuple[str, ...]) -> None:
        topic, last = asked.topic, self.turns[-1] if self.turns else None
        if last is not None and not (topic.findings or topic.sites) and not cites:
            topic, cites = _topic(last), last.cites  # "thanks" changes no subject
        if not topic.findings and not topic.sites:
            records = [self.case.ledger[name] for name in cites if name in self.case.ledger]
            told = dict.fromkeys(r.finding for r in records if hasattr(r, "finding"))
            topic = replace(topic, findings=tuple(told) if len(told) == 1 else ())
        intent = (
            last.intent
            if last is not None and asked.intent in ("evidence", "provenance", "social", "show")
            else asked.intent
        )
        self.turns.append(
            Turn(question=question.text, intent=intent, findings=topic.findings, sites=topic.sites, side=topic.side,
                 cites=cites, offered=_offered(question, asked))
        )  # fmt: skip
        del self.turns[:-MOST_TURNS]


def _offered(question: Question, asked: Asked) -> tuple[str, str] | None:
    """Two intents to choose from: neither is sure, and nothing was named that says more."""
    two = (asked.intent, asked.other)
    vague = not asked.sure and asked.topic == Topic() and not asked.topic.unknown
    return two if vague and asked.other and question.text.strip() and "social" not in two else None


def _picked(text: str, offered: tuple[str, str]) -> str:
    """Which of two offered intents somebody takes."""
    plain = text.strip()
    return offered[0] if _FIRST.match(plain) else offered[1] if _SECOND.match(plain) else ""


def _topic(turn: Turn) -> Topic:
    return Topic(findings=turn.findings, sites=turn.sites, side=turn.side)


def as_dict(event: Event) -> dict[str, Any]:
    """An event as one JSON object; ``kind`` is its class in small letters."""
    return {"kind": type(event).__name__.lower(), **asdict(event)}
