"""Train the head that takes a question for an intent: ``python -m vlm.train.intents``.

Examples of ``prompts/intents.toml`` and wordings of ``questions.toml``, their placeholders filled from the vocabulary,
some with a slip of the keyboard, are embedded by MiniLM; a linear head with an L2 penalty is fitted by L-BFGS. Its
share right is told of examples left out by template; the questions by which the router is measured take no part.
Writes ``vlm/language/intents.safetensors``, about 0.25 MB.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.findings.vocabulary import load_vocabulary
from vlm.language.router import HEAD, WORDS, features, intents

FILLS = (1, 3)  # fillings of an example without and with a placeholder
PENALTY = 1e-5  # L2, on the weights
FOLDS = 5  # one of which is left out to tell how well it does
STEPS = 120
POINTED = ("here", "lesion", "distance")  # asked while somebody points, half of the time
A_PATTERN = 7  # wordings drawn of a pattern of questions.toml
SLIPS = 0.08  # share of the questions with a slip
LEAST_WORD = 5  # letters of a word that somebody slips in
_CHOICE = re.compile(r"\(([^()]*)\)")


def examples(seed: int = 0) -> Iterator[tuple[str, str, bool, int]]:
    """(question, intent, pointed, number of its template); findings and organs are drawn from the vocabulary."""
    dice = random.Random(seed)
    vocabulary = load_vocabulary()
    findings = [w for f in vocabulary.findings.values() for w in (f.name, f.name, *f.words[:1], *f.lay[:1])]
    organs = [site.words[0] for key, site in vocabulary.sites.items() if site.words and key != "marked_place"]
    names = {"{finding}": findings, "{organ}": organs, "{side}": ["left", "right"]}
    more = tomllib.loads((files("vlm.train") / "questions.toml").read_text(encoding="utf-8"))
    number = 0
    for intent in intents().values():
        drawn = [(text, FILLS["{" in text]) for text in intent.examples]
        drawn += [(pattern, A_PATTERN) for pattern in more["patterns"][intent.key]]
        for template, times in drawn:
            number += 1
            for _ in range(times):
                text = chosen(template, dice)
                for name, words in names.items():
                    text = text.replace(name, dice.choice(words))
                text = f"{dice.choice(more['who'])}{text}{dice.choice(more['end'])}"
                text = slipped(text, dice) if dice.random() < SLIPS else text
                yield text, intent.key, intent.key in POINTED and dice.random() < 0.5, number


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


def fit(x: NDArray[np.float32], y: NDArray[np.intp], classes: int) -> NDArray[np.float64]:
    """(N, F) features, (N,) classes -> (F + 1, C) weights with the bias last: softmax regression by L-BFGS."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_array

    many = x.shape[1] - WORDS  # what follows is nearly all zeros
    dense, words = np.concatenate([x[:, :many], np.ones((len(x), 1), np.float32)], axis=1), csr_array(x[:, many:])
    wanted = np.eye(classes, dtype=np.float32)[y]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(x.shape[1] + 1, classes).astype(np.float32)
        logits = dense @ weights[: many + 1] + words @ weights[many + 1 :]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        error = -float(np.log(np.maximum((shares * wanted).sum(axis=1), 1e-12)).mean())
        off = (shares - wanted) / len(x)
        gradient = np.concatenate([dense.T @ off, words.T @ off]) + PENALTY * weights
        return error + 0.5 * PENALTY * float((weights**2).sum()), gradient.astype(np.float64).ravel()

    start = np.zeros((x.shape[1] + 1) * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    fitted = found.x.reshape(x.shape[1] + 1, classes)
    return np.concatenate([np.delete(fitted, many, axis=0), fitted[many : many + 1]])


def right(weights: NDArray[np.float64], x: NDArray[np.float32], y: NDArray[np.intp]) -> float:
    """Share of questions whose first choice is right."""
    return float(((x @ weights[:-1] + weights[-1]).argmax(axis=1) == y).mean())


def main() -> None:
    """Fit, print the share right on examples left out, and write the head."""
    from safetensors.numpy import save

    names = list(intents())
    texts, keys, pointed, numbers = zip(*examples(), strict=True)
    x = features(texts, pointed)
    y, group = np.array([names.index(key) for key in keys]), np.array(numbers) % FOLDS
    kept, out = group != 0, group == 0
    score = right(fit(x[kept], y[kept], len(names)), x[out], y[out])
    weights = fit(x, y, len(names))
    told = {"intents": json.dumps(names), "penalty": str(PENALTY), "left_out": f"{score:.3f}"}
    tensors = {"weights": weights[:-1].astype(np.float16), "bias": weights[-1].astype(np.float16)}
    path = Path(str(files("vlm.language") / HEAD))
    path.write_bytes(save(tensors, metadata=told))
    print(f"{len(texts)} questions, {len(names)} intents; {score:.3f} right of those left out; written {path.name}")  # noqa: T201


if __name__ == "__main__":
    main()
