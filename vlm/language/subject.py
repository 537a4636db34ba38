"""What is said of the finding, the organ or the place that a question names or points at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlm.evidence import Coverage, Evidence, Measured, Observation, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.answering import Teller, on_side, seen_of
from vlm.language.events import Event, Note, Question
from vlm.language.investigate import Looking, places
from vlm.language.phrases import capital, load_phrases
from vlm.language.reasons import limit_of, line_of, sureness_of, tool_told
from vlm.language.router import Asked, intents
from vlm.language.scene import OpenCase
from vlm.language.topic import Topic

DIMENSIONS = frozenset({"diameter", "ratio", "height", "thickness"})
OF_ORGANS = frozenset({"cardiomegaly", "aortic_aneurysm", "abdominal_aortic_aneurysm"})  # told with the organ's measure
OF_DENSITY = frozenset({"hepatic_steatosis", "osteopenia"})  # told with the organ's density
POINT_FIRST = "Point at a place first: click into the image and ask there, or give --at x,y,z."


@dataclass
class Subject:
    """One answer in the making, as far as it is about a finding, an organ or a place."""

    case: OpenCase
    question: Question
    asked: Asked
    last: tuple[str, ...]  # ids that the turn before cited
    looking: Looking

    @property
    def topic(self) -> Topic:
        return self.asked.topic

    @property
    def teller(self) -> Teller:
        return Teller(self.case)

    def look(self, name: str, **arguments: object) -> Iterator[Event]:
        """Take a look and word what it measured; why not, where it could not."""
        made, seen = self.looking.call(name, **{key: value for key, value in arguments.items() if value is not None})
        yield made
        if seen is None:
            yield Note(text=f"{capital(made.result)}.", about="off")
            return
        yield from places(seen.places)
        if seen.cites:
            yield from self.teller.ids(seen.cites)

    # ---- findings and organs

    def about(self) -> Iterator[Event]:
        """What is known of the findings, or of the place, that were named."""
        if self.topic.findings:
            for finding in self.topic.findings[:3]:
                yield from self._finding(finding)
        elif self.topic.sites:
            yield from self._place(self.topic.sites[0])
        else:
            yield from self.unclear()

    def seen(self) -> Iterator[Event]:
        """What was seen of a finding; all that is known of it where nothing was."""
        for finding in self.topic.findings[:3]:
            names = seen_of(self.case.ledger, finding, self.topic.side)
            if names:
                made, _ = self.looking.call("detect", finding=finding, **self._side())
                yield made
                yield from self.teller.ids(tuple(names))
            else:
                yield from self._finding(finding)
        if not self.topic.findings:
            yield from self.about() if self.topic.sites or not self.last else self.teller.ids(self.last)

    def count(self) -> Iterator[Event]:
        """How many there are, then each."""
        for finding in self.topic.findings[:1]:
            names = [
                n for n, o in seen_of(self.case.ledger, finding, self.topic.side).items() if o.presence == "present"
            ]
            if names:
                yield from self.teller.counted(finding, names)
        yield from self.seen()

    def _finding(self, finding: str) -> Iterator[Event]:
        """What is known of a finding and of its kinds; that nobody looked where nothing is."""
        made, _ = self.looking.call("detect", finding=finding, **self._side())
        yield made
        records = self._records(self._kinds(finding))
        if records:
            yield from self.teller.ids(tuple(records))
        else:
            name = load_vocabulary().finding(finding).name
            yield Note(text=f"Nothing in this reading looked for {name}: it is neither found nor excluded.")

    def _place(self, site: str) -> Iterator[Event]:
        """What is known of an organ or a region."""
        names = {
            n
            for n, r in self.case.ledger
            if self._lies_in(r, site) and on_side(r, self.topic.side) and not _nobody_asks(r)
        }
        if names:
            yield from self.teller.told(lambda name, _: name in names)
        else:
            yield Note(text=f"Nothing in this reading speaks of the {load_vocabulary().sites[site].name}.")

    def _records(self, kinds: set[str]) -> set[str]:
        return {
            name
            for name, record in self.case.ledger
            if isinstance(record, Observation | Search) and record.finding in kinds and on_side(record, self.topic.side)
        }

    def _lies_in(self, record: Evidence, site: str) -> bool:
        """Whether evidence is about a site or a part of it."""
        vocabulary = load_vocabulary()
        own = record.site
        if own is None and isinstance(record, Observation | Search):
            own = vocabulary.finding(record.finding).site
        return own is not None and own in vocabulary.sites and vocabulary.site_contains(site, own)

    def _side(self) -> dict[str, str]:
        return {"side": self.topic.side} if self.topic.side else {}

    def structure(self) -> Iterator[Event]:
        """Measures of an organ: those of the reading; of its mask where there are none, or a volume is asked."""
        if not self.topic.sites:
            yield from self.seen() if self.topic.findings else self.unclear()
            return
        site, volume = self.topic.sites[0], "volume" in self.question.text.lower()
        known = [] if volume else [
            name for name, record in self.case.ledger
            if not isinstance(record, Coverage) and self._lies_in(record, site) and on_side(record, self.topic.side)
            and any(m.quantity in DIMENSIONS for m in record.measurements)
            and (isinstance(record, Measured) or record.finding in OF_ORGANS)
        ]  # fmt: skip
        if known:
            yield from self.teller.ids(tuple(known))
        else:
            yield from self.look("measure", structure=self._named(site), **self._side())

    def density(self) -> Iterator[Event]:
        """Density of a point, an organ or what was seen."""
        if self.question.point or self.question.box:
            yield from self.here()
        elif self.topic.findings or not self.topic.sites:
            yield from self.seen()
        else:
            yield from self._density_of(self.topic.sites[0])

    def _density_of(self, site: str) -> Iterator[Event]:
        """The density of an organ; where its scan is not at hand, what the reading measured of it."""
        made, seen = self.looking.call("measure", structure=self._named(site), **self._side())
        yield made
        known = tuple(
            name for name, record in self.case.ledger
            if isinstance(record, Observation | Search) and record.finding in OF_DENSITY
            and self._lies_in(record, site) and record.measured("attenuation")
        )  # fmt: skip
        if seen is not None:
            yield from places(seen.places)
            yield from self.teller.ids(seen.cites)
        elif known:
            yield from self.teller.ids(known)
        else:
            yield Note(text=f"{capital(made.result)}.", about="off")

    def segment(self) -> Iterator[Event]:
        """The mask of an organ."""
        if not self.topic.sites:
            yield from self.lesion() if self.question.point else self.unclear()
            return
        yield from self.look("segment", structure=self._named(self.topic.sites[0]), **self._side())

    @staticmethod
    def _named(site: str) -> str:
        return load_vocabulary().sites[site].name

    def sides(self) -> Iterator[Event]:
        """The left beside the right: of a finding what was seen, of an organ its size."""
        if self.topic.findings:
            for side in ("left", "right"):
                yield from replace(self, asked=replace(self.asked, topic=replace(self.topic, side=side))).seen()
        elif self.topic.sites:
            yield from self._both_sides(self.topic.sites[0])
        else:
            yield from self.unclear()

    def _both_sides(self, site: str) -> Iterator[Event]:
        """The sizes of a pair of organs; what the reading knows of them where they cannot be measured."""
        for side in ("left", "right"):
            made, seen = self.looking.call("segment", structure=self._named(site), side=side)
            yield made
            if seen is None:
                yield Note(text=f"{capital(made.result)}.", about="off")
                there = self.case.ledger.observations()
                known = [n for n, o in there.items() if o.presence != "absent" and self._lies_in(o, site)]
                yield from self.teller.ids(known) if known else ()
                return
            yield from places(seen.places)
            yield from self.teller.ids(seen.cites)

    # ---- how far it can be relied on

    def limit(self) -> Iterator[Event]:
        """How small a thing a search would have found."""
        searches = {
            n: r for f in self.topic.findings[:2] for n in self._records(self._kinds(f))
            if isinstance(r := self.case.ledger[n], Search)
        }  # fmt: skip
        if not searches:
            yield from self.about() if self.topic.findings else self.unclear()
            return
        for name, search in searches.items():
            yield Note(text=limit_of(search), about="because", cites=(name,))

    def certainty(self) -> Iterator[Event]:
        """How sure a finding is, and how exact its numbers are."""
        names = [n for f in self.topic.findings[:2] for n in seen_of(self.case.ledger, f, self.topic.side)]
        names = names or [n for n in self.last if n in self.case.ledger]
        if not names:
            yield from self.about()
            return
        yield from self.teller.ids(tuple(names))
        for name in names[:6]:
            yield Note(text=sureness_of(self.case.ledger[name]), about="because", cites=(name,))

    @staticmethod
    def _kinds(finding: str) -> set[str]:
        return {key for key in load_vocabulary().findings if load_vocabulary().is_a(key, finding)}

    def why_not(self) -> Iterator[Event]:
        """Why something was not assessed; what was, where it was after all."""
        if self.topic.findings or self.topic.sites:
            yield from self.about()
        else:
            yield from self.teller.part("not_assessed")

    def evidence(self) -> Iterator[Event]:
        """The evidence of what was named, or of the turn before: what measured it, where, and how sure."""
        names = [n for f in self.topic.findings[:2] for n in self._records(self._kinds(f))] or list(self.last)
        if not names:
            yield Note(text="I have said nothing yet. Ask about a finding first.", about="clarify")
        told = [name for name in sorted(names, key=lambda name: int(name[1:]))[:8] if name in self.case.ledger]
        for name in told:
            yield Note(text=line_of(name, self.case.ledger[name]), about="because", cites=(name,))
        for tool in list(dict.fromkeys(self.case.ledger[name].tool for name in told))[:2]:
            yield Note(text=tool_told(tool), about="because")

    def show(self) -> Iterator[Event]:
        """Where to look."""
        names = [n for f in self.topic.findings[:3] for n in seen_of(self.case.ledger, f, self.topic.side)]
        if names:
            yield from self.look("show", evidence=names[:20])
        elif self.topic.findings:
            yield from self.about()
        elif self.topic.sites:
            yield from self.look(
                "show", structure=" ".join(filter(None, (self.topic.side, self._named(self.topic.sites[0]))))
            )
        elif self.last:
            yield from self.look("show", evidence=[n for n in self.last if n in self.case.ledger][:20])
        else:
            yield from self.unclear()

    # ---- where somebody points

    def here(self) -> Iterator[Event]:
        """What lies at the marked point, in the box, along the line."""
        question = self.question
        if question.point is not None:
            yield from self.look("measure_point", point=question.point)
        if question.box is not None:
            yield from self.look("measure_box", low=question.box[0], high=question.box[1])
        if question.line is not None:
            yield from self.look("measure_line", start=question.line[0], end=question.line[1])
        if question.evidence:
            yield from self.teller.ids(question.evidence)
        elif not (question.point or question.box or question.line):
            yield Note(text=POINT_FIRST, about="clarify")

    def lesion(self) -> Iterator[Event]:
        """The lesion at the marked point."""
        if self.question.point is None:
            yield from self.here()
            return
        yield from self.look("grow", point=self.question.point)

    def distance(self) -> Iterator[Event]:
        """A length between two points; of a finding what is known of it."""
        if self.question.line is None and (self.topic.findings or self.last):
            yield from self.seen()
        else:
            yield from self.here()

    def unclear(self) -> Iterator[Event]:
        """Nothing that can be looked up: ask back."""
        strange = f" I do not know the word {self.topic.unknown[0]!r}." if self.topic.unknown else ""
        says = intents()[self.asked.intent].says if self.asked.intent in intents() else ""
        wanted = f"Of what do you want to know {says}? " if says else ""
        yield Note(text=f"{wanted}Name a finding or an organ, or ask for the impression.{strange}", about="clarify")


def _nobody_asks(record: Evidence) -> bool:
    """Whether it only says that no tool looks for something of which a report says nothing either."""
    if not isinstance(record, Search) or record.failed != ("not_implemented",):
        return False
    return record.finding not in load_phrases().not_assessed
