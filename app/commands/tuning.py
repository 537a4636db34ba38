"""``tomoscribe tune``: a local model learns from the user's own reports and conversations."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import AsJson
from app.commands.terminal import put_json
from vlm.errors import UsageError

NEEDED = ("torch", "transformers", "peft", "accelerate")


def tune(
    data: Annotated[Path, typer.Option("--data", metavar="PATH", help="CSV of CT-RATE or Merlin, JSON Lines.")],
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="A folder of a transformers model.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Adapter, losses, samples. Goes on if stopped.")],
    steps: Annotated[int, typer.Option("--steps")] = 300,
    batch: Annotated[int, typer.Option("--batch", help="Examples a step and GPU.")] = 4,
    rank: Annotated[int, typer.Option("--rank", help="Of the adapter.")] = 16,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate.")] = 2e-4,
    every: Annotated[int, typer.Option("--every", help="Steps between checkpoints.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Teach a local model your reports or conversations: a LoRA adapter, patients split by name.

    Several GPUs: accelerate launch -m app.cli tune … . Use it: tomoscribe read SCAN --model DIR --adapter OUT/adapter.
    """
    lacking = [package for package in NEEDED if find_spec(package) is None]
    if lacking:
        raise UsageError(f"E_USAGE: tune needs {', '.join(lacking)}. pip install tomoscribe[language]")
    if not data.exists():
        raise UsageError(f"E_USAGE: --data {data.name} does not exist, expected a CSV or JSON Lines of reports.")
    if not (model / "config.json").is_file():
        raise UsageError(f"E_USAGE: --model {model.name} holds no config.json, expected a transformers folder.")
    from vlm.train.resumable import losses
    from vlm.train.tune import Tuning
    from vlm.train.tune import tune as run

    tuning = Tuning(steps=steps, batch=batch, rank=rank, rate=rate, every=every)
    adapter = run(data, model, out, tuning, told=lambda line: typer.echo(line, err=True))
    told = losses(out)
    if as_json:
        put_json({"adapter": str(adapter), "steps": len(told), "first_loss": told[0], "last_loss": told[-1]})
    else:
        typer.echo(f"{adapter}: loss {told[0]:.3f} to {told[-1]:.3f} in {len(told)} steps", err=True)
