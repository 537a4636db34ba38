"""A composed report in other words: by the phrase grammar or by a language model, every sentence checked.

In: composed drafts, complete and true. Out: as many drafts with the same evidence. A sentence that the checker does
not pass is asked for once more; if it fails again, or the model does, the composed sentence stands. So nothing is
ever left out, and nothing is added.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vlm.evidence import Ledger
from vlm.grounding import PASSES, Context, Statement, Verdict, check
from vlm.language.asking_rows import ask_for, named
from vlm.language.models import Answer, Ask, LanguageModel, ModelAnswerError, ModelError
from vlm.language.prompting import load_prompt
from vlm.language.restyle import say
from vlm.language.rows import SLOT_NAME, Row, Style, row_of
from vlm.report import Draft, render

T = TypeVar("T")
# Words that a sentence may hold only where its row does: numbers, units and sides.
ITS_OWN = frozenset(
    re.findall(
        r"\w+",
        "one two three four five six seven eight nine ten eleven twelve several multiple many few numerous millimetre "
        "millimetres millimeter millimeters centimetre centimetres centimeter centimeters mm cm ml litre litres liter "
        "liters percent per left right bilateral both bilaterally",
    )
)
PLACED = frozenset({"left", "right", "both", "upper", "middle", "lower"})  # words that a sentence may not lose
TWICE = re.compile(r"\b([a-z]+ [a-z]+ ?[a-z]*)\b[ ,]+\1\b", re.I)
MOST_SECONDS = 120.0  # for a whole report; what is not worded by then stays composed
FIRST, AT_ONCE = 4, 16  # questions handed to a model together: a few first, so that its first sentence is there soon


@dataclass(slots=True)
class Reworded:
    """Drafts in other words, and how that went."""

    drafts: list[Draft]
    rows: int = 0  # sentences that could be worded otherwise
    worded: int = 0  # by the model, at the first or second attempt
    revised: int = 0  # of them at the second
    composed: int = 0  # that stayed as composed, because the model's did not hold
    refused: list[tuple[str, str]] = field(default_factory=list)  # (rule, sentence) of the model's that did not hold
    tokens: int = 0
    seconds: float = 0.0
    first_s: float = 0.0  # until the first sentence of the model that holds; 0 where there is none
    error: str = ""  # why the model gave up, where it did

    def refuse(self, wrong: Mapping[int, tuple[str, Verdict]]) -> dict[int, Verdict]:
        """Keep what did not hold; by the place of the draft, why."""
        self.refused += [(verdict.rule, text) for text, verdict in wrong.values()]
        return {n: verdict for n, (_, verdict) in wrong.items()}

    def provenance(self, model: LanguageModel | None, style: Style) -> dict[str, object]:
        """What report.json says of it."""
        told: dict[str, object] = {"model": model.name if model else "none", "style": style}
        if model is None:
            return told
        counts = {name: getattr(self, name) for name in ("rows", "worded", "revised", "composed", "tokens")}
        return told | counts | {"prompt": load_prompt("word").label, "seconds": round(self.seconds, 1),
                               "first_s": round(self.first_s, 1)}  # fmt: skip


def reword(
    drafts: Sequence[Draft],
    ledger: Ledger,
    *,
    style: Style = "structured",
    model: LanguageModel | None = None,
    context: Context | None = None,
    most_seconds: float = MOST_SECONDS,
) -> Reworded:
    """Say what the drafts say in a style, by a model where there is one.

    Args:
        drafts: composed, in reading order.
        ledger: what they rest on.
        style: structured (as composed, without a model), narrative or short.
        model: None: the phrase grammar, which needs no second look but gets one.
        context: of the checker.
        most_seconds: after which the model is not asked any more.
    """
    if model is None and style == "structured":
        return Reworded(list(drafts))
    rows = {n: row for n, draft in enumerate(drafts) if (row := row_of(draft, ledger, style))}
    done = Reworded(list(drafts), rows=len(rows))
    judge = Judge(drafts, ledger, context or Context())
    if model is None:
        proposals = {n: say(row, style) for n, row in rows.items()}
        kept, _ = judge.sorted(rows, proposals, author="compose")
    else:
        kept = _modelled(rows, style, model, judge, done, time.monotonic() + most_seconds)
    for n, draft in judge.together(kept).items():
        done.drafts[n] = draft
        done.worded += model is not None
    done.composed = done.rows - done.worded if model is not None else 0
    return done


def _modelled(
    rows: Mapping[int, Row], style: Style, model: LanguageModel, judge: Judge, done: Reworded, deadline: float
) -> dict[int, Draft]:
    """Sentences of the model that hold, by the place of their draft; the second attempt knows what was wrong."""
    began = time.monotonic()
    kept: dict[int, Draft] = {}
    wrong: dict[int, Verdict] = {}
    for said in _asked(rows, style, model, {}, done, deadline):
        good, bad = judge.sorted({n: rows[n] for n in said}, said, author="model")
        if good and not kept:
            done.first_s = time.monotonic() - began
        kept |= good
        wrong |= done.refuse(bad)
    if wrong and not done.error:
        taught = model.taught
        reasons = {} if taught else {n: verdict.reason for n, verdict in wrong.items()}
        again = {n: rows[n] for n in wrong}
        for said in _asked(again, "structured" if taught else style, model, reasons, done, deadline):
            better, worse = judge.sorted({n: rows[n] for n in said}, said, author="model")
            done.refuse(worse)
            done.revised += len(better)
            kept |= better
    if rows and not kept and not done.error:
        done.error = next((text for rule, text in done.refused if rule == "form"), "No sentence of the model's held.")
    done.seconds = time.monotonic() - began
    return kept


def _asked(
    rows: Mapping[int, Row],
    style: Style,
    model: LanguageModel,
    reasons: Mapping[int, str],
    done: Reworded,
    deadline: float,
) -> Iterator[dict[int, str]]:
    """What the model says of each row, some rows at a time; rows that it could not word are missing."""
    groups = list(_groups(list(rows), model.rows_a_call))
    parts = [groups[:FIRST], *_groups(groups[FIRST:], AT_ONCE)]
    for part in filter(None, parts):
        if done.error or time.monotonic() > deadline:
            done.error = done.error or "the time for wording was up"
            break
        asks = [_ask([rows[n] for n in group], [reasons.get(n, "") for n in group], style, model) for group in part]
        left = max(0.1, deadline - time.monotonic())
        asks = [replace(ask, budget=replace(ask.budget, total_s=min(ask.budget.total_s, left))) for ask in asks]
        said: dict[int, str] = {}
        for group, answer in zip(part, model.complete_all(asks), strict=True):
            said |= _sentences(group, rows, answer, done)
        yield said


def _ask(rows: Sequence[Row], reasons: Sequence[str], style: Style, model: LanguageModel) -> Ask:
    wrong = {f"R{k}": reason for k, reason in enumerate(reasons, start=1) if reason}
    return ask_for(rows, style, taught=model.taught, wrong=wrong)


def _sentences(
    group: Sequence[int], rows: Mapping[int, Row], answer: Answer | ModelError, done: Reworded
) -> dict[int, str]:
    """The sentences of one answer, by the place of their draft."""
    if isinstance(answer, ModelAnswerError):  # these rows stay composed; the next may do better
        done.refused.append(("form", str(answer)))
        return {}
    if isinstance(answer, ModelError):
        done.error = done.error or str(answer)  # the first says why; later ones only that it failed before
        return {}
    done.tokens += answer.tokens_out
    names = named([rows[n] for n in group])
    return {n: " ".join(str(answer.data.get(name, "")).split()) for n, name in zip(group, names, strict=True)}


def _groups(listed: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (listed[first : first + size] for first in range(0, len(listed), size))


def row_words(text: str) -> set[str]:
    """The words of a text, in small letters."""
    return set(re.findall(r"[a-z]+", text.lower()))


class Judge:
    """The checker, over sentences that would take the place of composed ones."""

    def __init__(self, drafts: Sequence[Draft], ledger: Ledger, context: Context) -> None:
        self.drafts, self.ledger, self.context = drafts, ledger, context

    def sorted(
        self, rows: Mapping[int, Row], proposals: Mapping[int, str], *, author: str
    ) -> tuple[dict[int, Draft], dict[int, tuple[str, Verdict]]]:
        """Proposals that hold by themselves, and the others with what is against them."""
        kept: dict[int, Draft] = {}
        wrong: dict[int, tuple[str, Verdict]] = {}
        for n, sentence in proposals.items():
            draft = self.proposed(n, rows[n], sentence, author)
            if isinstance(draft, Verdict):
                wrong[n] = (sentence, draft)
                continue
            verdict = check([self._statement(n, draft)], self.ledger, context=self.context)[f"S{n}"]
            if verdict.name in PASSES:
                kept[n] = draft
            else:
                wrong[n] = (sentence, verdict)
        return kept, wrong

    def proposed(self, n: int, row: Row, sentence: str, author: str) -> Draft | Verdict:
        """The sentence as a draft; a verdict where its slots are not the row's, each once, or it types a number."""
        slots = SLOT_NAME.findall(sentence)
        if sorted(slots) != sorted(row.slots):
            return Verdict("unsupported", "G5", f"holds the slots {', '.join(slots) or 'none'}, not the row's")
        bare = SLOT_NAME.sub("", sentence)
        for literal in row.literals:
            bare = bare.replace(literal, "")
        if any(character.isdigit() or character in "{}" for character in bare):
            return Verdict("unsupported", "G5", "types a number itself")
        own = row_words(bare) - row_words(row.text)
        if odd := sorted(own & ITS_OWN):
            return Verdict("unsupported", "G4", f"says {odd[0]!r}, which the row does not")
        told = row_words(re.sub(r"\bbilateral(ly)?\b", "both", sentence, flags=re.I))
        lost = [word for word in sorted(PLACED & row_words(row.text)) if word not in told]
        if lost := [*lost, *(literal for literal in row.literals if literal not in sentence)]:
            return Verdict("unsupported", "G4", f"does not say {lost[0]!r}, which the row does")
        if TWICE.search(bare):
            return Verdict("unsupported", "G2", "repeats itself")
        return replace(self.drafts[n], template=row.filled(sentence), author=author)  # type: ignore[arg-type]

    def together(self, kept: Mapping[int, Draft]) -> dict[int, Draft]:
        """Those of the kept that hold among all the sentences of the report."""
        whole = [kept.get(n, draft) for n, draft in enumerate(self.drafts)]
        statements = [self._statement(n, draft) for n, draft in enumerate(whole)]
        verdicts = check(statements, self.ledger, context=self.context)
        return {n: draft for n, draft in kept.items() if verdicts[f"S{n}"].name in PASSES}

    def _statement(self, n: int, draft: Draft) -> Statement:
        text = render(draft.template, self.ledger)
        return Statement(id=f"S{n}", section=draft.section, text=text, cites=draft.cites)
