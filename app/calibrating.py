"""``tomoscribe finding calibrate``: how a score is spread over the user's own cases, and what it then means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from app.image_columns import save_calibrations, scored_by
from app.studies import Study
from vlm.ct.read import read
from vlm.encoder import Encoder
from vlm.encoder.adapter import Adapted
from vlm.encoder.calibration import Calibration, calibrate
from vlm.encoder.embedding import Embedding, embedding
from vlm.encoder.zeroshot import score
from vlm.errors import TomoscribeError, UsageError
from vlm.evidence import Case
from vlm.findings.labels import labels_of
from vlm.findings.packs import Column, Pack

Kind = Literal["heads", "zero_shot"]


def calibrate_pack(
    pack: Pack, studies: Sequence[Study], encoder: Encoder, *, kind: Kind, sensitivity: float, cohort: str,
    folder: Path | None = None, progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score every study, compare with what its table or its report says, and keep what came of it.

    Raises:
        UsageError: the encoder has no such scores, or no study has both a scan and something known.
    """
    _check_scores(encoder, kind)
    usable = [
        (study, known)
        for study in studies
        if study.volume is not None and (known := labels_of(study.text, study.labels, [pack]))
    ]
    if not usable:
        raise UsageError("E_USAGE: --cases holds no scan with a report or columns of the pack, expected some.")
    scores: list[dict[str, float]] = []
    kept: list[tuple[Study, dict[str, int]]] = []
    skipped: list[dict[str, str]] = []
    for number, (study, known) in enumerate(usable, start=1):
        assert study.volume is not None
        try:
            vectors = embedding(Case(read(study.volume).volume), encoder)
            scores.append(scores_of(vectors, encoder, pack.columns, kind))
            kept.append((study, known))
        except TomoscribeError as error:
            skipped.append({"study": study.label, "reason": str(error)})
        if progress:
            progress(number, len(usable))
    identity = scored_by(encoder)
    rows, made = [], []
    for column in pack.columns:
        at = [n for n, (_, known) in enumerate(kept) if column.name in known and column.name in scores[n]]
        told = calibrate(
            [scores[n][column.name] for n in at], [kept[n][1][column.name] for n in at],
            [kept[n][0].patient for n in at], column=column.name, score=kind, identity=identity, cohort=cohort,
            sensitivity=sensitivity,
        )  # fmt: skip
        if isinstance(told, Calibration):
            made.append((",".join(column.findings), told))
            rows.append(told.document())
        else:
            rows.append({"column": column.name, "why": told if at else "nothing scores it"})
    path = save_calibrations(made, f"{pack.name}-{kind}-{identity}", folder) if made else None
    return {"pack": pack.name, "score": kind, "identity": identity, "cases": len(kept), "skipped": skipped,
            "columns": rows, "written": None if path is None else str(path)}  # fmt: skip


def scores_of(vectors: Embedding, encoder: Encoder, columns: Sequence[Column], kind: Kind) -> dict[str, float]:
    """Column -> score; a column that nothing scores is not there."""
    if kind == "zero_shot":
        return {c.name: max(score(vectors, encoder, key).score for key in c.findings) for c in columns}
    assert isinstance(encoder, Adapted)
    logits = encoder.adapter.logits(vectors)
    heads = {c.name: encoder.adapter.head_of(c.findings) for c in columns}
    return {name: logits[head.column] for name, head in heads.items() if head is not None}


def _check_scores(encoder: Encoder, kind: Kind) -> None:
    """Refuse what has no such scores, before a scan is read."""
    if kind == "heads" and not isinstance(encoder, Adapted):
        raise UsageError("E_USAGE: --score heads needs --adapter, expected one that tomoscribe adapt wrote.")
    if kind == "zero_shot" and encoder.text is None:
        raise UsageError(
            f"E_USAGE: --score zero-shot needs words, which {encoder.identity.encoder} does not know. "
            "Give --adapter, or an --encoder with a text tower."
        )
