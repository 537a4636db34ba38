"""Whether similar cases share findings: recall@5 by scan, organ and sentence, beside the label oracle and random.

    python -m benchmarks.retrieval_recall [--cases 1000] [--words] [--write-docs]
    python -m benchmarks.retrieval_recall --images LIBRARY [--write-docs]

Cases are planned at CT-RATE's prevalence (or at graded sizes) and dictated as radiologists word them; nothing is drawn,
so this is about findings and words, not about images. A case is right among the five when it shares as much (Jaccard
of finding sets, or of an organ's) as the fifth best of all that share something: the oracle has 1 by definition. The
query's own case is left out, and of cases with the same words all but the first. ``--words`` adds sentences by
all-MiniLM-L6-v2. ``--images`` asks a library that was filled from a drawn cohort (``index add COHORT --encode``) by its
vectors of images alone, beside its findings; what is true is what the cohort's dictated reports say is there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from app.encoding import of_words, words_asked_of
from benchmarks.stamp import ROOT, stamp, write_section
from retrieval.caches import decoded
from retrieval.cases import CaseVector, NewCase
from retrieval.facts import Fact, from_text
from retrieval.filters import Filters
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search
from vlm.phantom.cohort import Settings, plan_of
from vlm.phantom.dictation import dictate

SHOWN = 5
SMALL_MM = 8.0
Labels = frozenset[tuple[str, str | None]]
Of = Callable[[Sequence[Fact]], Labels]


def case_of(number: int) -> tuple[tuple[Fact, ...], str]:
    """What a case has, and its report; odd cases are of graded sizes."""
    wanted = plan_of(Settings(count=1, prevalence="graded" if number % 2 else "ct-rate"), number // 2)
    truth = tuple(fact for words in wanted.findings for fact in from_text(f"{words}."))
    entries = [
        {"finding": f.finding, "side": f.side, "site": f.site, "quantity": "diameter" if f.size_mm else None,
         "value": f.size_mm, "mask": f"m{n}", "attributes": ()}
        for n, f in enumerate(truth)
    ]  # fmt: skip
    asked = {"region": wanted.region, "phase": wanted.phase}
    return truth, dictate({"findings": entries, "asked": asked}, seed=wanted.seed)


def labels(facts: Sequence[Fact], organ: str | None = None) -> Labels:
    """Findings with their sides; those of one organ."""
    return frozenset((f.finding, f.side) for f in facts if organ is None or f.organ == organ)


def shared(one: Labels, other: Labels) -> float:
    """Jaccard index; two empty sets share everything."""
    return len(one & other) / len(one | other) if one | other else 1.0


class Table:
    """Recall and shared findings of each way to search."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[float, float, float, float, float]]] = {}

    def add(self, way: str, found: Sequence[float], every: Sequence[float], chance: np.random.Generator) -> None:
        """One query: what the cases found share with it, and what all cases do."""
        best = np.sort(every)[::-1][:SHOWN]
        best = best[best > 0]
        if not len(best):
            return  # no other case shares anything
        blind = chance.choice(every, SHOWN, replace=False)
        right, luck = (sum(value >= best[-1] for value in some) / len(best) for some in (found, blind))
        told = (right, luck, sum(found) / SHOWN, best.sum() / SHOWN, float(blind.mean()))
        self.rows.setdefault(way, []).append(told)

    def markdown(self) -> str:
        """As a table."""
        lines = ["| searched by | queries | recall@5 | oracle | random | shared, mean | oracle | random |",
                 "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
        for way, rows in self.rows.items():
            right, luck, share, best, blind = np.mean(rows, axis=0)
            cells = (f"{right:.2f}", "1.00", f"{luck:.2f}", f"{share:.2f}", f"{best:.2f}", f"{blind:.2f}")
            lines.append(f"| {way} | {len(rows)} | {' | '.join(cells)} |")
        return "\n".join(lines)


class Bench:
    """A library of cases, and how its answers compare with the truth."""

    def __init__(self, library: CaseLibrary) -> None:
        self.library = library
        self.truths: dict[str, tuple[Fact, ...]] = {}
        self.search, self.table, self.chance = Search(library), Table(), np.random.default_rng(5)
        self.small: dict[str, list[bool]] = {"whole scan": [], "lung alone": []}

    def ask(self, name: str, way: str, query: Query, of: Of, organ: str | None = None) -> list[str]:
        """The five cases that a query of a case finds, noted in the table; ``of`` says what is shared."""
        found = [s.case.name for s in self.search.similar(query, SHOWN, Filters(organ=organ))]
        mine = of(self.truths[name])
        hits = [shared(mine, of(self.truths[other])) for other in found]
        every = [shared(mine, of(truth)) for other, truth in self.truths.items() if other != name]
        self.table.add(way, hits, every, self.chance)
        return found

    def note_small(self, name: str, found: Sequence[str], near: Sequence[str]) -> None:
        """Of a case with a small nodule beside other things: whether another one on that side is among the found."""
        truth = self.truths[name]
        sides = tiny(truth)
        if sides and any(fact.organ != "lung" for fact in truth):
            for way, names in (("whole scan", found), ("lung alone", near)):
                self.small[way].append(any(tiny(self.truths[other]) & sides for other in names))

    def told(self) -> str:
        """Everything as Markdown."""
        counts = "; ".join(f"{way} {sum(hits)} of {len(hits)}" for way, hits in self.small.items())
        small = f"Cases with a nodule below {SMALL_MM:.0f} mm beside findings elsewhere: another one on that side is"
        return f"{self.table.markdown()}\n\n{small} among the five by {counts}."


class Dictated(Bench):
    """Cases that are planned and dictated, not drawn; asked by findings and by sentences."""

    def __init__(self, folder: Path, cases: int, *, words: bool) -> None:
        super().__init__(CaseLibrary(folder))
        self.words = words
        self.reports: dict[str, str] = {}
        for number in range(cases):
            truth, report = case_of(number)
            if report in self.reports.values():
                continue
            vectors = of_words(report) if words else ()
            new = NewCase(patient=f"p{number}", study="s", source="plan", report=report, vectors=vectors)
            name = self.library.add(new)
            self.truths[name], self.reports[name] = truth, report

    def query(self, name: str) -> None:
        """All ways to search for cases like one."""
        case, truth = self.library.by_name(name), self.truths[name]
        query = Query(facts=case.facts, own=case.patient)
        found = self.ask(name, "the whole scan's findings", query, labels)
        if of_lung(truth):
            self.ask(name, "the whole scan's, judged by the lung", query, of_lung)
            near = self.ask(name, "the lung's findings", query, of_lung, "lung")
            self.note_small(name, found, near)
        if truth:
            self.sentence(name, case.patient, truth[0])

    def sentence(self, name: str, patient: int, fact: Fact) -> None:
        """Search by the words of one finding's sentence; right is who has that finding on that side."""
        lines = self.reports[name].splitlines()
        said = next((t for t in lines if fact.finding in {f.finding for f in from_text(t)}), "")
        if said:
            way = "one sentence" + (", by meaning too" if self.words else "")
            query = Query(text=said, vectors=words_asked_of(self.library, said), own=patient)
            self.ask(name, way, query, lambda facts: labels(facts) & {(fact.finding, fact.side)})


class Drawn(Bench):
    """Cases of a library with vectors of images, asked by those alone; beside them by findings."""

    def __init__(self, library: CaseLibrary) -> None:
        super().__init__(library)
        rows = library.tables.rows(
            "select distinct case_id from vectors where kind = 'scan' and space not like 'find%'"
        )
        for case in library.cases([row["case_id"] for row in rows]).values():
            self.truths[case.name] = tuple(fact for fact in case.facts if fact.presence == "present")

    def query(self, name: str) -> None:
        """All ways to search for cases like one."""
        case, truth = self.library.by_name(name), self.truths[name]
        image = Query(vectors=self.vectors(case.id), own=case.patient, regions=case.regions)
        found = self.ask(name, "the whole scan's image", image, labels)
        self.ask(name, "the whole scan's findings", Query(facts=truth, own=case.patient), labels)
        for organ in ("lung", "liver"):
            if mine := labels(truth, organ):
                of: Of = partial(labels, organ=organ)
                self.ask(name, f"the whole scan's image, judged by the {organ}", image, of)
                near = self.ask(name, f"the {organ}'s image", image, of, organ)
                if organ == "lung" and mine:
                    self.note_small(name, found, near)

    def vectors(self, case: int) -> tuple[CaseVector, ...]:
        """The vectors of a case's scan and organs."""
        query = "select kind, space, part, body from vectors where case_id = ? and kind != 'sentence'"
        rows = self.library.tables.rows(f"{query} and space not like 'findings-%'", (case,))
        return tuple(
            CaseVector(kind=r["kind"], space=r["space"], part=r["part"], values=decoded(r["space"], r["body"]))
            for r in rows
        )


def of_lung(facts: Sequence[Fact]) -> Labels:
    """The findings of the lung."""
    return labels(facts, "lung")


def tiny(facts: Sequence[Fact]) -> set[str | None]:
    """The sides of small nodules."""
    return {f.side for f in facts if f.finding == "lung_nodule" and f.size_mm is not None and f.size_mm < SMALL_MM}


def by_images(folder: Path, *, write: bool) -> None:
    """Measure a library's vectors of images; every case is asked for."""
    made = stamp(f"python -m benchmarks.retrieval_recall --images {folder.name}")
    bench = Drawn(CaseLibrary(folder, make=False))
    for name in sorted(bench.truths):
        bench.query(name)
    text = f"{bench.told()}\n\n{len(bench.truths)} drawn bodies. {made}"
    print(text)
    if write:
        write_section(ROOT / "docs" / "library.md", "recall-images", text)


def main() -> None:
    """Measure, print, and with --write-docs put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--images", type=Path, metavar="LIBRARY")
    parser.add_argument("--write-docs", action="store_true")
    given = parser.parse_args()
    if given.images is not None:
        by_images(given.images, write=given.write_docs)
        return
    more = " --words" if given.words else ""
    made = stamp(f"python -m benchmarks.retrieval_recall --cases {given.cases} --queries {given.queries}{more}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Dictated(Path(folder) / "lib", given.cases, words=given.words)
        for name in np.random.default_rng(4).permutation(sorted(bench.truths))[: given.queries]:
            bench.query(str(name))
        bench.search.close()
        bench.library.close()
    text = f"{bench.told()}\n\n{len(bench.truths)} cases, planned and dictated, not drawn. {made}"
    print(text)
    if given.write_docs:
        write_section(ROOT / "docs" / "library.md", "recall", text)


if __name__ == "__main__":
    main()
