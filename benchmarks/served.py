"""Real model servers, ``transformers serve`` and llama.cpp's, each with the embedded model's weights and asked as any.

    python -m benchmarks.served [--servers transformers,llama.cpp] [--write-docs]

Prints how long each took to start, whether its model calls tools, what became of a row that wants JSON and of the
sentence that it is for, and how a question about a report ends. A model of 135 M seldom fills a schema: what matters is
that each ends within its time, and that composer and router answer where the model does not. llama.cpp comes from the
wheel ``xllamacpp`` (MIT), which is no part of the product; where it is not installed its rows say so. Servers that
stall, die, lie and flood are scripted in tests/test_model_servers.py.
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
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

from benchmarks.language import table
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.encoder.weights import package_file
from vlm.grounding import Context
from vlm.language.asking_rows import ask_for
from vlm.language.conversation import Conversation
from vlm.language.embedded_weights import GGUF, PACKAGE, model_folder
from vlm.language.events import Note, Question, Said
from vlm.language.models import Budget, ModelError, ModelMissingError
from vlm.language.rewording import reword
from vlm.language.scene import OpenCase
from vlm.language.servers import ServerModel, parse_address
from vlm.report import render

PATIENT = Budget(first_token_s=60.0, between_tokens_s=30.0, total_s=90.0, most_tokens=64)
START_S = 300.0  # for a server to be ready
LLAMA = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.n_parallel = sys.argv[1], int(sys.argv[2]), 8192, 1
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
threading.Event().wait()
"""


def transformers_command(port: int) -> tuple[list[str], str]:
    """(command, name of the model there)."""
    folder = str(model_folder())
    run = [str(Path(sys.executable).with_name("transformers")), "serve", folder, "--host", "127.0.0.1"]
    return [*run, "--port", str(port), "--device", "cpu", "--dtype", "float32"], folder


def llama_command(port: int) -> tuple[list[str], str]:
    """(command, name of the model there)."""
    path = str(package_file(PACKAGE, GGUF))
    return [sys.executable, "-c", LLAMA, path, str(port)], path


SERVERS = {"transformers": transformers_command, "llama.cpp": llama_command}


@contextmanager
def serving(name: str) -> Iterator[tuple[str, float, float]]:
    """(address, seconds until it was ready, of the processor, too) of a server that is stopped at the end.

    Raises:
        ModelMissingError: it is not installed, or does not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, model = SERVERS[name](port)
    began, quiet = time.monotonic(), subprocess.DEVNULL
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=offline, stdout=quiet, stderr=quiet) as process:
        try:
            while not _healthy(port):
                if process.poll() is not None or time.monotonic() - began > START_S:
                    raise ModelMissingError(f"E_MODEL: {name} is not installed, or does not start.")
                time.sleep(0.5)
            used = psutil.Process(process.pid).cpu_times()
            yield f"http://127.0.0.1:{port}/v1#{model}", time.monotonic() - began, used.user + used.system
        finally:
            process.kill()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def told(what: str, does: Callable[[], object]) -> str:
    """What was tried, how it ended, after how many seconds."""
    began = time.monotonic()
    try:
        ended = str(does())
    except ModelError as error:
        ended = f"{type(error).__name__}: {error}"
    return f"{what} | {' '.join(ended.split())[:160]} | {time.monotonic() - began:.1f} |"


def asked(name: str) -> list[str]:
    """Rows of the table: one server, started, asked and stopped."""
    scene = table(0)
    place, row = next(iter(scene.rows.items()))
    ask = ask_for([row], "narrative", taught=False)
    try:
        with serving(name) as (address, seconds, used):
            model = ServerModel(parse_address(address), budget=PATIENT)

            def talk() -> str:
                case = OpenCase(ledger=scene.scene.ledger.branch(), context=Context(prior=scene.scene.prior))
                events = list(Conversation(case, model=model).answer(Question(text="What did you find?")))
                notes = [event.text for event in events if isinstance(event, Note) and event.about == "off"]
                return (
                    f"{sum(isinstance(event, Said) for event in events)} sentences; {' '.join(notes) or 'by the model'}"
                )

            def sentence() -> str:
                done = reword([scene.drafts[place]], scene.scene.ledger, style="narrative", model=model,
                              context=Context(prior=scene.scene.prior), most_seconds=PATIENT.total_s)  # fmt: skip
                by = "the model's" if done.worded else "composed, the model's did not hold"
                return f"{by}: {render(done.drafts[0].template, scene.scene.ledger)}"

            rows = [
                f"start | ready, after {used:.0f} s of the processor | {seconds:.1f} |",
                told("a row as JSON", lambda: model.complete(replace(ask, budget=PATIENT)).data),
                told("the sentence for the report", sentence),
                told("calls tools", lambda: model.calls_tools), told("a question", talk),
            ]  # fmt: skip
    except ModelMissingError as error:
        rows = [f"start | {error} | |"]
    return [f"| {name} | {line}" for line in rows]


def main() -> None:
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    lines = ["| server | what | how it ended | seconds |", "|---|---|---|---|"]
    for name in options.servers.split(","):
        lines += asked(name)
        print("\n".join(lines[-5:]), flush=True)
    text = "\n".join([stamp("python -m benchmarks.served"), "", *lines])
    if options.write_docs:
        write_section(ROOT / "docs" / "language.md", "served", text)


if __name__ == "__main__":
    main()
