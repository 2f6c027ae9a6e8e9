"""Bounded labels: whatever tenants and tools do, a metric has no more series than the operator allows."""

from __future__ import annotations

from threading import Lock

OTHER = "other"
REASONS_MAX = 64


class ToolLabels:
    """Tenants with their tools, the first so many under their names and the rest as "other"."""

    def __init__(self, tools_max: int) -> None:
        self._max = tools_max
        self._known: set[tuple[str, str]] = set()
        self._adding = Lock()

    def of(self, tenant: str, tool: str) -> tuple[str, str]:
        """The labels of a tenant's tool."""
        pair = (tenant, tool)
        if pair in self._known:
            return pair
        # Whoever reads the metrics asks from another thread than whoever counts.
        with self._adding:
            if len(self._known) >= self._max and pair not in self._known:
                return OTHER, OTHER
            self._known.add(pair)
        return pair


class Reasons:
    """Reasons of failures. Tools choose their own, so that there may be any number of them."""

    def __init__(self, reasons_max: int = REASONS_MAX) -> None:
        self._max = reasons_max
        self._known: set[str] = set()

    def of(self, reason: str) -> str:
        """The label of a reason."""
        if reason in self._known:
            return reason
        # What a tool calls its failure is its own text; a name is short and of capitals.
        if len(self._known) >= self._max or not _is_name(reason):
            return OTHER
        self._known.add(reason)
        return reason


def _is_name(reason: str) -> bool:
    return 0 < len(reason) <= REASONS_MAX and reason.isascii() and reason.replace("_", "").isalnum()
