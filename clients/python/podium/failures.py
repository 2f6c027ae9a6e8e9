"""How a tool's exception becomes the failure that is recorded."""

from __future__ import annotations

import math

from podium.errors import PodiumError, ToolFailed
from podium.secret_values import NO_SECRETS, SecretValues
from podium.v1 import value_pb2

MESSAGE_MAX_CHARS = 8_192
EXECUTOR_LOST = "EXECUTOR_LOST"


def failure_of(error: BaseException, secrets: SecretValues = NO_SECRETS) -> value_pb2.Failure:
    """Returns the failure to record, without `secrets`.

    No traceback: it names files and values that are nobody else's business.
    """
    try:
        known = plain(error)
        return value_pb2.Failure(
            reason=secrets.out_of_text(known.reason),
            message=_readable(secrets.out_of_text(known.message)),
            retryable=known.retryable,
            retry_after_ms=math.ceil((known.retry_after or 0) * 1000),
            field=secrets.out_of_text(known.field),
        )
    except Exception:  # noqa: BLE001 -- an exception that cannot even be told still ends its attempt
        return value_pb2.Failure(reason=ToolFailed.default_reason, message=type(error).__name__, retryable=True)


def plain(error: BaseException) -> ToolFailed:
    """Returns the same failure in a form that crosses processes, whatever class it was raised as."""
    known = error if isinstance(error, PodiumError) else _unforeseen(error)
    return ToolFailed(
        known.message,
        reason=known.reason,
        retryable=known.retryable,
        retry_after=known.retry_after,
        field=known.field,
    )


def _unforeseen(error: BaseException) -> ToolFailed:
    text = str(error)
    name = type(error).__name__
    return ToolFailed(f"{name}: {text}" if text else name)


def _readable(message: str) -> str:
    text = message.encode("utf-8", "replace").decode()
    return text if len(text) <= MESSAGE_MAX_CHARS else text[: MESSAGE_MAX_CHARS - 1] + "…"
