"""The reading desk: what the page can do, for one user at a time, without a word of HTTP.

Routes, Gradio's handlers and the tests call the same methods. Every one that takes a case
takes its owner, too.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

from app.asking import make_ready
from app.case_queries import of_report, query_of_words
from app.export.footnotes import footnote
from app.jobs import ACTIVE, Job, Jobs
from app.page import console, reviews
from app.page.pictures import heat_maps
from app.page.scanned import Scanned, drafted, geometry_of, is_written
from app.page.scored import scoring_of
from app.page.seal import check_seal
from app.page.similar import SimilarCases
from app.page.slices import Look, slice_png
from app.page.talks import Talks
from app.page.uploads import UploadError, check_announced
from app.page.verdict import verdict_of
from app.page.words import step_words
from app.reopen import Opened, summary_of
from app.store import CaseRow, MissingCaseError, Store, now
from app.worker import ReadingWorker, survey_upload
from vlm.ct import Point
from vlm.errors import UsageError
from vlm.language.answering import suggestions
from vlm.language.events import Question
from vlm.language.models import LanguageModel
from vlm.report import NOTICE, SECTIONS

POLL_S = 0.2  # how often a program that waits looks again
MOST_ARRIVING = 10  # uploads of one user
MOST_OPEN = 4  # readings kept open at once; each holds its label maps
PICTURES = ("ct.nii", "preview.nii", "labels.nii.gz", "structures.nii.gz")
EMPTY: dict[str, Any] = {  # what a case has before it is read
    "notice": "", "sections": [], "undo": 0, "evidence": {}, "findings": [], "packs": {}, "limits": [],
    "suggestions": [], "messages": [], "legend": [], "stacks": [], "structures": [], "heat": [], "prior": None,
    "scoring": None, "waiting": [],
}  # fmt: skip


class Desk:
    """Cases, their readings, and the queue of one page."""

    def __init__(
        self,
        folder: Path,
        library: Path | None = None,
        encoder: Path | None = None,
        model: LanguageModel | None = None,
    ) -> None:
        """Open the data folder and take up what a stop left.

        Args:
            folder: of the cases.
            library: the folder of a case library.
            encoder: a checkpoint that scores what is read.
            model: that answers in the chat, in place of the rules.

        Raises:
            UsageError: the folder cannot be used.
        """
        self.store = Store(folder)
        self.store.sweep()
        shutil.rmtree(self.store.folder / "scratch", ignore_errors=True)
        self.similar = SimilarCases(library)
        self.jobs = Jobs(self.store, ReadingWorker(self.store, encoder))
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self.talks = Talks(model, self.similar)
        self._lock = RLock()

    def start(self) -> None:
        """Begin to work through the queue."""
        self.jobs.start()

    def close(self) -> None:
        """Stop; what was being read waits for the next start."""
        self.jobs.close()
        self.similar.close()
        self.store.close()

    # ---- cases

    def new_case(self, owner: str, *, files: int, size: int) -> CaseRow:
        """A case that waits for its files.

        Raises:
            UploadError: too much was announced, or too many are on their way.
        """
        check_announced(self.store, files, size)
        if sum(case.state == "arriving" for case in self.store.cases(owner)) >= MOST_ARRIVING:
            raise UploadError(f"{MOST_ARRIVING} uploads are under way already. Let some arrive, or delete them.")
        case = self.store.add_case(owner)
        self.store.change(case.id, files=files, bytes=size)
        return self.store.case(case.id, owner)

    def add_path(self, owner: str, path: Path) -> CaseRow:
        """A case of a path on this machine, copied in; for the operator, who may read it anyway."""
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        if any(p.is_symlink() for p in found):
            raise UploadError("The folder holds a link. Copy the files themselves.")
        found = [p for p in found if p.is_file()]
        case = self.new_case(owner, files=len(found), size=sum(p.stat().st_size for p in found))
        folder = self.store.path(case.id) / "upload"
        folder.mkdir(mode=0o700)
        for number, source in enumerate(found, start=1):
            shutil.copyfile(source, folder / f"{number:05d}")
        return self.look(case.id, owner)

    def look(self, name: str, owner: str) -> CaseRow:
        """Look at an upload that has arrived, and keep the verdict."""
        case = self.store.case(name, owner)
        if case.state != "arriving":
            return case
        verdict = verdict_of(survey_upload(self.store, name))
        self.store.change(name, intake=verdict, state="arrived" if verdict["accepted"] else "refused")
        if not verdict["accepted"]:
            shutil.rmtree(self.store.path(name) / "upload", ignore_errors=True)
        return self.store.case(name, owner)

    def read(self, name: str, owner: str, *, series: str | None = None, prior: str | None = None) -> Job:
        """Queue the reading of a case; ``prior`` is an earlier case of the same patient and owner, to compare with.

        Raises:
            UsageError: the case has nothing to read, no such series, or the prior has not been read.
            MissingCaseError: the prior is nobody's, or somebody else's.
            QueueFullError: too much is waiting.
        """
        case = self.store.case(name, owner)
        if case.state not in ("arrived", "reading", "failed", "cancelled"):
            raise UsageError(f"E_USAGE: the case is {case.state}, expected one whose files have arrived.")
        if series and series not in {entry["id"] for entry in case.intake.get("series", ())}:
            raise UsageError("E_USAGE: the case has no such series.")
        if prior is not None and (prior == name or self.store.case(prior, owner).state != "ready"):
            raise UsageError("E_USAGE: the prior is a case that has no report, expected one that was read.")
        return self.jobs.submit(name, owner, {"series": series, "prior": prior})

    def read_and_wait(self, name: str, owner: str) -> dict[str, Any]:
        """Look at a case, queue it, wait for it, and give back its report as report.json has it.

        Raises:
            UploadError: the case was refused, or its reading failed.
        """
        if (looked := self.look(name, owner)).state == "refused":
            raise UploadError(looked.intake["title"])
        if looked.state != "ready":
            job = self.read(name, owner)
            while job.state in ACTIVE:
                time.sleep(POLL_S)
                job = self.jobs.job(job.id)
            if job.state != "done":
                raise UploadError(job.message or job.state)
        return self.opened(name, owner).report.model_dump(mode="json", by_alias=True)

    def cancel(self, name: str, owner: str) -> None:
        """End the reading of a case, waiting or at work."""
        self.store.case(name, owner)
        self.jobs.cancel(name)

    def remove(self, name: str, owner: str) -> None:
        """Delete a case with everything that was made of it."""
        self.cancel(name, owner)
        with self._lock:
            self._opened.pop(name, None)
        self.talks.forget(name)
        self.store.remove_case(name)

    def worklist(self, owner: str) -> list[dict[str, Any]]:
        """A row for each case of a user, newest first."""
        return [self._listed(case) for case in self.store.cases(owner)]

    def _listed(self, case: CaseRow) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": case.id, "number": case.number, "created": case.created, "state": case.state, "files": case.files,
            "mb": round(case.bytes / 1e6, 1), "intake": case.intake, "summary": case.summary,
        }  # fmt: skip
        job = self.jobs.latest(case.id)
        if job is not None and case.state in ("reading", "failed", "refused", "cancelled", "ready"):
            row["job"] = self._at_work(job)
        return row

    def _at_work(self, job: Job) -> dict[str, Any]:
        """A job in a person's words."""
        return {
            "state": job.state, "position": self.jobs.position(job) if job.state == "waiting" else 0,
            "step": step_words(job.step), "steps": job.steps, "message": job.message, "seconds": job.seconds,
        }  # fmt: skip

    # ---- one reading

    def opened(self, name: str, owner: str) -> Opened:
        """The finished reading of a case.

        Raises:
            UsageError: there is none yet, or it is damaged.
        """
        case = self.store.case(name, owner)
        if case.state != "ready":
            raise UsageError(f"E_USAGE: the case is {case.state}; it has no report yet.")
        with self._lock:
            if name not in self._opened:
                folder = self.store.path(name) / "reading"
                try:
                    check_seal(folder)
                    self._opened[name] = Opened(folder)
                except (OSError, ValueError) as error:
                    raise UsageError(
                        f"E_USAGE: the case's reading is damaged ({type(error).__name__}). Read it again."
                    ) from None
                while len(self._opened) > MOST_OPEN:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(name)
            return self._opened[name]

    def scanned(self, name: str, owner: str) -> Scanned:
        """The scan of a case: its finished reading, or the voxels of one that is under way.

        Raises:
            UsageError: there are none yet.
        """
        if self.store.case(name, owner).state != "reading":
            return self.opened(name, owner)
        folder = self.store.path(name) / "scan"
        if not is_written(folder):
            raise UsageError("E_USAGE: the case is waiting; its scan is not on disk yet.")
        return Scanned(folder)

    def document(self, name: str, owner: str) -> dict[str, Any]:
        """Everything that the page shows of a case: finished, or as far as its reading has come."""
        case = self.store.case(name, owner)
        return self._under_way(case) if case.state == "reading" else self._finished(case)

    def _under_way(self, case: CaseRow) -> dict[str, Any]:
        job = self.jobs.latest(case.id)
        folder = self.store.path(case.id) / "scan"
        draft = drafted(folder)
        return {
            "id": case.id, "number": case.number, "created": case.created, "intake": case.intake, "state": "reading",
            "job": None if job is None else self._at_work(job), **EMPTY,
            **(geometry_of(Scanned(folder)) if is_written(folder) else {}),
            **({
                "notice": NOTICE, "sections": reviews.by_section(reviews.applied(draft.sentences, ())),
                "waiting": [SECTIONS[key] for key in draft.waiting],
            } if draft else {}),
        }  # fmt: skip

    def _finished(self, case: CaseRow) -> dict[str, Any]:
        make_ready()  # whoever opens it may ask; before, a reading has the processors to itself
        name, owner = case.id, case.owner
        opened = self.opened(name, owner)
        return {
            "id": name, "number": case.number, "created": case.created, "intake": case.intake, "state": "ready",
            **summary_of(opened), "prior": self._prior(opened, name, owner), "heat": heat_maps(opened.folder),
            "notice": opened.report.notice, **self.report(name, owner),
            "evidence": {key: self._evidence(opened, key) for key, _ in opened.ledger},
            "findings": console.rows(opened), "packs": console.packs(), "scoring": scoring_of(opened.folder),
            "limits": [f"{note.message} ({note.code})" for note in opened.report.intake]
            + [f"{off.capability}: {off.reason}. {off.remedy}" for off in opened.report.capabilities_off],
            "suggestions": suggestions(opened.ledger), "messages": self.messages(name, owner),
        }  # fmt: skip

    def _prior(self, opened: Opened, name: str, owner: str) -> dict[str, Any] | None:
        """The case that this one was compared with, and how it lies on it; None when there is none any more."""
        job = self.jobs.latest(name)
        try:
            prior = self.store.case(job.settings.get("prior") or "", owner) if job else None
            if prior is None:
                return None
            before = self.opened(prior.id, owner)
        except (MissingCaseError, UsageError):
            return None
        record = opened.report.provenance.get("prior")
        alignment = record.get("alignment") if isinstance(record, dict) else None
        to_current = alignment["to_current_mm"] if alignment and alignment["accepted"] else None
        return {
            "id": prior.id, "title": f"Prior, case {prior.number}", **geometry_of(before), "legend": before.legend,
            "stacks": before.stacks, "to_current_mm": to_current,
        }  # fmt: skip

    @staticmethod
    def _evidence(opened: Opened, key: str) -> dict[str, Any]:
        line = re.sub(r"\*\*|`", "", footnote((key, opened.report.evidence[key])))
        return {"line": line, "kind": opened.report.evidence[key].kind, **console.place(opened, key)}

    def report(self, name: str, owner: str) -> dict[str, Any]:
        """The report's sentences by section, as they stand after the person's steps."""
        steps = reviews.steps_of(self.store, name)
        standing = reviews.applied(self.opened(name, owner).report.sentences, steps)
        return {"sections": reviews.by_section(standing), "undo": len(steps)}

    def judge(self, name: str, owner: str, *, sentence: str, text: str) -> dict[str, Any]:
        """The checker's verdict of a sentence as it is being typed."""
        opened = self.opened(name, owner)
        standing = [e.sentence for e in reviews.applied(opened.report.sentences, reviews.steps_of(self.store, name))]
        verdict = reviews.judged(opened, standing, sentence, text)
        return {"verdict": verdict.name, "rule": verdict.rule, "reason": verdict.reason, "add": list(verdict.words)}

    def review(self, name: str, owner: str, *, sentence: str, action: str, text: str) -> dict[str, Any]:
        """Accept, edit or reject a sentence, or undo; the report as it then stands."""
        opened = self.opened(name, owner)
        reviews.review(self.store, name, opened, author=owner, name=sentence, action=action, text=text)
        return self.report(name, owner)

    def slice(self, name: str, owner: str, plane: str, index: int, look: Look, *, heat: str = "") -> bytes:
        """One slice as PNG; ``heat`` is the finding whose heat map lies over it."""
        scan = self.scanned(name, owner)
        file = next((entry["file"] for entry in heat_maps(scan.folder) if entry["finding"] == heat), "") if heat else ""
        return slice_png(scan, plane, index, replace(look, heat=file))

    def picture(self, name: str, owner: str, file: str) -> Path:
        """A file that the viewer loads, one of PICTURES."""
        folder = self.scanned(name, owner).folder
        if file not in PICTURES and file not in {entry["file"] for entry in heat_maps(folder)}:
            raise UsageError("E_USAGE: there is no such picture.")
        if not (folder / file).is_file():
            raise UsageError("E_USAGE: the picture is not there yet.")
        return folder / file

    def point(self, name: str, owner: str, mm: Point) -> dict[str, Any]:
        """What lies at a point: HU, structure, and the evidence whose mask is there."""
        opened = self.scanned(name, owner)
        spot = opened.at(mm)
        return {
            "mm": list(mm), "hu": spot.hu, "structure": spot.structure, "labels": list(spot.labels),
            "evidence": opened.evidence_at(spot),
        }  # fmt: skip

    def region(self, name: str, owner: str, low: Point, high: Point) -> dict[str, float] | None:
        """HU in a box, or None outside the scan."""
        return self.scanned(name, owner).region(low, high)

    def query(self, name: str, owner: str, words: str) -> dict[str, Any]:
        """Free words against the findings console."""
        return console.query(self.opened(name, owner), words)

    def search(self, owner: str, *, case: str = "", words: str = "") -> list[dict[str, Any]]:
        """Cases of the library that are like one of this user's, or that hold what words say.

        Raises:
            UsageError: neither or both are given, the case has no report yet, or there is no library.
        """
        if bool(case) == bool(words.strip()):
            raise UsageError("E_USAGE: a search needs a case or words, expected one of them.")
        if not case:
            return self.similar.search(lambda library: query_of_words(words, library))
        report = self.opened(case, owner).report
        return self.similar.search(lambda library: of_report(report, library)[0])

    # ---- questions

    def ask(
        self,
        name: str,
        owner: str,
        text: str,
        *,
        point: Point | None = None,
        box: tuple[Point, Point] | None = None,
        line: tuple[Point, Point] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The events of an answer as they happen; the whole exchange is kept with the case."""
        make_ready().join()
        talk = self.talks.of(self.opened(name, owner), name)
        events: list[dict[str, Any]] = [{"kind": "question", "text": text}]
        question = Question(text=text, point=point, box=box, line=line)
        for said in talk.answer(question):
            events.append(said)
            yield said
        with self.store.write() as db:
            kept = (name, json.dumps(events), now())
            db.execute("insert into messages (case_id, body, at) values (?, ?, ?)", kept)

    def messages(self, name: str, owner: str) -> list[list[dict[str, Any]]]:
        """Earlier questions and answers about a case."""
        self.store.case(name, owner)
        return [
            json.loads(r["body"])
            for r in self.store.rows("select body from messages where case_id = ? order by seq", (name,))
        ]
