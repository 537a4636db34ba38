"""What is said to a query beside the tools, in columns of their own: a checkpoint's words, and trained heads.

Heads are those of the user's adapter; without one, those that ship, over measures of what anatomy found.

Each column has a score, a probability where its score is calibrated, or the reason why it has none. Columns are shown
apart; ``join`` makes one probability of those that are calibrated, and nothing of the others.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.store import data_folder
from vlm.encoder import Encoder, availability
from vlm.encoder.adapter import Adapted, Adapter, Head, answers
from vlm.encoder.calibration import Calibration
from vlm.encoder.embedding import Embedding, embedding
from vlm.encoder.measured import shipped
from vlm.encoder.zeroshot import score
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.language.query import Query

Chance = tuple[float, float, float]  # a probability and its 95 % interval
NOT_UNDERSTOOD = "no finding of the vocabulary is meant by these words"
NOT_YOURS = "a score, no probability: it learned from synthetic bodies alone; see tomoscribe finding calibrate"
LEAST_KNOWN = 0.5  # of what a head looks at: where less of it was found, it says nothing
# Of 0.5 (the mean) to 1 (as if independent) least log loss on tuning bodies, of tools and heads; of others unmeasured.
TOGETHER = 0.7
SURE = 0.5  # an interval that lies wholly on one side of this takes a side


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What one way of knowing says of a finding, not of its denial."""

    why: str
    on: bool = False
    score: float | None = None
    probability: Chance | None = None
    usual: float | None = None  # how often the finding is there, which the probability starts from
    organ: str = ""
    source: str = ""  # encoder and licence, adapter

    def document(self, denied: bool) -> dict[str, Any]:
        """As --json has it; of a denial, the complement."""
        if not self.on:
            return {"state": "off", "why": self.why}
        chance = complement(self.probability) if denied and self.probability else self.probability
        value = None if self.score is None else round(-self.score if denied else self.score, 4)
        return {
            "state": "on", "score": value, "probability": None if chance is None else [round(p, 3) for p in chance],
            "organ": self.organ, "source": self.source, "why": self.why,
        }  # fmt: skip


class ImageColumns:
    """The columns of one scan; it is embedded when the first of them is asked."""

    def __init__(self, case: Case | None = None, encoder: Encoder | None = None, folder: Path | None = None) -> None:
        """``folder`` holds calibrations; ``calibrations_folder()`` by default."""
        self.case, self.encoder, self.folder = case, encoder, folder

    @functools.cached_property
    def vectors(self) -> Embedding:
        """Of the scan and its organs."""
        assert self.case is not None
        assert self.encoder is not None
        return embedding(self.case, self.encoder)

    @functools.cached_property
    def headed(self) -> Adapted | None:
        """Whose heads answer: those of the user's adapter, else those that ship."""
        return self.encoder if isinstance(self.encoder, Adapted) else shipped()

    @functools.cached_property
    def measured(self) -> Embedding:
        """What the heads look at."""
        assert self.case is not None
        assert self.headed is not None
        return self.vectors if self.headed is self.encoder else embedding(self.case, self.headed)

    @functools.cached_property
    def calibrations(self) -> Mapping[tuple[str, str], Calibration]:
        """(column, score) -> a calibration of the user's for this encoder and these heads."""
        held = (one for one in (self.encoder, self.headed) if one is not None)
        known = [load_calibrations(scored_by(one), self.folder) for one in held]
        return {key: made for each in known for key, made in each.items()}

    def zero_shot(self, query: Query) -> Column:
        """How a checkpoint's words agree with the scan."""
        if (off := self._off(query)) is not None:
            return off
        assert self.encoder is not None
        if self.encoder.text is None:
            return Column(why="the encoder knows no words; no tokenizer.json lies beside it, or it has no text tower")
        told = [score(self.vectors, self.encoder, key, query.side) for key in query.findings]
        best = max(told, key=lambda one: one.score)
        source = f"{self.encoder.identity}; {self.encoder.licence}"
        made = Column(on=True, score=best.score, organ=best.organ, source=source, why="")
        return self._with_chance(made, query, "zero_shot", best.note)

    def heads(self, query: Query) -> Column:
        """What a trained head says."""
        if self.headed is None:
            return Column(why="no adapter with heads is named, and none ships")
        if (off := self._unasked(query)) is not None:
            return off
        adapter = self.headed.adapter
        head = adapter.head_of(query.findings)
        if head is None:
            return Column(why=f"{adapter.name} has no head for it")
        if adapter.known(head, self.measured) < LEAST_KNOWN:
            return Column(why=f"{adapter.name}: {head_told(adapter, head, self.measured)[1]}")
        logit = adapter.logits(self.measured)[head.column]
        made = Column(on=True, score=logit, source=f"{adapter.name}: {adapter.trained_on}", why="")
        own = self._with_chance(made, query, "heads", self.measured.note)
        if own.probability is not None or narrowed(query):
            return own
        if self.headed is not self.encoder:
            return replace(own, why=NOT_YOURS)
        chance, why = head_told(adapter, head, self.measured)
        return replace(own, probability=chance, usual=head.usual, why=why)

    def _off(self, query: Query) -> Column | None:
        if self.encoder is None:
            reason = availability().reason
            return Column(why=reason or "no checkpoint with a text tower is named; astra has none")
        return self._unasked(query)

    def _unasked(self, query: Query) -> Column | None:
        if self.case is None:
            return Column(why="a report was opened; give the scan itself")
        return None if query.understood else Column(why=NOT_UNDERSTOOD)

    def _with_chance(self, column: Column, query: Query, kind: str, note: str) -> Column:
        """With the probability of the user's own calibration, or why there is none."""
        if narrowed(query):
            why = "a score of the finding anywhere: it knows no side, place or size"
        else:
            held = next(
                (c for (names, of), c in self.calibrations.items()
                 if of == kind and answers(names.split(","), query.findings)),
                None,
            )  # fmt: skip
            if held is not None and column.score is not None:
                chance = held.probability(column.score)
                why = f"calibrated on {held.cohort}, version {held.version}"
                return replace(
                    column, probability=chance, usual=held.usual, why="; ".join(part for part in (why, note) if part)
                )
            why = "a score, no probability: not calibrated"
        return replace(column, why="; ".join(part for part in (why, note) if part))


def head_told(adapter: Adapter, head: Head, vectors: Embedding) -> tuple[Chance | None, str]:
    """What a head's own calibration makes of its score, and where that is from; else None, and why."""
    if (told := adapter.known(head, vectors)) < LEAST_KNOWN:
        return None, f"{told:.0%} of what it looks at could be measured: too little of it was found"
    away = adapter.distance(vectors)
    if away > adapter.farthest:
        return None, f"the scan is unlike those it was trained on (distance {away:.1f}, at most {adapter.farthest:.1f})"
    if head.calibration is None:
        return None, f"not calibrated: {head.why}"
    logit = adapter.logits(vectors)[head.column]
    return head.calibration.probability(logit), f"calibrated on {head.calibration.cohort}"


def narrowed(query: Query) -> bool:
    """Whether more is asked than the finding."""
    return bool(query.side or query.sites or query.sizes or query.attributes or query.grade)


def scored_by(encoder: Encoder) -> str:
    """Whose scores a calibration is for: the encoder, its weights and recipe, and the adapter in use."""
    own = f"-{encoder.adapter.sha256[:12]}" if isinstance(encoder, Adapted) else ""
    return f"{encoder.identity}{own}"


def join(chances: Sequence[Chance], usual: Sequence[float | None] = ()) -> Chance | None:
    """One probability of those that are calibrated, as log odds; ends of the interval alike.

    Args:
        chances: what each way of knowing says.
        usual: how often the finding is there where each was calibrated. What each way adds to that is evidence of its
            own; several look at one scan and err alike, so that each counts TOGETHER. Where one of these is not known,
            the joined log odds are the mean.
    """
    if not chances:
        return None
    odds = _odds(chances)
    mean = odds.mean(axis=0)
    known = [one for one in usual if one is not None]
    if 1 < len(chances) == len(known):
        before = _odds(known)
        mean = before.mean() + TOGETHER * (odds - before[:, None]).sum(axis=0)
    middle, low, high = 1 / (1 + np.exp(-mean))
    return float(middle), float(low), float(high)


def _odds(chances: Sequence[Chance] | Sequence[float]) -> NDArray[np.float64]:
    told = np.clip(np.asarray(chances, dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(told / (1 - told)))


def complement(chance: Chance) -> Chance:
    """Of "no X"."""
    return 1 - chance[0], 1 - chance[2], 1 - chance[1]


def disagreement(there: bool | None, columns: Mapping[str, Column]) -> list[str]:
    """Columns whose whole interval says the contrary of what tools say."""
    if there is None:
        return []
    sure = {name: column.probability for name, column in columns.items() if column.probability is not None}
    return [n for n, (_, low, high) in sure.items() if (high < SURE if there else low > SURE)]


# ---- calibrations of the user's own


def calibrations_folder() -> Path:
    """Where calibrations are kept."""
    return data_folder() / "calibrations"


def save_calibrations(made: Iterable[tuple[str, Calibration]], name: str, folder: Path | None = None) -> Path:
    """Write ("finding,finding", calibration) of one pack, score and encoder; an earlier version is replaced."""
    path = (folder or calibrations_folder()) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = [{"findings": findings, "calibration": calibration.document()} for findings, calibration in made]
    unready = path.with_suffix(".part")
    unready.write_text(json.dumps({"schema": "tomoscribe-calibration/1", "rows": rows}, indent=1), encoding="utf-8")
    unready.replace(path)
    return path


def load_calibrations(identity: str, folder: Path | None = None) -> Mapping[tuple[str, str], Calibration]:
    """("finding,finding", score) -> the calibrations for one encoder.

    Raises:
        UsageError: a file was changed, or is damaged.
    """
    found: dict[tuple[str, str], Calibration] = {}
    for path in sorted((folder or calibrations_folder()).glob("*.json")):
        try:
            for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
                made = Calibration.of(row["calibration"])
                if made.identity == identity:
                    found[row["findings"], made.score] = made
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"E_USAGE: calibration {path.name} is damaged ({type(error).__name__}). Calibrate again, or remove it."
            ) from None
    return found
