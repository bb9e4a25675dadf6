"""Passes that several images share."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from nas.images import Pixels
from nas.predictor import Prediction, Predictor
from serve.batcher import Batcher

PATIENCE_S = 30
BAD = 255


class Model:
    """Predicts the first pixel, and remembers how many images each pass had."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.held = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def predict_pixels(self, images: Pixels) -> list[Prediction]:
        self.passes.append(len(images))
        self.held.set()
        assert self.go.wait(PATIENCE_S)
        first = [int(image.flat[0]) for image in images]
        if BAD in first:
            raise ValueError("bad")
        return [Prediction(str(value), 1.0, {}) for value in first]


def pixels(value: int) -> Pixels:
    return np.full((1, 2, 2), value, dtype=np.uint8)


@contextmanager
def batcher(*arguments: Any, **options: Any) -> Iterator[Batcher]:
    made = Batcher(*arguments, **options)
    try:
        yield made
    finally:
        made.close()


def ask(batcher: Batcher, model: Any, value: int) -> "Future[Prediction]":
    return batcher.predict(model, pixels(value))


def labels(futures: "list[Future[Prediction]]") -> list[str]:
    return [future.result(PATIENCE_S).label for future in futures]


@contextmanager
def busy(batcher: Batcher, model: Model) -> Iterator[None]:
    """One image is being computed, until the end of the block."""
    model.go.clear()
    first = ask(batcher, model, 0)
    assert model.held.wait(PATIENCE_S)
    try:
        yield
    finally:
        model.go.set()
    assert first.result(PATIENCE_S).label == "0"


def test_what_arrives_during_a_pass_shares_the_next_one() -> None:
    model = Model()
    with batcher(4, 0.0) as one:
        with busy(one, model):
            futures = [ask(one, model, value) for value in range(1, 8)]
            assert len(one) == 7
        assert labels(futures) == [str(value) for value in range(1, 8)]
    assert model.passes == [1, 4, 3]


def test_a_lone_image_does_not_wait() -> None:
    with batcher(4, 1e6, arriving=lambda: 1) as one:
        assert labels([ask(one, Model(), 5)]) == ["5"]


def test_where_more_is_on_its_way_it_waits_for_it() -> None:
    model = Model()
    with batcher(3, 1e6, arriving=lambda: 3) as one:
        futures = [ask(one, model, value) for value in range(3)]
        assert labels(futures) == ["0", "1", "2"]
    assert model.passes == [3]


def test_it_does_not_wait_longer_than_it_may() -> None:
    with batcher(3, 0.001, arriving=lambda: 3) as one:
        assert labels([ask(one, Model(), 9)]) == ["9"]


def test_an_image_at_fault_does_not_hurt_those_beside_it() -> None:
    model = Model()
    with batcher(8, 0.0) as one:
        with busy(one, model):
            futures = [ask(one, model, value) for value in (1, BAD, 2)]
        assert labels([futures[0], futures[2]]) == ["1", "2"]
        with pytest.raises(ValueError, match="bad"):
            futures[1].result(PATIENCE_S)
    assert model.passes == [1, 3, 1, 1, 1]


def test_models_do_not_share_a_pass_and_keep_their_turn() -> None:
    model, other = Model(), Model()
    with batcher(8, 0.0) as one:
        with busy(one, model):
            futures = [ask(one, which, v) for v, which in enumerate([model, other, model], 1)]
        assert labels(futures) == ["1", "2", "3"]
    assert (model.passes, other.passes) == ([1, 2], [1])


def test_what_was_given_up_is_not_computed() -> None:
    model = Model()
    with batcher(8, 0.0) as one:
        with busy(one, model):
            given_up, kept = ask(one, model, 1), ask(one, model, 2)
            assert given_up.cancel()
        assert labels([kept]) == ["2"]
        with pytest.raises(CancelledError):
            given_up.result(PATIENCE_S)
    assert model.passes == [1, 1]


def test_a_call_has_its_turn_and_its_error() -> None:
    model = Model()
    with batcher(8, 0.0) as one:
        with busy(one, model):
            images = [ask(one, model, 1), ask(one, model, 2)]
            called = one.call(lambda: list(model.passes))
            failing = one.call(lambda: 1 / 0)
        assert labels(images) == ["1", "2"]
        assert called.result(PATIENCE_S) == [1, 2]
        with pytest.raises(ZeroDivisionError):
            failing.result(PATIENCE_S)


def test_the_end_finishes_what_waits_and_takes_no_more() -> None:
    model = Model()
    one = Batcher(2, 0.0)
    with busy(one, model):
        futures = [ask(one, model, value) for value in (1, 2, 3)]
    one.close()
    assert [future.done() for future in futures] == [True] * 3
    with pytest.raises(RuntimeError, match="closed"):
        ask(one, model, 4)


def test_every_pass_is_observed() -> None:
    seen: list[tuple[Predictor, int]] = []
    model: Any = Model()
    with batcher(8, 0.0, observe=lambda *what: seen.append(what)) as one:
        with busy(one, model):
            futures = [ask(one, model, value) for value in (1, 2)]
        labels(futures)
    assert seen == [(model, 1), (model, 2)]
