"""The column of neighbours in ``query``: what similar cases of a library say of a finding, as a probability.

It stands beside what tools measured and is never blended with it. A library that is missing, empty or too small turns
the column off, and the column says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.caches import Indexes
from retrieval.library import CaseLibrary
from retrieval.search import Search
from retrieval.votes import LEAST_PAIRS, Calibration, Vote, calibrated, vote_on
from vlm.errors import TomoscribeError

if TYPE_CHECKING:
    from app.known import Known
    from vlm.language.query import Query

Column = Callable[["Query"], dict[str, Any]]


def off(why: str) -> dict[str, Any]:
    """The column where there is none."""
    return {"state": "off", "why": why}


@contextmanager
def neighbours(known: Known, folder: Path | None, patient: str = "") -> Iterator[Column]:
    """How neighbours are asked, while the library is open."""
    from app.case_queries import of_case_in, of_report

    if folder is None:
        yield lambda _: off("no library is open")
        return
    try:
        library = CaseLibrary(folder, make=False)
    except TomoscribeError as error:
        why = str(error).removeprefix("E_USAGE: ")
        yield lambda _: off(why)
        return
    search = Search(library, Indexes(library))
    try:
        if known.case is not None:
            asked, _ = of_case_in(known.case, library, patient)
        else:
            asked, _ = of_report(known.report, library, patient)
        calibration = calibrated(search)

        def column(query: Query) -> dict[str, Any]:
            if not query.understood:
                return off("no finding of the vocabulary is meant by these words")
            votes = [vote_on(search, asked, finding, calibration) for finding in query.findings]
            best = max(votes, key=lambda vote: vote.vote)
            return told(best, calibration, denied=query.denied)

        yield column
    finally:
        search.close()
        library.close()


def told(vote: Vote, calibration: Calibration, *, denied: bool) -> dict[str, Any]:
    """A vote as the column shows it; a denial is true with what is left."""
    if not vote.nearest:
        return off("no similar case says anything of it")
    probability = vote.probability
    if probability is not None and denied:
        probability = round(1 - probability, 3)
    basis = f"calibrated on {calibration.pairs} labelled findings of this library, each with its own patient left out"
    if vote.probability is None:
        basis = f"not calibrated: {calibration.pairs} labelled findings in this library, expected {LEAST_PAIRS}"
    return {
        "state": "on", "probability": probability, "vote": round(1 - vote.vote, 3) if denied else vote.vote,
        "with_it": vote.having, "without_it": vote.lacking, "cases": list(vote.nearest[:5]),
        "calibration_error": calibration.error, "why": f"{basis}; side, place and size take no part",
    }  # fmt: skip
