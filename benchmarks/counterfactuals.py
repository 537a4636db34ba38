"""How many false sentences the checker catches, and how many true ones it stops.

From random ledgers come true sentences in many wordings, and from each of them errors of
every class. Caught means: neither supported nor neutral. Run it from the checkout:

    python -m benchmarks.counterfactuals [--sentences 6000] [--seed 0] [--write-docs]
"""

from __future__ import annotations

import argparse
import collections
import datetime
import math
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import joined
from benchmarks.errors import ERRORS, Truth
from benchmarks.facts import say
from benchmarks.scenes import Fact, Scene, sample
from benchmarks.wordings import DEVELOPMENT, WIDER, Wording, hands
from benchmarks.wordings_held_out import HELD_OUT
from benchmarks.wordings_varied import VARIED
from vlm.grounding import Context, Statement, Verdict, check

DOCS = Path(__file__).resolve().parents[1] / "docs" / "grounding.md"
BEGIN, END = "<!-- counterfactuals: begin -->", "<!-- counterfactuals: end -->"
TRUE = "true"
PASSED = ("supported", "neutral")


@dataclass(frozen=True)
class Trial:
    """One sentence that was checked."""

    label: str  # TRUE or a class of error
    text: str
    cites: tuple[str, ...]
    verdict: Verdict
    scene: Scene
    fact: Fact | None  # None for a sentence of several facts

    @property
    def passed(self) -> bool:
        """Whether the sentence would enter a report as it stands."""
        return self.verdict.name in PASSED


def trials(wording: Wording, *, sentences: int, seed: int) -> Iterator[Trial]:
    """True sentences and errors in one wording, about half of each, until there are so many."""
    rng = random.Random(seed)
    made = 0
    so_far: collections.Counter[str] = collections.Counter()  # rare errors first, so that every class is measured
    while made < sentences:
        scene = sample(rng)
        context = Context(prior=scene.prior)
        for fact in scene.facts:
            yield _trial(TRUE, fact, scene, wording, context, rng)
            made += 1
            able = [
                (label, wrong)
                for label, change in ERRORS.items()
                if (wrong := change(Truth(fact, scene, wording, rng)))
            ]
            rng.shuffle(able)
            for label, wrong in sorted(able, key=lambda pair: so_far[pair[0]])[:3]:
                so_far[label] += 1
                yield _trial(label, wrong, scene, wording, context, rng)
                made += 1
        for label, text, cites, section in joined.sentences(scene, wording, rng, true=TRUE):
            yield _judged(label, text, cites, section, scene, context, None)
            made += 1


def _trial(label: str, fact: Fact, scene: Scene, wording: Wording, context: Context, rng: random.Random) -> Trial:
    text = say(fact, wording, rng)
    return _judged(label, text, fact.cites, fact.section, scene, context, fact)


def _judged(
    label: str, text: str, cites: tuple[str, ...], section: str, scene: Scene, context: Context, fact: Fact | None
) -> Trial:
    statement = Statement(id="S1", section=section, text=text, cites=cites)
    return Trial(label, text, cites, check([statement], scene.ledger, context=context)["S1"], scene, fact)


def whole_reports(wording: Wording, *, scenes: int, seed: int) -> dict[str, list[bool]]:
    """Caught or not, by class, for errors that only a whole report shows."""
    rng = random.Random(seed)
    found: dict[str, list[bool]] = collections.defaultdict(list)
    for _ in range(scenes):
        for label, caught in joined.reports(sample(rng), wording, rng):
            found[label].append(caught)
    return found


def run(wordings: Sequence[Wording], sentences: int, seed: int) -> list[Trial]:
    """As many sentences, shared out among the hands of a set."""
    return [trial for w in wordings for trial in trials(w, sentences=sentences // len(wordings), seed=seed)]


def whole_run(wordings: Sequence[Wording], scenes: int, seed: int) -> dict[str, list[bool]]:
    """As many reports, shared out among the hands of a set."""
    found: dict[str, list[bool]] = collections.defaultdict(list)
    for wording in wordings:
        for label, hits in whole_reports(wording, scenes=scenes // len(wordings), seed=seed).items():
            found[label] += hits
    return found


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    z, share = 1.959964, hits / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


SETS: dict[str, tuple[Wording, ...]] = {
    DEVELOPMENT.name: (DEVELOPMENT,),
    WIDER.name: (WIDER,),
    VARIED.name: (VARIED,),
    "varied, second hand": hands("varied"),
    "five hands": hands("first"),
    "five more": hands("second"),
    "three last": hands("third"),
    HELD_OUT.name: (HELD_OUT,),
}
LABELS = (*ERRORS, *joined.JOINED, *joined.WHOLE, TRUE)


def table(found: list[Trial], whole: dict[str, list[bool]]) -> list[tuple[str, int, int, float, float]]:
    """(class, caught, of, low, high) for every class of error, and false alarms on the true ones last."""
    counts: dict[str, list[bool]] = collections.defaultdict(list, {label: list(hits) for label, hits in whole.items()})
    for trial in found:
        counts[trial.label].append(not trial.passed)
    rows = [(label, sum(counts[label]), len(counts[label])) for label in LABELS if counts[label]]
    return [(label, hits, of, *wilson(hits, of)) for label, hits, of in rows]


def shown(results: dict[str, list[Trial]], whole: dict[str, dict[str, list[bool]]]) -> str:
    """The tables of all wordings side by side, as Markdown."""
    tables = {name: {row[0]: row[1:] for row in table(found, whole[name])} for name, found in results.items()}
    head = " | ".join(f"{name}: caught of n (95 %)" for name in tables)
    lines = [f"| class | {head} |", "| --- |" + " --- |" * len(tables)]
    for label in LABELS:
        cells = []
        for rows in tables.values():
            hits, of, low, high = rows.get(label, (0, 0, 0.0, 1.0))
            cells.append(f"{hits / max(of, 1):.2%} of {of} ({low:.1%} to {high:.1%})")
        lines.append(f"| {'*false alarms on true sentences*' if label == TRUE else label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run both wordings, print the tables, and show what slipped through in the development wording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=6000, help="for each wording")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--show", type=int, default=0, help="examples of misses and false alarms, development wording only"
    )
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    results = {name: run(wordings, options.sentences, options.seed) for name, wordings in SETS.items()}
    whole = {name: whole_run(wordings, options.sentences // 20, options.seed) for name, wordings in SETS.items()}
    text = shown(results, whole)
    print(text)
    print(f"{sum(map(len, results.values()))} sentences in {time.perf_counter() - began:.0f} s")
    for trial in _examples([*results[DEVELOPMENT.name], *results[WIDER.name]], options.show):
        found = trial.verdict
        print(f"[{trial.label}] {trial.text} {trial.cites} -> {found.name} {found.rule} {found.reason}")
    if options.write_docs:
        write_docs(text, options.sentences, options.seed)


def _examples(found: list[Trial], most: int) -> Iterator[Trial]:
    left = collections.Counter(dict.fromkeys(LABELS, most))
    for trial in found:
        if trial.passed != (trial.label == TRUE) and left[trial.label] > 0:
            left[trial.label] -= 1
            yield trial


def write_docs(text: str, sentences: int, seed: int) -> None:
    """Put the table between its marks in docs/grounding.md, with the command, the commit and the date."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    page = DOCS.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    command = f"python -m benchmarks.counterfactuals --sentences {sentences} --seed {seed}"
    note = f"`{command}`, commit {commit.stdout.strip()}, {day}."
    DOCS.write_text(f"{before}{BEGIN}\n{note}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
