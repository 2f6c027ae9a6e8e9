"""Between Python values and JSON text, strictly: what has no JSON form is an error, never something similar."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from typing import Any


def to_json(value: object) -> str:
    """Returns `value` as compact JSON text.

    Dataclasses become objects, enums their values, tuples and sets lists. Raises ValueError for what JSON cannot say:
    NaN and infinities, bytes, cycles, text that is no Unicode, anything that is no data.
    """
    try:
        text = _encoder.encode(value)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text with a lone surrogate is no Unicode and has no JSON form") from None
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    return text


def from_json(text: str) -> Any:  # noqa: ANN401 -- any JSON value
    """Returns the value of JSON text; empty text is null."""
    return _decode(text) if text else None


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
_decode = json.JSONDecoder().decode
