"""Scans and words in one space. Importing this loads no network; ``load_encoder`` does."""

from vlm.encoder.embedding import Embedding, embed
from vlm.encoder.protocol import Encoder, Features, Identity, TextTower
from vlm.encoder.recipe import Prepared, Recipe, Seen, prepare
from vlm.encoder.registry import Availability, availability, load_encoder
from vlm.encoder.weights import WeightsError
from vlm.encoder.whitening import Statistics, fit

__all__ = [
    "Availability", "Embedding", "Encoder", "Features", "Identity", "Prepared", "Recipe", "Seen", "Statistics",
    "TextTower", "WeightsError", "availability", "embed", "fit", "load_encoder", "prepare",
]  # fmt: skip
