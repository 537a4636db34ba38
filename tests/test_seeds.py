"""The split of seeds: parts share no person, and what trains asks only for its own part."""

from __future__ import annotations

import ast
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_architecture import ROOT
from vlm.errors import UsageError
from vlm.phantom.seeds import RANGES, SPLITS, Split, only, seeds, split_of


def test_no_seed_is_in_two_parts() -> None:
    for one, other in pairwise(sorted(RANGES.values(), key=lambda part: part.start)):
        assert one.stop <= other.start


@given(st.sampled_from(SPLITS), st.integers(0, 99_999))
def test_a_seed_belongs_to_the_part_it_was_asked_from(split: Split, first: int) -> None:
    (seed,) = seeds(split, 1, first=first)
    assert split_of(seed) == split and only(split, [seed]) == [seed]
    for other in set(SPLITS) - {split}:
        with pytest.raises(UsageError, match=f"belongs to {split}"):
            only(other, [seed])


@pytest.mark.parametrize(("split", "count"), [("test", 100_001), ("holdout", 1), ("train", -1)])
def test_more_than_a_part_holds_is_refused(split: Split, count: int) -> None:
    with pytest.raises(UsageError):
        seeds(split, count)


def test_code_that_trains_on_synthetic_people_never_names_their_test_part() -> None:
    for path in sorted((ROOT / "vlm" / "train").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        draws = {"body", "chest", "implant"} & {alias.name for node in imports for alias in node.names}
        split = any(node.module == "vlm.phantom.seeds" for node in imports)
        assert split or not draws, f"{path.name} draws people without the split of seeds"
        if not split:  # a user's own patients have parts of their own
            continue
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert "test" not in words, f"{path.name} names the test part"
