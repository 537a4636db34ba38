"""Kill what writes a case library, at random instants, while a second process writes and a third reads.

    python -m benchmarks.retrieval_kills [--kills 200] [--seed 1]

A worker adds cases in a fixed order, removes every third patient again and rebuilds the index; it tells each change
that was promised. SIGKILL comes at a random instant. After every kill the library is opened as a user would open it:
everything promised is there once, nothing that was removed is, every case and every index file passes its checksum.
The table goes to docs/library.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.stamp import ROOT, stamp, write_section
from retrieval.caches import Indexes
from retrieval.cases import NewCase
from retrieval.library import CaseLibrary

WORDS = {
    "kills": "kills at random instants, two processes writing",
    "promised": "cases that a writer was told are in, or gone",
    "lost": "lost",
    "doubled": "there twice",
    "back again": "removed and there again",
    "damaged": "cases that fail their checksum",
    "refused": "index files that fail theirs, or hold another number of vectors",
    "found": "removed cases whose words are found in any file",
}
LONGEST_S = 3.0  # a worker lives at most so long
REPORT = "Findings: {size} mm nodule in the {side} upper lobe. No pleural effusion. Token zq{name}q."


def case(name: str) -> NewCase:
    """A small case whose words name it."""
    number = int(name.rpartition("-")[2])
    words = REPORT.format(size=4 + number % 20, side="left" if number % 2 else "right", name=name)
    return NewCase(patient=name, study=name, source="table", report=words, stamp="1")


def work(folder: Path, names: list[str], pipe: Any) -> None:
    """Add each case; remove every third; bring the index up to date now and then. Tells what is promised."""
    library = CaseLibrary(folder)
    indexes = Indexes(library)
    for number, name in enumerate(names):
        pipe.send(("adding", name))
        library.add(case(name))
        pipe.send(("added", name))
        if number % 3 == 2:
            pipe.send(("removing", name))
            library.remove_patient(name)
            pipe.send(("removed", name))
        if number % 4 == 3:
            indexes.refresh(anew=number % 8 == 7)


def heard(pipe: Any) -> Iterator[tuple[str, str]]:
    """What a dead worker had said."""
    try:
        while pipe.poll():
            yield pipe.recv()
    except (EOFError, OSError):
        return


def run(kills: int, seed: int) -> dict[str, int]:
    """Kill and look, so many times; counts of what went wrong."""
    chance = random.Random(seed)
    context = multiprocessing.get_context("fork")
    counts = dict.fromkeys(("kills", "promised", "lost", "doubled", "back again", "damaged", "refused", "found"), 0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "lib"
        CaseLibrary(folder).close()
        there: set[str] = set()
        unsure: set[str] = set()
        gone: set[str] = set()
        number = 0
        while counts["kills"] < kills:
            workers = []
            for writer in range(2):
                names = [f"w{writer}-{number + n}" for n in range(40)]
                mine, its = context.Pipe()
                process = context.Process(target=work, args=(folder, names, its))
                process.start()
                its.close()
                workers.append((process, mine))
            number += 40
            time.sleep(chance.uniform(0.02, LONGEST_S))
            for process, pipe in workers:
                if process.is_alive():
                    os.kill(process.pid or 0, signal.SIGKILL)
                    counts["kills"] += 1
                process.join()
                for what, name in heard(pipe):
                    if what == "added":
                        there.add(name)
                        unsure.discard(name)
                    elif what == "removed":
                        gone.add(name)
                        there.discard(name)
                        unsure.discard(name)
                    else:  # it had begun: both outcomes are whole
                        unsure.add(name)
            look(folder, there - unsure, unsure, gone, counts)
        counts["promised"] = len(there | gone)
    return counts


def look(folder: Path, there: set[str], unsure: set[str], gone: set[str], counts: dict[str, int]) -> None:
    """Open the library as a user would, and count what is not as promised."""
    library = CaseLibrary(folder)
    indexes = Indexes(library)
    held = [
        row["token"] for row in library.tables.rows("select p.token from cases c join patients p on p.id = c.patient")
    ]
    tokens = {name: library.token("patient", name) for name in there | unsure | gone}
    counts["lost"] += sum(tokens[name] not in held for name in there)
    counts["doubled"] += len(held) - len(set(held))
    counts["back again"] += sum(tokens[name] in held for name in gone)
    counts["damaged"] += len(list(library.damaged()))
    counts["refused"] += len(indexes.damaged())
    for kind, space, count in library.spaces():
        opened = indexes.get(kind, space)
        counts["refused"] += opened is None or len(opened.index) != count
    if not unsure:
        body = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        counts["found"] += sum(f"zq{name}q".encode() in body for name in gone)
    for name in list(unsure):  # settle: what a kill left in doubt is one or the other from now on
        (there if tokens[name] in held else gone).add(name)
    indexes.close()
    library.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    made = stamp(f"python -m benchmarks.retrieval_kills --kills {given.kills} --seed {given.seed}")
    counts = run(given.kills, given.seed)
    rows = "\n".join(f"| {WORDS[name]} | {count} |" for name, count in counts.items())
    text = f"| | count |\n|---|---:|\n{rows}\n\n{made}"
    print(text)
    write_section(ROOT / "docs" / "library.md", "kills", text)


if __name__ == "__main__":
    main()
