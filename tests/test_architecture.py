"""The folder is the architecture: imports run one way, light things stay light, one vocabulary of names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import what stands in its own row or in a row above it.
LAYERS = (
    ("vlm.errors", "vlm.scratch", "vlm.workers"),
    ("vlm.ct", "vlm.findings", "prompts"),
    ("vlm.evidence",),
    ("vlm.anatomy",),
    ("vlm.tools", "vlm.encoder"),
    ("retrieval",),
    ("vlm.grounding",),
    ("vlm.report",),
    ("vlm.language",),
    ("vlm.phantom", "vlm.train"),
    ("app",),
)
PHANTOM_USERS = ("app.cli", "app.commands")


def layer_of(module: str) -> int | None:
    """The row of a module of ours; None for anybody else's."""
    for rank, names in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return rank
    return None


def imports_of(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[tuple[str, Path]]:
    found = []
    for top in ("app", "vlm", "retrieval"):
        for path in sorted((ROOT / top).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append((name.removesuffix(".__init__"), path))
    return found


@pytest.mark.parametrize(("name", "path"), modules(), ids=[name for name, _ in modules()])
def test_imports_run_one_way(name: str, path: Path) -> None:
    own = layer_of(name)
    if own is None:
        assert name == "vlm", f"{name} has no row in LAYERS"
        return
    for imported in imports_of(path):
        rank = layer_of(imported)
        assert rank is None or rank <= own, f"{name} imports {imported}, which stands to its right"
        if imported.startswith(("vlm.phantom", "vlm.train")) and not name.startswith(("vlm.phantom", "vlm.train")):
            assert name.startswith(PHANTOM_USERS), f"{name} imports {imported}; only the command line may"


def test_findings_and_ct_do_not_know_each_other() -> None:
    for name, path in modules():
        for imported in imports_of(path):
            assert not (name.startswith("vlm.findings") and imported.startswith("vlm.ct"))
            assert not (name.startswith("vlm.ct") and imported.startswith("vlm.findings"))


def test_help_loads_nothing_heavy() -> None:
    heavy = ["torch", "gradio", "SimpleITK", "skimage", "scipy", "cc3d", "pydicom", "nibabel", "numpy", "pydantic"]
    code = f"import app.cli, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_no_gpl_decoder_is_installed() -> None:
    # pydicom would pick it up without a word; its licence is GPL-3.0.
    done = subprocess.run([sys.executable, "-c", "import libjpeg"], capture_output=True, check=False)
    assert done.returncode != 0


def test_pillow_opens_no_file() -> None:
    # Gradio holds Pillow below 13: what it decodes must come from nobody, so it decodes nothing.
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            opens = isinstance(node, ast.Attribute) and node.attr == "open" and isinstance(node.value, ast.Name)
            assert not (opens and node.value.id == "Image"), f"{name} opens a picture with Pillow"  # type: ignore[attr-defined]
