"""Routes of the panel of similar cases: cards for one case, and pictures of the library's."""

from __future__ import annotations

import gzip
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from app.page.desk import Desk
from app.page.routes import Place, body_of, user_of
from app.page.slices import Look, slice_png
from retrieval.cases import PREVIEW, THUMBNAIL


def similar_routes(desk: Desk) -> APIRouter:
    """Cards for one case, and the pictures of the library's cases; the guard has let the user in."""
    router = APIRouter(prefix="/api")
    similar = desk.similar

    @router.get("/cases/{name}/similar")
    def cards(request: Request, name: str) -> dict[str, Any]:
        return similar.cards(desk.opened(name, user_of(request)))

    @router.get("/similar/{case}/thumbnail.png")
    def thumbnail(case: str) -> Response:
        return Response(similar.picture(case, THUMBNAIL), media_type="image/png")

    @router.get("/similar/{case}/picture/{file}")
    def picture(case: str, file: str) -> Response:
        if file not in ("ct.nii", "preview.nii"):
            raise HTTPException(404)
        return Response(gzip.decompress(similar.picture(case, PREVIEW)), media_type="application/octet-stream")

    @router.get("/similar/{case}/slice/{plane}/{index}")
    def one_slice(case: str, plane: str, index: int, level: float = 40, width: float = 400) -> Response:
        return Response(
            slice_png(similar.scan(case), plane, index, Look(level=level, width=width)), media_type="image/png"
        )

    @router.post("/similar/{case}/point")
    async def point(request: Request, case: str) -> dict[str, Any]:
        asked = await body_of(request, Place)
        return {"mm": list(asked.mm), "hu": similar.scan(case).at(asked.mm).hu}

    return router
