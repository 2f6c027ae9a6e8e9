"""One attempt to call a tool, as admission sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from podium.v1 import definition_pb2, value_pb2
from service.admission.canonical_json import ROUNDED, with_whole_numbers

_UNSET: Any = object()


class ToolRequest:
    """One attempt to call a tool, as admission sees it. `arguments` and their digest are worked out when asked for."""

    __slots__ = (
        "_arguments",
        "_arguments_digest",
        "arguments_json",
        "attempt",
        "authority",
        "digest",
        "priority",
        "step_id",
        "tenant",
        "timeout_ms",
        "tool",
        "tool_version",
        "workflow_id",
    )

    def __init__(
        self,
        *,
        tenant: str,
        workflow_id: str,
        step_id: str,
        attempt: int,
        tool: definition_pb2.ToolDefinition,
        tool_version: int,
        authority: value_pb2.Authority,
        arguments_json: str,
    ) -> None:
        self.tenant = tenant
        self.workflow_id = workflow_id
        self.step_id = step_id
        self.attempt = attempt
        self.tool = tool
        self.tool_version = tool_version
        self.authority = authority
        self.arguments_json = arguments_json
        self._arguments = _UNSET
        self._arguments_digest: bytes | None = None
        self.digest: Callable[[bytes], bytes] | None = None
        """What takes the place of SHA-256, for arguments that hold something sealed."""
        self.priority = 0
        """What goes first when there is too much, as the workflow says."""
        self.timeout_ms = 0
        """How long a guard lets it take at most; 0: as long as it may without."""

    @property
    def holds_secrets(self) -> bool:
        """Whether something sealed was opened for the arguments."""
        return self.digest is not None

    @property
    def arguments(self) -> object:
        """The arguments as parsed JSON. Raises ValueError for text that is no JSON."""
        if self._arguments is _UNSET:
            self._arguments = orjson.loads(self.arguments_json)
        return self._arguments

    def replace_arguments(self, arguments_json: str) -> None:
        """Take these in the place of the arguments that were given: they were cleaned."""
        self.arguments_json = arguments_json
        self._arguments = _UNSET
        self._arguments_digest = None

    @property
    def arguments_digest(self) -> bytes:
        """The digest of the arguments' canonical JSON (keys sorted, no white space), or of a text that is no JSON."""
        if self._arguments_digest is None:
            try:
                canonical = orjson.dumps(self.arguments, option=orjson.OPT_SORT_KEYS)
                if ROUNDED in canonical:
                    canonical = with_whole_numbers(canonical, self.arguments_json)
            except (ValueError, TypeError, RecursionError):
                canonical = self.arguments_json.encode(errors="surrogatepass")
            self._arguments_digest = (
                hashlib.sha256(canonical).digest() if self.digest is None else self.digest(canonical)
            )
        return self._arguments_digest
