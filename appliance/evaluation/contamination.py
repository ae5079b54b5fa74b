"""Eval rows that were learned from: a release had them, or nearly, among its rows before they came into an eval set.

Its answers to them may be memory, so they count for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from adapters.slice import NearDuplicates, Row, Slice
from appliance.errors import SetupError
from appliance.evaluation.arms import Arm
from appliance.evaluation.material import Material
from appliance.releases.register import Releases
from appliance.serving import Serving
from appliance.store import slices as slice_rows
from appliance.store.releases import Release
from appliance.store.slices import SliceRow

NOT_CHECKED = "whether releases learned from what are eval rows by now is not checked: make train-tools"


class Contamination:
    """Of what is there still: rows that were erased since cannot be looked for."""

    def __init__(self, serving: Serving, material: Material, rows: Sequence[Row]) -> None:
        """`rows`: the eval rows of all cohorts. Raises SetupError without the training packages."""
        self._serving, self._material = serving, material
        self._judged = near_duplicates(rows)
        self._found: dict[str, frozenset[str]] = {}

    def gone(self, release: Release) -> int:
        """How many rows that the release, or one that it was begun from, learned from cannot be looked for."""
        line = (release, *ancestors(self._serving.releases, release))
        return sum(len(training_rows(self._serving, self._material, one)[1]) for one in line)

    def learned(self, release: Release) -> frozenset[str]:
        """The digests of the eval rows that the release, or one that it was begun from, learned from."""
        if release.digest not in self._found:
            line = (release, *ancestors(self._serving.releases, release))
            slices = [training_rows(self._serving, self._material, one)[0] for one in line]
            rows = {row.digest: row for slice_ in slices for row in (*slice_.train, *slice_.validation)}
            near = (known for row in rows.values() for known in self._judged.like(row))
            self._found[release.digest] = frozenset(known.digest for known in near)
        return self._found[release.digest]


def of_arm(serving: Serving, arm: Arm, known: Contamination | None) -> tuple[frozenset[str], str]:
    """What the release behind an arm learned from, and what to say of it."""
    release = next((one for one in serving.releases.all() if one.digest == arm.digest), None)
    if release is None or "slice" not in release.manifest:
        return frozenset(), ""
    if known is None:
        return frozenset(), NOT_CHECKED
    learned = known.learned(release)
    return learned, says({release.name: len(learned)})


def near_duplicates(rows: Iterable[Row]) -> NearDuplicates:
    """Raises SetupError without the training packages."""
    try:
        return NearDuplicates(rows)
    except ModuleNotFoundError as error:
        raise without_tools(error) from error


def without_tools(error: ModuleNotFoundError) -> SetupError:
    return SetupError(f"training wants packages of its own ({error.name}): make train-tools")


def says(learned: Mapping[str, int]) -> str:
    """By release, of how many eval rows."""
    counts = ", ".join(f"{count} of {name}" for name, count in learned.items() if count)
    return f"eval rows that do not count, since they were learned from, or nearly: {counts}" if counts else ""


def ancestors(releases: Releases, release: Release) -> list[Release]:
    """The releases it was begun from, nearest first."""
    known = {r.digest: r for r in releases.all()}
    found: list[Release] = []
    while release.parent in known and len(found) < len(known):
        release = known[release.parent]
        found.append(release)
    return found


def training_rows(serving: Serving, material: Material, release: Release) -> tuple[Slice, list[SliceRow]]:
    """What a release was trained on, of what is still there; and the rows that are not."""
    with serving.database.read() as connection:
        rows = slice_rows.rows(connection, release.manifest.get("slice", ""))
    known = material.named([row.row for row in rows], release.cohort)

    def part(name: str) -> tuple[Row, ...]:
        return tuple(known[row.row] for row in rows if row.part == name and row.row in known)

    slice_ = Slice(release.cohort, part("train"), part("validation"))
    return slice_, [row for row in rows if row.row not in known]
