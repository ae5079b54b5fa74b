"""A served change that is not the trained one is found; noise of quantised activations is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from adapters.parity import Logits, compare

RNG = np.random.default_rng(7)
BASE = RNG.normal(size=(40, 500)).astype(np.float32)
CHANGE = RNG.normal(size=(40, 500)).astype(np.float32)


def noise(size: float) -> Logits:
    return (size * RNG.normal(size=BASE.shape)).astype(np.float32)


def faults(served: Logits, served_base: Logits) -> list[str]:
    return compare(BASE + CHANGE, BASE, served, served_base).faults


def test_noise_passes() -> None:
    assert faults(BASE + CHANGE + noise(0.07), BASE + noise(0.07)) == []


@pytest.mark.parametrize("scale", [0.0, 0.5, 2**0.5, 2.0])
def test_another_scale_does_not(scale: float) -> None:
    assert any("times the trained one" in fault or "change" in fault for fault in faults(BASE + scale * CHANGE, BASE))


@pytest.mark.parametrize(("size", "found"), [(0.1, 0), (0.3, 1)])
def test_the_base_may_differ_by_so_much_and_no_more(size: float, found: int) -> None:
    other = BASE + noise(size)
    assert len(faults(other + CHANGE, other)) == found


@pytest.mark.parametrize(("size", "found"), [(0.4, 0), (0.6, 1)])
def test_the_change_may_differ_by_so_much_and_no_more(size: float, found: int) -> None:
    assert len(faults(BASE + CHANGE + noise(size), BASE)) == found


def test_rows_in_another_order_do_not() -> None:
    assert any("adapter's change" in fault for fault in faults(BASE + CHANGE[:, ::-1], BASE))


def test_another_base_does_not() -> None:
    other = RNG.permutation(BASE, axis=1)
    assert any("the base's logits" in fault for fault in faults(other + CHANGE, other))


def test_values_that_are_not_finite_do_not() -> None:
    broken = BASE + CHANGE
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        faults(broken, BASE)


def test_an_adapter_that_changes_nothing_has_nothing_to_compare() -> None:
    assert compare(BASE, BASE, BASE + noise(0.01), BASE + noise(0.01)).faults == []


def test_a_constant_for_a_row_changes_no_probability() -> None:
    shifted = BASE + np.float32(5.0)
    assert faults(shifted + CHANGE, shifted) == []


def test_other_tokens_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="another vocabulary"):
        compare(BASE, BASE, BASE[:, :-1], BASE[:, :-1])
