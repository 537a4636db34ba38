"""Scans whose truth is known: ``phantom`` makes one or a cohort, ``measure`` reads a cohort with the tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import AsJson
from app.commands.terminal import counted_cases, put_json


def phantom(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write to.")],
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="demo: a chest with a nodule and an effusion; clear; body: a whole person."),
    ] = None,
    finding: Annotated[
        list[str] | None, typer.Option("--finding", help='In a body, in words: "12 mm solid nodule, left upper lobe".')
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 7,
    phase: Annotated[str | None, typer.Option("--phase", help="Of a body: plain, arterial or portal.")] = None,
    region: Annotated[str, typer.Option("--region", help="Of a body: chest, abdomen, trunk or all.")] = "trunk",
    prior: Annotated[
        bool, typer.Option("--prior", help="Also an earlier scan of the body with known change, in OUT.prior.")
    ] = False,
    file_format: Annotated[
        str | None, typer.Option("--format", help="dicom (of a cohort: nifti, unless said otherwise) or nifti.")
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None, typer.Option("--spacing", metavar="X Y Z", help="Of a body: voxel size, mm.")
    ] = None,
    into: Annotated[
        list[Path] | None, typer.Option("--into", metavar="SCAN", help="Put findings into this scan instead.")
    ] = None,
    organs: Annotated[
        Path | None, typer.Option("--organs", metavar="LABELS", help="With --into: a label map of the scan's organs.")
    ] = None,
    cohort: Annotated[
        int | None, typer.Option("--cohort", metavar="N", help="N cases with truth and reports. Goes on if stopped.")
    ] = None,
    prevalence: Annotated[
        str, typer.Option("--prevalence", help="Of a cohort: ct-rate, or graded (every finding, sizes in steps).")
    ] = "ct-rate",
    split: Annotated[
        str, typer.Option("--split", help="Whose seeds a cohort takes: train, tune or test. They share no person.")
    ] = "test",
    workers: Annotated[int, typer.Option("--workers", help="Of a cohort: processes; 0 is one a processor.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a CT whose truth is known: a synthetic one, or yours with findings put into it; or a cohort of them."""
    from app.commands.phantoms import Wanted, make_cohort, make_sample
    from app.export.place import check_folder, writing

    check_folder(out, "OUT")
    wanted = Wanted(preset, finding or [], seed, phase, region, prior, file_format, spacing, into or [], organs)
    with writing(out, "OUT"):
        if cohort is None:
            made = make_sample(out.resolve(), wanted)
        else:
            with counted_cases(as_json, "drawn") as progress:
                made = make_cohort(out.resolve(), wanted, cohort, prevalence, split, workers, progress)
    if as_json:
        put_json(made)
    elif cohort is None:
        typer.echo(f"{made['slices']} slices written to {out}; truth in {made['truth']}", err=True)
    else:
        for name, reason in made["failed"].items():
            typer.echo(f"{name} is left out: {reason}", err=True)
        typer.echo(f"{made['cases']} cases in {out}; measure the tools on them: tomoscribe measure {out}", err=True)


def measure(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="A folder that phantom --cohort made.")],
    tool: Annotated[list[str] | None, typer.Option("--tool", help="Only this tool; may be said several times.")] = None,
    outlines: Annotated[
        bool, typer.Option("--outlines", help="Structures as each case's labels.nii.gz has them, found by no engine.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes; 0 is one a processor.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say what the tools find in a cohort: sensitivity by size, false positives, errors. Goes on if stopped.

    The figures are also written to COHORT/figures.json and figures.md.
    """
    from app.measuring import markdown
    from app.measuring import measure as measure_cohort

    with counted_cases(as_json, "read") as progress:
        said = [*(f"--tool {name}" for name in tool or ()), *(["--outlines"] if outlines else [])]
        figures = measure_cohort(
            cohort.resolve(), command=" ".join(["tomoscribe measure", cohort.name, *said]),
            tools=frozenset(tool or ()), outlined=outlines, workers=workers, progress=progress,
        )  # fmt: skip
    if as_json:
        put_json(figures)
    else:
        typer.echo(markdown(figures))
