"""A model's server may be absent, slow, broken or lying: each ends in the right error within the bound, never later."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

pytest.importorskip("httpx")

from tests.model_server import Behaviour, calls, dies, floods, says, sends, serving, stalls
from vlm.errors import UsageError
from vlm.language.choice import load_model
from vlm.language.models import (
    Ask,
    Budget,
    Message,
    ModelAnswerError,
    ModelBrokenError,
    ModelError,
    ModelLateError,
    ModelMissingError,
    ToolOffer,
)
from vlm.language.servers import ServerModel, fitting, parse_address

QUICK = Budget(connect_s=1.0, first_token_s=0.25, between_tokens_s=0.25, total_s=2.0, most_bytes=20_000)
PATIENT = Budget(connect_s=10.0, first_token_s=20.0, between_tokens_s=20.0, total_s=60.0, most_bytes=20_000)
TURNS = (Message(role="user", text="R1 present: nodule"),)
SCHEMA = {
    "type": "object", "properties": {"R1": {"type": "string"}}, "required": ["R1"], "additionalProperties": False,
}  # fmt: skip
GOOD = '{"R1":"There is a nodule."}'
TOOL = ToolOffer(
    name="measure", description="Measure a thing.",
    parameters={"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
)  # fmt: skip


PLAIN = Ask(messages=TURNS, budget=PATIENT)
ASK = replace(PLAIN, schema=SCHEMA)
LOOK = replace(PLAIN, tools=(TOOL,))


def model_of(url: str, *, budget: Budget = PATIENT, key: str | None = None) -> ServerModel:
    return ServerModel(parse_address(url), budget=budget, key=key)


def test_an_answer_is_streamed_and_fits_the_schema() -> None:
    heard: list[str] = []
    with serving(says(GOOD)) as server:
        answer = model_of(server.url).complete(ASK, said=heard.append)
    assert answer.data == {"R1": "There is a nodule."}
    assert "".join(heard) == GOOD and len(heard) == 3
    assert server.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_server_that_never_says_done_is_done_when_it_gave_its_reason() -> None:
    def behave(handler, _):  # type: ignore[no-untyped-def]
        says(GOOD, done=False)(handler, {})
        handler.told.over.wait(5)

    with serving(behave) as server:
        assert model_of(server.url).complete(ASK).data["R1"] == "There is a nodule."


def test_an_answer_that_is_not_streamed_is_read_too() -> None:
    body = json.dumps({"choices": [{"message": {"content": GOOD}, "finish_reason": "stop"}]}).encode()
    with serving(sends(body, kind="application/json")) as server:
        assert model_of(server.url).complete(ASK).data["R1"] == "There is a nodule."


BROKEN: dict[str, tuple[Behaviour, type[ModelError]]] = {
    "silent from the start": (stalls(), ModelLateError),
    "silent after a word": (stalls("There"), ModelLateError),
    "trickles comments": (stalls("There", trickle=True), ModelLateError),
    "dies in the middle": (dies, ModelBrokenError),
    "ends without a reason": (sends(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'), ModelBrokenError),
    "bytes that are no text": (sends(b"data: \xff\xfe\xfa\n\n"), ModelBrokenError),
    "a page of HTML": (sends(b"<html>502</html>", kind="text/html"), ModelBrokenError),
    "HTML as a stream": (sends(b"data: <html>\n\n"), ModelBrokenError),
    "200 with an error inside": (sends(b'data: {"error": {"message": "out of memory"}}\n\n'), ModelBrokenError),
    "choices of another shape": (sends(b'data: {"choices": [7]}\n\n'), ModelBrokenError),
    "500": (sends(b"", status=500), ModelBrokenError),
    "a redirect": (sends(b"", status=302), ModelBrokenError),
    "loading": (sends(b"", status=503), ModelMissingError),
    "another model's name": (sends(b"", status=404), ModelMissingError),
    "no key": (sends(b"", status=401), ModelMissingError),
    "floods": (floods, ModelAnswerError),
    "one endless line": (sends(b"data: " + b"x" * 200_000), ModelAnswerError),
    "not JSON, twice": (says("I cannot help with that."), ModelAnswerError),
    "a field too many": (says('{"R1":"There is a nodule.","R2":"And a mass."}'), ModelAnswerError),
    "a list": (says('["There is a nodule."]'), ModelAnswerError),
    "text around the JSON": (says(f"Sure! {GOOD}"), ModelAnswerError),
    "nested to death": (says("[" * 20_000), ModelAnswerError),
    "calls a tool nobody offered": (calls("rm", "{}"), ModelAnswerError),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_each_fault_is_its_own_error_within_the_bound(fault: str) -> None:
    behaviour, expected = BROKEN[fault]
    with serving(behaviour) as server:
        budget = QUICK if expected is ModelLateError else PATIENT
        model, began = model_of(server.url, budget=budget, key="secret-key"), time.monotonic()
        with pytest.raises(expected) as caught:
            model.complete(replace(ASK, budget=budget))
        assert time.monotonic() - began < 2 * budget.total_s
    assert len(server.asked) <= 4  # one retry, one repair
    assert "secret-key" not in str(caught.value) and "127.0.0.1" not in str(caught.value)


def test_no_server_is_said_at_once() -> None:
    with serving(says(GOOD)) as server:
        url = server.url
    with pytest.raises(ModelMissingError):
        model_of(url).complete(PLAIN)


def test_one_fault_is_forgiven_and_one_answer_repaired() -> None:
    with serving(dies, says("nonsense"), says(f"<think>so</think>```json\n{GOOD}\n```")) as server:
        answer = model_of(server.url).complete(ASK)
    assert answer.data == {"R1": "There is a nodule."}
    assert "cannot be used" in server.asked[-1]["messages"][-1]["content"]


def test_a_server_that_refuses_the_schema_is_asked_by_prompt_from_then_on() -> None:
    def behave(handler, body):  # type: ignore[no-untyped-def]
        (sends(b"", status=400) if "response_format" in body else says(GOOD))(handler, body)

    with serving(behave) as server:
        model = model_of(server.url)
        model.complete(ASK)
        model.complete(ASK)
    assert ["response_format" in body for body in server.asked] == [True, False, False]
    assert all(json.dumps(SCHEMA) in body["messages"][0]["content"] for body in server.asked)


def test_a_server_that_fails_twice_is_left_alone() -> None:
    with serving(sends(b"", status=500)) as server:
        model = model_of(server.url)
        errors = model.complete_all([PLAIN] * 4)
    assert all(isinstance(error, ModelError) for error in errors)
    assert len(server.asked) == 4  # two tries, each with its retry; then none


def test_tools_are_tried_once_and_their_arguments_are_checked() -> None:
    with serving(calls("ping", "{}"), calls("measure", '{"id": "E1"}'), calls("measure", '{"ids": 3}')) as server:
        model = model_of(server.url)
        assert model.calls_tools and model.calls_tools
        (call,) = model.complete(LOOK).calls
        assert (call.name, dict(call.arguments)) == ("measure", {"id": "E1"})
        with pytest.raises(ModelAnswerError):
            model.complete(LOOK)
    assert server.asked[1]["tools"][0]["function"]["parameters"] == TOOL.parameters


def test_a_server_that_writes_tools_as_text_does_not_call_tools() -> None:
    with serving(says('<tool_call>{"name": "ping"}</tool_call>')) as server:
        assert model_of(server.url).calls_tools is False


def test_the_key_goes_in_a_header_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMOSCRIBE_MODEL_KEY", "secret-key")
    with serving(says(GOOD)) as server:
        model = load_model(server.url)
        assert model is not None
        model.complete(PLAIN)
        assert "secret-key" not in model.name + repr(vars(model))
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    assert "secret-key" not in json.dumps(server.asked)


@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.7:8000/v1", "https://api.example.com/v1#m", "ftp://localhost/", "http://u:p@localhost/v1"],
)
def test_another_machine_or_a_strange_address_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(UsageError):
        load_model(address)
    assert "secret" not in address


def test_another_machine_is_allowed_by_name() -> None:
    assert parse_address("https://api.example.com/v1#m", remote=True).model == "m"


def test_the_only_model_of_a_server_is_found() -> None:
    with serving(says(GOOD)) as server:
        model_of(server.url.partition("#")[0]).complete(PLAIN)
    assert server.asked[0]["model"] == "tiny"


def test_a_server_that_is_not_there_is_no_server_without_tools() -> None:
    with serving() as server:
        gone = server.url
    for url in (gone, gone.partition("#")[0]):
        with pytest.raises(ModelMissingError, match="no model server answers"):
            _ = model_of(url).calls_tools


def test_fitting_says_what_breaks() -> None:
    assert fitting(GOOD, SCHEMA) == ({"R1": "There is a nodule."}, "")
    assert fitting('{"R1": 7}', SCHEMA)[1] == "R1 breaks the schema's type"
    assert fitting("{", SCHEMA)[1] == "it is not JSON alone"
