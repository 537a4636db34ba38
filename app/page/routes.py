"""Our own HTTP routes: JSON in, JSON out, files and slices. The guard stands before them; each asks whose case it is.

Nothing of a patient is in an address: cases have random ids. Bodies are small JSON documents, except
the files of an upload, which stream to disk.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.page.desk import Desk
from app.page.exports import export
from app.page.slices import Look
from app.page.uploads import receive_file
from vlm.ct import Point
from vlm.language.events import MOST_CHARACTERS

MOST_JSON = 64 << 10  # bytes
MOST_ASKED = 30  # questions of one user in a minute
HIDDEN = re.compile(r"[0-9,]{0,2000}")
STATIC = Path(__file__).with_name("static")
NIIVUE = Path("node_modules/@niivue/niivue/dist/niivue.umd.js")


class Body(BaseModel):
    """Base of what the page may send: nothing more than is named, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NewCase(Body):
    """An upload is announced."""

    files: int
    bytes: int


class Read(Body):
    """Which series to read, the chosen one when none is named; and a case to compare with."""

    series: str | None = Field(default=None, max_length=64)
    prior: str | None = Field(default=None, max_length=32)


class Place(Body):
    """A point, RAS mm."""

    mm: tuple[float, float, float]


class Box(Body):
    """Two corners, RAS mm."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


class Typed(Body):
    """A sentence as typed."""

    sentence: str = Field(max_length=16)
    text: str = Field(default="", max_length=4000)


class Step(Typed):
    """What a person does with a sentence."""

    sentence: str = Field(default="", max_length=16)
    action: str = Field(max_length=16)


class Ask(Body):
    """A question, and what it points at."""

    text: str = Field(max_length=MOST_CHARACTERS)
    point: tuple[float, float, float] | None = None
    box: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    line: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


class Query(Body):
    """Free words for the findings console."""

    words: str = Field(max_length=200)


T = TypeVar("T", bound=Body)


async def body_of(request: Request, kind: type[T]) -> T:
    """The JSON body of a request, checked.

    Raises:
        HTTPException: 413 for a large one, 422 for a wrong one.
    """
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_JSON:
            raise HTTPException(413, "The request is too large.")
    try:
        return kind.model_validate_json(data or b"{}")
    except ValidationError:
        raise HTTPException(422, "The request is not understood.") from None


def user_of(request: Request) -> str:
    """Whom the guard let in."""
    return str(request.state.user)


class Meter:
    """How often a user asked in the last minute."""

    def __init__(self) -> None:
        self._asked: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def count(self, user: str) -> None:
        """Count one question; HTTPException 429 when there are too many."""
        with self._lock:
            recent = [t for t in self._asked.get(user, []) if time.monotonic() - t < 60.0]
            if len(recent) >= MOST_ASKED:
                raise HTTPException(429, f"At most {MOST_ASKED} questions a minute. Wait a little.")
            self._asked[user] = [*recent, time.monotonic()]


def static_routes(root: Path) -> APIRouter:
    """The page's own script and style, and NiiVue from where set-up put it."""
    router = APIRouter()
    names = frozenset(path.name for path in STATIC.iterdir() if path.is_file())

    @router.get("/own/niivue.js")
    def niivue() -> Response:
        if not (root / NIIVUE).is_file():
            raise HTTPException(404, "NiiVue is not installed: run `make viewer`.")
        return FileResponse(root / NIIVUE, media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})

    @router.get("/own/{name}")
    def own(name: str) -> Response:
        if name not in names:
            raise HTTPException(404)
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    @router.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    return router


def case_routes(desk: Desk) -> APIRouter:
    """Worklist, uploads, reading."""
    router = APIRouter(prefix="/api")

    @router.get("/cases")
    def worklist(request: Request) -> list[dict[str, Any]]:
        return desk.worklist(user_of(request))

    @router.post("/cases")
    async def new(request: Request) -> dict[str, str]:
        asked = await body_of(request, NewCase)
        return {"id": desk.new_case(user_of(request), files=asked.files, size=asked.bytes).id}

    @router.put("/cases/{name}/files/{number}")
    async def file(request: Request, name: str, number: int) -> dict[str, int]:
        case = desk.store.case(name, user_of(request))
        await receive_file(desk.store, case, number, request.stream())
        return {"file": number}

    @router.post("/cases/{name}/look")
    def look(request: Request, name: str) -> dict[str, Any]:
        return desk.look(name, user_of(request)).intake

    @router.post("/cases/{name}/read")
    async def read(request: Request, name: str) -> dict[str, str]:
        asked = await body_of(request, Read)
        return {"job": desk.read(name, user_of(request), series=asked.series, prior=asked.prior).state}

    @router.post("/cases/{name}/cancel")
    def cancel(request: Request, name: str) -> dict[str, bool]:
        desk.cancel(name, user_of(request))
        return {"cancelled": True}

    @router.delete("/cases/{name}")
    def remove(request: Request, name: str) -> dict[str, bool]:
        desk.remove(name, user_of(request))
        return {"removed": True}

    return router


def reading_routes(desk: Desk) -> APIRouter:
    """One finished case: its report, pictures, points, questions and exports."""
    router = APIRouter(prefix="/api/cases/{name}")
    meter = Meter()

    @router.get("")
    def document(request: Request, name: str) -> dict[str, Any]:
        return desk.document(name, user_of(request))

    @router.get("/picture/{file}")
    def picture(request: Request, name: str, file: str) -> Response:
        path = desk.picture(name, user_of(request), file)
        return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "private, no-cache"})

    @router.get("/slice/{plane}/{index}")
    def one_slice(
        request: Request,
        name: str,
        plane: str,
        index: int,
        level: float = 40,
        width: float = 400,
        strength: float = 0.35,
        hidden: str = "",
        lit: int = 0,
        heat: str = "",
    ) -> Response:
        if not all(map(math.isfinite, (level, width, strength))) or not HIDDEN.fullmatch(hidden):
            raise HTTPException(422)
        labels = frozenset(int(label) for label in hidden.split(",") if label)
        look = Look(level=level, width=width, strength=min(strength, 1.0), hidden=labels, lit=lit)
        png = desk.slice(name, user_of(request), plane, index, look, heat=heat)
        return Response(png, media_type="image/png")

    @router.post("/point")
    async def point(request: Request, name: str) -> dict[str, Any]:
        asked = await body_of(request, Place)
        return await to_thread.run_sync(desk.point, name, user_of(request), asked.mm)

    @router.post("/region")
    async def region(request: Request, name: str) -> dict[str, float]:
        asked = await body_of(request, Box)
        return await to_thread.run_sync(desk.region, name, user_of(request), asked.low, asked.high) or {}

    @router.post("/judge")
    async def judge(request: Request, name: str) -> dict[str, Any]:
        asked, user = await body_of(request, Typed), user_of(request)
        return await to_thread.run_sync(lambda: desk.judge(name, user, sentence=asked.sentence, text=asked.text))

    @router.post("/review")
    async def review(request: Request, name: str) -> dict[str, Any]:
        asked, user = await body_of(request, Step), user_of(request)
        return await to_thread.run_sync(
            lambda: desk.review(name, user, sentence=asked.sentence, action=asked.action, text=asked.text)
        )

    @router.post("/query")
    async def query(request: Request, name: str) -> dict[str, Any]:
        asked = await body_of(request, Query)
        return await to_thread.run_sync(desk.query, name, user_of(request), asked.words)

    @router.post("/ask")
    async def ask(request: Request, name: str) -> Response:
        asked, user = await body_of(request, Ask), user_of(request)
        meter.count(user)
        desk.opened(name, user)
        return StreamingResponse(_lines(desk, name, user, asked), media_type="application/x-ndjson")

    @router.get("/export/{file}")
    def exported(request: Request, name: str, file: str) -> Response:
        return export(desk, name, user_of(request), file)

    return router


def _lines(desk: Desk, name: str, user: str, asked: Ask) -> Iterator[str]:
    """An answer as one JSON document a line, each as soon as it is there."""
    point: Point | None = asked.point
    for event in desk.ask(name, user, asked.text, point=point, box=asked.box, line=asked.line):
        yield json.dumps(event) + "\n"
