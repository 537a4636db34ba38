"""The guard before everything the page serves: Gradio's routes and our own, without exception.

In this order: the Host must be ours (a foreign name that resolves to this machine is refused), a browser's
request must come from our own page, the user must be known, a body must not be too
large. Every answer carries the security headers. Pure ASGI, so that event streams pass unbuffered.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.page.users import Users

# 'unsafe-eval' and 'unsafe-inline' are what Gradio's own page needs: the policy keeps everything on this
# machine and out of frames, but does not stop injected script. What does: no text becomes markup anywhere.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CLOSED = ("/gradio_api/upload", "/gradio_api/file", "/gradio_api/proxy", "/gradio_api/component_server")  # nobody needs
CACHED = ("/assets/", "/static/")  # Gradio's own files, named by their content
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_BODY = 4 << 30  # bytes of one request: one file of an upload


class Guard:
    """ASGI middleware; the user's name is left in ``scope["state"]["user"]``."""

    def __init__(self, app: ASGIApp, *, users: Users, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.users = users
        self.hosts = frozenset((*LOOPBACK, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        user, refusal = await self._judge(scope, headers)
        if scope["type"] == "websocket" and refusal is not None:
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    own[name] = value
                if not scope["path"].startswith(CACHED) and "cache-control" not in own:
                    own["Cache-Control"] = "no-store"
            await send(message)

        if refusal is not None:
            await refusal(scope, receive, send_on)
            return
        scope.setdefault("state", {})["user"] = user
        await self.app(scope, receive, send_on)

    async def _judge(self, scope: Scope, headers: Headers) -> tuple[str | None, PlainTextResponse | None]:
        if _name(headers.get("host", "")) not in self.hosts:
            return None, _refused(HTTPStatus.MISDIRECTED_REQUEST, "This page does not answer to that name.")
        if _foreign(scope, headers):
            return None, _refused(HTTPStatus.FORBIDDEN, "Requests from other sites are refused.")
        if scope["path"].startswith(CLOSED):
            return None, _refused(HTTPStatus.FORBIDDEN, "Files come in through the page's own route.")
        user = await to_thread.run_sync(self.users.named, headers.get("authorization", ""))  # a hash takes 50 ms
        if user is None:
            answer = _refused(HTTPStatus.UNAUTHORIZED, "Please log in.")
            answer.headers["WWW-Authenticate"] = 'Basic realm="tomoscribe", charset="UTF-8"'
            return None, answer
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MOST_BODY:
            return None, _refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MOST_BODY >> 30} GB a file.")
        return user, None


def _foreign(scope: Scope, headers: Headers) -> bool:
    """True when a browser says that another site makes this request.

    A request by hand (typed, bookmarked) may open the page itself. Programs send neither header.
    """
    origin = headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2] != headers.get("host", "")  # "null" has no host, and is foreign
    site = headers.get("sec-fetch-site", "same-origin")
    if site in ("same-origin", "none"):
        return False
    opens_page = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
    return not (opens_page and scope.get("method") == "GET")


def _name(host: str) -> str:
    """The name of a Host header without its port."""
    return host.lower() if host.endswith("]") else host.lower().rpartition(":")[0] or host.lower()


def _refused(status: HTTPStatus, why: str) -> PlainTextResponse:
    return PlainTextResponse(why, status_code=status)
