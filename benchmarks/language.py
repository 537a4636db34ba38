"""How true a model's sentences are before and after the checker, beside the composer and controls; and how fast.

Tables are sampled ledgers (``benchmarks.scenes``, seeds that nothing was trained on). A model words every row once;
each sentence is judged by the checker, and by a keyword scorer that knows nothing of the checker. ``--kept FILE``
keeps what was said, a line each, so that a run that was stopped goes on.

    python -m benchmarks.language [--tables 500] [--models base,lora] [--adapter DIR] [--kept FILE] [--write-docs]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.reading import fill_omissions
from benchmarks.counterfactuals import wilson
from benchmarks.scenes import Scene, sample
from benchmarks.stamp import stamp, write_section
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import PASSES, Context, Statement, Verdict, omissions
from vlm.language import embedded
from vlm.language.asking_rows import ask_for
from vlm.language.compose import ScanFacts, compose
from vlm.language.drafting import checked
from vlm.language.models import Answer
from vlm.language.restyle import load_wordings, say
from vlm.language.rewording import Judge, reword, row_words
from vlm.language.rows import STYLES, Row, Style, row_of
from vlm.report import Draft
from vlm.train.evidence_tables import HELD_OUT
from vlm.workers import threads

SCAN = ScanFacts(slices=300, step_mm=1.0, kernel="soft", contrast=False, regions=("chest", "upper_abdomen"))
FIRST_SEED = 1_000_000
DOCS = Path(__file__).resolve().parents[1] / "docs" / "language.md"
DENIES = re.compile(r"\b(no|without|absen\w+|free of|not)\b", re.I)
PLAIN = 24  # tokens that plain generate makes
SIDES = frozenset({"left", "right", "both", "bilateral"})


@dataclass
class Table:
    """One sampled ledger, its composed drafts and the rows among them."""

    scene: Scene
    drafts: list[Draft]
    rows: dict[int, Row]
    style: Style


@dataclass
class Figures:
    """What was counted of one writer."""

    sentences: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tables: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, row: Row, sentence: str, verdict: Verdict | None) -> None:
        """Count one sentence; no verdict means that it passed."""
        self.sentences += 1
        wrong = keyword_faults(row, sentence)
        self.counts["grounded"] += verdict is None
        self.counts["contradicted"] += verdict is not None and verdict.name == "contradicted"
        self.counts["omitted"] += not sentence
        self.counts["hallucinated"] += "finding" in wrong
        self.counts["escaped"] += verdict is None and bool(wrong)
        if verdict is None and wrong and len(self.examples) < 12:
            self.examples.append(f"{', '.join(wrong)}: {row.text} => {sentence}")

    def cell(self, what: str) -> str:
        """ "0.98 (0.96 to 0.99)"."""
        low, high = wilson(self.counts[what], self.sentences)
        return f"{self.counts[what] / max(self.sentences, 1):.3f} ({low:.3f} to {high:.3f})"


def table(seed: int) -> Table:
    """The table of a seed."""
    scene, style = sample(random.Random(FIRST_SEED + seed)), STYLES[seed % len(STYLES)]
    drafts = compose(scene.ledger, SCAN, prior=scene.prior, prior_given=scene.prior is not None)
    rows = {n: row for n, draft in enumerate(drafts) if (row := row_of(draft, scene.ledger, style))}
    return Table(scene, drafts, rows, style)


def keyword_faults(row: Row, sentence: str) -> list[str]:
    """What a scorer that knows nothing of the checker has against a sentence: finding, polarity, side, slots."""
    if not sentence:
        return []
    said, faults = row_words(re.sub(r"\{[a-z_]+\}", "", sentence)), []
    if not names_it(row, said):
        faults.append("finding")
    if bool(DENIES.search(sentence)) != (row.kind in ("absent", "other")):
        faults.append("polarity")
    if said & SIDES != row_words(row.text) & SIDES:
        faults.append("side")
    if sorted(re.findall(r"\{([a-z_]+)\}", sentence)) != sorted(row.slots):
        faults.append("slots")
    return faults


def names_it(row: Row, said: set[str]) -> bool:
    """Whether every finding of the row is named, by one of its names, and no other finding's first word stands in."""
    vocabulary, names = load_vocabulary(), load_wordings()["names"]
    subjects = re.split(r", | or ", row.subject) if row.kind in ("absent", "other") else [row.subject]
    entry = vocabulary.finding(row.finding)
    own = [entry.name, *entry.words, *names.get(row.finding, ())] if len(subjects) == 1 else []
    for subject in subjects:
        options = [row_words(option) - SIDES for option in (subject, *own)]
        if not any(words <= said | {w.rstrip("s") for w in said} for words in options if words):
            return False
    return True


def spoken(tables: list[Table], model: Any, kept: Path | None = None) -> list[dict[int, str]]:
    """What a model says of each row of each table, at its first attempt; the same row is asked once."""
    rows = {(t.style, row.text): row for t in tables for row in t.rows.values()}
    cache = said_before(kept, model.name)
    todo = [key for key in rows if key not in cache]
    for first in range(0, len(todo), embedded.TOGETHER):
        part = todo[first : first + embedded.TOGETHER]
        asks = [ask_for([rows[key]], key[0], taught=model.taught) for key in part]  # type: ignore[arg-type]
        answers = zip(part, model.complete_all(asks), strict=True)
        new = {key: str(answer.data["R1"]) if isinstance(answer, Answer) else "" for key, answer in answers}
        cache |= new
        if kept is not None:
            with kept.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps([model.name, *key, text]) + "\n" for key, text in new.items())
    return [{n: cache[(t.style, row.text)] for n, row in t.rows.items()} for t in tables]


def said_before(kept: Path | None, name: str) -> dict[tuple[str, str], str]:
    """(style, row) -> what a model of this name and digest said in runs before."""
    if kept is None or not kept.is_file():
        return {}
    lines = (json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines() if line.endswith("]"))
    return {(style, row): text for model, style, row, text in lines if model == name}


def judged(tables: list[Table], said: list[dict[int, str]], only: frozenset[str] | None = None) -> Figures:
    """Sentences against the ledger they were made from; ``only`` rows of some findings."""
    figures = Figures(tables=len(tables))
    for t, sentences in zip(tables, said, strict=True):
        judge = Judge(t.drafts, t.scene.ledger, Context(prior=t.scene.prior))
        kept, wrong = judge.sorted(t.rows, sentences, author="model")
        for n, sentence in sentences.items():
            if only is None or t.rows[n].finding in only:
                figures.add(t.rows[n], sentence, None if n in kept else wrong[n][1])
    return figures


def reported(tables: list[Table], said: list[dict[int, str]]) -> Figures:
    """Whole reports, as they are after the checker: what does not hold stays composed."""
    figures = Figures(tables=len(tables))
    for t, sentences in zip(tables, said, strict=True):
        context = Context(prior=t.scene.prior)
        judge = Judge(t.drafts, t.scene.ledger, context)
        kept = judge.together(judge.sorted(t.rows, sentences, author="model")[0])
        drafts = [kept.get(n, draft) for n, draft in enumerate(t.drafts)]
        report = checked(drafts, t.scene.ledger, context=context,
                         fill=lambda names, ledger=t.scene.ledger: fill_omissions(ledger, names))  # fmt: skip
        statements = [Statement(id=s.id, section=s.section, text=s.text, cites=s.cites) for s in report]
        figures.sentences += len(report)
        figures.counts["worded"] += len(kept)
        figures.counts["failed"] += sum(s.verdict not in PASSES and s.section != "to_review" for s in report)
        told = {name for sentence in report for name in sentence.cites}
        figures.counts["left out"] += len({*omissions(statements, t.scene.ledger, context=context)} - told)
        figures.counts["escaped"] += sum(bool(keyword_faults(t.rows[n], sentences[n])) for n in kept)
    return figures


def shuffled(said: list[dict[int, str]], tables: list[Table]) -> list[dict[int, str]]:
    """Each row's sentence is another patient's with the same slots and kind: what is right by chance."""
    pool: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for place, (t, sentences) in enumerate(zip(tables, said, strict=True)):
        for n, sentence in sentences.items():
            pool.setdefault((t.rows[n].kind, *sorted(t.rows[n].slots)), []).append((place, sentence))
    rng, out = random.Random(0), []
    for place, t in enumerate(tables):
        others = {n: [s for p, s in pool[(row.kind, *sorted(row.slots))] if p != place] for n, row in t.rows.items()}
        out.append({n: rng.choice(choices) for n, choices in others.items() if choices})
    return out


def speed(model: Any, tables: list[Table]) -> list[str]:
    """Tokens a second side by side, against plain ``generate``, in the same run."""
    import torch

    rows = [(t.style, row) for t in tables for row in t.rows.values()][: embedded.TOGETHER]
    asks = [ask_for([row], style, taught=model.taught) for style, row in rows]
    model.complete_all(asks[:1])  # the grammar's first use costs seconds
    began, cpu = time.perf_counter(), time.process_time()
    answers = [answer for answer in model.complete_all(asks) if isinstance(answer, Answer)]
    ours_s, ours_cpu = time.perf_counter() - began, time.process_time() - cpu
    ours = sum(answer.tokens_out for answer in answers)
    line = model._line(asks[0])
    prompt = torch.tensor([[*line.prompt, *line.opening]])
    with threads(model._threads):
        began, cpu = time.perf_counter(), time.process_time()
        model._net.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=PLAIN,
                            min_new_tokens=PLAIN, do_sample=False, pad_token_id=0)  # fmt: skip
        plain_s, plain_cpu = time.perf_counter() - began, time.process_time() - cpu
    t, cpu = tables[0], time.process_time()
    done = reword(t.drafts, t.scene.ledger, style=t.style, model=model, context=Context(prior=t.scene.prior),
                  most_seconds=1e9)  # fmt: skip
    report_cpu = time.process_time() - cpu
    return [
        f"Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {model._threads} thread: "
        f"{ours / ours_s:.1f} tokens a second side by side ({ours / ours_cpu:.0f} a processor second) against "
        f"{PLAIN / plain_s:.1f} ({PLAIN / plain_cpu:.0f}) of plain generate; first sentence {done.first_s:.1f} s, a "
        f"whole report of {done.rows} sentences {done.seconds:.1f} s ({report_cpu:.1f} of the processor)."
    ]


def main() -> None:
    """Measure and print; the composer and the phrase grammar always."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=500)
    parser.add_argument("--models", default="base,lora")
    parser.add_argument("--adapter", type=Path, help="in place of the shipped one")
    parser.add_argument("--kept", type=Path, help="a file of what was said, to go on with")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    if options.adapter:
        embedded.ADAPTER = options.adapter
    tables = [table(seed) for seed in range(options.tables)]
    results = {"phrase grammar": judged(tables, [{n: say(r, t.style) for n, r in t.rows.items()} for t in tables])}
    notes: list[str] = []
    done: dict[str, Figures] = {}
    for name in filter(None, options.models.split(",")):
        model = embedded.embedded_model(with_adapter=name == "lora")
        said = spoken(tables, model, options.kept)
        results[name] = judged(tables, said)
        done[name] = reported(tables, said)
        results[f"{name}, findings never trained on"] = judged(tables, said, HELD_OUT)
        results[f"{name}, rows shuffled between patients"] = judged(tables, shuffled(said, tables))
        notes += [f"{name}: {line}" for line in speed(model, tables)]
        print("\n".join(results[name].examples))
    text = "\n\n".join([shown(results), shown_reports(done), *notes])
    print(text)
    if options.write_docs:
        command = f"python -m benchmarks.language --tables {options.tables} --models {options.models}"
        write_section(DOCS, "language", f"{stamp(command)}\n\n{text}")


def shown(results: dict[str, Figures]) -> str:
    """First attempts, before the checker, as a table of Markdown."""
    columns = {
        "grounded": "passes the checker", "contradicted": "contradicted", "hallucinated": "names another finding",
        "omitted": "no sentence", "escaped": "passes, yet the keyword scorer objects",
    }  # fmt: skip
    lines = ["| writer | sentences | " + " | ".join(columns.values()) + " |", "|" + " --- |" * (2 + len(columns))]
    for name, figures in results.items():
        cells = " | ".join(figures.cell(key) for key in columns)
        lines.append(f"| {name} | {figures.sentences} of {figures.tables} tables | {cells} |")
    return "\n".join(lines)


def shown_reports(done: dict[str, Figures]) -> str:
    """Whole reports, after the checker, as a table of Markdown."""
    columns = {
        "worded": "worded by the model", "failed": "fail the checker", "left out": "findings left out",
        "escaped": "of the model, the keyword scorer objects",
    }  # fmt: skip
    lines = ["| report after the checker | sentences | " + " | ".join(columns.values()) + " |",
             "|" + " --- |" * (2 + len(columns))]  # fmt: skip
    for name, figures in done.items():
        cells = " | ".join(str(figures.counts[key]) for key in columns)
        lines.append(f"| {name} | {figures.sentences} of {figures.tables} tables | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
