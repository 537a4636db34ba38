"""The process that opens and reads strangers' files for the page, so that the page never does.

``python -m app.child`` loads what a reading needs, says that it is ready, takes one order as a
line of JSON on stdin, writes one line of JSON for each step to stdout, and ends. It ends at
once when the page does. Its memory is limited, and what its libraries print goes nowhere.

Orders: ``{"verb": "survey", "upload": PATH}`` and
``{"verb": "read", "upload": PATH, "out": PATH, "scan": PATH, "series": UID or null, "prior": PATH or null,
"encoder": PATH or null}``; "scan" is where the voxels go as soon as they are there, "prior" a folder that holds such
voxels, "encoder" a checkpoint that scores the case beside the tools.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from vlm.errors import IntakeError, TomoscribeError

MOST_BYTES = 16 << 30  # address space: a scan that needs more is one failed job
BEHIND_THE_PAGE = 5  # niceness: where processors are few, whoever looks at the page goes first
Say = Callable[[Mapping[str, object]], None]


def main() -> None:
    """Take one order and carry it out."""
    say = _own_stdout()
    _limit_memory()
    if "--warm" in sys.argv:  # what a reading needs is loaded while nobody waits
        import app.export
        import app.page.pictures
        import app.page.scanned
        import app.reading
        import app.reopen  # noqa: F401
        from vlm.tools import load_tools

        load_tools()

    os.nice(BEHIND_THE_PAGE)
    say({"ready": True})
    if "--warm" in sys.argv:  # wanted last in a reading, so it may go on while the reading begins
        threading.Thread(target=_load_network, daemon=True).start()
    order = json.loads(sys.stdin.readline() or "null")
    if order is None:
        return
    threading.Thread(target=_end_with_the_page, args=(sys.stdin,), daemon=True).start()
    try:
        {"survey": survey, "read": read}[order["verb"]](order, say)
    except IntakeError as error:
        say({"end": "refused", "code": error.code, "message": str(error)})
    except TomoscribeError as error:
        say({"end": "failed", "message": str(error)})
    except MemoryError:
        say({"end": "failed", "message": "E_TOO_LARGE: the scan needs more memory than one reading may take."})
    except OSError as error:
        say(
            {
                "end": "failed",
                "message": f"E_DISK: {error.strerror or type(error).__name__}. Make space in the page's data folder.",
            }
        )
    except Exception as fault:  # the edge of the process: one failed job, said in one line
        if os.environ.get("TOMOSCRIBE_DEBUG"):
            raise
        say({"end": "failed", "message": f"E_INTERNAL: {type(fault).__name__}. This is a fault of tomoscribe."})


def survey(order: Mapping[str, Any], say: Say) -> None:
    """Say what the upload holds and what would be read of it."""
    from vlm.ct import survey as look

    say({"end": "done", "inventory": look(order["upload"]).to_dict()})


def read(order: Mapping[str, Any], say: Say) -> None:
    """Read the upload into ``out``, whole or not at all; its voxels are on disk before anything is looked for."""
    from app.export import write_report
    from app.known import known_of
    from app.page.pictures import write_pictures
    from app.page.scanned import SCAN_FILES, Draft, kept_volume, write_draft, write_scan
    from app.page.scored import write_scores
    from app.page.seal import seal
    from app.reading import read_scan
    from app.reopen import write_prior

    out, scan = Path(order["out"]), Path(order["scan"])
    shutil.rmtree(scan, ignore_errors=True)
    prior = kept_volume(Path(order["prior"])) if order.get("prior") else None
    with ThreadPoolExecutor(max_workers=1) as beside:
        written: list[Future[None]] = []
        reading = read_scan(
            Path(order["upload"]), series=order.get("series"), prior=prior, progress=lambda step: say({"step": step}),
            opened=lambda volume: written.append(beside.submit(write_scan, scan, volume)),
            early=lambda told: write_draft(scan, Draft(sentences=told.sentences, waiting=told.waiting)),
        )  # fmt: skip
        for write in written:
            write.result()
    write_draft(scan, Draft(sentences=reading.report.sentences))
    staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=".new-"))
    try:
        say({"step": "export"})
        write_report(staging, reading.report, reading.case, reading.sections)
        say({"step": "pictures"})
        write_pictures(staging, reading.case)
        write_prior(staging, reading.prior)
        if order.get("encoder"):
            say({"step": "scores"})
            write_scores(staging, known_of(reading), Path(order["encoder"]))
        for name in SCAN_FILES:
            _keep(scan / name, staging / name)
        seal(staging)
        shutil.rmtree(out, ignore_errors=True)
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    impression = [sentence.text for sentence in reading.report.section("impression")]
    shape = reading.case.volume.grid.shape
    say({"end": "done", "summary": {"impression": impression[:3], "slices": shape[2]}})


def _keep(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the disk knows no links. A viewer may be loading the first."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _own_stdout() -> Say:
    """Keep stdout for our lines; whatever else prints, prints into nothing."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    if not os.environ.get("TOMOSCRIBE_DEBUG"):
        os.dup2(nothing, 2)
    lock = threading.Lock()

    def say(line: Mapping[str, object]) -> None:
        with lock:
            stream.write(json.dumps(line) + "\n")

    return say


def _limit_memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MOST_BYTES if hard == resource.RLIM_INFINITY else min(MOST_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(soft, most), hard))


def _load_network() -> None:
    """The embedded network of organs, where it can run."""
    from vlm.anatomy import network
    from vlm.anatomy.engines.embedded import off

    if off(network.WEIGHTS) is None:
        network.load(network.WEIGHTS)


def _end_with_the_page(stdin: IO[str]) -> None:
    """The page holds the other end of stdin; when it is gone nobody waits for this work."""
    stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
