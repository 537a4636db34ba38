"""What is installed, what is off, and how to turn it on. Loads nothing heavy and touches no network."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypedDict


class Check(TypedDict):
    """One line of the doctor's answer."""

    name: str
    state: Literal["on", "off"]
    found: str
    remedy: str


# package -> (what needs it, how to install it)
NEEDED = {
    "numpy": "everything",
    "scipy": "anatomy and tools",
    "scikit-image": "anatomy and tools",
    "SimpleITK": "anatomy, tools and registration of priors",
    "connected-components-3d": "anatomy and tools",
    "edt": "distances inside masks",
    "pydicom": "DICOM",
    "pylibjpeg-rle": "DICOM in RLE",
    "imagecodecs": "DICOM in JPEG, JPEG-LS, JPEG 2000 and HTJ2K",
    "nibabel": "NIfTI",
    "pillow": "key images",
    "pydantic": "report.json",
    "gradio": "the page",
    "mcp": "tools for an agent",
    "faiss-cpu": "similar cases",
    "pymilvus": "similar cases from a Milvus server",
}
EXTRA = {  # what is installed together
    "gradio": "tomoscribe[page]",
    "mcp": "tomoscribe[mcp]",
    "faiss-cpu": "tomoscribe[retrieval]",
    "pymilvus": "tomoscribe[milvus]",
}


def examine() -> list[Check]:
    """Every part of the product: on with its version, or off with the way to turn it on."""
    checks = [Check(name="python", state="on", found=platform.python_version(), remedy="")]
    for package, use in NEEDED.items():
        try:
            checks.append(Check(name=package, state="on", found=f"{version(package)} ({use})", remedy=""))
        except PackageNotFoundError:
            checks.append(
                Check(name=package, state="off", found=use, remedy=f"pip install {EXTRA.get(package, package)}")
            )
    checks += [_viewer(), _encoder(), *engine_checks(), _language_model()]
    return checks


def engine_checks() -> list[Check]:
    """The engines that find structures: which can run, and what turns on those that cannot."""
    from vlm.anatomy.engines.nnunet import off as nnunet_off
    from vlm.anatomy.engines.registry import engines

    checks = []
    for engine in engines().values():
        off, known = engine.off(), len(engine.names())
        found = off.reason if off else f"{engine.version}, {known} structures"
        state: Literal["on", "off"] = "off" if off else "on"
        checks.append(Check(name=f"anatomy {engine.name}", state=state, found=found, remedy=off.remedy if off else ""))
    off = nnunet_off()
    checks.append(
        Check(
            name="anatomy nnunet:FOLDER", state="off" if off else "on", remedy=off.remedy if off else "",
            found=off.reason if off else "a folder of a trained nnU-Net v2 model of yours",
        )
    )  # fmt: skip
    use = "a label map of the scan of yours, in NIfTI"
    return [*checks, Check(name="anatomy labels:FILE", state="on", found=use, remedy="")]


def _viewer() -> Check:
    """NiiVue, which set-up puts beside the page; without it the server draws the slices."""
    folder = Path(__file__).parent / "page" / "node_modules" / "@niivue" / "niivue"
    try:
        found = str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return Check(name="NiiVue", state="off", found="the page's viewer on WebGL2", remedy="make viewer")
    return Check(name="NiiVue", state="on", found=f"{found} (the page's viewer on WebGL2)", remedy="")


def _encoder() -> Check:
    """The embedded image encoder: its code is here, torch and the weights come with an extra."""
    from vlm.encoder.registry import ASTRA, availability

    here = availability(ASTRA)
    use = "case vectors; no text tower comes with it, so no zero-shot scores"
    return Check(
        name="image encoder", state="on" if here.on else "off", found=f"{ASTRA}: {here.reason or use}",
        remedy=here.remedy,
    )  # fmt: skip


def _language_model() -> Check:
    """The embedded language model: its code is here, torch, transformers and the weights come with an extra."""
    from vlm.language.embedded_weights import EXTRA, NAME, missing

    lacking = missing()
    found = f"{', '.join(lacking)} not installed; reports are composed by rules" if lacking else f"{NAME} (wording)"
    return Check(name="language model", state="off" if lacking else "on", found=found, remedy=EXTRA if lacking else "")


def examine_weights(file: Path) -> dict[str, Any]:
    """What a file of weights is, whether it fits, and what does not: JSON.

    Raises:
        WeightsError: it cannot be opened without running it.
    """
    from dataclasses import asdict

    from vlm.encoder.checkpoints import KINDS
    from vlm.encoder.checkpoints import examine as look

    told = look(file)
    usable = told.fits and KINDS[told.kind].make is not None
    return {"file": file.name, **asdict(told), "fits": told.fits, "usable": usable}
