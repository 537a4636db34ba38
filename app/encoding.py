"""Image vectors for the case library: made when a study is put in, asked for when similar cases are.

A library has them where it was filled with ``index add --encode``. Where the encoder is not installed, everything
else works as without, and what is missing is said. Vectors of scans lie in the user's cache, too, under the scan's
content: removing a patient from a library removes those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retrieval.cases import CaseVector
from retrieval.images import STRUCTURES, WORDS, of_embedding, space_of
from retrieval.in_images import InImages
from retrieval.library import CaseLibrary
from retrieval.scrub import scrubbed
from vlm.encoder.astra import Astra
from vlm.encoder.embedding import Embedding, embedding, embeddings_folder, holder
from vlm.encoder.minilm import SHA256, installed, minilm
from vlm.encoder.registry import availability, load_encoder
from vlm.encoder.weights import WeightsError
from vlm.encoder.zeroshot import prompts
from vlm.findings.reader import read_report
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.query import read_query

if TYPE_CHECKING:
    from vlm.encoder import Encoder
    from vlm.evidence import Case

WORDS_SPACE = f"{WORDS}{SHA256[:12]}"
IMAGE_SPACE = str(Astra.identity)
NOT_COMPARED = "images were not compared"
NOT_ASKED = "images were not asked"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of a case or a query, and why there are none of images where a library has some."""

    vectors: tuple[CaseVector, ...] = ()
    missing: str = ""


def needed() -> None:
    """Check that images can be encoded here.

    Raises:
        WeightsError: what is not installed, and how to install it.
    """
    here = availability()
    if not here.on:
        raise WeightsError(f"E_WEIGHTS: --encode needs the image encoder, which is {here.reason}. {here.remedy}")


@functools.cache
def tower(encoder: Path | None, adapter: Path | None) -> Encoder:
    """The encoder that is named, with an adapter where one is; the embedded one where none is named.

    Raises:
        WeightsError: it cannot be loaded, or the adapter belongs to another.
    """
    from vlm.encoder.adapter import Adapted, load_adapter
    from vlm.encoder.checkpoints import load_checkpoint

    learned = None if adapter is None else load_adapter(adapter)
    base = load_encoder() if encoder is None else load_checkpoint(encoder)
    return base if learned is None else Adapted(base, [learned])


def of_case(case: Case, encoder: Encoder | None = None) -> tuple[CaseVector, ...]:
    """The vectors of an open scan and of its organs; by ``astra`` about 10 s of one processor, once a scan."""
    return of_embedding(embedding(case, encoder or load_encoder()))


def of_words(report: str) -> tuple[CaseVector, ...]:
    """A vector of each sentence of a report, as the library keeps it; none where the words' encoder is missing."""
    sentences = list(dict.fromkeys(r.text for r in read_report(scrubbed(report)) if r.text.strip()))
    if not sentences or not installed():
        return ()
    rows = minilm().embed(sentences)
    return tuple(
        CaseVector(kind="sentence", space=WORDS_SPACE, part=s, values=v) for s, v in zip(sentences, rows, strict=True)
    )


def cached(content: str, spaces: Iterable[str]) -> tuple[CaseVector, ...]:
    """The vectors of a scan that was encoded before, by the sha256 of its volume; no network is loaded."""
    paths = [embeddings_folder() / f"{content}-{space}.npz" for space in spaces]
    return tuple(vector for path in paths if path.is_file() for vector in of_embedding(Embedding.load(path)))


def asked_of(library: CaseLibrary, content: str, make: Callable[[], tuple[CaseVector, ...]] | None) -> Encoded:
    """The image vectors of a query, where a library has any to compare them with.

    Args:
        library: what is searched.
        content: sha256 of the volume that is asked about.
        make: encodes the scan; None where only its report is at hand.
    """
    spaces = [space for kind, space, _ in library.spaces() if kind == "scan" and not space.startswith("findings-")]
    if not spaces:
        return Encoded()
    if known := cached(content, spaces):
        return Encoded(known)
    if make is None:
        return Encoded(
            missing="images were not compared: only the report was opened, and its scan was not encoded here"
        )
    if not availability().on:
        return Encoded(missing=f"images were not compared: the encoder is {availability().reason}")
    made = make()
    if not {vector.space for vector in made} & set(spaces):
        return Encoded(missing=f"{NOT_COMPARED}: the library's vectors are of {', '.join(spaces)}")
    return Encoded(made)


def words_asked_of(library: CaseLibrary, text: str) -> tuple[CaseVector, ...]:
    """The vector of some words, where a library has sentences to compare it with."""
    there = any(kind == "sentence" and space == WORDS_SPACE for kind, space, _ in library.spaces())
    if not there or not text.strip() or not installed():
        return ()
    return (CaseVector(kind="sentence", space=WORDS_SPACE, values=minilm().embed([text])[0]),)


def in_images(library: CaseLibrary, words: str, encoder: Encoder) -> tuple[InImages | None, str]:
    """Words as an encoder asks them of a library's images; or why it cannot.

    A finding that the words mean is asked by its sentences, of its organ where the library has that organ's vectors;
    other words as they are, of the whole scan.
    """
    identity, text = str(encoder.identity), encoder.text
    if text is None:
        return None, f"{NOT_ASKED}: {identity} knows no words, expected an --adapter or an --encoder that does"
    spaces = {(kind, space) for kind, space, _ in library.spaces()}
    if ("scan", identity) not in spaces:
        return None, f"{NOT_ASKED}: the library holds no vectors of {identity}; index add --encode makes them"
    query, structure = read_query(words), ""
    if query.understood:
        entry = load_vocabulary().finding(query.findings[0])
        held = [name for name in STRUCTURES if ("organ", space_of(identity, name)) in spaces]
        structure = holder(entry.site, held)
        says, denies = prompts(text, entry.positive, entry.negative)
        wanted = denies - says if query.denied else says - denies
    else:
        wanted = np.asarray(text.embed([words])[0])
    project = functools.partial(encoder.project, organ=structure)
    return InImages(identity=identity, structure=structure, wanted=wanted, project=project), ""


def remove_patient(library: CaseLibrary, who: str) -> int:
    """Remove a patient from a library, and the vectors of the patient's scans from the cache; how many cases went.

    Raises:
        UsageError: no such patient is here.
    """
    gone = library.contents(who)
    for path in embeddings_folder().glob("*.npz"):
        if library.token("content", path.name.partition("-")[0]) in gone:
            path.unlink(missing_ok=True)
    return library.remove_patient(who)
