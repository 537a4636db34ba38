"""Public checkpoints: what a file is, whether it fits, and loading it with every key accounted for.

Names are cleaned of wrappers (``module.``, ``_orig_mod.``, PEFT's), never guessed: a key that is missing, unknown or
of another shape refuses the file. No part of a network is ever left with random weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm.encoder.weights import EXTRA, WeightsError, cache_folder, converted, unpickled

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from vlm.encoder.protocol import Encoder

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")  # keys under which files keep their tensors
PREFIX = re.compile(
    r"^(?:module\.|_orig_mod\.|base_model\.model\.|model\.(?=(?:encode|visual|image|vision|text|language|mm|logit|softmax)_))+"
)
ADAPTER = re.compile(r"\.(?:lora_[AB]|lora_embedding_[AB]|modules_to_save)\b")
PEFT_LAYER = re.compile(r"\.base_layer\.")
POSITIONS = r"position_ids$|token_type_ids$"  # counted, not learned: some versions of transformers keep them


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model whose checkpoints can be read."""

    name: str
    licence: str
    signs: tuple[str, ...]  # keys that tell it from the others
    unused: re.Pattern[str]  # keys of the file that the model has no use for
    net: Callable[[], nn.Module]  # the empty network, for its names and shapes
    make: Callable[[Any, str, str, Tokenizer | None], Encoder] | None  # net, sha256, licence, tokenizer; None: none is
    words: str = ""  # the key whose rows are the words of its tokenizer; "" where it has no text tower


def _of(module: str, name: str) -> Callable[..., Any]:
    """A class of this package whose module is loaded when it is called."""
    return lambda *parts: getattr(import_module(f"vlm.encoder.{module}"), name)(*parts)


def _kind(name: str, encoder: str, *, licence: str, signs: tuple[str, ...], unused: str = "", words: str = "") -> Kind:
    """A model whose module bears its name, and whose network's class is its encoder's with Net behind it."""
    left = "|".join(filter(None, (POSITIONS, unused)))
    return Kind(
        name=name, licence=licence, signs=signs, unused=re.compile(left), net=_of(name, f"{encoder}Net"),
        make=_of(name, encoder), words=words,
    )  # fmt: skip


KINDS = {
    kind.name: kind
    for kind in (
        _kind(
            "merlin", "Merlin", licence="MIT (Stanford MIMI Lab); text tower from Clinical-Longformer",
            signs=("encode_image.i3_resnet.conv1.weight", "encode_text.linear_layer.weight"),
            unused=r"_global\.(?:weight|bias)$|text_encoder\.pooler\.",
            words="encode_text.text_encoder.embeddings.word_embeddings.weight",
        ),
        _kind(
            "ctclip", "CTCLIP",
            licence="CC-BY-NC-SA: not for commercial use; text tower from BiomedVLP-CXR-BERT (MIT)",
            signs=("visual_transformer.to_patch_emb.2.weight", "to_visual_latent.weight"),
            unused=r"rel_pos$|_latent_extra\.|^text_transformer\.pooler\."
            r"|^visual_transformer\.(?:dec_|to_pixels|to_patch_emb_first_frame|discr\.|vgg\.)"
            r"|_codebook\.(?:initted|cluster_size|embed_avg)$",
            words="text_transformer.embeddings.word_embeddings.weight",
        ),
        _kind(
            "ctfm", "CTFM", licence="Apache-2.0, as its hub page states",
            signs=("conv_init.weight", "layers.4.blocks.3.conv2.weight"),
        ),
        _kind(
            "colipri", "COLIPRI",
            licence="MIT, for research as its card says; text tower from BiomedVLP-CXR-BERT (MIT)",
            signs=("image_encoder.backbone.down_projection.proj.weight", "text_encoder.pooler.attn.in_proj_weight"),
            unused=r"backbone\.mask_token$|\.rope\.|\.up_projection\.|backbone\.pooler\.",
            words="text_encoder.backbone.embeddings.word_embeddings.weight",
        ),
        _kind(
            "m3dclip", "M3DCLIP",
            licence="MIT, as its repository states; trained on data that is not for commercial use",
            signs=("vision_encoder.patch_embedding.position_embeddings", "mm_language_proj.weight"),
            unused=r"^language_encoder\.pooler\.|classification_head\.|cross_attn\.|patch_embedding\.cls_token$",
            words="language_encoder.embeddings.word_embeddings.weight",
        ),
        Kind(
            name="astra", licence="MIT, as the packages of the weights state",
            signs=("conv1.weight", "layer3.35.conv3.weight"), unused=re.compile(r"$^"),
            net=_of("resnet", "I3ResNet"), make=None,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a file of weights is."""

    format: Literal["safetensors", "torch"]
    sha256: str
    tensors: int
    parameters: int
    kind: str  # a key of KINDS, or "" where it is none
    licence: str
    renamed: int  # keys whose wrapper was taken off
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: tuple[str, ...]  # "key: found (1, 2), expected (3, 2)"
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether every key is there, known, and of the right shape."""
        return bool(self.kind) and not (self.missing or self.unknown or self.misshapen or self.note)


def opened(path: Path) -> tuple[dict[str, Tensor], Literal["safetensors", "torch"]]:
    """The tensors of a file, by a loader that runs nothing.

    Raises:
        WeightsError: no such file, or one that holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"E_WEIGHTS: {path.name} is no file, expected .safetensors, .pt, .pth or .bin.")
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise WeightsError(f"E_WEIGHTS: torch and safetensors are not installed. {EXTRA}") from None
    if path.suffix == ".safetensors":
        try:
            return load_file(path), "safetensors"
        except SafetensorError as error:
            raise WeightsError(f"E_WEIGHTS: {path.name} is no safetensors file ({str(error)[:60]}).") from None
    held: Any = unpickled(path)
    for name in WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    tensors = {str(k): v for k, v in held.items() if isinstance(v, torch.Tensor)} if isinstance(held, Mapping) else {}
    if not tensors:
        raise WeightsError(f"E_WEIGHTS: {path.name} holds no tensors by name.")
    return tensors, "torch"


def cleaned(name: str) -> str:
    """A key without what training tools wrap around it."""
    return PEFT_LAYER.sub(".", PREFIX.sub("", name))


def examine(path: Path) -> Examined:
    """Say what a file is, and what is missing, unknown, renamed or misshapen for that.

    Raises:
        WeightsError: it cannot be opened.
    """
    state, form = opened(path)
    names = {cleaned(name): value for name, value in state.items()}
    adapter = [name for name in names if ADAPTER.search(name)]
    kind = next((k for k in KINDS.values() if all(sign in names for sign in k.signs)), None)
    note = ""
    if adapter:
        note = "it holds LoRA parts that are not merged; merge the adapter into its base first"
    elif kind is None:
        note = f"it is none of the models that are known: {', '.join(KINDS)}"
    missing, unknown, misshapen = _compared(names, kind) if kind else ((), (), ())
    return Examined(
        format=form, sha256=_digest(path), tensors=len(state), parameters=sum(v.numel() for v in state.values()),
        kind=kind.name if kind else "", licence=kind.licence if kind else "",
        renamed=sum(cleaned(name) != name for name in state), missing=missing, unknown=unknown, misshapen=misshapen,
        note=note,
    )  # fmt: skip


def _compared(names: Mapping[str, Tensor], kind: Kind) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Missing, unknown and misshapen keys against the empty network."""
    import torch

    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in kind.net().state_dict().items()}
    wrong = [f"{name}: found {tuple(names[name].shape)}, expected {wanted[name]}"
             for name in wanted if name in names and tuple(names[name].shape) != wanted[name]]  # fmt: skip
    unknown = tuple(name for name in names if name not in wanted and not kind.unused.search(name))
    return tuple(name for name in wanted if name not in names), unknown, tuple(wrong)


def load_checkpoint(path: Path) -> Encoder:
    """An encoder from a checkpoint file; its tokenizer is looked for beside it.

    A pickle is opened by the restricted loader once and read as safetensors from the cache afterwards.

    Raises:
        WeightsError: it is no checkpoint that can be used, or a key does not fit.
    """
    import torch
    from safetensors.torch import load_file

    known = cache_folder() / f"checkpoint-{_digest(path)[:16]}.safetensors" if path.is_file() else path
    told = examine(known if known.is_file() else path)
    make = KINDS[told.kind].make if told.fits else None
    if make is None:
        raise WeightsError(f"E_WEIGHTS: {path.name} cannot be used: {_why(told)}. See tomoscribe doctor weights FILE.")
    if not known.is_file():
        state, _ = opened(path)
        unused = KINDS[told.kind].unused
        kept = {cleaned(name): value for name, value in state.items() if not unused.search(cleaned(name))}
        known = converted(known.stem, kept, {"kind": told.kind})
    with torch.device("meta"):
        net = KINDS[told.kind].net()
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(known).items()}
    net.load_state_dict(state, strict=True, assign=True)
    net.requires_grad_(False)
    words = KINDS[told.kind].words
    tokenizer = tokenizer_beside(path, len(state[words])) if words else None
    return make(net.eval(), _digest(path), told.licence, tokenizer)


def tokenizer_beside(weights: Path, words: int) -> Tokenizer | None:
    """The ``tokenizer.json`` that lies beside a checkpoint, or None.

    Raises:
        WeightsError: it is of another vocabulary than the checkpoint.
    """
    from tokenizers import Tokenizer

    path = weights.parent / "tokenizer.json"
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    if tokenizer.get_vocab_size() != words:
        raise WeightsError(
            f"E_WEIGHTS: tokenizer.json has {tokenizer.get_vocab_size()} words, expected {words}. "
            "Put the tokenizer of the checkpoint's own text tower beside it."
        )
    return tokenizer


def _why(told: Examined) -> str:
    """The first thing that does not fit, in words."""
    for what in ("missing", "unknown", "misshapen"):
        if names := getattr(told, what):
            return f"{len(names)} keys {what}, first {names[0]}"
    return told.note or f"{told.kind} is loaded from its package"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
