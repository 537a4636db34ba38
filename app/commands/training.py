"""The verbs that learn: ``adapt`` an encoder to scans with reports, ``finding calibrate`` a pack on one's own cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import AsJson, Checkpoint, Learned
from app.commands.terminal import counted_cases, put_json
from vlm.errors import UsageError

if TYPE_CHECKING:
    from vlm.encoder import Encoder

finding = typer.Typer(
    help="Findings of your own: calibrated on your cases.", no_args_is_help=True, add_completion=False
)

Packs = Annotated[list[str] | None, typer.Option("--pack", metavar="P", help="ct-rate-18, merlin-30, or a file.")]


def tower(encoder: Path | None, adapter: Path | None) -> Encoder | None:
    """The encoder that is named, with an adapter where one is; None where neither is named."""
    if encoder is None and adapter is None:
        return None
    from app.encoding import tower as loaded

    return loaded(encoder, adapter)


def adapt(
    data: Annotated[Path, typer.Option("--data", metavar="DIR|CSV", help="CT-RATE, Merlin, our cohorts, or a CSV.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The adapter to write.")],
    rank: Annotated[int, typer.Option("--rank", help="Of LoRA in the last stage; 0 leaves the encoder as it is.")] = 8,
    pack: Packs = None,
    encoder: Checkpoint = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Go on from this adapter; its findings are kept.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Through the last stage.")] = 3,
    force: Annotated[bool, typer.Option("--force", help="Save even where a finding known before got worse.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn heads, words and LoRA parts from scans with reports or labels. Run it again to go on after a stop."""
    from app.commands.adapting import adapt_to

    told = adapt_to(
        data, out, rank=rank, packs=pack or ["ct-rate-18"], base=tower(encoder, None), start=start, epochs=epochs,
        force=force, say=lambda line: typer.echo(line, err=True),
    )  # fmt: skip
    if as_json:
        put_json(told)
        return
    from app.showing import show_learned

    show_learned(told)


@finding.command("calibrate", epilog="tomoscribe finding calibrate ct-rate-18 --cases cohort --adapter chest.adapter")
def calibrate(
    pack: Annotated[str, typer.Argument(metavar="PACK", help="ct-rate-18, merlin-30, or a file.")],
    cases: Annotated[Path, typer.Option("--cases", metavar="DIR|CSV", help="Scans with reports or labels.")],
    encoder: Checkpoint = None,
    adapter: Learned = None,
    score: Annotated[str, typer.Option("--score", help="heads or zero-shot.")] = "heads",
    sensitivity: Annotated[float, typer.Option("--sensitivity", help="Wanted at the threshold, 0 to 1.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Say what a score means on your own cases: its spread, a probability, and a threshold for a wanted sensitivity."""
    from app.calibrating import calibrate_pack
    from app.showing import show_calibrations
    from app.studies import find_studies
    from vlm.encoder.measured import shipped
    from vlm.findings.packs import load_pack

    if score not in ("heads", "zero-shot"):
        raise UsageError(f"E_USAGE: --score is {score!r}, expected heads or zero-shot.")
    if not 0 < sensitivity <= 1:
        raise UsageError(f"E_USAGE: --sensitivity is {sensitivity}, expected more than 0 and at most 1.")
    wanted, studies, seen = load_pack(pack), find_studies(cases), tower(encoder, adapter) or shipped()
    if seen is None:
        raise UsageError("E_USAGE: neither --adapter nor --encoder is given, and no heads ship. Name one of them.")
    with counted_cases(as_json, "scored") as progress:
        told = calibrate_pack(
            wanted, studies, seen, kind="heads" if score == "heads" else "zero_shot", sensitivity=sensitivity,
            cohort=cases.name, progress=progress,
        )  # fmt: skip
    if as_json:
        put_json(told)
    else:
        show_calibrations(told)
