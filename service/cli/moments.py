"""Times that are given on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from service.cli.failures import CommandFailed, ExitCode


def moment_option(text: str, option: str) -> int:
    """Return the time of an option in microseconds since the Unix epoch; 0: it is not given. Raises CommandFailed."""
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{option} {text!r} is no time, for example 2026-01-31T12:00:00Z"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    # Without a zone, UTC is meant, in which all times are printed.
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def minutes_option(text: str, option: str) -> int:
    """Return the duration of an option in minutes, rounded up, at least one. Raises CommandFailed."""
    from podium.durations import seconds

    try:
        return max(1, -int(-seconds(text) // 60))
    except ValueError as error:
        raise CommandFailed(f"{option}: {error}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
