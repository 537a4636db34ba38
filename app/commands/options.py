"""Arguments and options that several verbs share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScanPath = Annotated[Path, typer.Argument(metavar="PATH", help="DICOM folder or file, zip, or NIfTI.")]
KnownPath = Annotated[Path, typer.Argument(metavar="PATH", help="A scan, or a folder that tomoscribe read wrote.")]
Series = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="The series to read, where there are several.")
]
Prior = Annotated[Path | None, typer.Option("--prior", metavar="PATH", help="An earlier scan of the patient.")]
Anatomy = Annotated[
    str | None,
    typer.Option("--anatomy", metavar="ENGINE", help="Who finds structures first: labels:FILE, or any of doctor's."),
]

WordsCheckpoint = Annotated[
    Path | None, typer.Option("--encoder", metavar="FILE", help="A checkpoint that knows images and words.")
]
Checkpoint = Annotated[
    Path | None, typer.Option("--encoder", metavar="FILE", help="A checkpoint instead of the embedded encoder.")
]
Learned = Annotated[
    Path | None, typer.Option("--adapter", metavar="FILE", help="What tomoscribe adapt learned: heads and words.")
]

AnsweringModel = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL",
        help="none (rules), a folder of a local model, or a server's address: a language model that looks and answers.",
    ),
]  # fmt: skip
RemoteModel = Annotated[bool, typer.Option("--remote-model", help="Allow a model's address that is not this machine.")]

LibraryFolder = Annotated[
    Path | None,
    typer.Option("--library", metavar="DIR", help="The case library; TOMOSCRIBE_LIBRARY or your data folder."),
]
IndexPlace = Annotated[
    str | None, typer.Option("--index", metavar="URL", help="milvus://host:port instead of FAISS files.")
]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
