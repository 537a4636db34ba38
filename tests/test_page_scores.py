"""The column of agreement: what an image encoder's words say beside the tools, and why it is empty where it is."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.known import Known
from app.page import console
from app.page.pictures import heat_maps
from app.page.scored import NOT_ASKED, SCORES, scored, scores_of, write_heat_maps, write_scores
from app.reopen import Opened, context_of
from tests.page_case import Finished
from vlm.ct import Grid, Scan, Volume
from vlm.encoder import Features, Identity, Recipe
from vlm.evidence import Case


class OfFluid:
    """An encoder that sees fluid, more so on the left, and whose words are one axis for fluid and one for the rest."""

    recipe = Recipe(key="t", shape=(8, 8, 8), spacing_mm=(2.0, 2.0, 2.0), window_hu=(0, 100))
    licence = "none"
    identity = Identity(encoder="of fluid", weights="0" * 64, recipe="t")

    @property
    def text(self) -> OfFluid:
        return self

    def embed(self, sentences: tuple[str, ...]) -> np.ndarray:
        says = [("effusion" in s or "fluid" in s) and not s.lower().startswith("no ") for s in sentences]
        return np.array([[float(one), float(not one)] for one in says], dtype=np.float32)

    def features(self, _: object) -> Features:
        cells = np.zeros((2, 2, 1, 1), np.float32)
        cells[0] = 1
        cells[1, 1] = 1  # no fluid on the right
        return Features(cells, (4, 8, 8), offset=(1.5, 3.5, 3.5))

    def project(self, features: np.ndarray, organ: str = "") -> np.ndarray:  # noqa: ARG002
        return features


@pytest.fixture
def known(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    opened = Opened(finished.reading)
    hu = np.zeros((40, 40, 40), np.int16, order="F")
    case = Case(Volume(hu, Grid((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0])), Scan(source="phantom")))
    return Known(opened.report, opened.ledger, context_of(opened.report), case)


def test_tools_and_score_agree_or_differ(finished: Finished, known: Known) -> None:
    kept = scored(known, OfFluid())  # type: ignore[arg-type]  # as much of an encoder as is asked for
    assert kept["off"] == ""
    assert kept["scores"]["pleural_effusion"] > 0
    beside = scores_of(finished.reading)
    assert beside.off == NOT_ASKED
    assert beside.beside("pleural_effusion", "present") == {"score": None, "agrees": None}
    told = type(beside)(by=kept["by"], off="", values=kept["scores"])
    assert told.beside("pleural_effusion", "present")["agrees"] is True
    assert told.beside("pleural_effusion", "absent")["agrees"] is False
    assert told.beside("pleural_effusion", "uncertain")["agrees"] is None
    assert told.beside("lung_nodule", "present")["agrees"] is False


def test_a_map_is_kept_of_where_each_score_comes_from(finished: Finished, known: Known, tmp_path: Path) -> None:
    told = {"pleural_effusion": 0.5, "lung_nodule": -0.5, "emphysema": -0.7, "ascites": 0.4}
    assert write_heat_maps(tmp_path, known, OfFluid(), told) == ""  # type: ignore[arg-type]
    maps = heat_maps(tmp_path)
    assert [entry["finding"] for entry in maps] == ["pleural_effusion", "ascites"]  # nothing speaks for the nodule
    assert (maps[0]["name"], maps[0]["score"]) == ("pleural effusion", 0.5)
    warm = nibabel.load(tmp_path / maps[0]["file"])
    assert warm.get_fdata().ravel().tolist() == [1.0, 0.0]
    middle = known.case.volume.grid.to_mm([19.5, 19.5, 19.5])  # type: ignore[union-attr]
    assert warm.affine[0, 3] < middle[0] < warm.affine[0, 3] + warm.affine[0, 0]
    assert write_heat_maps(tmp_path, known, OfFluid(), {"emphysema": -0.7}) == "no score speaks for a finding"  # type: ignore[arg-type]
    assert scores_of(finished.reading).heat_off == NOT_ASKED


def test_the_console_says_why_nothing_is_scored(finished: Finished, known: Known, tmp_path: Path) -> None:
    assert {row["score"] for row in console.rows(Opened(finished.reading))} == {None}
    (tmp_path / "no.pt").write_bytes(b"no checkpoint")
    write_scores(tmp_path, known, tmp_path / "no.pt")
    assert (tmp_path / SCORES).is_file()
    assert scores_of(tmp_path).off.startswith("the encoder gave no scores: ")
