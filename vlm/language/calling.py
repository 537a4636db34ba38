"""Tools for a model that runs here: the offer as text, the choice as JSON that a grammar holds, the results as turns.

Chat templates differ in how they write tools, calls and results, and many have none of them. One form serves all:
the tools' JSON Schemas stand in the system message, each answer is one choice, and a result is a user's turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from vlm.language.models import Ask, Message, Schema, ToolCall, ToolOffer
from vlm.language.prompting import load_prompt

ENOUGH = "none"  # the choice of a model that has seen enough


def with_choice(ask: Ask) -> Ask:
    """An ask that offers tools, as one whose answer is a choice among them."""
    listed = "\n".join(
        json.dumps({"tool": tool.name, "does": tool.description, "arguments": tool.parameters}) for tool in ask.tools
    )
    told = Message(role="system", text=f"{load_prompt('ask').parts['tools']}\n{listed}")
    return replace(ask, messages=(told, *ask.messages), schema=choice_of(ask.tools))


def choice_of(tools: Sequence[ToolOffer]) -> Schema:
    """A call of one tool with arguments that fit its schema, or none."""
    calls = [_object(tool={"const": tool.name}, arguments=tool.parameters) for tool in tools]
    return {"anyOf": [*calls, _object(tool={"const": ENOUGH})]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def called(choice: Mapping[str, Any], before: int) -> tuple[ToolCall, ...]:
    """The call that was chosen, if any; ``before``: how many there were in the conversation."""
    if choice["tool"] == ENOUGH:
        return ()
    return (ToolCall(id=f"call_{before}", name=choice["tool"], arguments=choice["arguments"]),)


def turns_of(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Turns that any chat template takes: results are the user's, and what one role says in a row is one turn."""
    spoken = groupby(messages, key=lambda message: "user" if message.role == "tool" else message.role)
    return [{"role": role, "content": "\n\n".join(message.text for message in said)} for role, said in spoken]
