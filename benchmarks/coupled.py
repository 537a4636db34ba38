"""What the embedded model says from the image alone, beside the same of another patient's image and trivial answers.

    python -m benchmarks.coupled BODIES [--bodies 50] [--scans FOLDER] [--write-docs]

Bodies are of the test seeds, drawn and encoded once and kept in BODIES. A statement is a finding of an organ, there or
not. Another patient's image: the truth of each body against what was said of every other one. The interval resamples
patients. With a folder of scans each is read, too, and what the model says is compared with what the tools found.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.encoder import load_encoder
from vlm.encoder.calibration import auroc, resampled
from vlm.encoder.embedding import embedding
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.impressions import ASKED, Impressions, standing_of
from vlm.train.pictured import Pictured, pictured

Bools = NDArray[np.bool_]
LEAST = 3  # bodies with a finding, for an AUROC


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """(N, S) of N bodies and S statements: scores, what is true, and whether the organ was seen."""

    scores: NDArray[np.float64]
    truths: Bools
    seen: Bools

    @property
    def said(self) -> Bools:
        """(N, S) where present was said."""
        return self.seen & (self.scores > 0)

    def f1(self, rows: Sequence[int], column: slice | Bools = slice(None)) -> float:  # immutable
        """F1 of present over some bodies and statements."""
        said, true = self.said[rows][:, column], (self.truths & self.seen)[rows][:, column]
        return f1(int((said & true).sum()), int(said.sum()), int(true.sum()))

    def f1_of_others(self, rows: Sequence[int], column: slice | Bools = slice(None)) -> float:
        """The same with what was said of another body, over all pairs of two."""
        said, true = self.said[rows][:, column], (self.truths & self.seen)[rows][:, column]
        pairs = said.sum(axis=0) * true.sum(axis=0) - (said & true).sum(axis=0)  # of i, j with i not j, by statement
        others = len(said) - 1
        return f1(int(pairs.sum()), int(said.sum()) * others, int(true.sum()) * others)


def f1(hits: int, said: int, true: int) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was said or is true."""
    return 2 * hits / (said + true) if said + true else 0.0


STATEMENTS = tuple((organ, finding) for organ, findings in ASKED.items() for finding in findings)


def asked(bodies: Sequence[Pictured], model: Impressions, kept: Path) -> Table:
    """What is said of each body, from what was kept where it was asked before."""
    scores = np.zeros((len(bodies), len(STATEMENTS)))
    truths, seen = np.zeros(scores.shape, dtype=bool), np.zeros(scores.shape, dtype=bool)
    kept.mkdir(parents=True, exist_ok=True)
    for row, one in enumerate(bodies):
        path = kept / f"{one.seed}.json"
        if not path.is_file():
            path.write_text(json.dumps([[s.organ, s.finding, s.score] for s in model.of(one.seen)]), encoding="utf-8")
            print(one.seed, flush=True)
        for organ, finding, score in json.loads(path.read_text(encoding="utf-8")):
            column = STATEMENTS.index((organ, finding))
            scores[row, column], seen[row, column] = score, True
        truths[row] = [one.holds(organ, finding) for organ, finding in STATEMENTS]
    return Table(scores, truths, seen)


def rows_of(table: Table) -> list[str]:
    """The lines of the table over bodies."""
    every = list(range(len(table.scores)))
    draws = [list(rows) for rows in resampled(np.array(every), 500)]
    share = float((table.truths & table.seen).sum() / table.seen.sum())

    def spread(values: Sequence[float]) -> str:
        low, high = np.percentile(values, (2.5, 97.5))
        return f"({low:.3f} to {high:.3f})"

    own, other = [table.f1(rows) for rows in draws], [table.f1_of_others(rows) for rows in draws]
    times = table.f1(every) / max(table.f1_of_others(every), 1e-9)
    lines = [
        "| who says it | F1 of present (95 %) |", "|---|---|",
        f"| the model, from the image | {table.f1(every):.3f} {spread(own)} |",
        f"| the model, from another patient's image | {table.f1_of_others(every):.3f} {spread(other)} |",
        f"| times as much | {times:.2f} {spread([a / max(b, 1e-9) for a, b in zip(own, other, strict=True)])} |",
        f"| chance at the prevalence ({share:.3f}) | {share:.3f} |",
        f"| always present | {2 * share / (1 + share):.3f} |", "| always absent | 0.000 |", "",
        "| finding | there | F1 | another's image | AUROC |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for key in dict.fromkeys(finding for _, finding in STATEMENTS):
        column = np.array([finding == key for _, finding in STATEMENTS])
        there = (table.truths & table.seen)[:, column]
        score, truth = table.scores[:, column][table.seen[:, column]], there[table.seen[:, column]].astype(int)
        area = f"{auroc(score, truth):.2f}" if min(truth.sum(), (1 - truth).sum()) >= LEAST else ""
        name = load_vocabulary().finding(key).name
        mine, others = table.f1(every, column), table.f1_of_others(every, column)
        lines.append(f"| {name} | {int(there.sum())} of {there.size} | {mine:.2f} | {others:.2f} | {area} |")
    return lines


def on_scans(folder: Path, model: Impressions, kept: Path) -> list[str]:
    """What is said of real scans against what tools say of them."""
    from app.asking import know

    counts: Counter[tuple[str, bool, str]] = Counter()
    scans = sorted(path for path in folder.iterdir() if path.is_dir())
    encoder = functools.cache(load_encoder)
    for scan in scans:
        path = kept / f"scan-{scan.name}.json"
        if not path.is_file():
            source = next((p for p in (scan / "ct.nii.gz", scan / "dicom.zip") if p.is_file()), scan)
            known = know(source)
            assert known.case is not None  # a scan was read
            said = model.of(embedding(known.case, encoder()))
            told = [(s.finding, s.present, standing_of(s, known.ledger)) for s in said]
            path.write_text(json.dumps(told), encoding="utf-8")
            print(scan.name, flush=True)
        counts.update((f, p, s) for f, p, s in json.loads(path.read_text(encoding="utf-8")))
    return _against_tools(counts, len(scans))


def _against_tools(counts: Mapping[tuple[str, bool, str], int], scans: int) -> list[str]:
    lines = [
        f"{scans} real scans, whose only truth here is what tools found. Uncertain and not assessed are left out.", "",
        "| finding | both present | both absent | model alone | tools alone |", "|---|---|---|---|---|",
    ]  # fmt: skip
    columns = (
        (True, ("present",)),
        (False, ("absent", "limited")),
        (True, ("absent", "limited")),
        (False, ("present",)),
    )
    total = np.zeros(4, dtype=int)
    for key in dict.fromkeys(finding for _, finding in STATEMENTS):
        row = np.array([sum(counts.get((key, p, s), 0) for s in states) for p, states in columns])
        total += row
        lines.append(f"| {load_vocabulary().finding(key).name} | {' | '.join(map(str, row))} |")
    lines.append(f"| all | {' | '.join(map(str, total))} |")
    agree, of = int(total[:2].sum()), int(total.sum())
    never = int(total[1] + total[2])
    lines += [
        "",
        f"Agreement {agree} of {of} ({agree / max(of, 1):.2f}); a model that always denies would have {never}.",
    ]
    return lines


def main() -> None:
    """Ask, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path, metavar="BODIES")
    parser.add_argument("--bodies", type=int, default=50)
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--coupled", type=Path, help="what vlm.train.impressions made; the shipped one by default")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    model = Impressions(options.coupled) if options.coupled else Impressions()
    kept = ROOT / "benchmarks" / "out" / "coupled" / model.digest[:12]
    encoder = functools.cache(load_encoder)
    bodies = list(pictured("test", options.bodies, encoder, options.place, functools.partial(print, flush=True)))
    lines = rows_of(asked(bodies, model, kept))
    if options.scans:
        lines += ["", *on_scans(options.scans, model, kept)]
    note = model.note
    trained = (
        f"{len(bodies)} synthetic bodies of the test seeds, {len(STATEMENTS)} statements each; trained on "
        f"{note['bodies']}, threshold from {note.get('tune', 0)} of the tune seeds."
    )
    command = f"python -m benchmarks.coupled BODIES --bodies {len(bodies)}" + (
        " --scans SCANS" if options.scans else ""
    )
    text = "\n".join([trained, "", *lines, "", stamp(command)])
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "language.md", "coupled", text)


if __name__ == "__main__":
    main()
