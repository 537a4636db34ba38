"""How well the reader of reports reads: labels, denials, abdomen, words it does not know.

    python -m benchmarks.reader [--shared DIR] [--write-docs]

The shared reports are test data: rules were tuned on the reports whose hash says "tune"
(60 %), the others ("held") were only ever scored. Beside each score stand the keyword
baseline of the same folder, if it is there, and what trivial answers score. Intervals are
95 % by bootstrap over reports.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import importlib.util
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks.stamp import stamp, write_section
from vlm.findings.labels import label
from vlm.findings.mentions import Reading, Span
from vlm.findings.packs import Pack, load_pack
from vlm.findings.reader import presence_of, read_report

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("TOMOSCRIBE_SHARED", ROOT.parent / "shared"))
DOCS = ROOT / "docs" / "reader.md"
ABDOMEN = ROOT / "benchmarks" / "packs" / "abdomen-12.toml"
TUNE_PERCENT = 60
RESAMPLES = 1000
Row = dict[str, int]


@dataclass(frozen=True)
class Reports:
    """Texts with their true labels."""

    keys: list[str]
    texts: list[str]
    truth: list[Row]

    def part(self, tune: bool) -> Reports:
        """The reports of one side of the split."""
        at = [i for i, key in enumerate(self.keys) if is_tune(key) == tune]
        return Reports([self.keys[i] for i in at], [self.texts[i] for i in at], [self.truth[i] for i in at])


def is_tune(key: str) -> bool:
    """The side of a report, by the hash of its id."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100 < TUNE_PERCENT


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a gzipped CSV file."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def chest_reports(folder: Path, pack: Pack) -> Reports:
    """CT-RATE's reports with labels set by hand."""
    rows = rows_of(folder / "ctrate_manual_dev.csv.gz")
    truth = [{column.name: int(row[column.name]) for column in pack.columns} for row in rows]
    return Reports([row["AccessionNo"] for row in rows], [row["report_text"] for row in rows], truth)


def abdomen_reports(folder: Path, pack: Pack) -> Reports:
    """Abdominal findings with twelve silver labels."""
    labels = {row["AccessionNo"]: row for row in rows_of(folder / "abdomen_labels12_dev.csv.gz")}
    reports = Reports([], [], [])
    for row in rows_of(folder / "abdomen_findings_dev.csv.gz"):
        key = f"{row['source_split']}_{row['case_id']}"
        reports.keys.append(key)
        reports.texts.append(row["input_finding"])
        reports.truth.append({column.name: int(labels[key][column.name]) for column in pack.columns})
    return reports


# ---------------------------------------------------------------- scores


@dataclass(frozen=True)
class Score:
    """Macro and micro F1 of one answer."""

    macro: float
    micro: float
    per_label: dict[str, tuple[int, float, float, float]]  # positives, precision, recall, F1


def score(truth: Sequence[Row], given: Sequence[Row]) -> Score:
    """Precision, recall and F1 of every label, their mean, and F1 over all slots."""
    per: dict[str, tuple[int, float, float, float]] = {}
    total = [0, 0, 0]
    for name in truth[0]:
        both = sum(t[name] and g[name] for t, g in zip(truth, given, strict=True))
        true, said = sum(t[name] for t in truth), sum(g[name] for g in given)
        per[name] = (true, both / max(said, 1), both / max(true, 1), 2 * both / max(true + said, 1))
        total = [total[0] + both, total[1] + true, total[2] + said]
    macro = sum(value[3] for value in per.values()) / len(per)
    return Score(macro, 2 * total[0] / max(total[1] + total[2], 1), per)


def interval(truth: Sequence[Row], given: Sequence[Row], seed: int = 0) -> tuple[tuple[float, float], ...]:
    """95 % bootstrap intervals of macro and micro F1, resampling reports."""
    chance = random.Random(seed)
    n, macro, micro = len(truth), [], []
    for _ in range(RESAMPLES):
        at = chance.choices(range(n), k=n)
        one = score([truth[i] for i in at], [given[i] for i in at])
        macro.append(one.macro)
        micro.append(one.micro)
    low, high = int(0.025 * RESAMPLES), int(0.975 * RESAMPLES) - 1
    return tuple((sorted(values)[low], sorted(values)[high]) for values in (macro, micro))


def trivial(truth: Sequence[Row], seed: int = 0) -> dict[str, list[Row]]:
    """Answers that read nothing."""
    shuffled = list(truth)
    random.Random(seed).shuffle(shuffled)
    return {
        "all positive": [dict.fromkeys(row, 1) for row in truth],
        "all negative": [dict.fromkeys(row, 0) for row in truth],
        "another report's labels": shuffled,
    }


def baseline(folder: Path, name: str) -> ModuleType | None:
    """The keyword baseline that lies beside the reports, as a module; None where there is none."""
    path = folder / name
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- tables


def labels_table(reports: Reports, pack: Pack, module: ModuleType | None) -> str:
    """Scores of reader, baseline and trivial answers on both sides of the split; per label on the held side."""
    lines = ["| answer | part | reports | macro F1 (95 %) | micro F1 (95 %) |", "| --- | --- | ---: | --- | --- |"]
    per_label: dict[str, Score] = {}
    for tune in (True, False):
        part = reports.part(tune)
        answers = {"reader": label(part.texts, pack)}
        answers["reader, possible counts"] = label(part.texts, pack, uncertain_positive=True)
        if module is not None:
            read: Callable[[str], Row] = module.read
            answers["keyword baseline"] = [read(text) for text in part.texts]
        answers |= trivial(part.truth)
        for name, given in answers.items():
            one, spans = score(part.truth, given), interval(part.truth, given)
            cells = [f"{v:.4f} ({a:.3f}-{b:.3f})" for v, (a, b) in zip((one.macro, one.micro), spans, strict=True)]
            lines.append(f"| {name} | {'tune' if tune else 'held'} | {len(part.keys)} | {cells[0]} | {cells[1]} |")
            if not tune:
                per_label[name] = one
    lines += ["", "Held part, by label:", "", *_per_label(per_label)]
    return "\n".join(lines)


def _per_label(scores: dict[str, Score]) -> list[str]:
    other = scores.get("keyword baseline")
    lines = [
        "| label | positives | precision | recall | F1 | baseline F1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (n, precision, recall, f1) in scores["reader"].per_label.items():
        beside = f"{other.per_label[name][3]:.3f}" if other else "-"
        lines.append(f"| {name} | {n} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {beside} |")
    return lines


def words_table(sets: dict[str, list[str]]) -> str:
    """Share of sentences whose every word is known, by kind of report."""
    lines = ["| reports | sentences | fully accounted for | words unknown |", "| --- | ---: | ---: | ---: |"]
    for name, texts in sets.items():
        readings: list[Reading] = [reading for text in texts for reading in read_report(text)]
        known = sum(not reading.unknown for reading in readings)
        words = sum(len(reading.text.split()) for reading in readings)
        unknown = sum(len(reading.unknown) for reading in readings)
        lines.append(f"| {name} | {len(readings)} | {known / len(readings):.1%} | {unknown / words:.1%} |")
    return "\n".join(lines)


WHOLE_SENTENCE = re.compile(r"\b(no|not|without|absen\w+|free of|none|neither|negative)\b|n't\b", re.IGNORECASE)


def denial_table(folder: Path) -> str:
    """Denied or not, of one condition in each clinical sentence."""
    lines = ["| answer | part | sentences | precision | recall | F1 |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    rows = rows_of(folder / "negex_sentences_dev.csv.gz")
    state = next(name for name in rows[0] if name.startswith("negation_status"))
    for tune in (True, False):
        part = [row for row in rows if is_tune(row["line number"]) == tune]
        truth = [{"denied": int(row[state] == "Negated")} for row in part]
        spans = [_place(row["sentence"], row["Condition"].strip()) for row in part]
        texts = [row["sentence"] for row in part]
        read = [presence_of(t, span) == "absent" if span else False for t, span in zip(texts, spans, strict=True)]
        for name, said in {"reader": read, "any denying word": [bool(WHOLE_SENTENCE.search(t)) for t in texts]}.items():
            _, precision, recall, f1 = score(truth, [{"denied": int(x)} for x in said]).per_label["denied"]
            cells = f"{precision:.3f} | {recall:.3f} | {f1:.3f} |"
            lines.append(f"| {name} | {'tune' if tune else 'held'} | {len(part)} | {cells}")
    return "\n".join(lines)


def _place(sentence: str, condition: str) -> Span | None:
    """Where the condition stands: the data set writes it in capitals."""
    pattern = re.compile(r"\s+".join(map(re.escape, condition.split())), re.IGNORECASE)
    found = list(pattern.finditer(sentence))
    capital = [match for match in found if match[0] == match[0].upper()]
    return next((match.span() for match in (*capital, *found)), None)


def main() -> None:
    """Print the tables; with ``--write-docs`` keep them in docs/reader.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder that holds reports/")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    folder = options.shared / "reports"
    begun = time.perf_counter()
    chest_pack, abdomen_pack = load_pack("ct-rate-18"), load_pack(str(ABDOMEN))
    chest, abdomen = chest_reports(folder, chest_pack), abdomen_reports(folder, abdomen_pack)
    xray = [row["report_sentences"].replace(" | ", ". ") for row in rows_of(folder / "openi_cxr_dev.csv.gz")]
    parts = {
        "reader-chest": labels_table(chest, chest_pack, baseline(folder, "baseline_keywords.py")),
        "reader-denial": denial_table(folder),
        "reader-abdomen": labels_table(abdomen, abdomen_pack, baseline(folder, "baseline_abdomen.py")),
        "reader-words": words_table(
            {
                "chest, tune": chest.part(True).texts,
                "chest, held": chest.part(False).texts,
                "abdomen, held": abdomen.part(False).texts,
                "chest X-ray (another kind)": xray,
            }
        ),
    }
    made = stamp("python -m benchmarks.reader --write-docs")
    for name, table in parts.items():
        print(f"\n## {name}\n\n{table}")
        if options.write_docs:
            write_section(DOCS, name, f"{table}\n\n{made}")
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
