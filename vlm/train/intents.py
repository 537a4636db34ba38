"""Train the head that takes a question for an intent: ``python -m vlm.train.intents``.

Examples of ``prompts/intents.toml``, wordings of ``questions.toml``, their placeholders filled from the vocabulary, and
the questions of ``asked.toml``, some with a slip of the keyboard, are embedded by MiniLM; a LoRA of MiniLM and a linear
head learn together. The questions by which the router is measured take no part. Writes
``vlm/language/intents.safetensors``, about 0.9 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from vlm.encoder.minilm import MiniLM
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.router import FLAGS, HEAD, MEANING, SCALES, TELLING, WORDS, intents, said_plainly, without_names

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = ("questions.toml", "asked.toml")
FILLS = (1, 3)  # fillings of an example without and with a placeholder
RANK = 8  # of the LoRA: 0.35 million weights
EPOCHS, BATCH = 2, 32
RATE, HEAD_RATE, DECAY = 2e-3, 2e-2, 1e-2  # of the LoRA, of the head; AdamW's decay
DROPPED = 0.1  # share of the plain features that a question is taken without while learning
FOLDS = 5  # one of which is left out to tell how well it does
POINTED = ("here", "lesion", "distance")  # asked while somebody points, half of the time
A_PATTERN, A_SENTENCE, A_QUESTION = 4, 3, 2  # wordings drawn of a pattern, of a sentence, of a question
SLIPS = 0.08  # share of the questions with a slip
LEAST_WORD = 5  # letters of a word that somebody slips in
_CHOICE = re.compile(r"\(([^()]*)\)")


def examples(seed: int = 0) -> Iterator[tuple[str, str, bool, int]]:
    """(question, intent, pointed, number of its template); findings and organs are drawn from the vocabulary."""
    dice = random.Random(seed)
    vocabulary = load_vocabulary()
    findings = [w for f in vocabulary.findings.values() for w in (f.name, f.name, *f.words[:1], *f.lay[:1])]
    organs = [site.words[0] for key, site in vocabulary.sites.items() if site.words and key != "marked_place"]
    findings = [words for words in findings if not TELLING.fullmatch(words)]
    names = {"{finding}": findings, "{organ}": organs, "{side}": ["left", "right"]}
    more, asked = (tomllib.loads((files("vlm.train") / name).read_text(encoding="utf-8")) for name in FILES)
    number = 0
    for intent in intents().values():
        drawn = [(text, FILLS["{" in text]) for text in intent.examples]
        drawn += [(pattern, A_PATTERN) for pattern in more["patterns"][intent.key]]
        drawn += [(text, A_SENTENCE) for text in more["said"][intent.key]]
        drawn += [(text, A_QUESTION) for text in asked["asked"][intent.key]]
        for template, times in drawn:
            number += 1
            for _ in range(times):
                text = chosen(template, dice)
                for name, words in names.items():
                    text = text.replace(name, dice.choice(words))
                text = f"{dice.choice(more['who'])}{text}{dice.choice(more['end'])}"
                text = slipped(text, dice) if dice.random() < SLIPS else text
                yield text, intent.key, intent.key in POINTED and dice.random() < 0.5, number


def sentences() -> list[str]:
    """Every sentence that trains the head as it is written, without the patterns."""
    told = [tomllib.loads((files("vlm.train") / name).read_text(encoding="utf-8")) for name in FILES]
    kept = [text for each in (told[0]["said"], told[1]["asked"]) for texts in each.values() for text in texts]
    return kept + [text for intent in intents().values() for text in intent.examples]


def chosen(pattern: str, dice: random.Random) -> str:
    """One wording of a pattern: of each "(a|b|)", from the inside out, one part."""
    while _CHOICE.search(pattern):
        pattern = _CHOICE.sub(lambda part: dice.choice(part.group(1).split("|")), pattern)
    return " ".join(pattern.split())


def slipped(text: str, dice: random.Random) -> str:
    """The text with two letters of a long word swapped, or one left out."""
    words = text.split()
    long = [n for n, word in enumerate(words) if len(word) >= LEAST_WORD and word.isalpha()]
    if not long:
        return text
    n = dice.choice(long)
    at, word = dice.randrange(1, len(words[n]) - 1), words[n]
    words[n] = word[:at] + (word[at + 1] + word[at] + word[at + 2 :] if dice.random() < 0.5 else word[at + 1 :])
    return " ".join(words)


def adapted(encoder: MiniLM) -> dict[str, nn.Parameter]:
    """A LoRA (Hu 2021) beside each linear layer of the encoder, whose own weights stay: "<layer>.down" and ".up"."""
    import torch
    from torch import nn

    encoder.net.requires_grad_(False)
    learned: dict[str, nn.Parameter] = {}
    for name, layer in encoder.net.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        down = nn.Parameter(torch.randn(RANK, layer.in_features) * layer.in_features**-0.5)
        up = nn.Parameter(torch.zeros(layer.out_features, RANK))
        layer.register_forward_hook(lambda _, x, out, down=down, up=up: out + (x[0] @ down.T) @ up.T)
        learned |= {f"{name}.down": down, f"{name}.up": up}
    return learned


def batches(texts: Sequence[str], dice: random.Random) -> Iterator[list[int]]:
    """Numbers of questions, shuffled, those of about one length together: little padding."""
    order = list(range(len(texts)))
    dice.shuffle(order)
    many = BATCH * 8
    sorted_by = [sorted(order[n : n + many], key=lambda i: len(texts[i])) for n in range(0, len(order), many)]
    parts = [part[n : n + BATCH] for part in sorted_by for n in range(0, len(part), BATCH)]
    dice.shuffle(parts)
    yield from parts


class Router:
    """The encoder with its LoRA and the head, while they learn."""

    def __init__(self, classes: int) -> None:
        import torch
        from torch import nn

        torch.manual_seed(0)
        self.encoder = MiniLM()
        self.learned = adapted(self.encoder)
        self.head = nn.Linear(MEANING + classes + FLAGS + WORDS, classes)
        nn.init.zeros_(self.head.weight)

    def logits(self, texts: Sequence[str], plain: Tensor) -> Tensor:
        """(N, classes) of questions without names and their plain features (N, F)."""
        import torch

        return self.head(torch.cat([SCALES[0] * self.encoder.vectors(texts), plain], dim=1))

    def fit(self, texts: Sequence[str], plain: Tensor, wanted: Tensor) -> None:
        """Learn by AdamW, the rate rising and falling once."""
        import torch
        from torch.nn import functional

        groups = [(list(self.learned.values()), RATE), (list(self.head.parameters()), HEAD_RATE)]
        optimizer = torch.optim.AdamW([{"params": p, "lr": rate} for p, rate in groups], weight_decay=DECAY)
        dice = random.Random(0)
        parts = [part for _ in range(EPOCHS) for part in batches(texts, dice)]
        rates = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [r for _, r in groups], total_steps=len(parts), pct_start=0.1
        )
        for step, part in enumerate(parts):
            seen = plain[part] * (torch.rand(len(part), plain.shape[1]) > DROPPED)
            loss = functional.cross_entropy(
                self.logits([texts[n] for n in part], seen), wanted[part], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            if step % 50 == 0:
                print(f"step {step} of {len(parts)}, loss {loss:.3f}", flush=True)  # noqa: T201

    def right(self, texts: Sequence[str], plain: Tensor, wanted: Tensor) -> float:
        """Share of questions whose first choice is right."""
        import torch

        with torch.inference_mode():
            parts = [slice(n, n + 256) for n in range(0, len(texts), 256)]
            hits = [self.logits(texts[part], plain[part]).argmax(dim=1) == wanted[part] for part in parts]
        return float(torch.cat(hits).float().mean())


def main() -> None:
    """Fit and write the head, or with --left-out tell how well it does on templates that it never saw."""
    import torch
    from safetensors.torch import save

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--left-out", action="store_true", help="fit without a fifth of the templates, and write nothing"
    )
    options = parser.parse_args()
    names = list(intents())
    texts, keys, pointed, numbers = zip(*examples(), strict=True)
    plain = torch.from_numpy(said_plainly(texts, pointed))
    bare = [without_names(text) for text in texts]
    wanted = torch.tensor([names.index(key) for key in keys])
    out = [n for n, number in enumerate(numbers) if options.left_out and number % FOLDS == 0]
    kept = sorted(set(range(len(texts))) - set(out))
    router = Router(len(names))
    router.fit([bare[n] for n in kept], plain[kept], wanted[kept])
    if options.left_out:
        print(f"{router.right([bare[n] for n in out], plain[out], wanted[out]):.3f} right of those left out")  # noqa: T201
        return
    tensors = {**router.learned, "weights": router.head.weight.T, "bias": router.head.bias}
    kept_small = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    path = Path(str(files("vlm.language") / HEAD))
    path.write_bytes(save(kept_small, metadata={"intents": json.dumps(names), "rank": str(RANK)}))
    print(f"{len(texts)} questions, {len(names)} intents; written {path.name}")  # noqa: T201


if __name__ == "__main__":
    main()
