"""Who is drawn, once ailments have changed them: sizes of organs, densities of tissues, organs pushed aside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vlm.phantom.body.person import Person
from vlm.phantom.body.shapes import Triple
from vlm.phantom.body.tissues import Phase, Tissues
from vlm.phantom.body.wishes import Wish


@dataclass(frozen=True, slots=True)
class Push:
    """A smooth displacement: ``mm`` at ``centre`` (reference mm), fading over ``reach`` along each axis."""

    centre: Triple
    reach: Triple
    mm: Triple


@dataclass
class Patient:
    """A person while findings change them, before anything is drawn."""

    person: Person
    phase: Phase
    moved: dict[str, float] = field(default_factory=dict)  # HU added to tissues
    pushes: list[Push] = field(default_factory=list)
    cannot: set[Wish] = field(default_factory=set)  # what this person cannot have

    def grow(self, organ: str, factor: float) -> None:
        """Make an organ larger or smaller by a factor of its radius."""
        sizes = {**self.person.organs, organ: self.person.organs.get(organ, 1.0) * factor}
        self.person = replace(self.person, organs=sizes)

    def vary(self, variant: str, present: bool) -> None:
        """Give the person a variant, or take it away."""
        self.person = replace(self.person, variants={**self.person.variants, variant: present})

    def set_hu(self, tissue: str, plain_hu: float) -> None:
        """Give a tissue a density without contrast; enhancement comes on top of it."""
        self.moved[tissue] = plain_hu - Tissues("plain", self.person.seed).hu(tissue)
