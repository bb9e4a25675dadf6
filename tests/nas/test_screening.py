"""Pre-screening discards a bounded share, and only what is worse than everything that stays."""

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import SettingsError
from nas.screening import keep

Row = dict[str, float]

# Few different values, so that ties are many.
TABLES = st.lists(
    st.fixed_dictionaries({name: st.integers(-3, 3).map(float) for name in ("a", "b", "c")}),
    max_size=25,
)
SHARES = st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.75])


def figure(rows: list[Row], row: Row) -> float:
    """Straight from the definition: a rank is 1 + those above + half of the other equals."""
    logs = []
    for name, value in row.items():
        above = sum(other[name] > value for other in rows)
        equal = sum(other[name] == value for other in rows)
        logs.append(math.log(above + (equal + 1) / 2))
    return sum(logs) / len(logs)


@given(TABLES, SHARES)
def test_discards_the_worst_and_never_more_than_the_share(rows: list[Row], share: float) -> None:
    kept = keep(rows, share)
    assert kept == sorted(set(kept))
    gone = set(range(len(rows))) - set(kept)
    assert len(gone) <= share * len(rows) + 1e-9
    figures = [figure(rows, row) for row in rows]
    best_gone = min((figures[place] for place in gone), default=math.inf)
    assert all(figures[place] < best_gone - 1e-9 for place in kept)
    # One more and the share is passed, or all that are equal at the border would have to go.
    if kept:
        border = max(figures[place] for place in kept)
        equals = sum(value > border - 1e-9 for value in figures) - len(gone)
        assert len(gone) + equals > math.floor(share * len(rows) + 1e-9)


@given(TABLES, SHARES)
def test_depends_on_ranks_alone(rows: list[Row], share: float) -> None:
    """Neither the order of rows nor a rising function of a proxy changes who goes."""
    kept = keep(rows, share)
    bent = [{**row, "a": math.exp(row["a"]), "b": 5 * row["b"] - 1} for row in rows]
    assert keep(bent, share) == kept
    turned = keep(rows[::-1], share)
    assert [len(rows) - 1 - place for place in reversed(turned)] == kept


def test_exactly_the_share_goes_where_nothing_is_equal() -> None:
    rows = [{"parameters": float(value)} for value in range(100)]
    assert keep(rows, 0.29) == list(range(29, 100))
    assert keep(rows, 0) == list(range(100))


def test_whoever_is_best_by_one_proxy_is_spared() -> None:
    """Its mean rank is 7 and that of row 5 is 5.3, but row 5 goes."""
    others = [dict.fromkeys("abc", float(value)) for value in range(1, 10)]
    rows = [{"a": 10.0, "b": 0.0, "c": 0.0}, *others]
    assert keep(rows, 0.5) == [0, 6, 7, 8, 9]


def test_the_same_ranks_by_other_proxies_are_equal() -> None:
    """Whatever the order in which their logarithms are added up."""
    rows = [dict(zip("abcd", map(float, values), strict=True)) for values in permutations(range(4))]
    assert all(keep(rows, share / 24) == list(range(24)) for share in range(24))


def test_nothing_to_screen() -> None:
    assert keep([], 0.5) == []
    assert keep([{"a": 1.0}], 0.75) == [0]
    assert keep([{"a": 1.0}] * 4, 0.75) == [0, 1, 2, 3]


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_refuses_an_impossible_share(share: float) -> None:
    with pytest.raises(SettingsError, match="share to discard must be in"):
        keep([{"a": 1.0}], share)


@pytest.mark.parametrize("rows", [[{}], [{"a": 1.0}, {"b": 1.0}], [{"a": 1.0}, {}]])
def test_refuses_rows_that_do_not_compare(rows: list[Row]) -> None:
    with pytest.raises(SettingsError, match="must have the same proxies"):
        keep(rows, 0.5)


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(SettingsError, match="must be finite, but b of row 1 is nan"):
        keep([{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": math.nan}], 0.5)
