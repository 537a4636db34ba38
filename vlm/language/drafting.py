"""From drafts to checked sentences: render, check, revise once, move what fails to review.

Whoever wrote the drafts, this is the only way into a report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vlm.evidence import Ledger
from vlm.grounding import PASSES, Context, Statement, Verdict, check, omissions
from vlm.report import FINDINGS_SECTIONS, Draft, Sentence, render

# Given the ids of evidence that no sentence tells, drafts that tell it.
Filler = Callable[[Sequence[str]], list[Draft]]

CERTAINTIES = ("possible", "likely")  # limits that stand before a sentence, not in brackets after it


def checked(drafts: Sequence[Draft], ledger: Ledger, *, context: Context, fill: Filler) -> list[Sentence]:
    """Render and check drafts; what is not borne out goes to "To review", with the reason.

    Args:
        drafts: in reading order.
        ledger: what they may rest on.
        context: prior, retrieved texts and forbidden strings for the checker.
        fill: words reportable evidence that the drafts leave out, so that omission is zero.
    """
    left_out = omissions(_statements(drafts, ledger), ledger, context=context)
    if left_out:
        standing = {draft.template for draft in drafts}
        drafts = _in_place([*drafts, *(late for late in fill(left_out) if late.template not in standing)])
    drafts = _revised(drafts, check(_statements(drafts, ledger), ledger, context=context))
    statements = _statements(drafts, ledger)
    verdicts = check(statements, ledger, context=context)
    kept: list[Sentence] = []
    review: list[Sentence] = []
    for statement, draft in zip(statements, drafts, strict=True):
        sentence = _sentence(statement, draft, verdicts[statement.id])
        if sentence.verdict in PASSES or draft.section == "to_review":
            kept.append(sentence)
        else:
            review.append(sentence.model_copy(update={"section": "to_review"}))
    return _numbered(kept, review)


def _statements(drafts: Sequence[Draft], ledger: Ledger) -> list[Statement]:
    return [
        Statement(id=f"S{n}", section=draft.section, text=render(draft.template, ledger), cites=draft.cites)
        for n, draft in enumerate(drafts, start=1)
    ]


def _in_place(drafts: Sequence[Draft]) -> list[Draft]:
    """Late drafts of a findings section stand at the end of their section, not of the report."""
    order = {key: n for n, key in enumerate(("technique", "comparison", *FINDINGS_SECTIONS))}
    return sorted(drafts, key=lambda draft: order.get(draft.section, len(order)))


def _revised(drafts: Sequence[Draft], verdicts: Mapping[str, Verdict]) -> list[Draft]:
    """Sentences that are true only with a limit, with that limit; all others as they were."""
    return [
        replace(draft, template=_with_limits(draft.template, verdict)) if verdict.name == "limited" else draft
        for draft, verdict in zip(drafts, verdicts.values(), strict=True)
    ]


def _with_limits(template: str, verdict: Verdict) -> str:
    """The template with the limits that its verdict names."""
    words = [word for limit, word in zip(verdict.limits, verdict.words, strict=True) if limit not in CERTAINTIES]
    doubt = next((limit for limit in verdict.limits if limit in CERTAINTIES), "")
    text = template.rstrip(".")
    if doubt:
        text = f"{doubt.capitalize()} {text if text.startswith('{') else text[:1].lower() + text[1:]}"
    return f"{text} ({', '.join(words)})." if any(words) else f"{text}."


def _sentence(statement: Statement, draft: Draft, verdict: Verdict) -> Sentence:
    return Sentence(
        id=statement.id,
        section=statement.section,
        text=statement.text,
        cites=statement.cites,
        author=draft.author,
        verdict=verdict.name,
        reason="" if verdict.name in PASSES else verdict.reason,
    )


def _numbered(kept: Sequence[Sentence], review: Sequence[Sentence]) -> list[Sentence]:
    """All sentences in reading order, numbered anew; those to review before what was not assessed."""
    tail = [s for s in kept if s.section == "not_assessed"]
    body = [s for s in kept if s.section != "not_assessed"]
    ordered = [*body, *review, *tail]
    return [sentence.model_copy(update={"id": f"S{n}"}) for n, sentence in enumerate(ordered, start=1)]
