"""Questions about a scan, answered from its ledger: no model, the same words and the same checker as the report.

A question goes in as text; events come out as they happen: a Call for each look into the
evidence, a Said for each cited and checked sentence, a Note where there is nothing to claim.
Whoever answers, these are the events; a language model can only word and choose, as here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from vlm.encoder.words import meant_by
from vlm.evidence import Coverage, Evidence, Ledger, Measured
from vlm.findings.reader import read_sentence
from vlm.findings.spelling import tokens_of
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Context
from vlm.language.compose import found, impression, to_review
from vlm.language.denials import not_found
from vlm.language.drafting import checked
from vlm.language.phrases import Phrases, fill, load_phrases
from vlm.language.unassessed import not_assessed
from vlm.language.wording import Wording
from vlm.report import FINDINGS_SECTIONS, Draft

MOST_CHARACTERS = 2000  # of a question
MOST_SENTENCES = 12  # of an answer; a site can hold dozens of findings

NOT_UNDERSTOOD = (
    "I answer from the evidence of this report, and found no finding, organ or part of the report in "
    'your question. Ask, for example, "Is there an effusion?" or "What was not assessed?".'
)

# Words that ask for a part of the report rather than for a finding.
OVERVIEWS: Mapping[str, tuple[str, ...]] = {
    "not_assessed": (
        "not assessed", "not looked", "not searched", "not evaluated", "not examined", "could not be assessed",
        "left out", "limits", "limitations", "not checked",
    ),
    "to_review": ("to review", "uncertain", "unsure", "doubt", "check again"),
    "impression": ("summary", "summarise", "summarize", "impression", "main finding", "what did you find", "overview",
                   "what was found", "what is found", "abnormal"),
}  # fmt: skip


PARTS: Mapping[str, Callable[[Wording], list[Draft]]] = {
    "not_assessed": not_assessed,
    "to_review": to_review,
    "impression": impression,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asks, and what they point at."""

    text: str
    evidence: tuple[str, ...] = ()  # ids of the ledger that lie where the person points; asked for beside the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A look into the evidence: what was asked for, what came back, how long it took."""

    name: str
    arguments: Mapping[str, str]
    result: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A sentence of an answer, cited and checked."""

    text: str
    cites: tuple[str, ...]
    verdict: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Words that claim nothing about the patient."""

    text: str


Event = Call | Said | Note


class Answerer(Protocol):
    """Whoever answers: the ledger alone, or a language model with the same tools."""

    def answer(self, question: Question) -> Iterator[Event]:
        """The events of an answer, as they happen."""


@dataclass(frozen=True)
class Topic:
    """What a question is about."""

    findings: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    side: str | None = None
    overview: str = ""
    unknown: tuple[str, ...] = field(default=(), compare=False)  # words that no vocabulary has


def topic_of(text: str) -> Topic:
    """Read a question with the reader of reports, and with the words that patients use."""
    plain = f" {_plain(text)} "
    for overview, words in OVERVIEWS.items():
        if any(f" {_plain(word)} " in plain for word in words):
            return Topic(overview=overview)
    reading = read_sentence(text)
    found = dict.fromkeys(mention.finding for mention in reading.mentions)
    if not found:
        found = dict.fromkeys(key for words, key in _lay_words().items() if f" {words} " in plain)
    sides = {place.side for place in reading.places if place.side} | {m.side for m in reading.mentions if m.side}
    return Topic(
        findings=tuple(found),
        sites=tuple(dict.fromkeys(place.site for place in reading.places if place.site)),
        side=sides.pop() if len(sides) == 1 else None,
        unknown=reading.unknown,
    )


def _plain(text: str) -> str:
    """Normalised words, one space apart."""
    return " ".join(token.word for token in tokens_of(text) if token.is_word)


@functools.cache
def _lay_words() -> dict[str, str]:
    """A patient's words and the finding they mean, normalised."""
    findings = load_vocabulary().findings.values()
    return {_plain(words): finding.key for finding in findings for words in finding.lay}


@functools.cache
def _outspoken() -> Phrases:
    """The report's phrases, but nothing is passed over in silence when it is asked for."""
    phrases, every = load_phrases(), load_vocabulary().findings
    told = {key: {"rank": phrases.rank(key), **phrases.findings.get(key, {}), "quiet": False} for key in every}
    return replace(phrases, findings=told, not_assessed=frozenset(every))


class LedgerAnswerer:
    """Answers from a ledger alone."""

    def __init__(self, ledger: Ledger, context: Context) -> None:
        self.ledger = ledger
        self.context = context
        self.vocabulary = load_vocabulary()

    def answer(self, question: Question) -> Iterator[Event]:
        """Answer a question about findings, structures, parts of the report, or what lies at a point."""
        topic = topic_of(question.text[:MOST_CHARACTERS])
        puzzling = not topic.findings and not topic.overview and bool(topic.unknown or not topic.sites)
        if puzzling and not question.evidence and (meant := meant_by(question.text[:MOST_CHARACTERS])):
            yield Note(text=f"I take this to be about {self.vocabulary.finding(meant.finding).name}.")
            topic = replace(topic, findings=(meant.finding,))
        if topic.overview:
            yield from self._overview(topic.overview)
        elif topic.findings:
            for finding in topic.findings[:3]:
                yield from self._about_finding(finding, topic)
        elif topic.sites:
            yield from self._about_site(topic.sites[0], topic)
        if question.evidence:
            yield from self._told(lambda name, _: name in question.evidence)
        elif topic == Topic():
            strange = f" I do not know the word {topic.unknown[0]!r}." if topic.unknown else ""
            yield Note(text=NOT_UNDERSTOOD + strange)

    # ---- what can be asked for

    def _overview(self, part: str) -> Iterator[Event]:
        """A part of the report, as the report has it."""
        start = time.perf_counter()
        drafts = PARTS[part](Wording(self.ledger))
        yield Call(
            name="read_report", arguments={"part": part.replace("_", " ")}, result=_counted(len(drafts), "sentence"),
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        yield from self._checked(drafts, "Nothing stands there in this report.")

    def _about_finding(self, finding: str, topic: Topic) -> Iterator[Event]:
        """What is known of a finding and of its kinds; of something more general where there is nothing."""
        name = self.vocabulary.finding(finding).name
        start = time.perf_counter()
        kinds = {key for key in self.vocabulary.findings if self.vocabulary.is_a(key, finding)}
        records = self._records(kinds, topic)
        where = " ".join(part for part in (topic.side, *(site.replace("_", " ") for site in topic.sites)) if part)
        yield Call(
            name="look_up", arguments={"finding": name, **({"place": where} if where else {})},
            result=_counted(len(records), "record") if records else "nothing in the ledger",
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        if records:
            yield from self._told(lambda key, _: key in records)
        else:
            yield Note(text=f"Nothing in this reading looked for {name}: it is neither found nor excluded.")

    def _about_site(self, site: str, topic: Topic) -> Iterator[Event]:
        """What is known of an organ or a region."""
        start = time.perf_counter()
        records = {name for name, record in self.ledger if self._lies_in(record, site) and _on_side(record, topic.side)}
        arguments = {"place": " ".join(part for part in (topic.side, self.vocabulary.sites[site].name) if part)}
        yield Call(
            name="look_up", arguments=arguments, result=_counted(len(records), "record"),
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        yield from self._told(lambda name, _: name in records)

    def _records(self, kinds: set[str], topic: Topic) -> set[str]:
        """Ids of the evidence for findings, on the side that was asked for."""
        return {
            name
            for name, record in self.ledger
            if not isinstance(record, Coverage | Measured) and record.finding in kinds and _on_side(record, topic.side)
        }

    def _lies_in(self, record: Evidence, site: str) -> bool:
        """Whether evidence is about a site or a part of it."""
        own = record.site
        if own is None and not isinstance(record, Coverage | Measured):
            own = self.vocabulary.finding(record.finding).site
        return own is not None and own in self.vocabulary.sites and self.vocabulary.site_contains(site, own)

    # ---- saying it

    def _told(self, wanted: Callable[[str, Evidence], bool]) -> Iterator[Event]:
        """Word and check the evidence that is wanted: what is there, what is not, what nobody could say."""
        words = Wording(self.ledger.part(wanted))
        words.phrases = _outspoken()
        drafts = [draft for section in FINDINGS_SECTIONS for draft in found(words, section)]
        drafts += to_review(words)
        drafts += [draft for name, record in words.ledger for draft in _measured(words, name, record)]
        drafts += [draft for section in FINDINGS_SECTIONS for draft in not_found(words, section)]
        drafts += not_assessed(words)
        yield from self._checked(drafts, "The evidence there carries no sentence of its own.")

    def _checked(self, drafts: list[Draft], otherwise: str) -> Iterator[Event]:
        """Every sentence with its verdict; a note where there is none."""
        sentences = checked(drafts[:MOST_SENTENCES], self.ledger, context=self.context, fill=lambda _: [])
        for sentence in sentences:
            yield Said(text=sentence.text, cites=sentence.cites, verdict=sentence.verdict, reason=sentence.reason)
        if not sentences:
            yield Note(text=otherwise)
        elif len(drafts) > MOST_SENTENCES:
            yield Note(text=f"{len(drafts) - MOST_SENTENCES} further sentences stand in the report.")


def _measured(words: Wording, name: str, record: Evidence) -> list[Draft]:
    """A sentence for each measure of a structure: "The descending aorta has a diameter of 23 mm."."""
    if not isinstance(record, Measured):
        return []
    pattern: str = words.phrases.words["measured"]
    place = words.place(record.side, record.site)
    slots = {m.quantity.replace("_", " "): f"{{{name}.{m.quantity}}}" for m in record.measurements}
    told = [fill(pattern, {"place": place, "quantity": quantity, "value": slot}) for quantity, slot in slots.items()]
    return [Draft(section="heart_and_vessels", template=template, cites=(name,)) for template in told]


def _on_side(record: Evidence, side: str | None) -> bool:
    return side in (None, "bilateral") or record.side in (side, "bilateral", None)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def suggestions(ledger: Ledger) -> list[str]:
    """Questions worth asking of this scan: of what was found, of what was not assessed, of the rest."""
    vocabulary, phrases = load_vocabulary(), load_phrases()
    present = {o.finding for o in ledger.observations().values() if o.presence == "present"}
    ranked = sorted(present, key=lambda key: (phrases.rank(key), key))
    asked = [f"What is known of the {vocabulary.finding(key).name}?" for key in ranked[:3]]
    searched = {s.finding for s in ledger.searches().values() if s.looked and not s.failed} - present
    clean = sorted(searched & set(phrases.findings), key=lambda key: (phrases.rank(key), key))
    asked += [f"Is there {vocabulary.finding(key).name}?" for key in clean[:1]]
    return [*asked, "What was not assessed?", "What is the impression?"]
