"""Models that run in this process: the embedded SmolLM2 with its adapter, and any local folder of transformers.

In: a conversation, perhaps with a JSON Schema. Out: an answer that the schema's grammar (llguidance) held. Weights
are safetensors; nothing is fetched, and no code of a folder runs.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vlm.language import embedded_weights
from vlm.language.calling import called, turns_of, with_choice
from vlm.language.decoding import Line, Preamble, decode
from vlm.language.models import (
    Answer,
    Ask,
    Budget,
    ModelAnswerError,
    ModelError,
    ModelLateError,
    ModelMissingError,
    Said,
    Schema,
    ToolCall,
)
from vlm.workers import threads

TOGETHER = 16  # answers decoded side by side
ADAPTER = Path(__file__).parent / "adapter"  # of the embedded model, where one is shipped
FORBIDDEN = (".bin", ".pt", ".pth", ".pkl", ".ckpt")  # weights that can run code


class LocalModel:
    """A causal model of transformers, loaded once, used by one caller at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        adapter: Path | None = None,
        rows_a_call: int = 5,
        taught: bool = False,
        calls_tools: bool = False,
        most_threads: int | None = None,
        eight_bits: bool = False,
    ) -> None:
        """Load tokenizer and weights, and make ready what only the first answer would wait for.

        Args:
            folder: of the model.
            name: for the provenance.
            adapter: merged into the weights.
            rows_a_call: rows that it words well in one answer.
            taught: whether the adapter learned the form of the rows.
            calls_tools: whether its choice of tools is worth asking for.
            most_threads: of the processor; as many as torch takes when left out.
            eight_bits: whether its weights are rounded to int8, which takes no GPU.

        Raises:
            ModelMissingError: the folder holds no model that can be used, or the adapter is another model's.
        """
        self.name = name
        self.calls_tools = calls_tools
        self.rows_a_call = rows_a_call
        self.taught = taught
        self._lock = threading.Lock()
        self._preamble = Preamble()
        self._threads = most_threads or free_threads()
        with threads(self._threads):
            self._net, self._tokenizer = load_weights(folder, adapter, eight_bits=eight_bits)
        self._end = _ends(self._net, self._tokenizer)
        self._guiding = _guide(self._tokenizer, self._net.config.vocab_size)

    def complete(self, ask: Ask, *, said: Said | None = None) -> Answer:
        """One answer; see ``LanguageModel``."""
        answer = self._decoded([ask], said)[0]
        if isinstance(answer, ModelError):
            raise answer
        return answer

    def complete_all(self, asks: Sequence[Ask]) -> list[Answer | ModelError]:
        """Answers to several asks, a few at a time side by side."""
        answers: list[Answer | ModelError] = []
        for first in range(0, len(asks), TOGETHER):
            part = asks[first : first + TOGETHER]
            try:
                answers += self._decoded(part, None)
            except ModelError as error:
                answers += [error] * len(part)
        return answers

    def _decoded(self, asks: Sequence[Ask], said: Said | None) -> list[Answer | ModelError]:
        if any(ask.tools for ask in asks) and not self.calls_tools:
            raise ValueError(f"{self.name} takes no tools; see calls_tools")
        asks = [with_choice(ask) if ask.tools else ask for ask in asks]
        began = time.monotonic()
        with self._lock, threads(self._threads):
            lines = [self._line(ask) for ask in asks]
            heard = _Listener(self._tokenizer, asks[0].stop, said) if len(asks) == 1 else None
            budget = Budget(
                total_s=max(ask.budget.total_s for ask in asks), most_tokens=max(ask.budget.most_tokens for ask in asks)
            )
            decode(self._net, lines, end=self._end, budget=budget, heard=heard, preamble=self._preamble)
        seconds = time.monotonic() - began
        return [self._answer(ask, line, seconds) for ask, line in zip(asks, lines, strict=True)]

    def _line(self, ask: Ask) -> Line:
        """The prompt in tokens, with the opening that the schema forces."""
        turns = turns_of(ask.messages)
        text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt = self._tokenizer.encode(text, add_special_tokens=False)
        if ask.schema is None:
            return Line(prompt)
        opening_text = opening_of(ask.schema)
        opening = self._tokenizer.encode(opening_text, add_special_tokens=False)
        matcher = _matcher(self._guiding, ask.schema)
        matcher.consume_tokens(opening)
        if error := matcher.get_error():
            raise ModelAnswerError(f"E_MODEL: the schema makes no grammar ({str(error)[:80]}).")
        return Line(prompt, opening, matcher)

    def _answer(self, ask: Ask, line: Line, seconds: float) -> Answer | ModelError:
        """What a line says; an error where the schema is not filled."""
        if line.late:
            return ModelLateError(f"E_MODEL: no whole answer within {ask.budget.total_s:.0f} s, expected one.")
        text = self._tokenizer.decode([*line.opening, *line.made], skip_special_tokens=True)
        for mark in ask.stop:
            text = text.split(mark)[0]
        data = None
        if ask.schema is not None:
            try:
                data = json.loads(text)
            except ValueError:
                return ModelAnswerError("E_MODEL: the answer ended before its JSON did, expected a shorter one.")
        calls: tuple[ToolCall, ...] = ()
        if ask.tools and data is not None:
            calls = called(data, sum(message.role == "tool" for message in ask.messages))
        return Answer(
            text=text, calls=calls, data=None if ask.tools else data, tokens_in=len(line.prompt),
            tokens_out=len(line.made), seconds=seconds, cut=line.cut,
        )  # fmt: skip


class _Listener:
    """Tells what came as text, and stops at a mark."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], said: Said | None) -> None:
        self._tokenizer, self._stop, self._said, self._told = tokenizer, stop, said, ""

    def __call__(self, line: Line) -> bool:
        if not self._stop and self._said is None:
            return False
        text = self._tokenizer.decode([*line.opening, *line.made], skip_special_tokens=True)
        ended = any(mark in text for mark in self._stop)
        for mark in self._stop:
            text = text.split(mark)[0]
        if self._said is not None and not text.endswith("�") and len(text) > len(self._told):
            self._said(text[len(self._told) :])
            self._told = text
        return ended


def opening_of(schema: Schema) -> str:
    """What every answer to an object schema of texts begins with: up to the first text."""
    first = next(iter(schema.get("required", ())), None)
    text = first is not None and schema.get("properties", {}).get(first, {}).get("type") == "string"
    return f'{{{json.dumps(first)}:"' if text and next(iter(schema["properties"])) == first else ""


def _guide(tokenizer: Any, words: int) -> Any:
    """The tokens as llguidance reads them."""
    import llguidance.hf

    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=words)


def _matcher(guide: Any, schema: Schema) -> Any:
    from llguidance import LLMatcher

    compact = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
    return LLMatcher(guide, LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=compact))


def load_weights(folder: Path, adapter: Path | None, *, eight_bits: bool = False) -> tuple[Any, Any]:
    """Weights and tokenizer of a folder, with an adapter merged into them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with embedded_weights.offline():
        try:
            net = AutoModelForCausalLM.from_pretrained(
                folder, dtype=_dtype(), local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            why = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise ModelMissingError(f"E_MODEL: {folder.name} holds no model that can be loaded ({why}).") from None
        if tokenizer.chat_template is None:
            raise ModelMissingError(
                f"E_MODEL: {folder.name} has no chat template, expected a model made to follow one."
            )
        if adapter is not None:
            net = merged(net, adapter)
    if torch.cuda.is_available():
        return net.to("cuda").eval(), tokenizer
    from vlm.language.int8 import in_int8

    return (in_int8(net) if eight_bits else net).eval(), tokenizer


def merged(net: Any, adapter: Path) -> Any:
    """The model with a peft adapter merged into it.

    Raises:
        ModelMissingError: the adapter does not fit; the first of its keys that do not are named.
    """
    from peft import PeftConfig, PeftModel
    from safetensors import safe_open

    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file():
        raise ModelMissingError(f"E_MODEL: {adapter.name} holds no adapter_model.safetensors, expected a peft adapter.")
    with safe_open(weights, framework="pt") as file:
        held = set(file.keys())
    config = PeftConfig.from_pretrained(adapter)
    modules = {name for name, _ in net.named_modules()}
    owners = {key: key.removeprefix("base_model.model.").split(".lora_")[0] for key in held if ".lora_" in key}
    missing = sorted(key for key, owner in owners.items() if owner not in modules)
    if missing or not owners:
        first = missing[0] if missing else "any LoRA weight"
        raise ModelMissingError(
            f"E_MODEL: the adapter {adapter.name} is another model's: {len(missing)} of its keys have no place here, "
            f"first {first}. It was made for {str(config.base_model_name_or_path)[-60:]!r}."
        )
    try:
        return PeftModel.from_pretrained(net, adapter, config=config).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:160]
        raise ModelMissingError(f"E_MODEL: the adapter {adapter.name} does not fit: {why}.") from None


def free_threads() -> int:
    """As many threads as torch takes, less the cores that are busy: a layer waits for its slowest thread."""
    import torch

    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows does not say
    cores: int = torch.get_num_threads()
    return max(1, cores - round(busy))


def _dtype() -> Any:
    """bfloat16 where the processor multiplies it, or on a GPU: half the memory; float32 elsewhere."""
    import torch

    fast = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _ends(net: Any, tokenizer: Any) -> frozenset[int]:
    named = net.generation_config.eos_token_id
    listed = named if isinstance(named, list) else [named]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)


@functools.cache
def embedded_model(*, with_adapter: bool = True, eight_bits: bool = True) -> LocalModel:
    """The embedded model, loaded once a process; with the shipped adapter where there is one.

    Raises:
        ModelMissingError: a package is not installed, or a file is not the one that it should be.
    """
    folder = embedded_weights.model_folder()
    eight_bits = eight_bits and fast_in_int8()
    adapter = ADAPTER if with_adapter and (ADAPTER / "adapter_model.safetensors").is_file() else None
    name = f"{embedded_weights.NAME} {embedded_weights.SHA256[:12]}"
    if adapter is not None:
        _fits(adapter)
        name += f" + adapter {embedded_weights.digest(adapter / 'adapter_model.safetensors')[:12]}"
    name += ", int8" if eight_bits else ""
    return LocalModel(folder, name=name, adapter=adapter, rows_a_call=1, taught=adapter is not None, most_threads=1,
                      eight_bits=eight_bits)  # fmt: skip


def fast_in_int8() -> bool:
    """Whether weights in eight bits are faster here: on a processor that multiplies them, and no GPU."""
    import torch

    from vlm.language.int8 import fast_here

    return not torch.cuda.is_available() and fast_here()


def _fits(adapter: Path) -> None:
    """Refuse an adapter that was trained on another base or with another prompt."""
    from vlm.language.prompting import load_prompt

    note: Mapping[str, Any] = json.loads((adapter / "tomoscribe.json").read_text(encoding="utf-8"))
    wanted = {"base": embedded_weights.SHA256, "prompt": load_prompt("word").parts_digest("system")}
    for what, expected in wanted.items():
        if note.get(what) != expected:
            found = str(note.get(what))[:12]
            raise ModelMissingError(
                f"E_MODEL: the adapter's {what} is {found}…, expected {expected[:12]}…. Train it anew."
            )


def local_model(folder: Path, *, adapter: Path | None = None) -> LocalModel:
    """The model of a folder that a user names.

    Raises:
        ModelMissingError: no such folder, what runs it is not installed, or it holds no model that can be used.
    """
    lacking = [package for package in ("torch", "transformers", "llguidance") if find_spec(package) is None]
    if lacking:
        raise ModelMissingError(f"E_MODEL: {', '.join(lacking)} not installed. {embedded_weights.EXTRA}")
    if not (folder / "config.json").is_file():
        raise ModelMissingError(
            f"E_MODEL: {folder.name} holds no config.json, expected a folder of a transformers model."
        )
    unsafe = [path.name for path in folder.iterdir() if path.suffix in FORBIDDEN]
    if unsafe and not list(folder.glob("*.safetensors")):
        raise ModelMissingError(f"E_MODEL: {unsafe[0]} can run code when it is opened, expected safetensors.")
    name = f"local model {folder.name}"
    if adapter is not None:
        _made_for(adapter, folder)
        name += f" + adapter {adapter.parent.name if adapter.name == 'adapter' else adapter.name}"
    return LocalModel(folder, name=name, adapter=adapter, calls_tools=True)


def _made_for(adapter: Path, folder: Path) -> None:
    """Refuse an adapter that ``tune`` made for other weights, even where its shapes fit."""
    try:
        note = json.loads((adapter / "tomoscribe.json").read_text(encoding="utf-8"))
        base, name = str(note["base"]), str(note.get("base_name", "another model"))[:64]
    except FileNotFoundError:
        return  # made elsewhere; its keys and shapes are compared when it is loaded
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelMissingError(f"E_MODEL: {adapter.name}/tomoscribe.json cannot be read.") from None
    if base != embedded_weights.base_of(folder):
        missing = misfits(adapter, folder)
        keys = f"; {len(missing)} of its keys have no place, first {missing[0]}" if missing else ""
        raise ModelMissingError(
            f"E_MODEL: the adapter {adapter.name} was made for {name}, not for {folder.name}{keys}."
        )


def misfits(adapter: Path, folder: Path) -> list[str]:
    """Keys of an adapter for which a model has no module."""
    from safetensors import safe_open

    def keys(path: Path) -> set[str]:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())

    held = {name.removesuffix(".weight") for path in folder.glob("*.safetensors") for name in keys(path)}
    named = keys(adapter / "adapter_model.safetensors")
    return sorted(key for key in named if key.removeprefix("base_model.model.").split(".lora_")[0] not in held)
