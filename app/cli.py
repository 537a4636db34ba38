"""The command line: each verb parses its words, calls one function, and prints what came back.

Results go to stdout, progress to stderr. Nothing heavy is imported before a verb runs, so
``--help`` answers at once. Exit codes: 0 done, 2 usage, 3 input refused, 4 internal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands import library as case_library
from app.commands import synthetic, talking, training, tuning
from app.commands.ending import run_to_its_end
from app.commands.options import (
    Anatomy,
    AnsweringModel,
    AsJson,
    KnownPath,
    Learned,
    LibraryFolder,
    Prior,
    RemoteModel,
    ScanPath,
    Series,
    WordsCheckpoint,
)
from app.commands.terminal import named_steps, put_json
from vlm.errors import UsageError

app = typer.Typer(
    name="tomoscribe",
    help="Read a CT, draft its report, and tie every sentence to evidence in the voxels. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def put_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"tomoscribe {version('tomoscribe')}")
        raise typer.Exit


@app.callback()
def main_options(
    _version: Annotated[
        bool, typer.Option("--version", callback=put_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options that stand before a verb."""


@app.command(epilog="tomoscribe info scans/chest --json")
def info(path: ScanPath, series: Series = None, as_json: AsJson = False) -> None:
    """Say what is here, what would be read and why. No tool runs."""
    from app.showing import show_inventory
    from vlm.ct import survey

    inventory = survey(path, series=series)
    if as_json:
        put_json(inventory.model_dump(mode="json"))
    else:
        show_inventory(inventory)
    if inventory.refusal is not None:
        raise typer.Exit(3)


@app.command(epilog="tomoscribe read scans/chest --out report")
def read(
    path: ScanPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")],
    series: Series = None,
    prior: Prior = None,
    prior_series: Annotated[
        str | None, typer.Option("--prior-series", metavar="UID", help="The series of the prior to read.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "--writer", metavar="MODEL", help="Who words it: none (rules), embedded, a folder, a URL."
        ),
    ] = "none",
    style: Annotated[str, typer.Option("--style", help="structured, narrative or short.")] = "structured",
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="DIR", help="Of a local model, made by tomoscribe tune.")
    ] = None,
    remote_model: RemoteModel = False,
    impressions: Annotated[
        bool, typer.Option("--impressions", help="Let the embedded model say what it sees, under To review.")
    ] = False,
    library: LibraryFolder = None,
    patient: Annotated[
        str, typer.Option("--patient", metavar="ID", help="Whose cases never come back from the library.")
    ] = "",
    without_library: Annotated[
        bool, typer.Option("--without-library", help="Leave similar cases out, and say what they would change.")
    ] = False,
    anatomy: Anatomy = None,
    as_json: AsJson = False,
) -> None:
    """Read a CT and draft its report: report.md, report.json, masks and key images."""
    from app.export import check_report_folder, write_report
    from app.reading import read_scan, what_a_library_changes
    from app.writing import Writer

    if prior_series is not None and prior is None:
        raise UsageError("E_USAGE: --prior-series is given without --prior, expected both.")
    check_report_folder(out)
    writer = Writer(model, style, adapter=adapter, remote=remote_model)
    with named_steps(as_json) as progress:
        cases = case_library.library_for_reading(library)
        reading = read_scan(
            path, series=series, prior=prior, prior_series=prior_series, patient=patient, writer=writer,
            anatomy=anatomy, progress=progress, impressions=impressions,
            library=None if without_library else cases,
        )  # fmt: skip
        progress("export")
        write_report(out, reading.report, reading.case, reading.sections)
    if as_json:
        put_json(reading.report.model_dump(mode="json", by_alias=True))
    else:
        typer.echo((out / "report.md").read_text(encoding="utf-8"))
        typer.echo(f"Written to {out}/report.md, report.json, masks/, key/", err=True)
    if without_library:
        for line in what_a_library_changes(reading, cases, patient=patient):
            typer.echo(line, err=True)


@app.command(epilog="tomoscribe segment scans/chest --out labels")
def segment(
    path: ScanPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where label maps and their names go.")],
    series: Series = None,
    anatomy: Anatomy = None,
    as_json: AsJson = False,
) -> None:
    """Write the structures that were found as one label map on the scan's own grid."""
    from app.segmenting import segment_scan
    from app.showing import show_segmented

    with named_steps(as_json) as progress:
        summary = segment_scan(path, out, series=series, anatomy=anatomy, progress=progress)
    if as_json:
        put_json(summary)
    else:
        show_segmented(summary)
        lobes = ", ".join(summary["lobes"]) or "none"
        typer.echo(f"Lobes by the fissures: {lobes}.", err=True)
        typer.echo(f"Written to {out}/labels.nii.gz, names.json, structures.json, lobes.nii.gz, lobes.json", err=True)


@app.command(epilog="tomoscribe label reports.csv --text-column text --out labels.csv")
def label(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS.csv", help="A CSV file, plain or gzip.")],
    text_column: Annotated[str, typer.Option("--text-column", metavar="C", help="The column with the report's text.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV to write.")],
    pack: Annotated[str, typer.Option("--pack", metavar="P", help="ct-rate-18, merlin-30, or a file.")] = "ct-rate-18",
    uncertain_positive: Annotated[bool, typer.Option("--uncertain-positive", help="Count doubt as present.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn report text into one 0/1 column a finding."""
    from vlm.findings.labels import label_csv

    rows = label_csv(reports, text_column, pack, out, uncertain_positive=uncertain_positive)
    if as_json:
        put_json({"rows": rows, "out": str(out), "pack": pack})
    else:
        typer.echo(f"{rows} reports labelled, written to {out}", err=True)


@app.command(epilog='tomoscribe query report "fluid around the lung" "no kidney stone on the left"')
def query(
    path: KnownPath,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="A finding each; the whole vocabulary when left out.")
    ] = None,
    pack: Annotated[
        str | None, typer.Option("--pack", metavar="P", help="Every column of ct-rate-18, merlin-30, or a file.")
    ] = None,
    encoder: WordsCheckpoint = None,
    adapter: Learned = None,
    heatmap: Annotated[
        Path | None,
        typer.Option("--heatmap", metavar="FILE", help="Where the first query's score is from: a .nii.gz."),
    ] = None,
    library: LibraryFolder = None,
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="Whose cases do not vote.")] = "",
    series: Series = None,
    as_json: AsJson = False,
) -> None:
    """Say for each finding, in anyone's words, whether it is there, is not, or was not assessed."""
    from app.asking import check_heat, query_scan, write_heat
    from app.known import know
    from app.showing import show_queries
    from vlm.findings.packs import load_pack

    if pack:
        load_pack(pack)  # a pack that does not exist is told before a scan is read
    seen = training.tower(encoder, adapter)
    if heatmap is not None:
        check_heat(path, words or (), seen, heatmap)
    with named_steps(as_json) as progress:
        known = know(path, series=series, progress=progress)
        voters = case_library.library_for_reading(library)
        answers = query_scan(known, words or (), pack, seen, library=voters, patient=patient)
        if heatmap is not None and words and seen is not None:
            answers["heatmap"] = write_heat(known, words[0], seen, heatmap)
    if as_json:
        put_json(answers)
    else:
        show_queries(answers)


@app.command(epilog="tomoscribe tools")
def tools(as_json: AsJson = False) -> None:
    """List the tools: what each observes, what it needs, and its measured limits."""
    from app.doctor import engine_checks
    from app.showing import show_doctor, show_tools, tool_rows

    rows = tool_rows()
    if as_json:
        put_json(rows)
    else:
        show_tools(rows)
        show_doctor(engine_checks())


@app.command(epilog="tomoscribe doctor weights merlin.pt")
def doctor(
    what: Annotated[
        str | None, typer.Argument(metavar="[weights", help="weights: look into a file of weights.")
    ] = None,
    file: Annotated[Path | None, typer.Argument(metavar="FILE]", help="The file of weights.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, what is off, and how to turn it on; or what a file of weights is and lacks."""
    from app.doctor import examine, examine_weights
    from app.showing import show_doctor, show_weights

    if what is not None:
        if what != "weights" or file is None:
            raise UsageError(f"E_USAGE: doctor {what!r} is not known, expected nothing, or weights FILE.")
        told = examine_weights(file)
        if as_json:
            put_json(told)
        else:
            show_weights(told)
        return
    checks = examine()
    if as_json:
        put_json(checks)
    else:
        show_doctor(checks)


@app.command(epilog="tomoscribe serve")
def serve(
    add: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Scans to take in at the start.")] = None,
    host: Annotated[str, typer.Option("--host", help="Other than this machine only with --users.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 7860,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where cases are kept; your data folder by default.")
    ] = None,
    users: Annotated[Path | None, typer.Option("--users", metavar="FILE", help="Who may log in.")] = None,
    add_user: Annotated[str | None, typer.Option("--add-user", metavar="NAME", help="Write a user, and end.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A further host name under which browsers reach the page.")
    ] = None,
    library: LibraryFolder = None,
    encoder: WordsCheckpoint = None,
    model: AnsweringModel = "none",
    remote_model: RemoteModel = False,
) -> None:
    """Serve the page: read scans, look, ask and edit in a browser."""
    from app.serving import serve_page, write_user

    if add_user is not None:
        write_user(users, add_user, lambda: str(typer.prompt("Password", hide_input=True, confirmation_prompt=True)))
        return
    folder = case_library.library_for_reading(library)
    serve_page(
        add or [], host=host, port=port, data=data, users=users, names=name or [], browse=open_browser, library=folder,
        encoder=encoder, model=model, remote_model=remote_model,
    )  # fmt: skip


@app.command(epilog="tomoscribe mcp --root scans")
def mcp(
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The agent may open scans below it, no others.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where cases are kept; a folder of its own by default.")
    ] = None,
    library: LibraryFolder = None,
) -> None:
    """Serve an agent over stdin and stdout: open a scan, read it, ask, query and search."""
    from app.serving import serve_agent

    serve_agent(root, data, case_library.library_for_reading(library))


app.command(epilog="tomoscribe phantom sample --preset demo --seed 7")(synthetic.phantom)
app.command(epilog="tomoscribe measure cohort")(synthetic.measure)
app.command(epilog='tomoscribe ask report "Is there an effusion?"')(talking.ask)
app.command(epilog="tomoscribe adapt --data cohort --out chest.adapter")(training.adapt)
app.add_typer(training.finding, name="finding")
app.command(epilog="tomoscribe tune --data reports.csv --model my-model --out tuned")(tuning.tune)
app.add_typer(case_library.index, name="index")
app.command(epilog='tomoscribe search "calcified nodule, right upper lobe"')(case_library.search)


def main() -> None:
    """Run the command line; every error is one line on stderr and an exit code."""
    run_to_its_end(app)
