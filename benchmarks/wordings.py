"""Radiologists' wordings for the counterfactual suite: two sets to develop with; a third is held out.

A wording says how a fact is put into words and knows nothing of evidence. The rules of
``vlm.grounding`` were written with DEVELOPMENT at hand, and later with WIDER; the held-out
set stands in ``wordings_held_out`` and was written when the rules stood.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Wording:
    """How facts are worded. Braces are filled by ``benchmarks.facts``."""

    name: str
    present: tuple[str, ...]  # {a}: "a solid nodule", {A}: the same at the start, {place}, {size}, {is}
    absent: tuple[str, ...]  # {name}, {names}, {Name}, {place}, {least}, {limit}
    other: tuple[str, ...]
    likely: tuple[str, ...]
    possible: tuple[str, ...]
    not_assessed: tuple[str, ...]  # {Name}, {reason}
    not_covered: tuple[str, ...]  # {place}
    partly_covered: tuple[str, ...]
    measured: tuple[str, ...]  # {structure}, {size}
    not_enlarged: tuple[str, ...]  # {ratio}
    pair: tuple[str, ...]  # {A} {place} {size} of the one, {b} {place2} {size2} of the other
    none_of: tuple[str, ...]  # {list}
    change: Mapping[str, tuple[str, ...]]
    size: tuple[str, ...]
    volume: tuple[str, ...]
    distance: tuple[str, ...]
    fraction: tuple[str, ...]
    score: tuple[str, ...]
    ratio: tuple[str, ...]
    density: tuple[str, ...]
    height_loss: tuple[str, ...]
    least: tuple[str, ...]
    inside: tuple[str, ...]  # {where}
    on_side: tuple[str, ...]
    both: tuple[str, ...]  # {wheres}
    at_level: tuple[str, ...]
    few: tuple[str, ...]
    multiple: tuple[str, ...]
    limits: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, tuple[str, ...]]
    names: Mapping[str, tuple[tuple[str, str], ...]]  # finding -> (one, many)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # "right upper_lobe" -> ("RUL",)
    grades: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # "marked" -> ("severe",)


def hands(name: str) -> tuple[Wording, ...]:
    """The wordings of ``benchmarks/hands/NAME.toml``, one for each invented reporter."""
    text = (Path(__file__).parent / "hands" / f"{name}.toml").read_text(encoding="utf-8")
    return tuple(Wording(name=f"{name}: {who}", **_frozen(words)) for who, words in tomllib.loads(text).items())


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list) else value


DEVELOPMENT = Wording(
    name="development",
    present=(
        "{A}{place}{size}.",
        "There {is} {a}{place}{size}.",
        "{A}{size} {is} seen{place}.",
        "{A}{size}{place}.",
        "{A}{place} {is} visible{size}.",
        "{A}{size} lies{place}.",
        "{A}{size} was found{place}.",
        "We see {a}{place}{size}.",
        "Evidence of {a}{place}{size}.",
    ),
    absent=(
        "No {name}{place}{least}{limit}.",
        "There is no {name}{least}{place}{limit}.",
        "No evidence of {name}{place}{limit}.",
        "{Name}{place}: none{limit}.",
        "{Name} is absent{place}{limit}.",
        "Without {name}{place}{limit}.",
        "No {name} could be found{place}{limit}.",
        "No {names}{place}{limit}.",
        "No signs of {name}{place}{limit}.",
    ),
    other=(
        "No other {name}{place}{least}{limit}.",
        "There is no other {name}{least}{place}{limit}.",
        "No {name} elsewhere{limit}.",
    ),
    likely=("Probable {name}{place}{size}.", "{A}{place} is likely{size}.", "Likely {name}{place}{size}."),
    possible=("Possible {name}{place}{size}.", "{A}{place} is possible{size}.", "There may be {a}{place}{size}."),
    not_assessed=(
        "{Name}: not assessed ({reason}).",
        "{Name} cannot be assessed ({reason}).",
        "{Name} not assessed: {reason}.",
        "{Name}: cannot be judged ({reason}).",
        "{Name} is not assessable ({reason}).",
        "{Name} cannot be evaluated ({reason}).",
        "No statement on {name} is possible ({reason}).",
        "{Name} was not looked for ({reason}).",
        "{Name}: not evaluated, {reason}.",
    ),
    not_covered=(
        "The {place} is not covered.",
        "The {place} is not covered by the scan.",
        "{Place} not covered.",
        "The {place} was not scanned.",
        "The {place} is outside the field of view.",
    ),
    partly_covered=(
        "The {place} is partly covered.",
        "The {place} is only partly covered.",
        "The {place} is partially imaged.",
        "{Place} only partly covered.",
    ),
    measured=(
        "The {structure} measures {size}.",
        "The {structure} is {size} wide.",
        "Diameter of the {structure} {size}.",
        "The {structure} has a width of {size}.",
        "{Structure}: {size}.",
    ),
    not_enlarged=(
        "The heart is not enlarged (cardiothoracic ratio {ratio}).",
        "Heart size is normal (cardiothoracic ratio {ratio}).",
        "Normal heart size, cardiothoracic ratio {ratio}.",
        "The heart is normal in size with a cardiothoracic ratio of {ratio}.",
    ),
    pair=(
        "{A}{place}{size} and {b}{place2}{size2}.",
        "{A}{size}{place}, {b}{size2}{place2}.",
        "There is {a}{place}{size}, and there is {b}{place2}{size2}.",
        "{A}{place}{size} with {b}{place2}{size2}.",
        "{A}{size}{place}, additionally {b}{size2}{place2}.",
        "In addition to {a}{place}{size}, {b}{place2}{size2} is seen.",
        "{A}{place}{size}. {b}{place2}{size2}.",
    ),
    none_of=(
        "No {list}.",
        "There is no {list}.",
        "No evidence of {list}.",
        "Neither {list} is seen.",
        "Without {list}.",
        "No signs of {list}.",
        "{list}: none.",
    ),
    change={
        "unchanged": (
            ", unchanged",
            ", unchanged since the prior scan",
            ", unchanged compared with the prior scan",
            ", no change since the prior scan",
        ),
        "larger": (
            ", larger than before",
            ", larger than on the prior scan",
            ", larger since the prior scan",
            ", enlarged since the prior scan",
            ", has increased since the prior scan",
        ),
        "smaller": (
            ", smaller than before",
            ", smaller than on the prior scan",
            ", has decreased since the prior scan",
        ),
        "new": (", new since the prior scan", ", new", ", newly appeared"),
    },
    size=(" of {n}", " measuring {n}", " ({n})", ", {n}", " which measures {n}", " which measures {n}"),
    volume=(", about {n}", " of {n}", " ({n})"),
    distance=(", {n} from the pleura", ", {n} away from the pleura", " ({n} from the pleura)"),
    fraction=(", {n} of the lung", " ({n} of the lung)", ", affecting {n} of the lung"),
    score=(" (Agatston score {n})", ", Agatston score {n}"),
    ratio=(" (cardiothoracic ratio {n})", ", cardiothoracic ratio {n}"),
    density=(", {n}", " with {n}"),
    height_loss=(" by about {n}", " of {n}"),
    least=(" of {n} or more", " of at least {n}", " measuring at least {n}", " of {n} and more"),
    inside=(" in the {where}", " of the {where}"),
    on_side=(" on the {where}",),
    both=(" in both {wheres}",),
    at_level=(" of {where}", " at {where}"),
    few=("A few",),
    multiple=("Multiple", "Several"),
    limits={
        "partly_covered": (
            " in the covered part",
            " in the part that is covered",
            " (only partly covered)",
            " in the imaged part",
        ),
        "no_contrast": (
            " without contrast",
            " (no intravenous contrast)",
            " without intravenous contrast",
        ),
        "thick_slices": (
            " (slices too thick)",
            ", limited by slice thickness",
        ),
        "noise": (
            " (too much noise)",
            " because of noise",
            " (limited by image noise)",
        ),
        "metal": (
            " (metal artefact)",
            ", limited by metal artifact",
        ),
        "collapse": (" (hidden by collapsed or consolidated lung)",),
        "not_measured": (" (the tool's detection limit has not been measured)",),
        "side_unsure": (" (left and right could not be confirmed)",),
    },
    reasons={
        "no_contrast": ("no contrast", "no intravenous contrast"),
        "not_covered": ("not covered by the scan", "not covered"),
        "thick_slices": ("slices too thick",),
        "not_implemented": ("no tool looks for it yet",),
        "metal": ("metal artefact",),
        "not_found": ("the structure was not found",),
    },
    names={
        "lung_nodule": (
            ("nodule", "nodules"),
            ("pulmonary nodule", "pulmonary nodules"),
            ("lung nodule", "lung nodules"),
        ),
        "lung_mass": (("lung mass", "lung masses"), ("pulmonary mass", "pulmonary masses")),
        "pleural_effusion": (("pleural effusion", "pleural effusions"),),
        "pneumothorax": (("pneumothorax", "pneumothoraces"),),
        "consolidation": (("consolidation", "consolidations"), ("area of consolidation", "areas of consolidation")),
        "ground_glass_opacity": (
            ("ground-glass opacity", "ground-glass opacities"),
            ("ground-glass density", "ground-glass densities"),
        ),
        "atelectasis": (("atelectasis", "atelectases"), ("atelectatic area", "atelectatic areas")),
        "emphysema": (("emphysema", "emphysema"), ("emphysematous change", "emphysematous changes")),
        "bronchiectasis": (("bronchiectasis", "bronchiectasis"),),
        "cardiomegaly": (("cardiomegaly", "cardiomegaly"), ("cardiac enlargement", "cardiac enlargement")),
        "pericardial_effusion": (("pericardial effusion", "pericardial effusions"),),
        "coronary_artery_calcification": (
            ("coronary calcification", "coronary calcifications"),
            ("coronary artery calcification", "coronary artery calcifications"),
        ),
        "aortic_calcification": (("aortic calcification", "aortic calcifications"),),
        "lymphadenopathy": (("enlarged lymph node", "enlarged lymph nodes"), ("lymphadenopathy", "lymphadenopathies")),
        "hiatal_hernia": (("hiatal hernia", "hiatal hernias"), ("hiatus hernia", "hiatus hernias")),
        "vertebral_fracture": (
            ("vertebral fracture", "vertebral fractures"),
            ("vertebral compression fracture", "vertebral compression fractures"),
        ),
        "kidney_stone": (("kidney stone", "kidney stones"), ("renal stone", "renal stones")),
        "gallstone": (("gallstone", "gallstones"), ("gallbladder stone", "gallbladder stones")),
        "ascites": (("ascites", "ascites"),),
        "pneumoperitoneum": (
            ("pneumoperitoneum", "pneumoperitoneum"),
            ("free air in the abdomen", "free air in the abdomen"),
        ),
        "pulmonary_embolism": (("pulmonary embolism", "pulmonary emboli"), ("pulmonary embolus", "pulmonary emboli")),
        "liver_lesion": (("liver lesion", "liver lesions"), ("hepatic lesion", "hepatic lesions")),
        "splenomegaly": (("splenomegaly", "splenomegaly"), ("enlarged spleen", "enlarged spleens")),
        "pacemaker": (("pacemaker", "pacemakers"),),
    },
)

WIDER = Wording(
    name="wider",
    present=(
        "{A}{size} {is} noted{place}.",
        "{A}{size} {is} present{place}.",
        "The scan shows {a}{size}{place}.",
        "{A}{place} {is} demonstrated{size}.",
    ),
    absent=(
        "{Name} is not seen{place}{limit}.",
        "{Names} are not identified{place}{limit}.",
        "No sign of {name}{place}{limit}.",
        "No {name}{least} is detected{place}{limit}.",
        "Negative for {name}{place}{limit}.",
        "There is neither {name} nor any sign of it{place}{limit}.",
    )[:5],
    other=("No further {names}{least}{place}{limit}.", "No additional {name}{least} is found{place}{limit}."),
    likely=(
        "Findings suggest {a}{place}{size}.",
        "{A}{place}{size} is probably present.",
        "Most likely {a}{place}{size}.",
    ),
    possible=(
        "Questionable {name}{place}{size}.",
        "{A}{place} cannot be excluded{size}.",
        "Suspected {name}{place}{size}.",
    ),
    not_assessed=(
        "{Name} could not be assessed ({reason}).",
        "Assessment for {name} is not possible: {reason}.",
        "{Name} not evaluable, {reason}.",
    ),
    not_covered=("The {place} lies outside the scan.", "The {place} is not included in the scan."),
    partly_covered=("The {place} is incompletely covered.", "Only part of the {place} is covered."),
    measured=(
        "The {structure} has a diameter of {size}.",
        "The diameter of the {structure} is {size}.",
        "The {structure} is {size} in diameter.",
    ),
    not_enlarged=(
        "The heart is of normal size (cardiothoracic ratio {ratio}).",
        "No cardiomegaly, cardiothoracic ratio {ratio}.",
    ),
    pair=(
        "{A}{size}{place} as well as {b}{size2}{place2}.",
        "{A}{place}{size}; also {b}{place2}{size2}.",
        "The scan shows {a}{size}{place} together with {b}{size2}{place2}.",
    ),
    none_of=("No sign of {list}.", "Negative for {list}.", "No {list} can be seen."),
    change={
        "unchanged": (", stable", ", without change"),
        "larger": (", increased in size since the prior scan", ", which has grown"),
        "smaller": (", decreased since the prior examination",),
        "new": (", newly developed", ", not present on the prior scan"),
    },
    size=(" with a size of {n}", ", {n} in size,", " up to {n}", " sized {n}")[:2],
    volume=(" with a volume of {n}", ", approximately {n},"),
    distance=(", at a distance of {n} from the pleura,", " located {n} from the pleura"),
    fraction=(" involving {n} of the lung", ", amounting to {n} of the lung,"),
    score=(" with an Agatston score of {n}",),
    ratio=(" with a cardiothoracic ratio of {n}",),
    density=(" with a density of {n}", " with a mean attenuation of {n}"),
    height_loss=(" with a loss of height of {n}", " with {n} loss of height"),
    least=(" larger than or equal to {n}", " measuring {n} or more"),
    inside=(" within the {where}", " in the {where}"),
    on_side=(" on the {where} side", " on the {where}"),
    both=(" bilaterally in the {wheres}", " within both {wheres}"),
    at_level=(" at the level of {where}", " involving {where}"),
    few=("Some",),
    multiple=("Numerous", "Many"),
    limits={
        "partly_covered": (" within the covered part", ", as far as covered"),
        "no_contrast": (" on this unenhanced scan", ", with the limits of a scan without contrast"),
        "thick_slices": (", limited by thick slices",),
        "noise": (", limited by noise",),
        "metal": (", limited by metal artefacts",),
        "collapse": (", limited by collapsed lung",),
        "not_measured": ("; the detection limit is not measured",),
        "side_unsure": ("; left and right are not confirmed",),
    },
    reasons={
        "no_contrast": ("unenhanced scan", "without contrast"),
        "not_covered": ("outside the scan", "not included in the scan"),
        "thick_slices": ("thick slices",),
        "not_implemented": ("no tool looks for it",),
        "metal": ("metal artefacts",),
        "not_found": ("structure not found",),
    },
    names={
        "lung_nodule": (("lung nodule", "lung nodules"), ("nodule of the lung", "nodules of the lung")),
        "lung_mass": (("pulmonary mass", "pulmonary masses"),),
        "pleural_effusion": (("effusion", "effusions"), ("pleural fluid", "pleural fluid")),
        "pneumothorax": (("pneumothorax", "pneumothoraces"),),
        "consolidation": (("airspace consolidation", "airspace consolidations"),),
        "ground_glass_opacity": (("ground-glass attenuation", "ground-glass densities"),),
        "atelectasis": (("atelectatic change", "atelectatic changes"),),
        "emphysema": (("pulmonary emphysema", "pulmonary emphysema"),),
        "bronchiectasis": (("bronchial dilatation", "bronchial dilatations"),),
        "cardiomegaly": (("enlargement of the heart", "enlargement of the heart"),),
        "pericardial_effusion": (("pericardial fluid", "pericardial fluid"),),
        "coronary_artery_calcification": (
            ("calcification of the coronary arteries", "calcifications of the coronary arteries"),
        ),
        "aortic_calcification": (("calcification of the aorta", "calcifications of the aorta"),),
        "lymphadenopathy": (("lymph node enlargement", "lymph node enlargements"),),
        "hiatal_hernia": (("hiatus hernia", "hiatus hernias"),),
        "vertebral_fracture": (("compression fracture", "compression fractures"),),
        "kidney_stone": (("renal calculus", "renal calculi"),),
        "gallstone": (("stone of the gallbladder", "stones of the gallbladder"),),
        "ascites": (("free fluid in the abdomen", "free fluid in the abdomen"),),
        "pneumoperitoneum": (("free intraperitoneal air", "free intraperitoneal air"),),
        "pulmonary_embolism": (("embolus of the pulmonary arteries", "emboli of the pulmonary arteries"),),
        "liver_lesion": (("focal lesion of the liver", "focal lesions of the liver"),),
        "splenomegaly": (("enlargement of the spleen", "enlargement of the spleen"),),
        "pacemaker": (("cardiac pacemaker", "cardiac pacemakers"),),
    },
)
