"""When to explore, and whom to promote."""

import pytest

from nas.errors import SettingsError
from nas.promotion import EXPLORING, Waiting, next_step

QUEUE = (Waiting(3, 0.1), Waiting(5, 0.9), Waiting(8, 0.9))


def test_explores_for_its_share_first() -> None:
    assert next_step(QUEUE, 0.0, 10.0).promote is None
    assert next_step(QUEUE, EXPLORING * 10 - 0.1, 10.0).promote is None
    assert next_step(QUEUE, EXPLORING * 10, 10.0).promote is not None


def test_promotes_the_most_promising_and_of_equals_the_elder() -> None:
    step = next_step(QUEUE, 9.0, 10.0)
    assert step.promote == 5
    assert step.reason == "expected to be the best of 3 that wait"
    assert next_step(QUEUE[::-1], 9.0, 10.0).promote == 5


def test_a_higher_total_explores_further() -> None:
    assert next_step(QUEUE, 5.0, 10.0).promote == 5
    step = next_step(QUEUE, 5.0, 20.0)
    assert step.promote is None
    assert step.reason == "5 of 10 spent on exploring"


def test_the_last_exploration_stays_within_the_share() -> None:
    assert next_step(QUEUE, 4.8, 10.0, price=0.2).promote is None
    assert next_step(QUEUE, 4.9, 10.0, price=0.2).promote == 5
    assert next_step(QUEUE, 3 * 0.1, 0.8, price=0.1).promote is None  # 0.30000000000000004 + 0.1


def test_proposes_where_nobody_waits() -> None:
    assert next_step((), 9.0, 10.0).promote is None


@pytest.mark.parametrize(("explored", "total"), [(0.0, 0.0), (-1.0, 5.0)])
def test_refuses_impossible_costs(explored: float, total: float) -> None:
    with pytest.raises(SettingsError, match="must be above 0"):
        next_step(QUEUE, explored, total)
