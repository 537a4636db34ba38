"""A case on its way into a library, and as a library knows it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.facts import Fact

Kind = Literal["scan", "organ", "sentence"]
KINDS: tuple[Kind, ...] = ("scan", "organ", "sentence")
THUMBNAIL, PREVIEW = "thumbnail.png", "preview.nii.gz"  # pictures of a case: a small key image, HU in blocks of 3 mm


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVector:
    """A vector of an encoder: of the whole scan, of an organ, or of a sentence of the report."""

    kind: Kind
    space: str  # which encoder and mode; vectors of two spaces are never compared
    part: str = ""  # the organ's structure, or the sentence's text
    values: NDArray[np.float32]  # (dimension,), as the encoder gave it


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCase:
    """A case on its way in. ``patient`` and ``study`` are kept as keyed hashes only."""

    patient: str
    study: str
    series: str = ""
    source: str  # the layout it came from
    report: str = ""
    facts: tuple[Fact, ...] = ()  # measured; those of the report are read here
    content: str = ""  # hash of the voxels, where they were read
    regions: tuple[str, ...] = ()
    phase: str | None = None
    age: int | None = None
    sex: str | None = None
    date: datetime.date | None = None
    vectors: tuple[CaseVector, ...] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # THUMBNAIL, PREVIEW
    provenance: Mapping[str, str] = field(default_factory=dict)  # tool versions: never a path or a name
    stamp: str = ""  # tells one state of its input from another; "": told from what the case holds
    own_words: bool = False  # the report is one of ours: its facts are the measured ones, and are not read again


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCase:
    """A case as the library knows it."""

    id: int
    name: str  # what people call it by: "c" and 12 hex digits
    patient: int
    study: str
    source: str
    report: str
    regions: tuple[str, ...]
    phase: str | None
    age: int | None
    sex: str | None
    shifted: datetime.date | None
    facts: tuple[Fact, ...]
    provenance: Mapping[str, str]
