"""What every error must look like."""

from typing import Any


def assert_error(answer: Any, status: int, code: str) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"code", "message", "remedy", "request_id"}
    assert error["code"] == code
    assert all(error.values())
    assert error["request_id"] == answer.headers["x-request-id"]
    return error
