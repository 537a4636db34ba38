"""The page's panel of similar cases: cards from a case library, and a coarse scan of each to open beside this one.

Everybody who may log in sees the library's cases, which its operator put there. Nothing of them is written to
the page's own folder, so what is removed from the library is gone from here, too.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from app.case_queries import of_report
from app.page.scanned import Scanned, geometry_of
from app.reopen import Opened
from app.showing_cases import name_of, similar_rows
from retrieval.caches import Indexes
from retrieval.cases import PREVIEW, THUMBNAIL
from retrieval.library import CaseLibrary
from retrieval.search import Difference, Query, Search, Similar
from vlm.ct import Grid
from vlm.errors import TomoscribeError, UsageError
from vlm.report import Report

CARDS = 6
KNOWN = {"absent": "searched, none", "uncertain": "uncertain", "present": "present", None: "not assessed"}
NO_LIBRARY = "No case library is there. Make one with: tomoscribe index add FOLDER"


class KeptScan(Scanned):
    """A coarse scan of the library, in memory."""

    def __init__(self, body: bytes) -> None:
        """From the gzipped NIfTI that the library keeps."""
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(body))
        x, y, z = image.shape
        self.__dict__ |= {
            "legend": (),
            "stacks": (),
            "grid": Grid((x, y, z), np.asarray(image.affine, dtype=np.float64)),
            "hu": np.asanyarray(image.dataobj),
        }


class SimilarCases:
    """Similar cases for the page, from one library; safe to ask from several threads."""

    def __init__(self, folder: Path | None) -> None:
        """``folder`` is the library's; None: the page has none."""
        self.folder = folder
        self._library: CaseLibrary | None = None
        self._indexes: Indexes | None = None
        self._lock = threading.RLock()

    def _opened(self) -> tuple[CaseLibrary, Indexes]:
        if self.folder is None or not (self.folder / "library.sqlite").exists():
            raise UsageError(NO_LIBRARY)
        if self._library is None or self._indexes is None:
            self._library = CaseLibrary(self.folder, make=False)
            self._indexes = Indexes(self._library)
        return self._library, self._indexes

    def cards(self, opened: Opened) -> dict[str, Any]:
        """Cards of the cases most like a reading; why there are none, where there are none.

        The words of their reports are then known to the checker: a sentence typed from them is stopped (G14).
        """
        with self._lock:
            try:
                library, indexes = self._opened()
                found = Search(library, indexes).similar(of_report(opened.report, library)[0], CARDS)
                cards = [self._card(library, similar) for similar in found]
            except TomoscribeError as error:
                return {"cards": [], "cases": 0, "off": str(error).removeprefix("E_USAGE: ")}
            others = tuple(s.case.report for s in found if s.case.provenance.get("words") != "ours")
            opened.context = replace(opened.context, retrieved=others)
            return {
                "cards": cards,
                "cases": library.count(),
                "off": "" if cards else "No case of the library is like it.",
            }

    def near(self, report: Report, count: int) -> list[Similar]:
        """Cases that are like a report's.

        Raises:
            UsageError: there is no library.
        """
        with self._lock:
            library, indexes = self._opened()
            return Search(library, indexes).similar(of_report(report, library)[0], count)

    def search(self, ask: Callable[[CaseLibrary], Query]) -> list[dict[str, Any]]:
        """What ``tomoscribe search --json`` prints for what ``ask`` makes of the library.

        Raises:
            UsageError: there is no library.
        """
        with self._lock:
            library, indexes = self._opened()
            return similar_rows(Search(library, indexes).similar(ask(library), CARDS))

    def _card(self, library: CaseLibrary, similar: Similar) -> dict[str, Any]:
        case = similar.case
        told = [f"{case.age} years" if case.age else "", {"M": "man", "F": "woman"}.get(case.sex or "", ""),
                ", ".join(case.regions), case.phase or ""]  # fmt: skip
        return {
            "case": case.name, "about": ", ".join(part for part in told if part), "likeness": similar.likeness,
            "shared": [name_of(key) for key in similar.shared], "report": case.report,
            "only_there": _differences(similar.only_there), "only_here": _differences(similar.only_here),
            "thumbnail": library.picture(case.id, THUMBNAIL) is not None, "folded": len(similar.folded),
            "beside": self._beside(library, case.id, case.name),
        }  # fmt: skip

    def _beside(self, library: CaseLibrary, at: int, name: str) -> dict[str, Any] | None:
        """What a viewer must know to open the case beside another; None where no scan of it is kept."""
        body = library.picture(at, PREVIEW)
        if body is None:
            return None
        title = f"Similar case {name}"
        shown = {"id": name, "base": f"/api/similar/{name}", "title": title, "legend": [], "stacks": []}
        return shown | geometry_of(KeptScan(body))

    def picture(self, name: str, file: str) -> bytes:
        """A picture of a case.

        Raises:
            UsageError: there is no such case or picture.
        """
        with self._lock:
            library, _ = self._opened()
            body = library.picture(library.by_name(name).id, file)
        if body is None:
            raise UsageError("E_USAGE: this case has no such picture.")
        return body

    def scan(self, name: str) -> KeptScan:
        """The coarse scan of a case."""
        return KeptScan(self.picture(name, PREVIEW))

    def close(self) -> None:
        """Let go of the library."""
        with self._lock:
            if self._indexes is not None and self._library is not None:
                self._indexes.close()
                self._library.close()
            self._indexes = self._library = None


def _differences(found: tuple[Difference, ...]) -> list[dict[str, str]]:
    return [{"name": name_of(d.finding), "other": KNOWN[d.other]} for d in found]
