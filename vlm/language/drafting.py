"""From drafts to checked sentences: render, check, move what fails to review, fill what was left out.

Whoever wrote the drafts, this is the only way into a report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlm.evidence import Ledger
from vlm.grounding import Context, Statement, Verdict, check, omissions
from vlm.report import FINDINGS_SECTIONS, Draft, Sentence, render

# Given the ids of evidence that no sentence tells, drafts that tell it.
Filler = Callable[[Sequence[str]], list[Draft]]


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
        drafts = _in_place([*drafts, *fill(left_out)])
    statements = _statements(drafts, ledger)
    verdicts = check(statements, ledger, context=context)
    kept: list[Sentence] = []
    review: list[Sentence] = []
    for statement, draft in zip(statements, drafts, strict=True):
        verdict = verdicts[statement.id]
        sentence = _sentence(statement, draft, verdict)
        if verdict.name in ("contradicted", "unsupported") and draft.section != "to_review":
            review.append(sentence.model_copy(update={"section": "to_review"}))
        else:
            kept.append(sentence)
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


def _sentence(statement: Statement, draft: Draft, verdict: Verdict) -> Sentence:
    return Sentence(
        id=statement.id,
        section=statement.section,
        text=statement.text,
        cites=statement.cites,
        author=draft.author,
        verdict=verdict.name,
        reason=verdict.reason if verdict.name not in ("supported", "neutral") else "",
    )


def _numbered(kept: Sequence[Sentence], review: Sequence[Sentence]) -> list[Sentence]:
    """All sentences in reading order, numbered anew; those to review before what was not assessed."""
    tail = [s for s in kept if s.section == "not_assessed"]
    body = [s for s in kept if s.section != "not_assessed"]
    ordered = [*body, *review, *tail]
    return [sentence.model_copy(update={"id": f"S{n}"}) for n, sentence in enumerate(ordered, start=1)]
