"""What a router learns from labelled texts: its models, and on rows kept from them, its policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neural_network import MLPClassifier

from router.calibration import calibration_error, threshold_for_outliers, threshold_for_risk
from router.classifier import nearest
from router.lexical import BUCKETS
from router.text import CalibratedThreshold, Policy, log_odds

FOLDS = 4
OUTLIERS = 0.06  # of held-back rows of no cohort, accepted at most
RISK = 0.015  # of all accepted held-back rows, wrong at most
SEMANTIC_RISK = 0.0  # the same for the semantic layer: what it is not sure of, the next layer looks at
CENTROIDS = 16  # of a class at most
HIDDEN = 256
SEED = 0

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts as the serving encoder reads them: `embeddings` (n, 384), `counts` (n, BUCKETS), `labels`, `groups`."""

    embeddings: Floats
    counts: csr_matrix
    labels: Labels
    groups: npt.NDArray[np.str_]

    def __getitem__(self, which: npt.NDArray[Any]) -> Rows:
        return Rows(self.embeddings[which], self.counts[which], self.labels[which], self.groups[which])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Models:
    """What is fitted: the head on embeddings, the lexical model, the centroids."""

    head: MLPClassifier
    rarity: Floats
    lexical: LogisticRegression
    centroids: Floats
    owners: Labels

    def probable(self, rows: Rows) -> npt.NDArray[np.float64]:
        lexical = self.lexical.predict_proba(_weighted(rows.counts, self.rarity))
        mean: npt.NDArray[np.float64] = (self.head.predict_proba(rows.embeddings) + lexical) / 2
        return mean

    def near(self, rows: Rows) -> npt.NDArray[np.float64]:
        return np.stack([nearest(row, self.centroids, self.owners) for row in rows.embeddings]).astype(np.float64)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        weights, bias = _of_each_class(self.lexical.coef_.T, self.lexical.intercept_)
        return {
            "rarity": self.rarity,
            "weights": weights,
            "bias": bias,
            "centroids": self.centroids,
            "owners": self.owners,
        }

    @property
    def layers(self) -> list[tuple[Floats, Floats]]:
        pairs = zip(self.head.coefs_, self.head.intercepts_, strict=True)
        return [_of_each_class(weights, bias) for weights, bias in pairs]


def _of_each_class(weights: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    """(inputs, outputs) and (outputs,). Of two classes scikit-learn keeps the second alone, whose sigmoid is the
    softmax over zero and it."""
    if len(bias) == 1:
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.append(0.0, bias)
    return weights.astype(np.float32), bias.astype(np.float32)


def fit(rows: Rows) -> Models:
    head = MLPClassifier((HIDDEN,), alpha=1e-3, early_stopping=True, max_iter=60, random_state=SEED)
    head.fit(rows.embeddings, rows.labels)
    rarity = _rarity(rows.counts)
    lexical = LogisticRegression(C=30, solver="saga", max_iter=100, tol=1e-2, random_state=SEED)
    lexical.fit(_weighted(rows.counts, rarity), rows.labels)
    return Models(head, rarity, lexical, *_centroids(rows))


def _rarity(counts: csr_matrix) -> Floats:
    """Inverse document frequency, smoothed; 0 for what occurs in one row only."""
    seen = np.bincount(counts.indices, minlength=BUCKETS)
    rarity = np.log((1 + counts.shape[0]) / (1 + seen)) + 1
    return np.where(seen > 1, rarity, 0).astype(np.float32)


def _weighted(counts: csr_matrix, rarity: Floats) -> csr_matrix:
    """Rows of length 1, as `Lexical.probabilities` makes them."""
    weighted = counts.multiply(rarity).tocsr()
    length = np.sqrt(weighted.multiply(weighted).sum(axis=1)).A1
    return weighted.multiply(1 / np.maximum(length, 1e-12)[:, None]).tocsr()


def _centroids(rows: Rows) -> tuple[Floats, Labels]:
    """k-means of each class, of length 1."""
    found, owners = [], []
    for label in np.unique(rows.labels):
        members = rows.embeddings[rows.labels == label]
        centres = KMeans(min(CENTROIDS, max(1, len(members) // 10)), n_init=1, random_state=SEED).fit(members)
        found.append(centres.cluster_centers_ / np.linalg.norm(centres.cluster_centers_, axis=1, keepdims=True))
        owners += [label] * len(found[-1])
    return np.concatenate(found).astype(np.float32), np.array(owners, np.int64)


def held_back(rows: Rows, report: Report) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probabilities and cosines of each row, (n, classes), by models that have not seen its group."""
    probable = np.zeros((len(rows), int(rows.labels.max()) + 1))
    near = np.zeros_like(probable)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for number, (seen, unseen) in enumerate(folds.split(rows.embeddings, rows.labels, rows.groups)):
        report(number / FOLDS, f"fitting, part {number + 1} of {FOLDS + 1}")
        models = fit(rows[seen])
        probable[unseen], near[unseen] = models.probable(rows[unseen]), models.near(rows[unseen])
    return probable, near


def policy(
    probable: npt.NDArray[np.float64], near: npt.NDArray[np.float64], labels: Labels
) -> tuple[Policy, dict[str, Any]]:
    """Gates fitted on held-back scores, and what they give there. The last class is "base"."""
    base = probable.shape[1] - 1
    likely, share = _best(probable, base)
    closest, cosine = _best(near, base)
    semantic = _gate(np.stack([cosine, _margin(near, closest)], 1), closest == labels)
    any_cohort = 1 - probable[:, base]
    classifier = _gate(np.stack([_odds(share), _odds(any_cohort), _margin(near, likely)], 1), likely == labels)
    limit = threshold_for_risk(semantic.confidence, closest == labels, SEMANTIC_RISK)
    threshold = max(
        threshold_for_outliers(classifier.confidence[labels == base], OUTLIERS),
        threshold_for_risk(classifier.confidence, likely == labels, RISK),
    )
    first = semantic.confidence >= limit
    chosen = np.where(first, closest, likely)
    confidence = np.where(first, semantic.confidence, classifier.confidence)
    accepted, inside = first | (confidence >= threshold), labels < base
    facts = {
        "coverage": float(accepted[inside].mean()),
        "accuracy": float((chosen == labels)[accepted & inside].mean()) if accepted[inside].any() else None,
        "ood_accepted": float(accepted[~inside].mean()),
        "semantic": float(first.mean()),
        "calibration_error": calibration_error(confidence, chosen == labels),
    }
    return Policy(semantic.gate(limit), classifier.gate(threshold)), facts


def _best(scores: npt.NDArray[np.float64], base: int) -> tuple[Labels, npt.NDArray[np.float64]]:
    """The best cohort of each row, and its score."""
    return scores[:, :base].argmax(1), scores[:, :base].max(1)


def _margin(near: npt.NDArray[np.float64], of: Labels) -> npt.NDArray[np.float64]:
    """As `Reading.margin`."""
    rows, rivals = np.arange(len(near)), near.copy()
    rivals[rows, of] = -1
    margin: npt.NDArray[np.float64] = near[rows, of] - rivals.max(1)
    return margin


def _odds(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.array([log_odds(share) for share in shares])


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Platt scaling fitted to features of rows, and the confidences it gives them."""

    confidence: npt.NDArray[np.float64]
    weights: tuple[float, ...]
    bias: float

    def gate(self, threshold: float) -> CalibratedThreshold:
        return CalibratedThreshold(self.weights, self.bias, threshold)


def _gate(features: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> _Scaled:
    fitted = LogisticRegression(C=1e3).fit(features, right)
    weights, bias = tuple(map(float, fitted.coef_[0])), float(fitted.intercept_[0])
    return _Scaled(fitted.predict_proba(features)[:, 1], weights, bias)
