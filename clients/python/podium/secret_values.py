"""The secrets that an attempt was given: handed to its tool, and kept out of everything that the tool says.

Only the exact value is found, in texts and as a JSON number. Values of fewer than four characters are in every text,
and are left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podium.errors import ToolFailed
from podium.json_text import from_json, to_json
from podium.v1 import executor_service_pb2

_LENGTH_MIN = 4


class SecretValues:
    """Values by name. Its repr holds names alone."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = dict(values)
        self._texts = {value.decode(errors="replace"): name for name, value in values.items()}

    @classmethod
    def of(cls, secrets: Iterable[executor_service_pb2.Secret]) -> SecretValues:
        """The secrets of an assignment."""
        return cls({secret.name: secret.value for secret in secrets})

    def __repr__(self) -> str:
        return f"SecretValues({', '.join(sorted(self._values))})"

    def __bool__(self) -> bool:
        return bool(self._values)

    def __reduce__(self) -> tuple[object, ...]:
        """They cross into worker processes."""
        return type(self), (self._values,)

    def get(self, name: str, tool: str) -> str:
        """The text of a secret; raises when the tool did not declare it."""
        if name not in self._values:
            raise LookupError(f'tool {tool} was given no secret {name!r}: declare it with secrets=["{name}"]')
        try:
            return self._values[name].decode()
        except UnicodeDecodeError:
            # Not chained: the error holds the value.
            raise ToolFailed(f"the secret {name} is no text", reason="SECRET_INVALID", retryable=False) from None

    def out_of_text(self, text: str) -> str:
        """The text without the values."""
        for value, name in self._texts.items():
            if len(value) >= _LENGTH_MIN:
                text = text.replace(value, f"[redacted:{name}]")
        return text

    def out_of_bytes(self, data: bytes) -> bytes:
        """A piece of streamed output without the values; what lies across two pieces is the service's to find."""
        for name, value in self._values.items():
            if len(value) >= _LENGTH_MIN:
                data = data.replace(value, f"[redacted:{name}]".encode())
        return data

    def out_of_json(self, text: str) -> str:
        """JSON text without the values."""
        told = from_json(text)
        kept = self._out_of(told)
        return text if kept == told else to_json(kept)

    def _out_of(self, value: Any) -> Any:  # noqa: ANN401 -- any JSON value
        if isinstance(value, str):
            return self.out_of_text(value)
        if isinstance(value, list):
            return [self._out_of(each) for each in value]
        if isinstance(value, dict):
            return {self.out_of_text(name): self._out_of(each) for name, each in value.items()}
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in self._texts:
            return self.out_of_text(str(value))
        return value


NO_SECRETS = SecretValues({})
"""Of a tool that declares none."""
