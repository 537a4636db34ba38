"""Models behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, TGI, ``transformers serve``.

    model = ServerModel(parse_address("http://127.0.0.1:8000/v1#qwen3-8b"))
    answer = model.complete(Ask(messages=(Message(role="user", text="…"),), schema={…}))

What a server sends is hostile input: it is read by the byte under time-outs and a cap, parsed strictly, and checked
against the schema here, whatever the server promises. One retry, one repair, then the caller's own way without a
model. Addresses and keys are never told; redirects and proxies are not followed.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from vlm.errors import UsageError
from vlm.language.models import (
    Answer,
    Ask,
    Budget,
    Message,
    ModelAnswerError,
    ModelBrokenError,
    ModelError,
    ModelLateError,
    ModelMissingError,
    Said,
    Schema,
    ToolCall,
    ToolOffer,
    in_turn,
)
from vlm.language.streams import Heard, hear

HERE = ("localhost", "127.0.0.1", "::1")
KEY_VARIABLE = "TOMOSCRIBE_MODEL_KEY"
EXTRA = "pip install tomoscribe[language]"
THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.S)
FENCE = re.compile(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", re.S)
BREAK_AFTER = 2  # failures in a row, each after its retry
BREAK_S = 60.0  # how long a server that fails is left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and which of its models is meant; "" asks the server."""

    base: str  # without a slash at the end
    model: str = ""

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.base).hostname or ""


def parse_address(text: str, *, remote: bool = False) -> Address:
    """ "http://host:port/v1#name" -> Address.

    Raises:
        UsageError: it is no such address, holds a password, or is another machine's without ``remote``.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise UsageError("E_USAGE: --model is no address, expected http://host:port/v1#model-name without a password.")
    if parts.hostname not in HERE and not remote:
        raise UsageError(
            f"E_USAGE: --model names {parts.hostname[:64]!r}, another machine. What the scan shows would leave this "
            "one; allow it with --remote-model."
        )
    base = parts._replace(fragment="").geturl().rstrip("/")
    return Address(base=base, model=parts.fragment)


def key_for(host: str) -> str:
    """The API key: from the environment, else from the keyring where there is one; "" without."""
    if key := os.environ.get(KEY_VARIABLE, ""):
        return key
    try:
        import keyring
    except ImportError:
        return ""
    try:
        return str(keyring.get_password("tomoscribe", host) or "")
    except keyring.errors.KeyringError:
        return ""


class ServerModel:
    """A model of a server. Thread-safe; a server that fails twice in a row is left alone for a minute."""

    rows_a_call = 5
    taught = False

    def __init__(self, address: Address, *, key: str | None = None, budget: Budget | None = None) -> None:
        """Make ready; nothing is sent yet. ``budget`` is that of finding out whether the model calls tools.

        Raises:
            ModelMissingError: httpx is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise ModelMissingError(f"E_MODEL: httpx is not installed, expected for a server. {EXTRA}") from None
        self._address, self._budget = address, budget or Budget()
        key = key_for(address.host) if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, follow_redirects=False, trust_env=False)
        self._lock = threading.Lock()
        self._failures, self._until = 0, 0.0
        self._json: Literal["schema", "prompt"] = "schema"  # what was seen to work; "schema" until it did not
        self._tools: bool | None = None  # not asked yet

    @property
    def name(self) -> str:
        """The model's name at the server, without the address."""
        return f"server model {self._address.model or '(the only one)'}"

    @property
    def calls_tools(self) -> bool:
        """Whether the server's model calls a tool when it is asked to; tried once.

        Raises:
            ModelError: the server is absent, late or broken, so nobody knows.
        """
        if self._tools is None:
            try:
                self._tools = self._calls_a_tool()
            except ModelAnswerError:  # it refuses a request with tools
                self._tools = False
        return self._tools

    def complete(self, ask: Ask, *, said: Said | None = None) -> Answer:
        """One answer; see ``LanguageModel``."""
        deadline = time.monotonic() + ask.budget.total_s
        answer, wrong = self._checked(ask, deadline, said)
        if not wrong:
            return answer
        repaired = replace(ask, messages=(*ask.messages, *_repair(answer, wrong)))
        answer, wrong = self._checked(repaired, deadline, None)
        if wrong:
            raise ModelAnswerError(f"E_MODEL: the answer does not hold after one repair: {wrong}.")
        return answer

    def complete_all(self, asks: Sequence[Ask]) -> list[Answer | ModelError]:
        """Answers in turn: a server of one's own is seldom faster with more."""
        return in_turn(self, asks)

    def _checked(self, ask: Ask, deadline: float, said: Said | None) -> tuple[Answer, str]:
        """An answer, and what is wrong with it; "" where it holds."""
        heard = self._twice(ask, deadline, said)
        text = THOUGHT.sub("", heard.text).strip()
        calls, wrong = _calls(heard, ask.tools)
        data = None
        if ask.schema is not None and not wrong and not calls:
            data, wrong = fitting(text, ask.schema)
            if wrong:
                self._json = "prompt"  # the server takes response_format and ignores it, or has none
        answer = Answer(
            text=text, calls=calls, data=data, tokens_in=heard.tokens_in, tokens_out=heard.tokens_out,
            seconds=heard.seconds, cut=heard.finish == "length",
        )  # fmt: skip
        return answer, wrong

    def _twice(self, ask: Ask, deadline: float, said: Said | None) -> Heard:
        """What the server says, at the second try where the first broke or stalled."""
        if time.monotonic() < self._until:
            raise ModelMissingError("E_MODEL: the model's server failed just now and is left alone for a minute.")
        try:
            try:
                heard = self._once(ask, deadline, said)
            except (ModelLateError, ModelBrokenError):
                if time.monotonic() >= deadline:
                    raise
                heard = self._once(ask, deadline, None)
        except (ModelLateError, ModelBrokenError, ModelMissingError):
            with self._lock:
                self._failures += 1
                if self._failures >= BREAK_AFTER:
                    self._failures, self._until = 0, time.monotonic() + BREAK_S
            raise
        self._failures = 0
        return heard

    def _once(self, ask: Ask, deadline: float, said: Said | None) -> Heard:
        """One request, without the schema where the server refuses it."""
        url, body = f"{self._address.base}/chat/completions", self._body(ask)
        try:
            return hear(self._client, url, body, budget=ask.budget, deadline=deadline, said=said)
        except ModelAnswerError:
            if "response_format" not in body:
                raise
            self._json = "prompt"
            return hear(self._client, url, self._body(ask), budget=ask.budget, deadline=deadline, said=said)

    def _body(self, ask: Ask) -> dict[str, Any]:
        turns = [_turn(message) for message in ask.messages]
        body: dict[str, Any] = {
            "model": self._model(), "messages": turns, "stream": True, "temperature": 0,
            "max_tokens": ask.budget.most_tokens, "stream_options": {"include_usage": True},
        }  # fmt: skip
        if ask.stop:
            body["stop"] = list(ask.stop)
        if ask.tools:
            body["tools"] = [_offered(tool) for tool in ask.tools]
        if ask.schema is not None:
            if self._json == "schema":
                named = {"name": "answer", "strict": True, "schema": ask.schema}
                body["response_format"] = {"type": "json_schema", "json_schema": named}
            form = f"Answer with JSON alone that fits this schema: {json.dumps(ask.schema)}"
            turns.insert(0, {"role": "system", "content": form})
            if len(turns) > 1 and turns[1]["role"] == "system":  # many templates take one system message
                turns[1:2] = []
                turns[0]["content"] = f"{ask.messages[0].text}\n\n{form}"
        return body

    def _model(self) -> str:
        """The model's name: as given, or the only one that the server has."""
        if not self._address.model:
            self._address = replace(self._address, model=self._only_model())
        return self._address.model

    def _only_model(self) -> str:
        import httpx

        try:
            reply = self._client.get(f"{self._address.base}/models", timeout=self._budget.connect_s)
            names = [str(entry["id"]) for entry in reply.json()["data"]] if reply.status_code == 200 else []
        except httpx.TransportError:
            raise ModelMissingError("E_MODEL: no model server answers at that address.") from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            names = []
        if len(names) != 1:
            raise ModelMissingError(
                f"E_MODEL: the server names {len(names)} models, expected one. Name the one you mean: URL#model-name."
            )
        return names[0]

    def _calls_a_tool(self) -> bool:
        """Ask for one call of a tool that does nothing."""
        ping = ToolOffer(name="ping", description="Say that you can call tools.", parameters={"type": "object"})
        ask = Ask(
            messages=(Message(role="user", text="Call the tool ping now."),), tools=(ping,),
            budget=replace(self._budget, most_tokens=256),
        )  # fmt: skip
        answer, wrong = self._checked(ask, time.monotonic() + ask.budget.total_s, None)
        return not wrong and [call.name for call in answer.calls] == ["ping"]


def fitting(text: str, schema: Schema) -> tuple[Any, str]:
    """The JSON of a text, and what of the schema it breaks; "" where it fits."""
    from jsonschema import Draft202012Validator

    fenced = FENCE.match(text)
    try:
        data = json.loads(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return None, "it is not JSON alone"
    error = next(Draft202012Validator(dict(schema)).iter_errors(data), None)
    if error is None:
        return data, ""
    where = "/".join(str(part) for part in error.absolute_path) or "the object"
    return data, f"{where[:40]} breaks the schema's {str(error.validator)[:40]}"


def _calls(heard: Heard, tools: Sequence[ToolOffer]) -> tuple[tuple[ToolCall, ...], str]:
    """The calls of an answer, and what is wrong with them."""
    offered = {tool.name: tool for tool in tools}
    calls = []
    for n, (name, arguments) in enumerate(heard.calls):
        if name not in offered:
            known = ", ".join(offered) or "none"
            return (), f"there is no tool {name[:40]!r}; tools: {known}"
        data, wrong = fitting(arguments or "{}", offered[name].parameters)
        if wrong or not isinstance(data, Mapping):
            return (), f"the arguments of {name}: {wrong or 'no object'}"
        calls.append(ToolCall(id=f"call_{n}", name=name, arguments=data))
    return tuple(calls), ""


def _repair(answer: Answer, wrong: str) -> tuple[Message, Message]:
    """The two turns that ask once more."""
    return (
        Message(role="assistant", text=answer.text[:2000] or "(no text)"),
        Message(role="user", text=f"That cannot be used: {wrong}. Answer once more, as asked."),
    )


def _turn(message: Message) -> dict[str, Any]:
    """A message in the server's form."""
    turn: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        turn["tool_call_id"] = message.answers
    return turn


def _offered(tool: ToolOffer) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
