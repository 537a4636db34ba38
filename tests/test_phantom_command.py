"""``tomoscribe phantom``: options that do not go together are refused in one line, before anything is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from vlm.errors import UsageError

RUN = CliRunner()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--prior --preset demo", "--prior is for --preset body"),
        ("--phase plain --preset demo", "--phase is for --preset body"),
        ("--finding nodule --preset demo", "--finding is for --preset body"),
        ("--phase late --preset body", "--phase is 'late'"),
        ("--format png", "--format is 'png'"),
        ("--preset body --spacing 1 1 40", "--spacing is 1 1 40"),
        ("--into scan", "--into needs a --finding"),
        ("--into scan --finding nodule --prior --cohort 2", "--finding with --cohort"),
        ("--into scan --prior --cohort 2", "--prior with --into is for one scan"),
        ("--into one --into two --finding nodule", "Several need --cohort"),
        ("--cohort 0", "--cohort is 0"),
        ("--cohort 2 --finding nodule", "--finding with --cohort"),
        ("--cohort 2 --preset demo", "--preset with --cohort"),
        ("--cohort 2 --prevalence often", "--prevalence is 'often'"),
        ("--cohort 2 --split mine", "--split is 'mine'"),
        ("--cohort 2 --phase late", "--phase is 'late'"),
        ("--cohort 200000", "expected 0 to 100000"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(tmp_path: Path, words: str, why: str) -> None:
    done = RUN.invoke(app, ["phantom", str(tmp_path / "out"), *words.split()])
    assert isinstance(done.exception, UsageError) and why in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_every_option_is_explained() -> None:
    said = RUN.invoke(app, ["phantom", "--help"], env={"COLUMNS": "200"}).stdout
    for option in ("--cohort", "--prevalence", "--split", "--prior", "--into", "--format", "--spacing", "--workers"):
        assert option in said
