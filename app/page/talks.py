"""The conversations of the page: one a case, gone on with by whoever opens it, answered one question at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from app.opening import open_page
from app.opinions import of_page
from app.page.similar import SimilarCases
from app.reopen import Opened
from vlm.errors import UsageError
from vlm.language.conversation import Conversation, as_dict
from vlm.language.events import Question
from vlm.language.models import LanguageModel
from vlm.language.scene import OpenCase

MOST_TALKS = 8  # kept at once; each can hold a scan's structures
WAIT_S = 30.0  # for the answer before


@dataclass
class Talk:
    """A conversation about one reading of a case."""

    opened: Opened
    conversation: Conversation
    lock: Lock = field(default_factory=Lock)  # no RLock: a stream may go on in another thread

    def answer(self, question: Question) -> Iterator[dict[str, Any]]:
        """The events of an answer, as they happen.

        Raises:
            UsageError: the answer before takes too long.
        """
        if not self.lock.acquire(timeout=WAIT_S):
            raise UsageError("E_USAGE: the question before is still being answered. Ask again in a moment.")
        try:
            for event in self.conversation.answer(question):
                yield as_dict(event)
        finally:
            self.lock.release()


class Talks:
    """The conversations that are open."""

    def __init__(self, model: LanguageModel | None = None, similar: SimilarCases | None = None) -> None:
        """``model`` looks and answers; without one the rules do. ``similar`` is the page's library."""
        self._model, self._similar = model, similar
        self._talks: OrderedDict[str, Talk] = OrderedDict()
        self._lock = Lock()

    def of(self, opened: Opened, name: str) -> Talk:
        """The conversation about a case; a new one when the case was read again."""
        with self._lock:
            talk = self._talks.get(name)
            if talk is None or talk.opened is not opened:
                talk = self._talks[name] = Talk(opened, Conversation(self._scene(opened), model=self._model))
            self._talks.move_to_end(name)
            while len(self._talks) > MOST_TALKS:
                self._talks.popitem(last=False)
            return talk

    def _scene(self, opened: Opened) -> OpenCase:
        """The case as the conversation sees it."""
        similar = self._similar
        if similar is None or similar.folder is None:
            return open_page(opened)
        return of_page(open_page(opened), lambda count: similar.near(opened.report, count))

    def forget(self, name: str) -> None:
        """Let go of the conversation about a case."""
        with self._lock:
            self._talks.pop(name, None)
