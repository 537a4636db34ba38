"""Train the head that takes a question for an intent: ``python -m vlm.train.intents``.

Examples of ``prompts/intents.toml``, their placeholders filled from the vocabulary, are embedded by MiniLM; a linear
head with an L2 penalty is fitted by L-BFGS. Its share right is told of examples left out by template; the questions by
which the router is measured take no part. Writes ``vlm/language/intents.safetensors``, about 0.25 MB.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.findings.vocabulary import load_vocabulary
from vlm.language.router import HEAD, WORDS, features, intents

FILLS = (1, 3)  # fillings of an example without and with a placeholder
PENALTY = 1e-4  # L2, on the weights
FOLDS = 5  # one of which is left out to tell how well it does
STEPS = 120
POINTED = ("here", "lesion", "distance")  # asked while somebody points, half of the time
PREFIXES = ("", "", "please, ", "so ", "could you tell me: ", "and ", "doctor, ", "hmm, ")


def examples(seed: int = 0) -> Iterator[tuple[str, str, bool, int]]:
    """(question, intent, pointed, number of its template); findings and organs are drawn from the vocabulary."""
    dice = random.Random(seed)
    vocabulary = load_vocabulary()
    findings = [w for f in vocabulary.findings.values() for w in (f.name, f.name, *f.words[:1], *f.lay[:1])]
    organs = [site.words[0] for key, site in vocabulary.sites.items() if site.words and key != "marked_place"]
    number = 0
    for intent in intents().values():
        for template in intent.examples:
            number += 1
            for _ in range(FILLS["{" in template]):
                text = template.replace("{finding}", dice.choice(findings)).replace("{organ}", dice.choice(organs))
                text = dice.choice(PREFIXES) + text.replace("{side}", dice.choice(("left", "right")))
                mark = dice.choice(("?", "", "?", "."))
                yield text + mark, intent.key, intent.key in POINTED and dice.random() < 0.5, number


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
