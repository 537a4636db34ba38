"""Who words a report: a server's words enter when they hold, and a model that is off is told, never fatal."""

from __future__ import annotations

import json
import random
import re

import pytest

pytest.importorskip("httpx")

from app.writing import Writer
from benchmarks.scenes import sample
from tests.model_server import Handler, dies, says, sends, serving
from vlm.errors import UsageError
from vlm.grounding import Context
from vlm.language.compose import ScanFacts, compose
from vlm.language.restyle import say
from vlm.language.rows import row_of

SCAN = ScanFacts(slices=300, step_mm=1.0, kernel="soft", contrast=False, regions=("chest",))
SCENE = sample(random.Random(5))
DRAFTS = compose(SCENE.ledger, SCAN, prior=SCENE.prior, prior_given=SCENE.prior is not None)
CONTEXT = Context(prior=SCENE.prior)
ROWS = {row.text: row for draft in DRAFTS if (row := row_of(draft, SCENE.ledger, "narrative"))}


def words_well(handler: Handler, body: dict[str, object]) -> None:
    """Answers each row with what the phrase grammar says of it."""
    lines = re.findall(r"^(R\d+) (\w+: .*)$", body["messages"][-1]["content"], re.M)  # type: ignore[index]
    says(json.dumps({name: say(ROWS[text], "narrative") for name, text in lines}))(handler, body)


def test_a_servers_words_enter_where_they_hold() -> None:
    with serving(words_well) as server:
        writer = Writer(server.url, "narrative")
        drafts = writer.write(DRAFTS, SCENE.ledger, CONTEXT)
    assert writer.off is None
    assert {draft.author for draft in drafts if draft.kind} == {"model"}
    told = writer.provenance
    assert told["model"] == "server model tiny" and told["worded"] == told["rows"] == len([d for d in DRAFTS if d.kind])
    assert "127.0.0.1" not in json.dumps(told)
    asked = json.dumps([body["messages"] for body in server.asked])
    numbers = {str(m.rounded) for o in SCENE.ledger.observations().values() for m in o.measurements}
    assert not [number for number in numbers if f" {number} " in asked]  # no measured value leaves


@pytest.mark.parametrize("fault", [dies, sends(b"", status=503), says("no"), says('{"R1": "Pulmonary embolism."}')])
def test_a_server_that_fails_leaves_a_composed_report_that_says_so(fault) -> None:  # type: ignore[no-untyped-def]
    with serving(fault) as server:
        writer = Writer(server.url, "structured")
        assert writer.write(DRAFTS, SCENE.ledger, CONTEXT) == DRAFTS
    assert writer.off is not None and "composed" in writer.off.reason


def test_an_absent_model_is_off_and_not_fatal(tmp_path) -> None:  # type: ignore[no-untyped-def]
    writer = Writer(str(tmp_path))  # a folder without a model
    assert writer.write(DRAFTS, SCENE.ledger, CONTEXT) == DRAFTS
    assert writer.off is not None and "config.json" in writer.off.reason


def test_no_model_is_said_and_nothing_changes() -> None:
    writer = Writer()
    assert writer.write(DRAFTS, SCENE.ledger, CONTEXT) == DRAFTS
    assert writer.off is not None and writer.provenance == {"model": "none", "style": "structured"}


@pytest.mark.parametrize(("model", "style"), [("none", "poetic"), ("gpt", "short"), ("http://10.1.1.1/v1", "short")])
def test_what_names_nothing_is_refused_before_the_scan_is_read(model: str, style: str) -> None:
    with pytest.raises(UsageError):
        Writer(model, style)
