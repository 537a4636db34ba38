"""What is answered of every column of both packs on bodies of known truth: from what the tools saw of them.

    tomoscribe phantom COHORT --cohort 200 --prevalence graded --split test
    tomoscribe measure COHORT
    python -m benchmarks.answers COHORT [--write-docs]

Nothing is read again: each column, and a patient's words for it, is asked of what ``measure`` kept. AUROC is the mean
over columns with at least LEAST bodies of either kind, of pairs of one fold: folds have their probabilities from
different others, so that who lies in a fold with more of a finding would seem to have less of it (Parker, BMC
Bioinformatics 2007;8:326). A tool that says nothing lies midway between yes and no, who has no probability at the
middle of those that there are. A tool's probability is the share that had the finding among bodies of the other folds
with the same answer, of the column and of all; a head's is the one that ships with it; both are joined by the
product's ``join``. In the product tools give no probability, and shipped heads none before ``finding calibrate``: what
stands here is what their joining is worth.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.image_columns import head_told, join, narrowed
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.encoder.adapter import Head
from vlm.encoder.calibration import auroc, expected_error, resampled
from vlm.encoder.measured import Measures, shipped
from vlm.evidence import Ledger, Measurement, Observation, Search
from vlm.findings.mentions import Mention
from vlm.findings.packs import Pack, load_pack
from vlm.language.query import Query, queries_of_pack, read_query
from vlm.language.standing import neither, stands
from vlm.tools.registry import doubts

PACKS = ("ct-rate-18", "merlin-30")
PARAPHRASES = ROOT / "benchmarks" / "questions" / "paraphrases.toml"
LEAST, FOLDS = 5, 5
OWN = 10.0  # bodies of its own that weigh as much in a column as what a status means in all columns
PRIOR = 1.0  # bodies of the common share that stand beside those that were counted
SAID = {"present": 1.0, "uncertain": 0.5, "limited": 0.25, "absent": 0.0}
DOUBTS = ("often_missed", "not_measured")  # conditions that come of what was measured last
Floats = NDArray[np.float64]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """(N, K) of bodies and columns: status, "" where nobody can say; truth 0 or 1, -1 where it cannot be seen."""

    columns: tuple[str, ...]
    said: NDArray[np.str_]
    lay: NDArray[np.str_]  # the same of a patient's words
    truth: NDArray[np.int_]
    heads: Floats  # probabilities of the shipped heads; NaN where they abstain
    heads_lay: Floats
    usual: tuple[float | None, ...]  # (K,) how often a finding is there, which the heads start from


def answered(folders: Sequence[Path], seen: Sequence[Row]) -> Answered:
    """Ask every column of both packs, and a patient's words for it, of every body."""
    words = paraphrases()
    packs = [load_pack(name) for name in PACKS]
    asked = [query for pack in packs for query in queries_of_pack(pack)]
    names = [f"{pack.name}: {column.name}" for pack in packs for column in pack.columns]
    lay = [read_query(words[_plain(query.words)]) for query in asked]
    told = [ledger_of(one) for one in seen]
    truth = [truths(json.loads((folder / "truth.json").read_text(encoding="utf-8")), packs) for folder in folders]
    return Answered(
        columns=tuple(names),
        said=np.array([[status(query, one) for query in asked] for one in told]),
        lay=np.array([[status(query, one) for query in lay] for one in told]),
        truth=np.array(truth),
        heads=np.array([[head_chance(query, one) for query in asked] for one in seen]),
        heads_lay=np.array([[head_chance(query, one) for query in lay] for one in seen]),
        usual=tuple(head.usual if (head := head_of(query)) else None for query in asked),
    )


def head_of(query: Query) -> Head | None:
    """The shipped head that answers a query."""
    held = shipped()
    return None if held is None else held.adapter.head_of(query.findings)


def head_chance(query: Query, seen: Row) -> float:
    """The probability that the shipped heads give, as in ``query``; NaN where there is none."""
    held, head, told = shipped(), head_of(query), seen.get("measures")
    if held is None or head is None or told is None or narrowed(query):
        return float("nan")
    vectors = Measures.embedding(np.array(told, dtype=np.float64))
    chance = head_told(held.adapter, head, vectors)[0]
    return float("nan") if chance is None else chance[0]


def paraphrases() -> dict[str, str]:
    """Name of a column, plain -> a patient's words for it."""
    told = tomllib.loads(PARAPHRASES.read_text(encoding="utf-8"))
    return {_plain(name): words for name, words in told.items()}


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")


def truths(told: Row, packs: Sequence[Pack]) -> list[int]:
    """What a body holds of each column; -1 where its phase does not show it."""
    row: list[int] = []
    visible = [_mention(entry["finding"]) for entry in told["findings"] if entry.get("visible", True)]
    every = [_mention(entry["finding"]) for entry in told["findings"]]
    for pack in packs:
        shown, there = pack.row(visible), pack.row(every)
        row += [shown[name] if shown[name] == there[name] else -1 for name in there]
    return row


def _mention(finding: str) -> Mention:
    return Mention(finding=finding, presence="present", span=(0, 0), text="")


def status(query: Query, ledger: Ledger) -> str:
    """What the product says of a query; "" where it says that nobody can say."""
    found = stands(query, ledger) if query.understood else neither(query, ledger)
    return "" if found is None or found.status == "not_assessed" else found.status


def ledger_of(seen: Row) -> Ledger:
    """What the tools saw, as evidence; what their denials are worth is what limits say today."""
    ledger = Ledger()
    for each in seen["observations"]:
        ledger.add(
            Observation(
                tool=each["tool"], finding=each["finding"], presence=each["presence"], side=each["side"],
                site=each["site"], attributes=each["attributes"], note="its region was not kept",
                measurements=tuple(Measurement(quantity=key, value=v) for key, v in each["measured"].items()),
            )
        )  # fmt: skip
    for each in seen["searches"]:
        failed = [key for key in each["failed"] if key not in DOUBTS]
        doubted = len(failed) < len(each["failed"])  # else a measure speaks for itself, or its limit was known
        ledger.add(
            Search(
                tool=each["tool"], finding=each["finding"], side=each["side"], site=each["site"],
                covered=each["covered"], failed=(*failed, *(doubts(each["tool"], each["finding"]) if doubted else ())),
            )
        )  # fmt: skip
    return ledger


def folds(count: int) -> NDArray[np.intp]:
    """(N,) the fold of each body, by chance."""
    part = np.empty(count, dtype=np.intp)
    part[np.random.default_rng(0).permutation(count)] = np.arange(count) % FOLDS
    return part


def within(score: Floats, truth: NDArray[np.int_], part: NDArray[np.intp]) -> float:
    """AUROC of one column over pairs of one fold; bodies whose truth is -1 do not count, NaN where there is no pair."""
    won = pairs = 0.0
    for fold in range(FOLDS):
        own = (part == fold) & (truth >= 0)
        there = int(truth[own].sum())
        if both := there * (int(own.sum()) - there):
            won, pairs = won + both * auroc(score[own], truth[own]), pairs + both
    return won / pairs if pairs else float("nan")


def chances(said: NDArray[np.str_], truth: NDArray[np.int_]) -> tuple[Floats, Floats]:
    """(N, K) probabilities, each body's from the other folds, NaN where nobody can say; and what is usual there."""
    part, out, usual = folds(len(said)), np.full(said.shape, np.nan), np.full(said.shape, np.nan)
    for fold in range(FOLDS):
        held, rest = np.flatnonzero(part == fold), np.flatnonzero(part != fold)
        known = truth[rest] >= 0
        base = float(truth[rest][known].mean())
        usual[held] = ((truth[rest] == 1).sum(axis=0) + PRIOR * base) / (known.sum(axis=0) + PRIOR)
        for name in SAID:
            of = (said[rest] == name) & known
            having = of & (truth[rest] == 1)
            common = (having.sum() + PRIOR * base) / (of.sum() + PRIOR)
            own = (having.sum(axis=0) + OWN * common) / (of.sum(axis=0) + OWN)
            out[held] = np.where(said[held] == name, own, out[held])
    return out, usual


def joined(tools: tuple[Floats, Floats], heads: Floats, usual: Sequence[float | None]) -> Floats:
    """(N, K) of tools, with what is usual, and heads, as the product joins them; NaN where neither speaks."""
    out = np.full(heads.shape, np.nan)
    for n, k in np.ndindex(heads.shape):
        each = ((tools[0][n, k], tools[1][n, k]), (heads[n, k], usual[k]))
        told = [(chance, share) for chance, share in each if np.isfinite(chance)]
        if one := join([(p, p, p) for p, _ in told], [share for _, share in told]):
            out[n, k] = one[0]
    return out


def ranked(chance: Floats) -> Floats:
    """(N, K) probabilities to rank bodies by; one without says as little as the middle one of its column."""
    known = [column[np.isfinite(column)] for column in chance.T]
    middle = np.array([float(np.median(some)) if some.size else 0.5 for some in known])
    return np.where(np.isfinite(chance), chance, middle)


def scores(said: NDArray[np.str_]) -> Floats:
    """(N, K) what tools say as numbers; who says nothing says as little as what lies between yes and no."""
    return np.array([[SAID.get(one, 0.5) for one in row] for row in said])


def macro(score: Floats, truth: NDArray[np.int_], rows: NDArray[np.intp], columns: Sequence[int]) -> float:
    """Mean AUROC over columns, of pairs of one fold."""
    part = folds(len(score))[rows]
    return float(np.nanmean([within(score[rows, k], truth[rows, k], part) for k in columns]))


def counted(told: Answered, pack: str = "") -> list[int]:
    """Columns of a pack, or of both, with enough bodies of either kind."""
    kinds = np.stack([(told.truth == kind).sum(axis=0) for kind in (0, 1)]).min(axis=0)
    return [k for k, name in enumerate(told.columns) if name.startswith(pack) and kinds[k] >= LEAST]


def table(told: Answered) -> str:
    """Ways of answering, then how good the probabilities are, then each column."""
    parts = {name: counted(told, name) for name in PACKS}
    parts["both, where a tool looks"] = [k for k in counted(told) if (told.said[:, k] != "").any()]
    both = joined(chances(told.said, told.truth), told.heads, told.usual)
    lay = joined(chances(told.lay, told.truth), told.heads_lay, told.usual)
    score = ranked(both)
    rng, every = np.random.default_rng(0), np.arange(len(score))
    draws = resampled(every, 200)
    lines = [f"| macro AUROC (95 %) | {' | '.join(f'{name} ({len(own)} columns)' for name, own in parts.items())} |",
             "|---" * (len(parts) + 1) + "|"]  # fmt: skip
    ways = (("the joined answer", score), ("tools alone", scores(told.said)), ("heads alone", ranked(told.heads)),
            ("the joined answer, in a patient's words", ranked(lay)))  # fmt: skip
    for way, value in ways:
        cells = []
        for own in parts.values():
            low, high = np.nanpercentile([macro(value, told.truth, rows, own) for rows in draws], (2.5, 97.5))
            cells.append(f"{macro(value, told.truth, every, own):.3f} ({low:.3f}-{high:.3f})")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    mixed = [rng.permutation(len(score)) for _ in range(20)]
    blind = [np.mean([macro(score[order], told.truth, every, own) for order in mixed]) for own in parts.values()]
    lines.append(f"| the answers of another body | {' | '.join(f'{value:.3f}' for value in blind)} |")
    lines.append("| the same for everybody |" + " 0.500 |" * len(parts))
    lines += ["", *(_probabilities(told, both, name) for name in PACKS), "", *_columns(told, score)]
    return "\n".join(lines)


def _probabilities(told: Answered, both: Floats, pack: str) -> str:
    """How good the joined probabilities of a pack are, in a line."""
    own = [name.startswith(pack) for name in told.columns]
    chance, truth = both[:, own], told.truth[:, own]
    rows = np.isfinite(chance) & (truth >= 0)
    p, t = chance[rows], truth[rows]
    return (
        f"{pack}: {len(p)} probabilities, ECE {expected_error(p, t):.3f}, Brier {((p - t) ** 2).mean():.3f} "
        f"(prevalence for everybody: {t.mean() * (1 - t.mean()):.3f}); {1 - len(p) / (truth >= 0).sum():.0%} "
        "abstained.  "
    )


def _columns(told: Answered, score: Floats) -> list[str]:
    """Each column: what tools say where it is there, and false where it is not; AUROC of tools, heads, and joined."""
    lines = ["| column | with it | tools: present, uncertain, not found in a part, not found, not assessed "
             "| false of those without | AUROC: tools | heads | joined |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    ways = (scores(told.said), ranked(told.heads), score)
    for k in counted(told):
        there, without = told.truth[:, k] == 1, told.truth[:, k] == 0
        each = ", ".join(str((told.said[there, k] == name).sum()) for name in (*SAID, ""))
        false = (told.said[without, k] == "present").sum()
        part = folds(len(score))
        values = " | ".join(f"{within(way[:, k], told.truth[:, k], part):.2f}" for way in ways)
        lines.append(f"| {told.columns[k]} | {there.sum()} | {each} | {false} of {without.sum()} | {values} |")
    return lines


def measured(cohort: Path) -> dict[str, Row]:
    """Case -> what ``measure`` kept of it: what tools saw, and the numbers that heads look at; the newest of each."""
    told: dict[str, dict[str, Any]] = defaultdict(dict)
    cohort = cohort.resolve()
    for path in sorted((cohort / "measured").glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        case = path.name.rpartition("-")[0].removeprefix(f"{cohort.name}-")
        told[case] |= json.loads(path.read_text(encoding="utf-8"))
    return dict(told)


def main() -> None:
    """Ask, print, and with --write-docs put the tables into their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    kept = measured(options.cohort)
    folders = [folder for folder in sorted(options.cohort.glob("case-*")) if folder.name in kept]
    seen = [kept[folder.name] for folder in folders]
    read = json.loads((options.cohort / "figures.json").read_text(encoding="utf-8"))["made_by"].partition(": ")[0]
    text = (
        f"{table(answered(folders, seen))}\n\n{len(folders)} synthetic bodies of graded findings, read {read}. "
        f"{stamp('python -m benchmarks.answers bodies')}"
    )
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "encoder.md", "answers", text)


if __name__ == "__main__":
    main()
