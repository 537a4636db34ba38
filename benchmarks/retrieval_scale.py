"""How an index grows: query time, recall, build time and bytes a vector, beside numpy's exact search of the same run.

    python -m benchmarks.retrieval_scale [--sizes 10000 100000 1000000] [--write-docs]

384 dimensions, single queries, each asked of numpy and of the index one after the other, so that whatever else the
machine does falls on both. Two sorts of vectors: "in groups" (4,000 groups of unequal size along 64 directions, as
sentences and scans are), and "at random" (no structure at all: the hardest that there is). Queries are drawn as the
vectors are and are not among them. Recall is told twice: measured here, and as the index measured it on itself.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.stamp import ROOT, stamp, write_section
from retrieval.faiss_index import FaissIndex
from retrieval.index import EXACT_UP_TO, NEIGHBOURS, Block, Vectors, nearest, normalised, recall_of

DIMENSION = 384
QUERIES = 100
BLOCK = 20_000
GROUPS, DIRECTIONS = 4_000, 64
SPREAD, ROUGH = 0.6, 0.25  # of a group along the directions, beside groups that lie 1 apart; and along all dimensions
SORTS = ("in groups", "at random")
PICTURE = ROOT / "docs" / "images" / "retrieval_scale.png"


def drawn(sort: str, count: int, seed: int) -> Vectors:
    """(count, DIMENSION) unit vectors."""
    rng = np.random.default_rng(seed)
    if sort == "at random":
        return normalised(rng.standard_normal((count, DIMENSION), dtype=np.float32))
    fixed = np.random.default_rng(99)
    directions = np.linalg.qr(fixed.standard_normal((DIMENSION, DIRECTIONS)))[0].T.astype(np.float32)
    centres = fixed.standard_normal((GROUPS, DIRECTIONS), dtype=np.float32)
    weights = 1.0 / np.arange(1, GROUPS + 1) ** 0.7
    group = rng.choice(GROUPS, size=count, p=weights / weights.sum())
    inside = centres[group] + SPREAD * rng.standard_normal((count, DIRECTIONS), dtype=np.float32)
    rough = ROUGH * rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return normalised(inside @ directions + rough)


def measure(sort: str, count: int) -> dict[str, float | str]:
    """One size of one sort."""
    every: NDArray[np.float32] = np.empty((count, DIMENSION), dtype=np.float32)
    for start in range(0, count, BLOCK):
        every[start : start + BLOCK] = drawn(sort, min(BLOCK, count - start), seed=start + 1)
    ids, queries = np.arange(count, dtype=np.int64), drawn(sort, QUERIES, seed=0)

    def blocks() -> Iterator[Block]:
        for start in range(0, count, BLOCK):
            yield ids[start : start + BLOCK], every[start : start + BLOCK]

    index, begun, worked = FaissIndex(DIMENSION), time.perf_counter(), time.process_time()
    if count > EXACT_UP_TO:
        index.build_lists(blocks, count)
    else:
        index.build(blocks(), count)
    built, worked = time.perf_counter() - begun, time.process_time() - worked
    for query in queries[:2]:  # an exact index makes its codes when it is asked a second time
        index.search(query[None], NEIGHBOURS)
    plain, ours, true, found = [], [], [], []
    for query in queries:
        begun = time.perf_counter()
        true.append(nearest(query[None] @ every.T, ids, NEIGHBOURS)[1][0])
        middle = time.perf_counter()
        found.append(index.search(query[None], NEIGHBOURS)[1][0])
        plain.append(middle - begun)
        ours.append(time.perf_counter() - middle)
    facts = index.facts()
    return {
        "sort": sort, "count": count, "layout": facts.layout, "probes": facts.probes, "built_s": built,
        "worked_s": worked,
        "numpy_ms": 1e3 * float(np.median(plain)), "ms": 1e3 * float(np.median(ours)),
        "fast_ms": 1e3 * float(np.percentile(ours, 10)), "slow_ms": 1e3 * float(np.percentile(ours, 95)),
        "recall": recall_of(np.stack(found), np.stack(true)),
        "own_recall": -1.0 if facts.recall is None else facts.recall, "bytes": facts.bytes_per_vector or 0.0,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip


def table(rows: list[dict[str, float | str]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| vectors | how many | index | lists looked through | median query, ms (10th to 95th percentile) "
        "| numpy, ms | recall@10 | as it says itself | built in, s (of one processor) "
        "| bytes a vector |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        own, fast, slow = (float(row[key]) for key in ("own_recall", "fast_ms", "slow_ms"))
        lines.append(
            f"| {row['sort']} | {row['count']:,} | {row['layout']} | {row['probes'] or 'all'} | {row['ms']:.1f} "
            f"({fast:.1f} to {slow:.1f}) | {row['numpy_ms']:.1f} | {row['recall']:.3f} | {'exact' if own < 0 else own} "
            f"| {row['built_s']:.1f} ({row['worked_s']:.1f}) | {row['bytes']:.0f} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, float | str]], path: Path) -> None:
    """Growth of query time and memory from the smallest size on."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for sort in dict.fromkeys(str(row["sort"]) for row in rows):
        mine = [row for row in rows if row["sort"] == sort]
        counts = [float(row["count"]) for row in mine]
        left.plot(counts, [float(row["ms"]) for row in mine], marker="o", label=sort)
        right.plot(counts, [float(row["bytes"]) * float(row["count"]) / 1e6 for row in mine], marker="o", label=sort)
    first = [row for row in rows if row["sort"] == rows[0]["sort"]]
    left.plot([float(row["count"]) for row in first], [float(row["numpy_ms"]) for row in first], "k:", label="numpy")
    for axes, title in ((left, "median query, ms"), (right, "index, MB")):
        axes.set(xscale="log", yscale="log", xlabel="vectors of 384 dimensions", title=title)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, and with --write-docs put table and picture into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--sorts", nargs="+", choices=SORTS, default=list(SORTS))
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    made = stamp(f"python -m benchmarks.retrieval_scale --sizes {' '.join(map(str, options.sizes))}")
    rows = []
    for sort in options.sorts:
        for size in options.sizes:
            rows.append(measure(sort, size))
            print(rows[-1], flush=True)
    threads = f"The index in one thread, numpy in as many as it takes; load of the machine {os.getloadavg()[1]:.0f}"
    text = f"{table(rows)}\n\n{threads}. {made}"
    print(text)
    if options.write_docs:
        plot(rows, PICTURE)
        text += "\n\n![Query time and memory by how many vectors there are](images/retrieval_scale.png)"
        write_section(ROOT / "docs" / "library.md", "scale", text)


if __name__ == "__main__":
    main()
