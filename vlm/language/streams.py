"""One streamed answer of a server, read by the byte under time-outs and a cap.

A thread reads; the caller waits for events, not for bytes, so a server that trickles comments is as late as one that
is silent. Closing the connection ends the thread and the server's work.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlm.language.models import (
    Budget,
    ModelAnswerError,
    ModelBrokenError,
    ModelError,
    ModelLateError,
    ModelMissingError,
    Said,
)

if TYPE_CHECKING:
    import httpx

REFUSED = (400, 415, 422)  # the server does not take what was asked, such as a response_format
AWAY = (401, 403, 404, 429, 503)
MOST_CALLS = 16  # tool calls in one answer
DONE = "[DONE]"
AFTER_S = 1.0  # how long the count of tokens is waited for once the answer is whole


@dataclass(slots=True)
class Heard:
    """What came: text, tool calls as (name, arguments as JSON text), and how it ended."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


def hear(
    client: httpx.Client, url: str, body: dict[str, Any], *, budget: Budget, deadline: float, said: Said | None
) -> Heard:
    """Post, and take in the answer.

    Raises:
        ModelMissingError: no server, no such model, not allowed, or not ready.
        ModelLateError: a time-out.
        ModelBrokenError: it died, or sent what is no answer.
        ModelAnswerError: it refuses the request, or sends too much.
    """
    began = time.monotonic()
    events: queue.Queue[str | ModelError | None] = queue.Queue()
    reader = _Reader(client, url, body, budget, deadline, events)
    threading.Thread(target=reader.run, daemon=True).start()
    heard, wait = Heard(), budget.first_token_s
    try:
        while (event := _next(events, wait, deadline, heard)) is not None:
            if isinstance(event, ModelError):
                raise event
            if event == DONE:
                break
            _take(heard, event, said)
            if len(heard.text) > budget.most_bytes:
                raise ModelAnswerError(f"E_MODEL: the answer is larger than {budget.most_bytes} bytes.")
            wait = min(AFTER_S, budget.between_tokens_s) if heard.finish else budget.between_tokens_s
    finally:
        reader.close()
    if not heard.finish:
        raise ModelBrokenError("E_MODEL: the model's server ended in the middle of its answer.")
    heard.seconds = time.monotonic() - began
    heard.tokens_out = heard.tokens_out or len(heard.text) // 4
    return heard


def _next(
    events: queue.Queue[str | ModelError | None], wait: float, deadline: float, heard: Heard
) -> str | ModelError | None:
    """The next event, None at the end; some servers say that they are done and then keep the line open."""
    left = deadline - time.monotonic()
    try:
        return events.get(timeout=max(0.0, min(wait, left)))
    except queue.Empty:
        if heard.finish:
            return None
        what = f"said nothing for {wait:.3g} s" if wait <= left else "was not done in time"
        raise ModelLateError(f"E_MODEL: the model's server {what}.") from None


def _take(heard: Heard, event: str, said: Said | None) -> None:
    """One event of the stream."""
    try:
        data = json.loads(event)
        if not isinstance(data, dict) or "error" in data:
            raise ModelBrokenError("E_MODEL: the model's server sent an error in place of an answer.")
        usage = data.get("usage") or {}
        heard.tokens_in = int(usage.get("prompt_tokens", heard.tokens_in))
        heard.tokens_out = int(usage.get("completion_tokens", heard.tokens_out))
        for choice in data.get("choices", [])[:1]:
            delta = choice.get("delta") or {}
            text = delta.get("content") or ""
            if text:
                heard.text += text
                if said is not None:
                    said(text)
            for part in delta.get("tool_calls") or ():
                _called(heard, part)
            heard.finish = str(choice.get("finish_reason") or heard.finish)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise ModelBrokenError("E_MODEL: the model's server sent what is no answer.") from None


def _called(heard: Heard, part: dict[str, Any]) -> None:
    """A piece of a tool call; arguments come in pieces."""
    place, function = int(part.get("index", 0)), part.get("function") or {}
    if not 0 <= place < MOST_CALLS:
        raise ModelAnswerError(f"E_MODEL: the model calls more than {MOST_CALLS} tools at once.")
    while len(heard.calls) <= place:
        heard.calls.append(("", ""))
    name, arguments = heard.calls[place]
    heard.calls[place] = (name + (function.get("name") or ""), arguments + (function.get("arguments") or ""))


class _Reader:
    """The thread that reads: lines of events into a queue, None at the end, an error in their place."""

    def __init__(
        self, client: httpx.Client, url: str, body: dict[str, Any], budget: Budget, deadline: float,
        events: queue.Queue[str | ModelError | None],
    ) -> None:  # fmt: skip
        self._client, self._url, self._body, self._budget, self._events = client, url, body, budget, events
        self._deadline = deadline
        self._response: httpx.Response | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """End the connection; the server sees that nobody listens."""
        self._closed.set()
        if self._response is not None:
            with contextlib.suppress(Exception):  # whatever a half-open connection says on its way out
                self._response.close()

    def run(self) -> None:
        """Read until the end, the cap, or an error."""
        import httpx

        left = max(0.1, self._deadline - time.monotonic())
        timeout = httpx.Timeout(left, connect=min(left, self._budget.connect_s))
        try:
            with self._client.stream("POST", self._url, json=self._body, timeout=timeout) as response:
                self._response = response
                if self._closed.is_set():
                    return
                for line in self._lines(response):
                    self._events.put(line)
            self._events.put(None)
        except ModelError as error:
            self._events.put(error)
        except httpx.ConnectError:
            self._events.put(ModelMissingError("E_MODEL: no model server answers at that address."))
        except httpx.TimeoutException:
            self._events.put(ModelLateError("E_MODEL: the model's server did not answer in time."))
        except Exception:  # a connection closed from outside fails in many ways; nobody may wait for this thread
            self._events.put(ModelBrokenError("E_MODEL: the connection to the model's server broke."))

    def _lines(self, response: httpx.Response) -> Iterator[str]:
        """The data of each event; an answer that is not streamed is one event."""
        _refuse(response)
        kind = response.headers.get("content-type", "").split(";")[0].strip()
        if kind not in ("text/event-stream", "application/json"):
            raise ModelBrokenError(f"E_MODEL: the model's server sent {kind[:40]!r}, expected a stream of events.")
        size, rest = 0, b""
        for piece in response.iter_bytes():
            size += len(piece)
            if size > 64 * self._budget.most_bytes or len(rest) > self._budget.most_bytes:  # an event wraps few bytes
                raise ModelAnswerError(f"E_MODEL: the answer is larger than {self._budget.most_bytes} bytes.")
            *lines, rest = (rest + piece).split(b"\n")
            if kind == "text/event-stream":
                yield from _data(lines)
            else:
                rest = b"\n".join([*lines, rest])
        yield from _data([rest]) if kind == "text/event-stream" else [_as_event(rest)]


def _data(lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        if line.startswith(b"data:"):
            yield _text(line[5:]).strip()


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ModelBrokenError("E_MODEL: the model's server sent bytes that are no text.") from None


def _as_event(body: bytes) -> str:
    """An answer that was not streamed, in the form of an event."""
    try:
        data = json.loads(_text(body))
        for choice in data.get("choices", ()):
            choice["delta"] = choice.pop("message", {})
            for place, call in enumerate(choice["delta"].get("tool_calls") or ()):
                call["index"] = place
        return json.dumps(data)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        raise ModelBrokenError("E_MODEL: the model's server sent what is no answer.") from None


def _refuse(response: httpx.Response) -> None:
    """An error by the status; nothing of the body is told, for it may hold what was sent."""
    status = response.status_code
    if status == 200:
        return
    if status in REFUSED:
        raise ModelAnswerError(f"E_MODEL: the model's server refuses the request (HTTP {status}).")
    if status in AWAY:
        why = {401: "wants a key", 403: "forbids it", 404: "does not know the model", 429: "is busy"}
        raise ModelMissingError(f"E_MODEL: the model's server {why.get(status, 'is not ready')} (HTTP {status}).")
    raise ModelBrokenError(f"E_MODEL: the model's server answered with HTTP {status}.")
