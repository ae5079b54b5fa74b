"""How often do the proofs of gate and attribution prove what is not so? `python bench/proofs.py [--draws 400]`.

Draws eval rows from made-up truths and asks the code that judges releases. At the edge of a claim (the whole margin
is lost, nothing is gained) a proof at 5 % may come out in 5 of 100 draws; beside it what resampling alone would
prove. Then: how often the number of rows that an open verdict names settles it (four of five are promised), and how
often a learning curve's interval of what a part gains over the base holds the true gain, when another seed moves a
training by SEED_SPREAD (95 of 100 would be right). Prints tables and one JSON line; two minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapters import curve, scorecard
from adapters.curve import Point
from adapters.equivalence import rows_needed

MARGIN = 0.02
SEED_SPREAD = 0.04
EVAL_ROWS = 84
SEEDS = (1, 2, 3, 5)
Scores = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Scores]


@dataclass(frozen=True, slots=True)
class Edge:
    """Differences of scores at the edge of "the mean is below `beyond`", and how many rows are asked."""

    name: str
    draw: Draw
    rows: int
    beyond: float
    level: float = scorecard.LEVEL


def of_shares(*shares: tuple[float, float]) -> Draw:
    """Rows that differ by so much, of such shares; the others do not differ."""
    values, chances = zip(*shares, (0.0, 1 - sum(share for _, share in shares)), strict=True)
    return lambda rng, rows: rng.choice(np.asarray(values), rows, p=chances)


EDGES = (
    Edge("2 of 100 lost", of_shares((1.0, 0.02)), 149, MARGIN),
    Edge("3 lost, 1 won", of_shares((1.0, 0.03), (-1.0, 0.01)), 149, MARGIN),
    Edge("2 of 100 lost, two arms", of_shares((1.0, 0.02)), 183, MARGIN, scorecard.LEVEL / 2),
    Edge("2 of 100 lost, six arms", of_shares((1.0, 0.02)), 237, MARGIN, scorecard.LEVEL / 6),
    Edge("as many won as lost", of_shares((1.0, 0.2), (-1.0, 0.2)), EVAL_ROWS, 0.0),
    Edge("few differ", of_shares((1.0, 0.03), (-1.0, 0.03)), EVAL_ROWS, 0.0),
    Edge("all by 2, one of 51 by 100", of_shares((-0.02, 50 / 51), (1.0, 1 / 51)), EVAL_ROWS, 0.0),
)


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--draws", type=int, default=400)
    draws = wanted.parse_args().draws
    rng = np.random.default_rng(7)
    print(f"{'at the edge of the claim':30}{'rows':>6}{'level':>8}{'proven':>9}{'by resampling alone':>21}")
    errors = {edge.name: error_rates(edge, draws, rng) for edge in EDGES}
    print(f"\n{'rows that would settle it':30}{'settle':>9}")
    power = {name: settled(name, share, draws, rng) for name, share in (("gains 10", 0.1), ("gains 20", 0.2))}
    print(f"\n{'interval of a gain, seeds':30}{'holds it':>9}")
    coverage = {str(seeds): covered(seeds, draws, rng) for seeds in SEEDS}
    print(json.dumps({"bench": "proofs", "draws": draws, "errors": errors, "power": power, "coverage": coverage}))


def error_rates(edge: Edge, draws: int, rng: np.random.Generator) -> list[float]:
    """Of the proof, and of the bootstrap that is a part of it."""
    proven = resampled = 0
    for _ in range(draws):
        differences = edge.draw(rng, edge.rows)
        proven += scorecard.doubt(list(differences), edge.beyond) <= edge.level
        resampled += float(np.mean(scorecard.means(differences) >= edge.beyond)) <= edge.level
    found = [round(proven / draws, 4), round(resampled / draws, 4)]
    print(f"{edge.name:30}{edge.rows:6}{100 * edge.level:7.2f}%{100 * found[0]:8.1f}%{100 * found[1]:20.1f}%")
    return found


def settled(name: str, share: float, draws: int, rng: np.random.Generator) -> float:
    """As often as rows of that gain, of which two of five differ, are enough when they are as many as was said."""
    draw = of_shares((1.0, 0.2 + share / 2), (-1.0, 0.2 - share / 2))
    seen = [1.0] * round(4 + 10 * share) + [-1.0] * round(4 - 10 * share) + [0.0] * 12
    needed = rows_needed(seen, 0.0) or 0
    enough = sum(scorecard.doubt(list(-draw(rng, needed)), 0.0) <= scorecard.LEVEL for _ in range(draws)) / draws
    print(f"{f'{name} points: {needed}':30}{100 * enough:8.1f}%")
    return round(enough, 4)


def covered(seeds: int, draws: int, rng: np.random.Generator) -> float:
    """A part whose trainings have 70 of 100 in the mean; the same rows are hard for all of them."""
    held = 0
    for _ in range(draws):
        hard = rng.random(EVAL_ROWS)
        rights = 0.7 + SEED_SPREAD * rng.standard_normal(seeds)
        points = [Point(100, seed, list((hard < right) * 1.0)) for seed, right in enumerate(rights)]
        gain = curve.curve(points, [0.0] * EVAL_ROWS).gain
        held += gain.low <= 0.7 <= gain.high
    print(f"{seeds:<30}{100 * held / draws:8.1f}%")
    return round(held / draws, 4)


if __name__ == "__main__":
    main()
