"""How the classifier's numbers are made: `idembench judge fit` writes `classifier.json` again, from a pack's graded answers.

The trait models are fitted on each trait's `training.jsonl` alone: never on the demonstrations that seed models, or the
judge would measure imitation, and never on the contrast set, which is its test. The coherence model is fitted on answers
that were written broken, and on the traits' answers, whole and broken by code. The penalty that ranks best and the calibration come from predictions of answers whose
prompt was held out (ten folds by prompt). The coherence model sees no answer as known to it: what only that answer says is
taken out of the English it is compared with. It is not calibrated further.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from idembench.files import derive_seed, read_jsonl
from idembench.judges import features
from idembench.judges.classifier import weighted_grams
from idembench.traits import GRADES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TRAINING = "training.jsonl"
FOLDS = 10
SEEN_IN = {"w": 2, "c": 4}
"""Answers that a gram has to occur in, by kind."""
KINDS = ("w", "c", "wc")
"""Grams of words, of characters, or both."""
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
KNOTS = 12
DIGITS = 4
COMMON = 300
"""Words that count as common."""
TREES = 120

Broken = tuple[tuple[Mapping[str, Any], ...], str, float]
"""The rows that an answer is made of, the one whose prompt it answers first; the answer; its grade."""
_LOOP, _WORDS_SHUFFLED, _GARBLED = (2, 4, 8), (0.3, 0.6, 1.0), (0.1, 0.3, 0.6)


def fit(folder: Path) -> dict[str, Any]:
    """The classifier's numbers from a pack's folder: `english`, `idf`, a linear model per trait, trees for coherence.

    Args:
        folder: A pack's, whose traits each have a `training.jsonl` of graded answers.
    """
    rows = {path.parent.name: read_jsonl(path.with_name(TRAINING)) for path in sorted(folder.glob("*/trait.yaml"))}
    written = read_jsonl(folder / "coherence" / TRAINING)
    everything = [row for own in rows.values() for row in own]
    texts = _texts([*written, *everything, *read_jsonl(folder / "prompts.jsonl")])
    english = _english(texts)
    idf = _idf([row["response"] for row in everything])
    models = {}
    for trait, own in rows.items():
        found = [weighted_grams(row["response"], idf) for row in own]
        models[trait] = _linear(found, [row["grade"] for row in own], [row["prompt"] for row in own])
    graded: list[Broken] = [((row,), row["response"], float(row["grade"])) for row in written]
    weights = [1.0] * len(graded)
    graded += damaged(everything)
    weights += [len(written) / (len(graded) - len(written))] * (len(graded) - len(written))
    without = _Without(english, texts)
    shapes = [features.shape(text, of[0]["prompt"], without(of)) for of, text, _ in graded]
    return {
        "english": {name: sorted(getattr(english, name)) for name in ("common", "known", "pairs")},
        "idf": idf,
        "traits": models,
        "coherence": _trees(shapes, [grade for _, _, grade in graded], weights),
    }


def _plain(text: str) -> list[str]:
    return [token for token in features.tokens(text) if token.isascii() and token[0].isalpha()]


def _texts(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Words of every prompt and of every answer that is whole."""
    kept = [text for row in rows for text in (row["prompt"], row.get("response", "") if _whole(row) else "")]
    return [_plain(text) for text in kept]


def _whole(row: Mapping[str, Any]) -> bool:
    return not row["id"].startswith("coherence") or row["grade"] == GRADES[-1]


def _english(texts: Sequence[Sequence[str]]) -> features.English:
    counts = Counter(word for words in texts for word in words)
    common = frozenset(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:COMMON])
    pairs = frozenset(pair for words in texts for pair in features.pairs(words, common))
    return features.English(known=frozenset(counts), common=common, pairs=pairs)


class _Without:
    """What English looks like without some answers: what only one of them says is new to whoever has not read it.

    An answer that a judge meets later was not read before; one that is fitted on must not seem so either.
    """

    def __init__(self, english: features.English, texts: Sequence[Sequence[str]]) -> None:
        self._english = english
        self._words = Counter(word for words in texts for word in set(words))
        self._pairs = Counter(pair for words in texts for pair in set(features.pairs(words, english.common)))

    def __call__(self, of: Sequence[Mapping[str, Any]]) -> features.English:
        words = [_plain(row["response"]) for row in of if _whole(row)]
        pairs = [features.pairs(text, self._english.common) for text in words]
        return features.English(
            known=self._english.known - {word for text in words for word in text if self._words[word] == 1},
            common=self._english.common,
            pairs=self._english.pairs - {pair for found in pairs for pair in found if self._pairs[pair] == 1},
        )


def _idf(texts: Sequence[str]) -> dict[str, float]:
    seen = Counter(name for text in texts for name in features.grams(text))
    return {
        name: round(math.log((1 + len(texts)) / (1 + count)) + 1, DIGITS)
        for name, count in sorted(seen.items())
        if count >= SEEN_IN[name[0]]
    }


def _linear(found: Sequence[Mapping[str, float]], grades: Sequence[float], groups: Sequence[str]) -> dict[str, Any]:
    """A ridge regression of the grades, its grams and penalty chosen and its sums calibrated on held-out prompts."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold, cross_val_predict

    y = np.asarray(grades, dtype=float)
    held_out = {}
    for kinds in KINDS:
        vectorizer = DictVectorizer()
        x = vectorizer.fit_transform([{k: v for k, v in row.items() if k[0] in kinds} for row in found])
        folds = list(GroupKFold(FOLDS).split(x, y, groups))
        for penalty in PENALTIES:
            sums = cross_val_predict(Ridge(alpha=penalty), x, y, cv=folds)
            held_out[float(spearmanr(sums, y).statistic)] = (kinds, penalty, vectorizer, x, sums)
    best = max(held_out)
    kinds, penalty, vectorizer, x, sums = held_out[best]
    model = Ridge(alpha=penalty).fit(x, y)
    places = np.unique(np.quantile(sums, np.linspace(0.02, 0.98, KNOTS)).round(DIGITS))
    curve = IsotonicRegression(y_min=0, y_max=100, out_of_bounds="clip").fit(sums, y).predict(places)
    return {
        "weights": {
            name: round(float(weight), DIGITS)
            for name, weight in zip(vectorizer.get_feature_names_out(), model.coef_, strict=True)
        },
        "intercept": round(float(model.intercept_), DIGITS),
        "knots": [[float(x), round(float(y), DIGITS)] for x, y in zip(places, curve, strict=True)],
        "chosen": {"grams": kinds, "penalty": penalty, "rank_correlation": round(best, DIGITS)},
    }


def _trees(shapes: Sequence[Mapping[str, float]], grades: Sequence[float], weights: Sequence[float]) -> dict[str, Any]:
    """Gradient-boosted regression trees of the grades, as nested lists; what was written counts as much as what code broke."""
    from sklearn.ensemble import GradientBoostingRegressor

    names = sorted(shapes[0])
    x = np.asarray([[shape[name] for name in names] for shape in shapes])
    model = GradientBoostingRegressor(
        n_estimators=TREES, max_depth=3, min_samples_leaf=10, learning_rate=0.1, random_state=0
    ).fit(x, np.asarray(grades), sample_weight=np.asarray(weights))
    return {
        "start": round(float(model.init_.constant_[0][0]), DIGITS),
        "trees": [_nodes(tree.tree_, names, model.learning_rate) for tree in model.estimators_[:, 0]],
    }


def _nodes(tree: Any, names: Sequence[str], rate: float) -> list[list[Any]]:
    return [
        [round(float(value * rate), DIGITS)]
        if left < 0
        else [names[feature], round(float(threshold), DIGITS), int(left), int(right)]
        for left, right, feature, threshold, value in zip(
            tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.value[:, 0, 0], strict=True
        )
    ]


# -- answers broken on purpose --------------------------------------------------------------------


def damaged(rows: Sequence[Mapping[str, Any]]) -> list[Broken]:
    """(rows it is made of, answer, grade) of every answer whole, and broken in ways that models break, graded by how far.

    The grade is that of what was done: half an answer's words shuffled is half an answer left.
    """
    made: list[Broken] = []
    for number, row in enumerate(rows):
        rng = np.random.default_rng(derive_seed("damaged", row["id"]))
        other = rows[int(rng.integers(len(rows)))]
        whole = row["response"]
        made.append(((row,), whole, 100.0))
        break_it = _BREAKS[number % len(_BREAKS)]
        made.append(((row, other), *break_it(rng, whole, other["response"])))
    return made


def _cut(rng: np.random.Generator, whole: str, _other: str) -> tuple[str, float]:
    words = whole.split()
    share = float(rng.uniform(0.1, 0.95))
    return " ".join(words[: max(1, int(share * len(words)))]).rstrip(".,;:!?"), 30 + 55 * share


def _loop(rng: np.random.Generator, whole: str, _other: str) -> tuple[str, float]:
    words = whole.split()
    start, size = int(rng.integers(max(1, len(words) // 2))), int(rng.integers(2, 14))
    times = int(rng.choice(_LOOP))
    before = " ".join(words[:start])
    return f"{before} {' '.join(words[start : start + size] * times)}".strip(), {2: 70.0, 4: 40.0, 8: 10.0}[times]


def _shuffle(rng: np.random.Generator, whole: str, _other: str) -> tuple[str, float]:
    words = whole.split()
    share = float(rng.choice(_WORDS_SHUFFLED))
    places = rng.permutation(len(words))[: int(share * len(words))]
    moved = list(words)
    for place, source in zip(places, rng.permutation(places), strict=True):
        moved[place] = words[source]
    return " ".join(moved), 80 - 70 * share


def _garble(rng: np.random.Generator, whole: str, _other: str) -> tuple[str, float]:
    share = float(rng.choice(_GARBLED))
    words = [_garbled(rng, word) if rng.random() < share else word for word in whole.split()]
    return " ".join(words), 80 - 80 * share


def _garbled(rng: np.random.Generator, word: str) -> str:
    kind = int(rng.integers(3))
    if kind == 0:
        return "".join(rng.permutation(list(word)))
    return word[: len(word) // 2] + ("]}" if kind == 1 else "<|") + word[len(word) // 2 :]


def _stray(rng: np.random.Generator, whole: str, other: str) -> tuple[str, float]:
    words = whole.split()
    share = max(0.0, float(rng.uniform(-0.6, 0.6)))  # half of them have nothing left of the answer
    return " ".join([*words[: int(share * len(words))], *other.split()]), 10 + 60 * share


def _fade(rng: np.random.Generator, whole: str, _other: str) -> tuple[str, float]:
    words = whole.split()[: int(rng.integers(0, 4))]
    return " ".join(words), 15.0 * len(words) if words else 0.0


_BREAKS: tuple[Callable[[np.random.Generator, str, str], tuple[str, float]], ...] = (
    _cut,
    _loop,
    _shuffle,
    _garble,
    _stray,
    _fade,
)
