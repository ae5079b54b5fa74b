"""A fitted router: encoder, cohort head, lexical model and centroids, read from an artefact's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from router.encoder import Encoded, Encoder
from router.lexical import Lexical
from router.text import Policy, Reading

Floats = npt.NDArray[np.float32]


class FittedRouter:
    """Implements `router.text.TextRouter`. `classes` are the cohorts it was made for, "base" last."""

    def __init__(
        self,
        version: str,
        manifest: Mapping[str, Any],
        policy: Policy,
        encoder: Encoder,
        arrays: Mapping[str, Floats],
        plain: Encoder | None = None,
    ) -> None:
        """`arrays`: rarity, weights and bias of the lexical model; centroids (n, 384) and the class of each. `plain`
        is the encoder as packaged, for embeddings; by default the same."""
        self.version, self.manifest, self.policy, self.encoder = version, dict(manifest), policy, encoder
        self.plain = plain or encoder
        self.classes: tuple[str, ...] = tuple(manifest["classes"])
        self._lexical = Lexical(arrays["rarity"], arrays["weights"], arrays["bias"])
        self._centroids, self._owners = arrays["centroids"], arrays["owners"].astype(np.int64)

    def at(self, threshold: float) -> FittedRouter:
        """The same router with another threshold of the classifier."""
        changed = copy(self)
        changed.policy = replace(self.policy, classifier=replace(self.policy.classifier, threshold=threshold))
        return changed

    def read(self, text: str) -> Reading:
        found = self.encoder.encode(text)
        near, probable = nearest(found.embedding, self._centroids, self._owners), self.probabilities(found)
        return Reading(
            near=dict(zip(self.classes, map(float, near), strict=True)),
            probable=dict(zip(self.classes, map(float, probable), strict=True)),
        )

    def probabilities(self, found: Encoded) -> npt.NDArray[np.float64]:
        """The plain mean of both models, which err apart."""
        return (found.head + self._lexical.probabilities(found.ids, found.text)) / 2


def nearest(embedding: Floats, centroids: Floats, owners: npt.NDArray[np.int64]) -> Floats:
    """Per class the cosine to its nearest centroid."""
    cosines = centroids @ embedding
    best = np.full(int(owners.max()) + 1, -1.0, np.float32)
    np.maximum.at(best, owners, cosines)
    return best
