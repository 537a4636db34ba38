"""The case library: what goes in comes out, nobody can be told from it, and what is removed is gone."""

from __future__ import annotations

import datetime
import resource
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from retrieval.caches import Indexes
from retrieval.cases import CaseVector, NewCase
from retrieval.facts import Fact, from_text, organ_of, phase_in, regions_in
from retrieval.features import packed, unpacked, vector
from retrieval.library import SHIFT_DAYS, CaseLibrary
from retrieval.schema import VERSION, Tables
from retrieval.scrub import scrubbed
from tests.library_cases import make_library, new_case
from vlm.errors import UsageError


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_case_comes_back_with_its_findings(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    case = library.by_name(library.add(new_case("p1", stamp="2")))
    assert library.count() == 6  # in place of the older one
    nodule = next(fact for fact in case.facts if fact.finding == "lung_nodule" and fact.size_mm)
    assert (nodule.side, nodule.site, nodule.size_mm) == ("right", "upper_lobe", 12.0)
    assert any(f.finding == "pleural_effusion" and f.presence == "absent" for f in case.facts)
    assert abs((case.shifted - datetime.date(2020, 1, 1)).days) <= SHIFT_DAYS
    assert list(library.damaged()) == []


def test_nobody_is_named_in_the_files(tmp_path: Path) -> None:
    library = CaseLibrary(tmp_path / "lib")
    name = library.add(
        NewCase(
            patient="ZZTEST^CANARY", study="1.2.840.99999.31415.1", series="1.2.840.99999.27182.2", source="table",
            report="Patient name: ZZTEST CANARY\nFindings: Lung nodule, 12.03.2021, Dr. Canary, no. 12345678.",
            date=datetime.date(2021, 3, 12), content="0123abcd" * 8,
        )
    )  # fmt: skip
    library.close()
    kept = bytes_of(tmp_path / "lib")
    for secret in (b"ZZTEST", b"CANARY", b"Canary", b"31415", b"27182", b"12345678", b"12.03.2021", b"0123abcd" * 2):
        assert secret not in kept
    assert name.encode() in kept


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    Indexes(library).refresh()
    for path in [library.folder, *library.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path.name


def test_a_removed_patient_leaves_no_trace(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    planted = np.full(16, 1.0, dtype=np.float32) * np.float32(0.31415927)
    library.add(
        new_case(
            "p1", study="second", report="Findings: Xylophonium nodule of the left lung.",
            vectors=(CaseVector(kind="scan", space="other", values=planted),),
            pictures={"thumbnail.png": b"XYLOPICTURE"},
        )
    )  # fmt: skip
    indexes = Indexes(library)
    indexes.refresh()
    before = bytes_of(library.folder)
    traces = (b"ylophonium", b"xylophonium", b"XYLOPICTURE", planted[:2].tobytes())
    assert all(trace in before for trace in traces[0:1] + traces[2:])
    assert library.remove_patient("p1") == 2
    indexes.refresh()
    library.close()
    kept = bytes_of(library.folder)
    assert not [trace for trace in traces if trace in kept]
    assert CaseLibrary(library.folder).count() == 5


def test_a_removal_that_was_stopped_ends_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = make_library(tmp_path / "lib")
    Indexes(library).refresh()
    with monkeypatch.context() as patch:
        patch.setattr(CaseLibrary, "_erase", lambda _: None)  # killed right after the commit
        library.remove_patient("p3")
    library.close()
    again = CaseLibrary(tmp_path / "lib")
    assert again.count() == 5
    assert not list((again.folder / "index").glob("*.faiss"))
    assert b"Moderate left pleural effusion" not in bytes_of(again.folder)


def test_an_unknown_patient_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not in this library"):
        make_library(tmp_path / "lib").remove_patient("p99")


def test_a_flipped_bit_in_a_case_is_noticed(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    library.close()
    db = sqlite3.connect(tmp_path / "lib" / "library.sqlite")
    db.execute("update cases set report = replace(report, 'left', 'lefT') where report like '%Moderate left%'")
    db.commit()
    db.close()
    assert len(list(CaseLibrary(tmp_path / "lib").damaged())) == 1


def test_a_damaged_or_newer_file_is_refused_in_one_line(tmp_path: Path) -> None:
    make_library(tmp_path / "lib").close()
    path = tmp_path / "lib" / "library.sqlite"
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(UsageError, match="of version 99"):
        CaseLibrary(tmp_path / "lib")
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(UsageError, match="damaged"):
        CaseLibrary(tmp_path / "lib")
    with pytest.raises(UsageError, match="no case library"):
        CaseLibrary(tmp_path / "none", make=False)


def test_a_library_of_the_first_version_is_brought_to_this_one(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    Indexes(library).refresh()
    library.close()
    db = sqlite3.connect(tmp_path / "lib" / "library.sqlite")
    db.execute("alter table indexes drop column statistics")
    db.execute("pragma user_version = 1")
    db.commit()
    db.close()
    library = CaseLibrary(tmp_path / "lib")
    assert library.count() == 6
    assert list(library.damaged()) == []
    assert library.tables.rows("pragma user_version")[0][0] == VERSION
    assert library.tables.rows("select * from indexes") == []  # of another layout: built anew
    assert set(Indexes(library).refresh()) == {f"{kind}-{space}" for kind, space, _ in library.spaces()}
    assert len(list((library.folder / "index").glob("*.faiss"))) == 3


def test_an_index_file_that_was_changed_is_built_again(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    Indexes(library).refresh()
    file = next((library.folder / "index").glob("scan*.faiss"))
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(body)
    said: list[str] = []
    indexes = Indexes(library, log=said.append)
    assert indexes.damaged() == [next(name for name in indexes.damaged() if name.startswith("scan"))]
    kind, space, count = next(entry for entry in library.spaces() if entry[0] == "scan")
    opened = indexes.get(kind, space)
    assert opened is not None
    assert len(opened.index) == count
    assert any("built again" in line for line in said)


def test_an_index_follows_the_library(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    indexes = Indexes(library)
    indexes.refresh()
    other = CaseLibrary(tmp_path / "lib")  # as another process would
    other.add(new_case("p1", study="again"))
    other.remove_patient("p2")
    kind, space, count = next(entry for entry in library.spaces() if entry[0] == "scan")
    opened = indexes.get(kind, space)
    assert opened is not None
    assert len(opened.index) == count == 6


def test_a_full_disk_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    pages = library.tables.rows("pragma page_count")[0][0]
    library.tables.db.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(UsageError, match="cannot be written: database or disk is full"):
        library.add(new_case("p1", study="large", report="Findings: Lung nodule. " * 20_000))
    assert library.count() == 6
    assert list(library.damaged()) == []


def test_an_index_that_does_not_fit_on_the_disk_is_one_line(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    indexes = Indexes(library)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))  # no file may grow beyond it, as on a full disk
    try:
        with pytest.raises(UsageError, match="cannot keep its index") as told:
            indexes.refresh()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(told.value)
    assert list((library.folder / "index").iterdir()) == []
    assert library.count() == 6
    assert list(library.damaged()) == []
    assert len(Indexes(library).refresh()) == 3


def test_writers_wait_for_one_another(tmp_path: Path) -> None:
    first, second = CaseLibrary(tmp_path / "lib"), CaseLibrary(tmp_path / "lib")
    for number in range(5):
        first.add(new_case("p1", study=f"a{number}"))
        second.add(new_case("p2", study=f"b{number}"))
    assert first.count() == second.count() == 10
    assert first.key == second.key


def test_organs_regions_and_phases() -> None:
    assert organ_of("lung_nodule", "upper_lobe") == "lung"
    assert organ_of("coronary_artery_calcification", None) == "coronary_arteries"
    assert organ_of("kidney_stone", None) == "kidney"
    assert organ_of("nodule", None) is None
    assert regions_in("Lung nodule. Kidney stone.") == ("chest", "abdomen")
    assert phase_in("CT of the chest without intravenous contrast") == "plain"
    assert phase_in("Portal venous phase.") == "portal"
    assert phase_in("Lung nodule.") is None


def test_history_and_what_is_not_assessed_are_no_facts() -> None:
    facts = from_text("History: Lung mass. Findings: Gallstones. Kidney stone: not assessed.")
    assert {fact.finding for fact in facts} == {"gallstone"}


def test_a_vector_is_kept_as_it_is() -> None:
    dense = vector([Fact(finding="lung_nodule", presence="present", side="left", size_mm=12.0)])
    np.testing.assert_allclose(unpacked(packed(dense)), dense, atol=1e-3)
    assert vector([]).sum() == 0


@pytest.mark.parametrize(
    "text", ["on 3 March 2021", "2021-03-04", "MRN 00123456", "1.2.840.113619.2.55", "SMITH^JOHN^A", "a.b@clinic.org"]
)
def test_what_tells_who_it_is_is_scrubbed(text: str) -> None:
    assert text.split()[-1] not in scrubbed(f"Nodule, {text}.")


def test_sizes_and_levels_are_not_scrubbed() -> None:
    text = "Nodule of 12.5 x 14 mm in segment 6, T8, -950 HU, 1.25 mm slices, 420 ml, 3/2 ratio."
    assert scrubbed(text) == text


def test_tables_open_twice(tmp_path: Path) -> None:
    Tables(tmp_path / "a.sqlite").close()
    assert Tables(tmp_path / "a.sqlite").rows("select count(*) from cases")[0][0] == 0
