"""The verbs of the case library: ``index add | stats | remove | rebuild | check`` and ``search``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import AsJson, Checkpoint, IndexPlace, Learned, LibraryFolder
from app.commands.terminal import counted_cases, put_json
from vlm.errors import UsageError

if TYPE_CHECKING:
    from retrieval.caches import Indexes

index = typer.Typer(help="A library of cases, for similar cases.", no_args_is_help=True, add_completion=False)


def library_for_reading(given: Path | None) -> Path | None:
    """The library that a reading asks: the one that is named, or the default one where there is one."""
    from app.indexing import library_folder

    folder = library_folder(given)
    return folder if given is not None or (folder / "library.sqlite").exists() else None


@contextmanager
def opened(folder: Path | None, place: str | None, *, make: bool = False) -> Iterator[Indexes]:
    """The library and its indexes, closed at the end."""
    from app.indexing import library_folder
    from retrieval.caches import Indexes
    from retrieval.library import CaseLibrary

    library = CaseLibrary(library_folder(folder), make=make)
    try:
        indexes = Indexes(library, place, log=lambda line: typer.echo(line, err=True))
        try:
            yield indexes
        finally:
            indexes.close()
    finally:
        library.close()


@index.command("add", epilog="tomoscribe index add reports")
def add(
    path: Annotated[Path, typer.Argument(metavar="FOLDER|CSV", help="Our reports, CT-RATE, Merlin, or a CSV.")],
    library: LibraryFolder = None,
    place: IndexPlace = None,
    measure: Annotated[bool, typer.Option("--measure", help="Read each scan with the tools, too.")] = False,
    encode: Annotated[bool, typer.Option("--encode", help="Compare images and sentences by encoders, too.")] = False,
    encoder: Checkpoint = None,
    adapter: Learned = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes that prepare cases.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Put studies into the library. Run it again to go on after a stop: what is there is left."""
    from app.encoding import needed, tower
    from app.indexing import Ways, add_studies
    from app.studies import find_studies

    named = encoder is not None or adapter is not None
    if named and not encode:
        raise UsageError("E_USAGE: --encoder and --adapter say how to encode, expected --encode with them.")
    if encode:
        tower(encoder, adapter) if named else needed()
    studies = find_studies(path)
    with opened(library, place, make=True) as indexes:
        with counted_cases(as_json, "added") as progress:
            summary = add_studies(
                indexes.library,
                studies,
                ways=Ways(measure=measure, encode=encode, encoder=encoder, adapter=adapter),
                workers=workers,
                progress=progress,
            )
        indexes.refresh()
        cases = indexes.library.count()
    if as_json:
        put_json({**asdict(summary), "cases": cases})
        return
    for skipped in summary.skipped:
        typer.echo(f"skipped {skipped['study']}: {skipped['reason']}", err=True)
    typer.echo(
        f"{summary.added} added, {summary.held} there already, {len(summary.skipped)} skipped; "
        f"the library holds {cases} cases.",
        err=True,
    )
    if encode and summary.encoded < summary.added:
        typer.echo(
            f"{summary.added - summary.encoded} of those added have no image vector: their scan is not at hand.",
            err=True,
        )


@index.command("demo", epilog="tomoscribe index demo --library demo/library")
def demo(library: LibraryFolder = None, as_json: AsJson = False) -> None:
    """Put a few synthetic chests into a library, each drawn and read."""
    from app.commands.demo_library import add_demo

    with opened(library, None, make=True) as indexes:
        with counted_cases(as_json, "added") as progress:
            summary = add_demo(indexes.library, workers=2, progress=progress)
        indexes.refresh()
    if as_json:
        put_json(asdict(summary))
    else:
        typer.echo(f"{summary.added} cases added, {summary.held} there already.", err=True)


@index.command("stats", epilog="tomoscribe index stats")
def stats(library: LibraryFolder = None, place: IndexPlace = None, as_json: AsJson = False) -> None:
    """Say what the library holds, and what its indexes are."""
    from app.showing_cases import library_stats, show_stats

    with opened(library, place) as indexes:
        found = library_stats(indexes)
    if as_json:
        put_json(found)
    else:
        show_stats(found)


@index.command("remove", epilog="tomoscribe index remove --patient 12345")
def remove(
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="An id as given, or a case's name.")],
    library: LibraryFolder = None,
    place: IndexPlace = None,
    as_json: AsJson = False,
) -> None:
    """Remove a patient with every trace."""
    from app.encoding import remove_patient

    with opened(library, place) as indexes:
        gone = remove_patient(indexes.library, patient)
        indexes.refresh()
    if as_json:
        put_json({"removed": gone})
    else:
        typer.echo(f"{gone} cases removed.", err=True)


@index.command("rebuild", epilog="tomoscribe index rebuild")
def rebuild(library: LibraryFolder = None, place: IndexPlace = None, as_json: AsJson = False) -> None:
    """Build every index again from the library."""
    with opened(library, place) as indexes:
        built = {name: asdict(facts) for name, facts in indexes.refresh(anew=True).items()}
    if as_json:
        put_json(built)
    else:
        typer.echo(f"{len(built)} indexes built.", err=True)


@index.command("check", epilog="tomoscribe index check")
def check(library: LibraryFolder = None, place: IndexPlace = None, as_json: AsJson = False) -> None:
    """Compare every case and every index file with its checksum; exit code 4 where one is damaged."""
    with opened(library, place) as indexes:
        count, cases, built = indexes.library.count(), list(indexes.library.damaged()), list(indexes.damaged())
    bad = bool(cases or built)
    if as_json:
        put_json({"cases": count, "damaged_cases": cases, "damaged_indexes": built})
    else:
        for name in cases:
            typer.echo(f"damaged case: {name}. Add it again from its source.", err=True)
        for name in built:
            typer.echo(f"damaged index: {name}. tomoscribe index rebuild", err=True)
        typer.echo(f"{count} cases checked{'' if bad else ', all whole'}.", err=True)
    if bad:
        raise typer.Exit(4)


def search(
    what: Annotated[str, typer.Argument(metavar='PATH|"TEXT"', help="A scan, a report folder of ours, or words.")],
    library: LibraryFolder = None,
    place: IndexPlace = None,
    count: Annotated[int, typer.Option("--count", "-k", help="How many cases.")] = 5,
    organ: Annotated[str | None, typer.Option("--organ", help="Compare this organ alone.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="head, neck, chest, abdomen or pelvis.")] = None,
    finding: Annotated[list[str] | None, typer.Option("--finding", help="Only cases with it; may be repeated.")] = None,
    side: Annotated[str | None, typer.Option("--side", help="left or right, of those findings.")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="MM-MM", help="of those findings.")] = None,
    age: Annotated[str | None, typer.Option("--age", metavar="FROM-TO")] = None,
    phase: Annotated[str | None, typer.Option("--phase", help="plain, arterial, portal or enhanced.")] = None,
    before: Annotated[str | None, typer.Option("--before", metavar="YYYY-MM-DD", help="Made before this day.")] = None,
    patient: Annotated[str, typer.Option("--patient", help="Whose cases never come back.")] = "",
    thumbnails: Annotated[
        Path | None, typer.Option("--thumbnails", metavar="DIR", help="Write a small key image of each there.")
    ] = None,
    encoder: Checkpoint = None,
    adapter: Learned = None,
    as_json: AsJson = False,
) -> None:
    """Find similar cases by a scan or a report, or cases by words; with --adapter or --encoder by words in images."""
    from app.encoding import tower
    from app.searching import query_of
    from app.showing_cases import show_similar, similar_rows, write_thumbnails
    from retrieval.filters import filters_of
    from retrieval.likeness import sharing
    from retrieval.search import Search

    filters = filters_of(
        organ=organ, region=region, findings=finding or (), side=side, size=size, age=age, phase=phase, before=before
    )
    if count < 1:
        raise UsageError(f"E_USAGE: --count is {count}, expected 1 or more.")
    with opened(library, place) as indexes:
        asker = tower(encoder, adapter) if encoder or adapter else None
        query, missing = query_of(what, indexes.library, patient, asker)
        if missing:
            typer.echo(missing, err=True)
        search_in = Search(indexes.library, indexes)
        found = search_in.similar(query, count, filters)
        means = None if query.text else sharing(search_in)
        rows = similar_rows(found, means)
        if thumbnails is not None:
            write_thumbnails(indexes.library, found, rows, thumbnails)
    if as_json:
        put_json(rows)
    else:
        show_similar(rows, by_words=bool(query.text), blind=means.blind if means else None)
