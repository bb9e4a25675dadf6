"""Error codes, the HTTP status of each, and how they are documented."""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    """What a program may branch on; members are only ever added."""

    MALFORMED_FORM = "malformed_form"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_IMAGE = "unsupported_image"
    MISSING_FILE = "missing_file"
    EMPTY_FILE = "empty_file"
    UNUSABLE_IMAGE = "unusable_image"
    INVALID_REQUEST = "invalid_request"
    REFUSED = "refused"
    INTERNAL_ERROR = "internal_error"
    MODEL_LOADING = "model_loading"
    MODEL_MISSING = "model_missing"
    MODEL_BROKEN = "model_broken"
    MODEL_UNKNOWN = "model_unknown"
    OVERLOADED = "overloaded"
    UPLOAD_TIMEOUT = "upload_timeout"
    DEADLINE = "deadline"
    RELOAD_FAILED = "reload_failed"
    RELOAD_NEEDS_KEY = "reload_needs_key"


STATUS: Mapping[Code, int] = {
    Code.MALFORMED_FORM: 400,
    Code.UNAUTHORIZED: 401,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.BODY_TOO_LARGE: 413,
    Code.UNSUPPORTED_IMAGE: 415,
    Code.MISSING_FILE: 422,
    Code.EMPTY_FILE: 422,
    Code.UNUSABLE_IMAGE: 422,
    Code.INVALID_REQUEST: 422,
    Code.REFUSED: 400,  # the framework's other refusals keep the status that they came with
    Code.INTERNAL_ERROR: 500,
    Code.MODEL_LOADING: 503,
    Code.MODEL_MISSING: 503,
    Code.MODEL_BROKEN: 503,
    Code.MODEL_UNKNOWN: 404,
    Code.OVERLOADED: 503,
    Code.UPLOAD_TIMEOUT: 408,
    Code.DEADLINE: 504,
    Code.RELOAD_FAILED: 409,
    Code.RELOAD_NEEDS_KEY: 403,
}

MODEL_CODES = (Code.MODEL_LOADING, Code.MODEL_MISSING, Code.MODEL_BROKEN)


def by_status(codes: tuple[Code, ...]) -> dict[int, list[Code]]:
    """Group codes by their HTTP status, both in the order given."""
    groups: defaultdict[int, list[Code]] = defaultdict(list)
    for code in codes:
        groups[STATUS[code]].append(code)
    return dict(groups)
