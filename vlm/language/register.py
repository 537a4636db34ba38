"""What a look into a case is: a function whose signature is its JSON Schema, what it gives, and why it may not.

``look`` registers one; ``vlm.language.looks`` holds them all, and takes them by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from vlm.ct.volume import Point

Code = Literal["unknown_tool", "arguments", "not_found", "not_covered", "off", "budget"]


class LookError(Exception):
    """A look that cannot be taken; ``code`` is for programs, the message for people and models."""

    def __init__(self, code: Code, message: str) -> None:
        self.code: Code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look gave: a line for people, ids of the evidence it rests on, values for programs, and where to look."""

    told: str
    cites: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A place that a viewer can go to."""

    evidence: str  # id, or empty for a place that somebody marked
    mm: Point
    slices: tuple[int, int] | None
    mask: str | None


@dataclass(frozen=True, slots=True)
class Look:
    """A registered look."""

    name: str
    run: Callable[..., Seen]
    arguments: type[BaseModel]

    @property
    def description(self) -> str:
        """The docstring, on one line."""
        return " ".join((inspect.getdoc(self.run) or "").split())

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return self.arguments.model_json_schema()


LOOKS: dict[str, Look] = {}


def look(function: Callable[..., Seen]) -> Callable[..., Seen]:
    """Register ``function(case, *, ...)`` under its own name."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        fields[name] = (hints[name], ... if parameter.default is parameter.empty else parameter.default)
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    LOOKS[function.__name__] = Look(
        function.__name__, function, create_model(f"{function.__name__}_arguments", __config__=config, **fields)
    )
    return function
