"""What an adapter adds on synthetic bodies that took no part: each column alone, all joined, beside trivial answers.

    tomoscribe phantom out/train --cohort 120 --split train
    tomoscribe phantom out/test --cohort 60 --split test
    tomoscribe adapt --data out/train --rank 0 --out out/chest.adapter
    python -m benchmarks.heads --adapter out/chest.adapter --cohort out/test [--write-docs]

Each case is read and every column of the pack is asked; what was answered is kept, so that a stopped run goes on.
AUROC is the mean over columns with at least five cases of either kind; its interval resamples patients. Joined: what
tools say (present 1, uncertain 1/2, not found 0) and the joined probability, their mean where both speak.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.asking import query_scan
from app.known import know
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.encoder import Encoder, load_encoder
from vlm.encoder.adapter import Adapted, load_adapter
from vlm.encoder.calibration import auroc, expected_error, resampled

SAID = {"present": 1.0, "uncertain": 0.5, "limited": 0.0, "absent": 0.0}
LEAST = 5
PACKS = ("ct-rate-18", "merlin-30")
WAYS = ("tools", "zero_shot", "heads", "joined")
Row = Mapping[str, Any]


def asked(case: Path, pack: str, encoder: Encoder, kept: Path) -> list[Row]:
    """Every column of a pack for one case, from what was kept where it was asked before: it is read once for all."""
    path = kept / f"{case.name}.json"
    if not path.is_file():
        known = know(case / "scan")
        answers = {name: query_scan(known, (), name, encoder)["answers"] for name in PACKS}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answers), encoding="utf-8")
        print(case.name, flush=True)
    return [score_of(row) for row in json.loads(path.read_text(encoding="utf-8"))[pack]]


def score_of(row: Row) -> dict[str, Any]:
    """One number a way, None where it says nothing; and the probability."""
    columns, chance = row["columns"], row["probability"]
    said = SAID.get(row["status"])
    spoke = [value for value in (said, chance) if value is not None]
    return {
        "column": row["words"], "tools": said, "zero_shot": columns["zero_shot"].get("score"),
        "heads": columns["heads"].get("score"), "joined": sum(spoke) / len(spoke) if spoke else None,
        "probability": chance,
    }  # fmt: skip


def macro(scores: Sequence[Mapping[str, Row]], truths: Sequence[Row], way: str, rows: Sequence[int]) -> float:
    """Mean AUROC over columns; who says nothing of a case says as little as of the middle one."""
    values = []
    for column in truths[0]:
        truth = np.array([int(truths[n][column]) for n in rows])
        told = [scores[n].get(column, {}).get(way) for n in rows]
        known = [value for value in told if value is not None]
        if min(int(truth.sum()), len(truth) - int(truth.sum())) < LEAST or not known:
            continue
        middle = float(np.median(known))
        values.append(auroc(np.array([middle if value is None else value for value in told]), truth))
    return float(np.mean(values)) if values else float("nan")


def table(scores: Sequence[Mapping[str, Row]], truths: Sequence[Row], patients: Sequence[str]) -> str:
    """The ways as rows of Markdown, then calibration."""
    every = list(range(len(scores)))
    lines = ["| column | macro AUROC (95 %) | shuffled patients |", "|---|---|---|"]
    for way in WAYS:
        drawn = [macro(scores, truths, way, list(rows)) for rows in resampled(np.array(patients), 100)]
        drawn = [value for value in drawn if np.isfinite(value)]
        if not drawn:
            lines.append(f"| {way} | says nothing | |")
            continue
        low, high = np.percentile(drawn, (2.5, 97.5))
        mixed = np.random.default_rng(0).permutation(len(truths))
        shuffled = macro(scores, [truths[n] for n in mixed], way, every)
        lines.append(f"| {way} | {macro(scores, truths, way, every):.3f} ({low:.3f}-{high:.3f}) | {shuffled:.3f} |")
    lines.append("| the same for everybody | 0.500 | 0.500 |")
    pairs = [
        (row["probability"], int(truths[n][name]))
        for n in every
        for name, row in scores[n].items()
        if row["probability"] is not None and name in truths[n]
    ]
    if pairs:
        chance, truth = np.array(pairs).T
        error, plain = expected_error(chance, truth.astype(int)), float(((truth - truth.mean()) ** 2).mean())
        brier = float(((chance - truth) ** 2).mean())
        lines.append(f"\n{len(pairs)} joined probabilities: ECE {error:.3f}, Brier {brier:.3f} "
                     f"(prevalence for everybody: {plain:.3f}); {1 - len(pairs) / (len(truths) * len(truths[0])):.0%} "
                     "abstained.")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Ask, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--pack", default="ct-rate-18")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    adapter = load_adapter(options.adapter)
    encoder = Adapted(load_encoder(), [adapter])
    kept = ROOT / "benchmarks" / "out" / "heads" / adapter.sha256[:12]
    scores, truths, patients = [], [], []
    with (options.cohort / "cohort.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows = asked(options.cohort / row["case_id"], options.pack, encoder, kept)
            scores.append({told["column"]: told for told in rows})
            truths.append({name: row[name] for name in scores[-1] if name in row})
            patients.append(row["seed"])
    text = (
        f"{table(scores, truths, patients)}\n\n{len(patients)} synthetic bodies; {adapter.name}: {adapter.trained_on}, "
        f"`{adapter.command}`. {stamp(f'python -m benchmarks.heads --cohort {options.cohort.name}')}"
    )
    print(text)
    if options.write_docs:
        write_section(Path(ROOT / "docs" / "encoder.md"), "heads", text)


if __name__ == "__main__":
    main()
