"""``tomoscribe query`` and ``ask``: what a scan, or a report of one, says to anyone's words.

PATH is a scan, which is read first, or a folder that ``read`` wrote. Each way of knowing has a column of its
own: measured tools, an image encoder's words, trained heads, neighbours in a library. A column that is off says
why; columns are never blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.reading import read_scan
from app.reopen import context_of, ledger_of
from app.running import Progress, silent
from vlm.encoder import Encoder, availability
from vlm.encoder.embedding import embedding
from vlm.encoder.zeroshot import score
from vlm.errors import UsageError
from vlm.evidence import Case, Ledger, Observation
from vlm.findings.packs import load_pack
from vlm.grounding import Context
from vlm.language.answering import MOST_CHARACTERS, Call, LedgerAnswerer, Note, Question, Said
from vlm.language.query import Query, queries_of_pack, queries_of_vocabulary, read_query
from vlm.language.standing import Standing, stands
from vlm.report import Report

AskWords = Callable[[Query], dict[str, Any]]  # a query -> the column of a checkpoint's words
NOT_UNDERSTOOD = "no finding of the vocabulary is meant by these words"


@dataclass(frozen=True)
class Known:
    """A scan that has been read: its report and its evidence."""

    report: Report
    ledger: Ledger
    context: Context
    case: Case | None = None  # voxels and masks; None when a report was opened


def know(path: Path, *, series: str | None = None, progress: Progress = silent) -> Known:
    """Open a report that was written, or read a scan; nothing is written.

    Raises:
        IntakeError: the scan is refused.
        UsageError: the folder's report is damaged, or of another version.
    """
    written = path / "report.json"
    if not written.is_file():
        reading = read_scan(path, series=series, progress=progress)
        return Known(reading.report, ledger_of(reading.report), context_of(reading.report), reading.case)
    if series is not None:
        raise UsageError("E_USAGE: --series is for a scan; PATH holds a report already. Leave --series out.")
    try:
        report = Report.model_validate_json(written.read_text(encoding="utf-8"))
        return Known(report, ledger_of(report), context_of(report))
    except (ValueError, OSError) as error:
        why = type(error).__name__
        raise UsageError(
            f"E_USAGE: {path.name}/report.json cannot be opened ({why}), expected one that tomoscribe read wrote. "
            "Read the scan again."
        ) from None


def query_scan(
    known: Known, words: Iterable[str], pack: str | None = None, encoder: Encoder | None = None
) -> dict[str, Any]:
    """Answers to queries, the columns of a pack, or, when neither is given, to the whole vocabulary."""
    asked = [read_query(text) for text in words]
    asked += queries_of_pack(load_pack(pack)) if pack else ()
    ask_words = _zero_shot(known, encoder)
    answers = [answer(query, known.ledger, ask_words) for query in asked or queries_of_vocabulary()]
    cited = {name for row in answers for name in row["cites"]}
    evidence = {n: r.model_dump(mode="json") for n, r in known.report.evidence.items() if n in cited}
    return {"case": known.report.case.id, "pack": pack, "answers": answers, "evidence": evidence}


def answer(query: Query, ledger: Ledger, ask_words: AskWords | None = None) -> dict[str, Any]:
    """One query with its columns. ``holds`` is whether the words are true; None where nobody can say."""
    not_understood = Standing(status="not_assessed", why=NOT_UNDERSTOOD)
    standing = stands(query, ledger) if query.understood else not_understood
    there = {"present": True, "absent": False, "limited": False}.get(standing.status)
    probability = _probability(standing, ledger)
    return {
        "words": query.words, "understood": query.understood, "read_by": query.read_by,
        "unknown": list(query.unknown), "findings": list(query.findings), "side": query.side,
        "sites": list(query.sites), "denied": query.denied,
        "status": standing.status, "holds": None if there is None else there != query.denied,
        "why": standing.why, "limit": standing.limit, "cites": list(standing.cites),
        "found": {"side": standing.side, "size": standing.size},
        "columns": {
            "tools": {"state": "on", "says": standing.status, "why": standing.why},
            "zero_shot": (ask_words or _no_words)(query),
            "heads": {"state": "off", "why": "no heads are trained"},
            "neighbours": {"state": "off", "why": "no library is open"},
        },
        "probability": probability,
        "abstained": "" if probability is not None else _abstained(query, standing),
    }  # fmt: skip


def _probability(standing: Standing, ledger: Ledger) -> float | None:
    """The highest calibrated probability among what was found; None where nothing is calibrated."""
    cited = (ledger[name] for name in standing.cites)
    known = [r.probability for r in cited if isinstance(r, Observation) and r.probability is not None]
    return max(known, default=None)


def _abstained(query: Query, standing: Standing) -> str:
    """Why there is no probability."""
    if not query.understood:
        return NOT_UNDERSTOOD
    return standing.why if standing.status == "not_assessed" else "nothing that answers it is calibrated"


def _no_words(_: Query) -> dict[str, Any]:
    """The column where no checkpoint was named."""
    reason = availability().reason
    return {"state": "off", "why": reason or "no checkpoint with a text tower is named; astra has none"}


def _zero_shot(known: Known, encoder: Encoder | None) -> AskWords:
    """How a checkpoint's words are asked of this scan; the scan is embedded once, its structures with it."""
    if encoder is None:
        return _no_words
    if known.case is None:
        return lambda _: {"state": "off", "why": "a report was opened; give the scan itself"}
    text = encoder.text
    if text is None:
        return lambda _: {"state": "off", "why": "no tokenizer.json lies beside the checkpoint"}
    vectors = embedding(known.case, encoder)

    def column(query: Query) -> dict[str, Any]:
        if not query.understood:
            return {"state": "off", "why": NOT_UNDERSTOOD}
        best = max((score(vectors, text, key, query.side) for key in query.findings), key=lambda told: told.score)
        value = -best.score if query.denied else best.score
        why = "; ".join(part for part in ("a score, no probability: not calibrated", best.note) if part)
        return {"state": "on", "score": round(value, 4), "organ": best.organ, "encoder": str(encoder.identity),
                "licence": encoder.licence, "why": why}  # fmt: skip

    return column


def ask_scan(known: Known, question: str) -> dict[str, Any]:
    """The cited and checked sentences that answer a question, each look into the evidence, and what claims nothing."""
    events = list(LedgerAnswerer(known.ledger, known.context).answer(Question(text=question[:MOST_CHARACTERS])))
    told = [event for event in events if isinstance(event, Said)]
    cited = {name for event in told for name in event.cites}
    return {
        "case": known.report.case.id,
        "question": question,
        "answer": [asdict(event) for event in told],
        "notes": [event.text for event in events if isinstance(event, Note)],
        "calls": [{**asdict(event), "arguments": dict(event.arguments)} for event in events if isinstance(event, Call)],
        "evidence": {n: r.model_dump(mode="json") for n, r in known.report.evidence.items() if n in cited},
    }
