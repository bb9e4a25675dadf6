import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.bundle.limits import MAX_MEMBERS
from nas.errors import SettingsError
from nas.finals import (
    MOST_SEEDS,
    PATIENT_DIVISIONS,
    Final,
    FinalsSettings,
    by_patient,
    chosen_divisions,
    comparing,
    deepening,
    standings,
)

FOUND = ["patients-1", "patients-2", "patients-3", "patients-4", "patients-5", "domain-a"]


def test_finals_leave_out_what_the_search_validated_on() -> None:
    assert chosen_divisions(FOUND, "patients-1") == (
        "patients-2", "patients-3", "patients-4", "domain-a",
    )  # fmt: skip
    assert chosen_divisions(["val", *FOUND], "val")[0] == "patients-1"


@pytest.mark.parametrize(
    ("found", "searched", "expected"),
    [
        (["val"], "val", ("val",)),
        (["patients-1"], "patients-1", ("patients-1",)),
        (["patients-1", "patients-2"], "patients-1", ("patients-2",)),
        (["val", "domain-a"], "val", ("domain-a",)),
    ],
)
def test_few_divisions(found: list[str], searched: str, expected: tuple[str, ...]) -> None:
    assert chosen_divisions(found, searched) == expected


def test_at_most_three_of_each_kind() -> None:
    many = [f"patients-{n}" for n in range(1, 7)] + [f"domain-{n}" for n in range(9)]
    chosen = chosen_divisions(many, "patients-3")
    assert chosen[:3] == ("patients-1", "patients-2", "patients-4")
    assert len(chosen) == 6


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_everybody_is_trained_once_on_every_division_with_the_same_seeds(
    trials: list[int], count: int, seeds: int
) -> None:
    divisions = [f"patients-{n}" for n in range(count)]
    plan = comparing(trials, divisions, seeds)
    assert len(set(plan)) == len(plan) == len(trials) * count
    for division in divisions:
        here = [final for final in plan if final.division == division]
        assert {final.trial for final in here} == set(trials)
        assert len({final.seed for final in here}) == 1
    assert {final.seed for final in plan} == set(range(min(seeds, count)))
    more = set(deepening(trials[0], divisions, seeds))
    assert len(more) == count * seeds
    assert len(more - set(plan)) == count * (seeds - 1)


def test_members_are_those_by_patient() -> None:
    divisions = ("patients-2", "domain-a", "val")
    assert by_patient(divisions) == ("patients-2", "val")
    assert {final.division for final in deepening(4, divisions, 2)} == {"patients-2", "val"}


def scored(table: dict[int, list[float]]) -> dict[Final, float]:
    return {
        Final(trial, f"patients-{place}", place): score
        for trial, scores in table.items()
        for place, score in enumerate(scores)
    }


def test_the_order_is_by_what_is_ahead_less_its_error() -> None:
    ranked = standings(scored({1: [0.9, 0.8, 0.7], 2: [0.91, 0.81, 0.71], 3: [0.99, 0.86, 0.60]}))
    # 3 has the highest mean, 0.8167, but its lead is luck of one division.
    assert [one.trial for one in ranked] == [2, 1, 3]
    first = ranked[0]
    common = [(0.9 + 0.91 + 0.99) / 3, (0.8 + 0.81 + 0.86) / 3, (0.7 + 0.71 + 0.6) / 3]
    above = [own - mean for own, mean in zip([0.91, 0.81, 0.71], common, strict=True)]
    assert first.mean == pytest.approx(0.81)
    assert first.ahead == pytest.approx(statistics.mean(above))
    assert first.error == pytest.approx(statistics.stdev(above) / 3**0.5)
    assert first.to_json()["sure"] == pytest.approx(first.ahead - first.error)


@given(
    st.dictionaries(
        st.integers(0, 9),
        st.lists(st.floats(0, 1), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4),
)
def test_how_hard_a_division_is_changes_no_order(
    table: dict[int, list[float]], harder: list[float]
) -> None:
    ranked = standings(scored(table))
    assert sum(one.ahead for one in ranked) == pytest.approx(0, abs=1e-9)
    moved = {t: [a + b for a, b in zip(s, harder, strict=True)] for t, s in table.items()}
    for one in standings(scored(moved)):
        same = next(other for other in ranked if other.trial == one.trial)
        assert one.ahead == pytest.approx(same.ahead, abs=1e-9)
        assert one.error == pytest.approx(same.error, abs=1e-9)


def test_who_failed_somewhere_is_last() -> None:
    scores = scored({1: [0.9, 0.9], 2: [0.99, 0.99]})
    del scores[Final(2, "patients-1", 1)]
    assert [one.trial for one in standings(scores)] == [1, 2]
    assert standings({}) == []
    only = standings({Final(7, "val", 0): 0.5})
    assert (only[0].trial, only[0].ahead, only[0].error) == (7, 0.0, 0.0)


@pytest.mark.parametrize("name", ["finalists", "epochs", "seeds"])
def test_settings_are_at_least_1(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be at least 1, but is 0"):
        FinalsSettings(**{name: 0})


def test_a_model_has_room_for_all_members() -> None:
    assert PATIENT_DIVISIONS * MOST_SEEDS <= MAX_MEMBERS
    with pytest.raises(SettingsError, match="--finals-seeds must be at most 10, but is 11"):
        FinalsSettings(seeds=11)
