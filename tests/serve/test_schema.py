"""The server against its own OpenAPI description: whatever the description allows or forbids."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve.main import create_app
from serve.settings import Settings

EXAMPLES = 15
"""Of each endpoint, right ones and wrong ones each."""

ENDPOINTS = [
    (path, method, mode)
    for path, item in create_app(Settings()).openapi()["paths"].items()
    for method, operation in item.items()
    for mode in GenerationMode
    # Where nothing can be sent, nothing can be wrong.
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation)
]
"""All that are described, so a new one is tested without a word here."""


@pytest.fixture(scope="module")
def api(model: Path) -> Iterator[Any]:
    app = create_app(Settings(model=model, watch_s=0))
    with TestClient(app):  # starts and ends the application; schemathesis itself does not
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize(("path", "method", "mode"), ENDPOINTS)
def test_every_answer_is_as_described(
    api: Any, path: str, method: str, mode: GenerationMode
) -> None:
    """No status that is not described, every body as its schema says, what is wrong refused."""
    operation = api[path][method]
    # A schema cannot say which bytes are an image, so most of what it allows is none.
    excluded: list[Any] = [positive_data_acceptance] if operation.body else []
    statuses = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case[Any]) -> None:
        answer = case.call_and_validate(excluded_checks=excluded)
        statuses.append(answer.status_code)

    check()
    assert statuses
    assert max(statuses) < 500


def test_the_endpoints_are_known() -> None:
    assert {"/", "/health", "/model", "/predict"} <= {path for path, _, _ in ENDPOINTS}
