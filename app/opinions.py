"""Second opinions of a conversation, each on where it is given: an encoder's words, trained heads, a case library.

None of them is evidence. Words of a library's reports stay out of the conversation, and are told to the checker, which
stops a sentence copied from them (G14).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.case_queries import of_case_in, of_report
from app.image_columns import ImageColumns
from app.showing_cases import name_of
from retrieval.caches import Indexes
from retrieval.library import CaseLibrary
from retrieval.search import Query as Wanted
from retrieval.search import Search, Similar
from vlm.encoder import Encoder
from vlm.errors import TomoscribeError
from vlm.evidence import Case, Side
from vlm.language.query import Query
from vlm.language.register import LookError
from vlm.language.scene import Likeness, OpenCase
from vlm.report import Report


def with_encoder(scene: OpenCase, case: Case | None, encoder: Encoder | None) -> OpenCase:
    """The scene with an encoder's words and heads; ``case`` None where only a report is open, which is told."""
    if encoder is None:
        return scene
    columns = ImageColumns(case, encoder)

    def words(finding: str, side: Side | None) -> dict[str, Any]:
        return columns.zero_shot(Query(words=finding, findings=(finding,), side=side)).document(denied=False)

    def heads(finding: str) -> dict[str, Any]:
        return columns.heads(Query(words=finding, findings=(finding,))).document(denied=False)

    scene.words, scene.heads = words, heads
    return scene


def with_library(scene: OpenCase, report: Report, case: Case | None, folder: Path | None) -> OpenCase:
    """The scene with the cases of a library that are like it."""
    if folder is None:
        return scene

    def wanted(library: CaseLibrary) -> Wanted:
        return of_report(report, library)[0] if case is None else of_case_in(case, library)[0]

    def similar(count: int) -> list[Likeness]:
        try:
            library = CaseLibrary(folder, make=False)
            try:
                found = Search(library, Indexes(library)).similar(wanted(library), count)
            finally:
                library.close()
        except TomoscribeError as error:
            raise LookError("off", str(error).removeprefix("E_USAGE: ").rstrip(".")) from None
        return heard(scene, found)

    scene.similar = similar
    return scene


def of_page(scene: OpenCase, near: Callable[[int], Sequence[Similar]] | None) -> OpenCase:
    """The scene of a page's case with the cases of the page's library."""
    if near is None:
        return scene

    def similar(count: int) -> list[Likeness]:
        try:
            return heard(scene, near(count))
        except TomoscribeError as error:
            raise LookError("off", str(error).removeprefix("E_USAGE: ").rstrip(".")) from None

    scene.similar = similar
    return scene


def heard(scene: OpenCase, found: Sequence[Similar]) -> list[Likeness]:
    """What a conversation may know of similar cases; the checker knows their reports from now on."""
    others = tuple(one.case.report for one in found if one.case.provenance.get("words") != "ours")
    scene.context = replace(scene.context, retrieved=tuple(dict.fromkeys((*scene.context.retrieved, *others))))
    return [
        Likeness(
            case=one.case.name, likeness=one.likeness, shared=tuple(name_of(key) for key in one.shared),
            only_there=tuple(name_of(difference.finding) for difference in one.only_there),
        )
        for one in found
    ]  # fmt: skip
