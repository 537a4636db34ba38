"""``tomoscribe query`` and ``ask``: what a scan, or a report of one, says to anyone's words.

PATH is a scan, which is read first, or a folder that ``read`` wrote. Each way of knowing has a column of its
own: measured tools, an image encoder's words, trained heads, neighbours in a library. A column that is off says
why; columns are never blended.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from app.export.masks import write_nifti
from app.export.place import writing
from app.image_columns import NOT_UNDERSTOOD, Chance, Column, ImageColumns, complement, disagreement, join
from app.neighbours import neighbours, off
from app.opening import open_read, open_report
from app.opinions import with_encoder, with_library
from app.reopen import evidence_of
from vlm.encoder import Encoder
from vlm.encoder.heat import heat
from vlm.errors import UsageError, shown
from vlm.evidence import Ledger, Observation
from vlm.findings.packs import load_pack
from vlm.language.choice import EMBEDDED, load_model
from vlm.language.conversation import Conversation, Turn, as_dict
from vlm.language.events import Event, Question
from vlm.language.models import LanguageModel
from vlm.language.query import Query, queries_of_pack, queries_of_vocabulary, read_query
from vlm.language.router import route
from vlm.language.scene import OpenCase
from vlm.language.standing import Standing, neither, stands
from vlm.report import EvidenceRecord, evidence_record

if TYPE_CHECKING:
    from app.known import Known


LOOKS_VERSION = "1"  # of what a conversation measures
AskWords = Callable[[Query], dict[str, Any]]  # a query -> the column of neighbours' votes


def query_scan(
    known: Known,
    words: Iterable[str],
    pack: str | None = None,
    encoder: Encoder | None = None,
    *,
    library: Path | None = None,
    patient: str = "",
) -> dict[str, Any]:
    """Answers to queries, the columns of a pack, or, when neither is given, to the whole vocabulary.

    Args:
        known: the scan or the report.
        words: a query each.
        pack: every column of this pack, too.
        encoder: a checkpoint that knows words.
        library: the folder of a case library whose neighbours vote; ``patient`` names whose cases do not.
    """
    asked = [read_query(text) for text in words]
    asked += queries_of_pack(load_pack(pack)) if pack else ()
    columns = ImageColumns(known.case, encoder)
    with neighbours(known, library, patient) as vote:
        answers = [answer(query, known.ledger, columns, vote) for query in asked or queries_of_vocabulary()]
    cited = {name for row in answers for name in row["cites"]}
    evidence = {n: r.model_dump(mode="json") for n, r in known.report.evidence.items() if n in cited}
    return {"case": known.report.case.id, "pack": pack, "answers": answers, "evidence": evidence}


def check_heat(scan: Path, words: Sequence[str], encoder: Encoder | None, path: Path) -> None:
    """Refuse a heat map that cannot be drawn or written, before a scan is read.

    Raises:
        UsageError: what is missing, in one line.
    """
    if encoder is None or (scan / "report.json").is_file() or not (words and read_query(words[0]).understood):
        raise UsageError("E_USAGE: --heatmap needs a scan, --adapter or --encoder, and words that mean a finding.")
    if not path.name.endswith(".nii.gz"):
        raise UsageError(f"E_USAGE: --heatmap is {shown(path.name)}, expected a name that ends in .nii.gz.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"E_USAGE: --heatmap {shown(path.name)} cannot be written, expected a file in a folder.")


def write_heat(known: Known, words: str, encoder: Encoder, path: Path) -> dict[str, Any]:
    """Write where a query's score comes from as NIfTI on the encoder's coarse grid, and its half as a mask beside it.

    Raises:
        UsageError: nothing scores it, or the file cannot be written.
    """
    query = read_query(words)
    assert known.case is not None  # check_heat
    found = heat(known.case, encoder, query.findings[0], query.side)
    if isinstance(found, str):
        raise UsageError(f"E_USAGE: --heatmap cannot be drawn: {found}. Take another --adapter or --encoder.")
    beside = path.with_name(f"{path.name.removesuffix('.nii.gz')}.mask.nii.gz")
    with writing(path, "--heatmap"):
        write_nifti(path, found.values, found.grid)
        write_nifti(beside, found.mask.voxels.astype(np.uint8), found.grid)
    place = {"centre_mm": found.mask.centre_mm, "box_mm": [found.mask.box.low_mm, found.mask.box.high_mm]}
    return {"finding": found.finding, "file": str(path), "mask": str(beside), "source": found.source,
            "organ": found.organ, "cell_mm": [round(mm, 1) for mm in found.grid.spacing_mm],
            **(place if found.mask else {})}  # fmt: skip


def answer(
    query: Query, ledger: Ledger, columns: ImageColumns | None = None, vote: AskWords | None = None
) -> dict[str, Any]:
    """One query with its columns. ``holds`` is whether the words are true; None where nobody can say."""
    not_understood = Standing(status="not_assessed", why=NOT_UNDERSTOOD)
    standing = stands(query, ledger) if query.understood else neither(query, ledger) or not_understood
    there = {"present": True, "absent": False, "limited": False}.get(standing.status)
    seen = columns or ImageColumns()
    zero_shot, heads = seen.zero_shot(query), seen.heads(query)
    said = ((_measured(standing, ledger), None), *((one.probability, one.usual) for one in (zero_shot, heads)))
    known = [(chance, usual) for chance, usual in said if chance is not None]
    joined = join([chance for chance, _ in known], [usual for _, usual in known])
    if joined is not None and query.denied:
        joined = complement(joined)
    return {
        "words": query.words, "understood": query.understood, "read_by": query.read_by,
        "unknown": list(query.unknown), "findings": list(query.findings), "side": query.side,
        "sites": list(query.sites), "denied": query.denied,
        "status": standing.status, "holds": None if there is None else there != query.denied,
        "why": standing.why, "limit": standing.limit, "cites": list(standing.cites),
        "found": {"side": standing.side, "size": standing.size},
        "columns": {
            "tools": {"state": "on", "says": standing.status, "why": standing.why},
            "zero_shot": zero_shot.document(query.denied),
            "heads": heads.document(query.denied),
            "neighbours": vote(query) if vote else off("no library is open"),
        },
        "probability": None if joined is None else joined[0],
        "interval": None if joined is None else list(joined[1:]),
        "disagree": disagreement(there, {"zero_shot": zero_shot, "heads": heads}),
        "abstained": "" if joined is not None else _abstained(query, standing, heads),
    }  # fmt: skip


def _measured(standing: Standing, ledger: Ledger) -> Chance | None:
    """The highest calibrated probability among what tools found; None where nothing is calibrated."""
    cited = (ledger[name] for name in standing.cites)
    known = [r.probability for r in cited if isinstance(r, Observation) and r.probability is not None]
    return (max(known), max(known), max(known)) if known else None


def _abstained(query: Query, standing: Standing, heads: Column) -> str:
    """Why there is no probability."""
    if not query.understood:
        return NOT_UNDERSTOOD
    first = standing.why if standing.status == "not_assessed" else "nothing that answers it is calibrated"
    return f"{first}; heads: {heads.why}" if heads.on else first


def opened(known: Known, *, encoder: Encoder | None = None, library: Path | None = None) -> OpenCase:
    """The case as a conversation sees it, with the second opinions that are given."""
    if known.case is not None:
        scene = open_read(known.report, known.ledger, known.context, known.case)
    else:
        scene = open_report(known.report, known.ledger, known.context, known.folder)
    return with_library(with_encoder(scene, known.case, encoder), known.report, known.case, library)


def ask_scan(known: Known, question: Question, conversation: Conversation | None = None) -> dict[str, Any]:
    """A whole answer: what was understood, cited and checked sentences, looks, places, and what claims nothing.

    Args:
        known: the case.
        question: in anyone's words, with what it points at.
        conversation: the turns before; a new one when left out.
    """
    talk = conversation or Conversation(opened(known))
    return answer_of(known, talk, question, list(talk.answer(question)))


def answer_of(known: Known, talk: Conversation, question: Question, events: Sequence[Event]) -> dict[str, Any]:
    """The events of an answer as one document, with the evidence that it cites."""
    told = [as_dict(event) for event in events]
    by_kind = {kind: [e for e in told if e["kind"] == kind] for kind in ("understood", "said", "note", "call", "show")}
    cited = {name for event in told for name in event.get("cites", ()) if name in talk.case.ledger}
    return {
        "case": known.report.case.id, "question": question.text, "understood": by_kind["understood"][0],
        "answer": by_kind["said"], "notes": [event["text"] for event in by_kind["note"]],
        "declined": any(event["about"] == "declined" for event in by_kind["note"]),
        "calls": by_kind["call"], "show": by_kind["show"],
        "evidence": {n: _record(known, talk, n) for n in sorted(cited, key=lambda n: int(n[1:]))},
    }  # fmt: skip


def _record(known: Known, talk: Conversation, name: str) -> dict[str, Any]:
    """Evidence as report.json holds it; what the conversation measured has a version of its own."""
    if name in known.report.evidence:
        return known.report.evidence[name].model_dump(mode="json")
    return evidence_record(talk.case.ledger[name], version=LOOKS_VERSION, mask_file=None).model_dump(mode="json")


def answering_model(choice: str, *, remote: bool) -> LanguageModel | None:
    """The model that looks and answers before the rules do; None: the rules alone.

    Raises:
        UsageError: the word names nothing, or the embedded model, which is too small to call tools.
        ModelMissingError: it names a model that is not there.
    """
    if choice in EMBEDDED:
        raise UsageError(
            f"E_USAGE: --model is {choice}, expected none, a model's folder or a server's address: who answers calls "
            "tools, and the embedded model words reports (tomoscribe read --model embedded)."
        )
    return load_model(choice, remote=remote)


@functools.cache
def make_ready() -> Thread:
    """Load what the first answer needs, once a process, beside what comes next: words take seconds to load.

    Who asks meanwhile should join the thread, else it is loaded twice.
    """
    loading = Thread(target=route, args=("Is there a nodule?",))
    loading.start()
    return loading


# ---- a session that goes on later


def load_session(
    known: Known, path: Path, *, model: LanguageModel | None = None, scene: OpenCase | None = None
) -> Conversation:
    """The conversation that a file keeps; a new one where there is no file.

    Args:
        known: the case.
        path: the file.
        model: that answers in it.
        scene: the case as it sees it, with second opinions.

    Raises:
        UsageError: it is damaged, or about another case.
    """
    talk = Conversation(scene or opened(known), model=model)
    if not path.is_file():
        return talk
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        turns = TypeAdapter(list[Turn]).validate_python(kept["turns"])
        records = {n: evidence_of(EvidenceRecord.model_validate(r)) for n, r in kept["evidence"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"E_USAGE: --session {path.name} cannot be opened ({type(error).__name__}). Name another file."
        ) from None
    if kept.get("case") != known.report.case.id:
        raise UsageError(f"E_USAGE: --session {path.name} is about another case. Name another file.")
    for name, record in records.items():
        if talk.case.ledger.add(record) != name:
            raise UsageError(f"E_USAGE: --session {path.name} does not fit this reading. Name another file.")
    talk.turns = turns
    return talk


def save_session(known: Known, talk: Conversation, path: Path) -> None:
    """Keep a conversation: its turns, and what was measured in it; readable by its owner alone."""
    own = {n: r for n, r in talk.case.ledger if n not in known.report.evidence}
    records = {
        n: evidence_record(r, version=LOOKS_VERSION, mask_file=None).model_dump(mode="json") for n, r in own.items()
    }
    kept = {"case": known.report.case.id, "turns": [asdict(turn) for turn in talk.turns], "evidence": records}
    new = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(kept, stream)
        new.replace(path)
    except OSError as error:
        raise UsageError(f"E_USAGE: --session {path.name} cannot be written: {error.strerror}.") from None
