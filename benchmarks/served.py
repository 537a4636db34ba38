"""A real model server: ``transformers serve`` with the embedded model's weights, asked as any other server is.

    python -m benchmarks.served [--wait 300]

Prints how long it took to start, whether its model calls tools, what became of a question that wants JSON, and how a
conversation over a phantom's report ends. A model of 135 M seldom fills a schema: what matters is that each ends within
its time, and that the router answers where the model does not.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.language import table
from benchmarks.stamp import stamp
from vlm.grounding import Context
from vlm.language.asking_rows import ask_for
from vlm.language.conversation import Conversation
from vlm.language.embedded_weights import model_folder
from vlm.language.events import Note, Question, Said
from vlm.language.models import Budget, ModelError
from vlm.language.scene import OpenCase
from vlm.language.servers import ServerModel, parse_address

PATIENT = Budget(first_token_s=120.0, between_tokens_s=60.0, total_s=240.0, most_tokens=96)


@contextmanager
def serving(folder: Path, wait_s: float) -> Iterator[tuple[str, float]]:
    """(address, seconds until it was ready) of a server that is stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu", "--dtype", "float32"]  # fmt: skip
    began, quiet = time.monotonic(), subprocess.DEVNULL
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=offline, stdout=quiet, stderr=quiet) as process:
        try:
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() - began > wait_s:
                    raise SystemExit(f"transformers serve did not start within {wait_s:.0f} s")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1#{folder}", time.monotonic() - began
        finally:
            process.terminate()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def told(what: str, does: Callable[[], object]) -> str:
    """A line: what was tried, how it ended, after how long."""
    began = time.monotonic()
    try:
        ended = str(does())
    except ModelError as error:
        ended = f"{type(error).__name__}: {error}"
    return f"| {what} | {' '.join(ended.split())[:160]} | {time.monotonic() - began:.1f} |"


def main() -> None:
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wait", type=float, default=300.0, help="seconds for the server to start")
    options = parser.parse_args()
    scene = table(0)
    row = next(iter(scene.rows.values()))
    ask = ask_for([row], "narrative", taught=False)
    with serving(model_folder(), options.wait) as (address, seconds):
        model = ServerModel(parse_address(address), budget=PATIENT)

        def talk() -> str:
            case = OpenCase(ledger=scene.scene.ledger.branch(), context=Context(prior=scene.scene.prior))
            events = list(Conversation(case, model=model).answer(Question(text="What did you find?")))
            notes = [event.text for event in events if isinstance(event, Note) and event.about == "off"]
            return f"{sum(isinstance(event, Said) for event in events)} sentences; {' '.join(notes) or 'by the model'}"

        lines = [
            "| what | how it ended | seconds |", "|---|---|---|", f"| start | ready | {seconds:.1f} |",
            told("a row as JSON", lambda: model.complete(ask.messages, schema=ask.schema, budget=PATIENT).data),
            told("calls tools", lambda: model.calls_tools), told("a question", talk),
        ]  # fmt: skip
    print("\n".join([*lines, "", stamp("python -m benchmarks.served")]))


if __name__ == "__main__":
    main()
