"""What a language model is to the rest of the product, whoever runs it: messages in, a checked answer out.

    ModelError                 exit 4   the model gave nothing that can be used; the caller composes instead
    ├── ModelMissingError               not installed, no such folder, server absent, model unknown there
    ├── ModelLateError                  a time-out: connecting, first token, between tokens, or the whole
    ├── ModelBrokenError                it died or sent what is no answer; nothing of it was used
    └── ModelAnswerError                an answer that breaks the schema, names an unknown tool, or is too large

A caller catches ModelError, says that the model was off, and goes on without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vlm.errors import TomoscribeError

Role = Literal["system", "user", "assistant", "tool"]
Schema = Mapping[str, Any]  # a JSON Schema
Said = Callable[[str], None]  # called with each piece of text as it comes; never a promise that the answer holds


class ModelError(TomoscribeError):
    """A language model gave nothing that can be used."""


class ModelMissingError(ModelError):
    """There is no such model: not installed, no such folder, server absent, or it does not know the name."""


class ModelLateError(ModelError):
    """A time-out. What had come until then is thrown away."""


class ModelBrokenError(ModelError):
    """The model or its server died, or sent what is no answer. Nothing of it was used."""


class ModelAnswerError(ModelError):
    """An answer came that breaks its schema, calls what does not exist, or is too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the model wants called. Its name is one that was offered; its arguments fit that tool's schema."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. ``calls`` are the assistant's; ``answers`` is the id of the call that a tool's message answers."""

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOffer:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: Schema  # of its arguments, an object


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one answer may cost. Seconds are of a monotonic clock."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    between_tokens_s: float = 30.0
    total_s: float = 600.0
    most_tokens: int = 1024
    most_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. With a schema ``data`` holds the JSON, which fits it; otherwise it is None."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    data: Any = None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    cut: bool = False  # it stopped at most_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to a model."""

    messages: tuple[Message, ...]  # the conversation, oldest first
    schema: Schema | None = None  # the answer is JSON that fits it, held by a grammar or validated with one repair
    tools: tuple[ToolOffer, ...] = ()  # what may be called
    stop: tuple[str, ...] = ()  # texts at which the answer ends; they are not part of it
    budget: Budget = field(default_factory=Budget)


class LanguageModel(Protocol):
    """A model that answers. Implementations: embedded, local folder, server."""

    @property
    def name(self) -> str:
        """What the provenance of a report says: model, version or digest, adapter; never a key or an address."""

    @property
    def calls_tools(self) -> bool:
        """Whether tools may be offered. The embedded model's choice of tools is not good enough to be asked for.

        Raises:
            ModelError: nobody can be asked whether.
        """

    @property
    def taught(self) -> bool:
        """Whether it learned to word rows, and needs neither rules nor examples for it."""

    @property
    def rows_a_call(self) -> int:
        """Rows of evidence that it words well in one answer."""

    def complete(self, ask: Ask, *, said: Said | None = None) -> Answer:
        """One answer.

        Args:
            ask: what is asked; tools are refused with ValueError where ``calls_tools`` is false.
            said: called with each piece of text; a failed answer may have been said in part, so show it as unchecked.

        Raises:
            ModelError: there is no answer that can be used.
        """

    def complete_all(self, asks: Sequence[Ask]) -> list[Answer | ModelError]:
        """Answers to several asks, in their order; together where the model can, else one after the other."""


def in_turn(model: LanguageModel, asks: Sequence[Ask]) -> list[Answer | ModelError]:
    """``complete_all`` of a model that answers one ask after the other; an error is that ask's alone."""
    answers: list[Answer | ModelError] = []
    for ask in asks:
        try:
            answers.append(model.complete(ask))
        except ModelError as error:
            answers.append(error)
    return answers
