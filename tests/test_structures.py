"""Which engine finds a structure, what it says of it, and what a user's own map does."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from vlm.anatomy import structures as module
from vlm.anatomy.engines.labels import from_file, given
from vlm.anatomy.engines.protocol import Found, LabelMap, Off
from vlm.anatomy.engines.registry import named
from vlm.anatomy.structures import asked, structure, use
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.errors import UsageError
from vlm.evidence import Case

SHAPE = (60, 50, 40)


def case() -> Case:
    """A block of soft tissue in air, 3 mm voxels."""
    hu = np.full(SHAPE, -1000, dtype=np.int16, order="F")
    hu[10:50, 10:40] = 40
    return Case(Volume(hu, Grid(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))


def blocks() -> LabelMap:
    """Spleen inside, liver cut below, both upper parts of the right lung, a hip of either side; no gallbladder."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[12:20, 12:20, 10:20] = 1
    labels[30:45, 12:30, 0:20] = 2
    labels[30:40, 15:30, 24:28], labels[30:40, 15:30, 28:34] = 3, 4
    names = {1: "spleen", 2: "liver", 3: "lung_middle_lobe_right", 4: "lung_upper_lobe_right", 5: "gallbladder"}
    return LabelMap(labels, Grid(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0])), names)


class Fixed:
    """An engine that finds the same cube everywhere."""

    vouched = False
    version = "1"

    def __init__(self, name: str, *structures: str, state: str = "there", off: Off | None = None) -> None:
        self.name, self.structures, self.state, self._off = name, frozenset(structures), state, off

    def off(self) -> Off | None:
        return self._off

    def names(self) -> frozenset[str]:
        return self.structures

    def find(self, case: Case, name: str) -> Found:
        voxels = np.zeros(SHAPE, dtype=bool)
        voxels[20:30, 20:30, 20:30] = True
        seen = self.state in ("there", "cut")
        return Found(state=self.state, mask=Mask(name, voxels, case.volume.grid) if seen else None)  # type: ignore[arg-type]


def test_a_users_map_is_taken_as_it_stands() -> None:
    scan = case()
    use(scan, given(blocks()))
    spleen = structure(scan, "spleen")
    assert (spleen.state, spleen.measurable, spleen.reason) == ("there", True, "")
    assert spleen.mask is not None
    assert spleen.mask.volume_ml == pytest.approx(8 * 8 * 10 * 0.027)
    liver = structure(scan, "liver")
    assert (liver.state, liver.measurable, liver.reliable) == ("cut", False, True)
    assert "below" in liver.reason
    assert structure(scan, "gallbladder").state == "absent"
    assert structure(scan, "pancreas").state == "not looked for"
    assert list(asked(scan)) == ["spleen", "liver", "gallbladder", "pancreas"]


def test_parts_make_a_whole() -> None:
    scan = case()
    use(scan, given(blocks()))
    lung = structure(scan, "lung_right")
    assert lung.mask is not None
    assert lung.mask.voxels.sum() == 10 * 15 * 10
    assert not structure(scan, "lung_middle_lobe_right").mask.voxels[:, :, 28:].any()  # type: ignore[union-attr]


def test_an_engine_is_chosen_before_anything_is_asked() -> None:
    scan = case()
    structure(scan, "spleen")
    with pytest.raises(ValueError, match="before"):
        use(scan, given(blocks()))


def test_the_better_measured_engine_is_chosen_structure_by_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = {
        "rules": Fixed("rules", "liver", "spleen", "heart"),
        "network": Fixed("network", "liver", "spleen", "heart"),
    }
    monkeypatch.setattr(module, "engines", lambda: pair)
    table = {"rules": {"liver": 0.7, "spleen": 0.9}, "network": {"liver": 0.85, "spleen": 0.6}}
    monkeypatch.setattr(module, "quality_of", lambda engine, name: table[engine].get(name))
    scan = case()
    liver, spleen, heart = (structure(scan, name) for name in ("liver", "spleen", "heart"))
    assert (liver.engine, liver.quality, liver.measurable) == ("network 1", 0.85, True)
    assert (spleen.engine, spleen.quality, spleen.measurable) == ("rules 1", 0.9, True)
    assert (heart.engine, heart.quality, heart.measurable) == (
        "rules 1",
        None,
        False,
    )


def test_what_one_engine_does_not_believe_the_next_may_find(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = {"rules": Fixed("rules", "liver", state="not believed"), "network": Fixed("network", "liver", "stomach")}
    monkeypatch.setattr(module, "engines", lambda: pair)
    table = {("rules", "liver"): 0.9, ("network", "liver"): 0.6, ("network", "stomach"): 0.3}
    monkeypatch.setattr(module, "quality_of", lambda *asked: table.get(asked))
    scan = case()
    assert structure(scan, "liver").engine == "network 1"
    assert not structure(scan, "liver").measurable
    stomach = structure(scan, "stomach")
    assert (stomach.state, stomach.mask) == ("not believed", None)
    assert "0.30" in stomach.reason


def test_an_engine_that_is_off_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping = Fixed("network", "spleen", off=Off(reason="no weights", remedy="Bring some."))
    monkeypatch.setattr(module, "engines", lambda: {"rules": Fixed("rules", "liver"), "network": sleeping})
    monkeypatch.setattr(module, "quality_of", lambda *_: 0.95)
    assert structure(case(), "spleen").state == "not looked for"


def write(folder: Path, names: object, affine: np.ndarray | None = None) -> Path:
    mapped = blocks()
    image = nibabel.Nifti1Image(mapped.voxels, mapped.grid.affine if affine is None else affine)
    nibabel.save(image, folder / "map.nii.gz")
    (folder / "map.json").write_text(json.dumps(names), encoding="utf-8")
    return folder / "map.nii.gz"


def test_a_map_from_a_file_lies_where_it_was_drawn(tmp_path: Path) -> None:
    flipped = blocks().grid.affine.copy()
    flipped[0] = -flipped[0]
    scan, other = case(), case()
    use(scan, from_file(write(tmp_path, {"1": "spleen", "2": "liver"})))
    assert structure(scan, "spleen").mask.box == given(blocks()).find(case(), "spleen").mask.box  # type: ignore[union-attr]
    use(other, from_file(write(tmp_path, {"1": "spleen"}, flipped)))
    with pytest.raises(UsageError, match="Is it of this scan"):
        structure(other, "spleen")


def test_of_a_partial_map_only_what_is_complete_is_taken(tmp_path: Path) -> None:
    scan = case()
    use(scan, from_file(write(tmp_path, {"labels": {"1": "spleen", "2": "liver"}, "complete": ["liver"]})))
    assert structure(scan, "liver").state == "cut"
    assert structure(scan, "spleen").state == "not looked for"


@pytest.mark.parametrize("names", [{}, [], {"one": "liver"}, {"1": "liver; rm"}, {"labels": {"1": 3.5, "2": "../x"}}])
def test_names_that_make_no_sense_are_refused_in_one_line(tmp_path: Path, names: object) -> None:
    with pytest.raises(UsageError) as refusal:
        from_file(write(tmp_path, names))
    assert "\n" not in str(refusal.value)


def test_an_engine_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected one of .*rules"):
        named("oracle")
    with pytest.raises(UsageError, match="is no file"):
        named(f"labels:{tmp_path / 'none.nii.gz'}")
    assert named("rules").name == "rules"
