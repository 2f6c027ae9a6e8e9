"""JSON that is given on the command line: as it is, from a file (@NAME), or from standard input (-)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.cli.failures import CommandFailed, ExitCode


def read_text(name: str, what: str) -> str:
    """Return the contents of a file, or of standard input for "-". Raises CommandFailed."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise CommandFailed(f"{what} {name} cannot be read: {problem}", ExitCode.BAD_INPUT, "UNREADABLE_FILE") from None


def json_option(text: str, option: str) -> Any:  # noqa: ANN401 -- any JSON value
    """Return the value of an option that is JSON, @FILE or -. Raises CommandFailed."""
    if text == "-" or text.startswith("@"):
        text = read_text(text.removeprefix("@"), option)
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{option} is not valid JSON: {error}", ExitCode.BAD_INPUT, "INVALID_JSON") from None


def arguments_option(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return a tool's arguments from --arguments and from NAME=VALUE. Raises CommandFailed.

    A value that is JSON is meant as JSON (`cents=100`, `urgent=true`), anything else as text. In quotes of JSON's own
    (`word='"true"'`) anything is text.
    """
    arguments = {} if text is None else json_option(text, "--arguments")
    if not isinstance(arguments, dict):
        raise CommandFailed("--arguments must be a JSON object", ExitCode.BAD_INPUT, "INVALID_JSON")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            message = f"{pair!r} is not NAME=VALUE"
            raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
        arguments[name] = _guessed(value)
    return arguments


def read_as_json(pairs: Sequence[str]) -> dict[str, str]:
    """Return the values of NAME=VALUE, as they were typed, that are meant as JSON and are no text."""
    typed = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    return {name: value for name, value in typed.items() if not isinstance(_guessed(value), str)}


def _guessed(value: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(value, parse_constant=_refused)
    except (ValueError, RecursionError):
        return value


def _refused(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
