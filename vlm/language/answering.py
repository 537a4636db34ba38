"""Sentences of an answer, worded from a ledger and checked like the report's: no model, nothing typed.

In: an open case and the evidence that is wanted. Out: a Said for each cited and checked sentence, a Note where there is
nothing to claim. What the report passes over in silence is said here, because somebody asks for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from vlm.evidence import Coverage, Evidence, Ledger, Measured, Observation
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.compose import by_finding, found, impression, in_short, one_place, present, to_review
from vlm.language.denials import not_found
from vlm.language.drafting import checked
from vlm.language.events import Event, Note, Said
from vlm.language.phrases import Phrases, capital, fill, load_phrases
from vlm.language.scene import OpenCase
from vlm.language.unassessed import not_assessed
from vlm.language.wording import Wording
from vlm.report import FINDINGS_SECTIONS, Draft

MOST_SENTENCES = 12  # of an answer; a site can hold dozens of findings
MOST_DOUBTS = 3  # beside an impression
NOTHING = "The evidence there carries no sentence of its own."

PARTS: Mapping[str, Callable[[Wording], list[Draft]]] = {
    "not_assessed": not_assessed,
    "to_review": to_review,
    "impression": impression,
}


@functools.cache
def outspoken() -> Phrases:
    """The report's phrases, but nothing is passed over in silence when it is asked for."""
    phrases, every = load_phrases(), load_vocabulary().findings
    told = {key: {"rank": phrases.rank(key), **phrases.findings.get(key, {}), "quiet": False} for key in every}
    return replace(phrases, findings=told, not_assessed=frozenset(every))


class Teller:
    """Words the evidence of one case."""

    def __init__(self, case: OpenCase) -> None:
        self.case = case
        self.vocabulary = load_vocabulary()

    def part(self, key: str, otherwise: str = "Nothing stands there in this report.") -> Iterator[Event]:
        """A part of the report, as the report has it."""
        yield from self.checked(PARTS[key](self._words(self.case.ledger)), otherwise)

    def told(self, wanted: Callable[[str, Evidence], bool]) -> Iterator[Event]:
        """Word and check the evidence that is wanted: what is there, what is not, what nobody could say."""
        whole = self._words(self.case.ledger)
        names = {name for name, record in self.case.ledger if wanted(name, record)}
        names |= {other for name in names for other in self.case.ledger.observations() if one_place(whole, name, other)}
        words = self._words(self.case.ledger.part(lambda name, _: name in names))
        words.phrases = outspoken()
        drafts = [draft for section in FINDINGS_SECTIONS for draft in found(words, section)]
        drafts += to_review(words)
        drafts += [draft for name, record in words.ledger for draft in measures(words, name, record)]
        drafts += [draft for section in FINDINGS_SECTIONS for draft in not_found(words, section)]
        drafts += not_assessed(words)
        yield from self.checked(drafts)

    def ids(self, names: Sequence[str]) -> Iterator[Event]:
        """Word and check the evidence of some ids."""
        yield from self.told(lambda name, _: name in names)

    def doubts(self) -> Iterator[Event]:
        """The most urgent of what a tool is not sure of."""
        yield from self._sentences(to_review(self._words(self.case.ledger))[:MOST_DOUBTS])

    def denied(self) -> Iterator[Event]:
        """What was looked for and is not there."""
        words = self._words(self.case.ledger)
        drafts = [draft for section in FINDINGS_SECTIONS for draft in not_found(words, section)]
        yield from self.checked(drafts, "Nothing was excluded in this reading.")

    def covered(self) -> Iterator[Event]:
        """What the scan covers in part, and what it does not."""
        outside = self.case.ledger.part(lambda _, record: isinstance(record, Coverage))
        yield from self.checked(not_assessed(self._words(outside)), "")

    def counted(self, finding: str, names: Sequence[str]) -> Iterator[Event]:
        """ "Two lung nodules.", where so many were seen."""
        number = load_phrases().number(len(names))
        name = self.vocabulary.finding(finding).name
        text = f"{capital(number)} {name if len(names) == 1 else plural(name)}."
        section = self.vocabulary.section_of(finding)
        sentences = self._sentences([Draft(section=section, template=text, cites=tuple(names))])
        yield from (sentence for sentence in sentences if sentence.verdict == "supported")

    def in_one(self) -> Iterator[Event]:
        """The impression as one sentence, or line by line where the checker does not take it so."""
        words = self._words(self.case.ledger)
        drafts = impression(words)
        parts = [draft.template.rstrip(".") for draft in drafts]
        low = [part if part.startswith("{") else part[:1].lower() + part[1:] for part in parts]
        cites = tuple(dict.fromkeys(name for draft in drafts for name in draft.cites))
        one = Draft(section="impression", template=f"{capital('; '.join(low))}.", cites=cites)
        said = self._sentences([one]) if drafts else []
        if said and said[0].verdict == "supported":
            yield from said
        else:
            yield from self.checked(drafts, "Nothing reportable was found.")

    def lines(self) -> Iterator[tuple[str, list[Event]]]:
        """The impression a finding at a time, each with its key."""
        words = self._words(self.case.ledger)
        seen = {n: o for n, o in present(words.ledger).items() if words.phrases.rank(o.finding) < 50}
        for finding, names in by_finding(words, seen):
            yield finding, list(self.checked(in_short(words, finding, names)))

    def reported(self, section: str) -> Iterator[Event]:
        """The sentences of a section of the report, as they stand there."""
        for sentence in self.case.sentences:
            if sentence.section == section:
                yield Said(text=sentence.text, cites=sentence.cites, verdict=sentence.verdict, reason=sentence.reason)

    def checked(self, drafts: Sequence[Draft], otherwise: str = NOTHING) -> Iterator[Event]:
        """Every sentence with its verdict; a note where there is none."""
        sentences = self._sentences(drafts[:MOST_SENTENCES])
        yield from sentences
        if not sentences and otherwise:
            yield Note(text=otherwise)
        elif len(drafts) > MOST_SENTENCES:
            yield Note(text=f"{len(drafts) - MOST_SENTENCES} further sentences stand in the report.")

    def _sentences(self, drafts: Sequence[Draft]) -> list[Said]:
        made = checked(list(drafts), self.case.ledger, context=self.case.context, fill=lambda _: [])
        order = {draft.cites: n for n, draft in reversed(list(enumerate(drafts)))}  # what is there first, by no section
        made.sort(key=lambda sentence: order.get(tuple(sentence.cites), len(order)))
        return [Said(text=s.text, cites=s.cites, verdict=s.verdict, reason=s.reason) for s in made]

    def _words(self, ledger: Ledger) -> Wording:
        return Wording(ledger, prior=self.case.context.prior)


def measures(words: Wording, name: str, record: Evidence) -> list[Draft]:
    """What was measured of a structure or of a marked place, a sentence each."""
    if not isinstance(record, Measured):
        return []
    own: Mapping[str, str] = words.phrases.measures
    slots = {m.quantity: f"{{{name}.{m.quantity}}}" for m in record.measurements}
    place = words.place(record.side, record.site)
    patterns = [own[record.tool]] if record.tool in own else [own.get(key, own["other"]) for key in slots]
    drafts = []
    for pattern, key in zip(patterns, slots, strict=False):
        within = "" if record.site == "marked_place" else words.within(record.side, record.site)
        facts = {**slots, "place": place, "within": within, "quantity": key.replace("_", " "), "value": slots[key]}
        if key != "attenuation_sd" or record.tool in own:
            drafts.append(Draft(section="heart_and_vessels", template=fill(pattern, facts), cites=(name,)))
    return drafts


def plural(name: str) -> str:
    """More than one of a finding."""
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("s") else f"{name}s"


def suggestions(ledger: Ledger) -> list[str]:
    """Questions worth asking of this scan: of what was found, of what was not assessed, of the rest."""
    vocabulary, phrases = load_vocabulary(), load_phrases()
    seen = {o.finding for o in ledger.observations().values() if o.presence == "present"}
    ranked = sorted(seen, key=lambda key: (phrases.rank(key), key))
    asked = [f"What is known of the {vocabulary.finding(key).name}?" for key in ranked[:3]]
    searched = {s.finding for s in ledger.searches().values() if s.looked and not s.failed} - seen
    clean = sorted(searched & set(phrases.findings), key=lambda key: (phrases.rank(key), key))
    asked += [f"Is there {vocabulary.finding(key).name}?" for key in clean[:1]]
    return [*asked, "What was not assessed?", "What is the impression?"]


def seen_of(ledger: Ledger, finding: str, side: str | None = None) -> dict[str, Observation]:
    """What was seen of a finding and its kinds, on the side that was asked for."""
    known = load_vocabulary()
    return {
        name: record
        for name, record in ledger.observations().items()
        if known.is_a(record.finding, finding) and record.presence != "absent" and on_side(record, side)
    }


def on_side(record: Evidence, side: str | None) -> bool:
    """Whether evidence speaks of the side that was asked for, as far as it says one."""
    return side in (None, "bilateral") or record.side in (side, "bilateral", None)
