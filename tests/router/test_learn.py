"""What is fitted to few classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import softmax

from router import learn
from router.lexical import BUCKETS


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_class_has_its_weights(classes: int) -> None:
    """Of two, as of a single cohort and of none, scikit-learn keeps one column."""
    chance = np.random.default_rng(1)
    labels = np.arange(60) % classes
    counts = np.zeros((60, BUCKETS), np.float32)
    counts[:, :8] = chance.poisson(1.0, (60, 8)) + 2 * np.eye(8)[labels]
    embeddings = (chance.normal(size=(60, 384)) + 3 * np.eye(384)[labels]).astype(np.float32)
    rows = learn.Rows(embeddings, csr_matrix(counts), labels, labels.astype(str))
    models = learn.fit(rows)
    arrays, (_, (weights, bias)) = models.arrays, models.layers
    assert arrays["weights"].shape == (BUCKETS, classes) and weights.shape == (learn.HIDDEN, classes)
    assert arrays["bias"].shape == bias.shape == (classes,)
    given = learn._weighted(rows.counts, models.rarity)
    mine = softmax(given @ arrays["weights"] + arrays["bias"], axis=1)
    assert np.abs(mine - models.lexical.predict_proba(given)).max() < 1e-5
