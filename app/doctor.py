"""What is installed, what is off, and how to turn it on. Loads nothing heavy and touches no network."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, TypedDict


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
}
EXTRA = {"gradio": "tomoscribe[page]"}  # what is installed together
LATER = {
    "image encoder": "zero-shot findings and case vectors",
    "language model": "wording and chat by a model; reports are composed by rules",
    "case library": "similar cases",
    "organ network": "organs of the abdomen; anatomy is found by rules",
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
    checks += [
        Check(name=name, state="off", found=use, remedy="Not part of this version.") for name, use in LATER.items()
    ]
    return checks
