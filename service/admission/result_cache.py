"""The results of tools that are kept in memory: bounded, the least recently used forgotten first.

Invariant: entries and bytes never exceed the bounds of their tenant, nor those of all tenants together, and nothing is
found that another tenant put there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, fields

from podium.v1 import value_pb2

_OVERHEAD_BYTES = 1024
"""What an entry costs beside its value."""
_FIGURES_MAX = 10_000
"""Tools of all tenants of which there are figures; those longest not used are forgotten first."""
_SWEPT_AT_ONCE = 2
"""Entries that are looked at for each that is kept, in case nobody asks for them any more."""


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """How much may be in memory."""

    tenant_entries: int
    tenant_bytes: int
    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """The step whose attempt produced a value, and where its success is recorded."""

    workflow_id: str
    step_id: str
    position: int


@dataclass(slots=True, eq=False)
class Entry:
    """A result. Times are microseconds since the Unix epoch."""

    tenant: str
    key: bytes
    tool: str
    tool_version: int
    arguments_digest: bytes
    subject: str
    """Who it is for; empty: every subject of the tenant."""
    source: Source
    value: value_pb2.Value
    stored_at_us: int
    fresh_until_us: int
    stale_until_us: int
    hits: int = 0
    used_at_us: int = 0
    is_expired: bool = False
    """It was counted as expired."""

    @property
    def size_bytes(self) -> int:
        """How much it takes of the bounds."""
        return _OVERHEAD_BYTES + self.value.ByteSize()


@dataclass(slots=True)
class ToolFigures:
    """What the cache did for a tool, since the service started."""

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
    stores: int = 0
    evictions: int = 0
    expirations: int = 0
    invalidations: int = 0
    errors: int = 0


FIGURES = tuple(each.name for each in fields(ToolFigures))


class _Tenant:
    """One tenant's entries, the least recently used first."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.size_bytes = 0


class ResultCache:
    """The results of all tenants."""

    def __init__(self, bounds: CacheBounds) -> None:
        self.bounds = bounds
        self._tenants: dict[str, _Tenant] = {}
        """Of those who have entries."""
        self._figures: OrderedDict[tuple[str, str], ToolFigures] = OrderedDict()
        """By tenant and tool, those longest not used first."""
        self._all: OrderedDict[bytes, Entry] = OrderedDict()
        """A key names its tenant, so that one order of use over all tenants needs nothing else."""
        self._size_bytes = 0

    # Reading

    def fresh(self, tenant: str, key: bytes, now_us: int) -> Entry | None:
        """The result while it is fresh."""
        entry = self._of(tenant, key, now_us)
        if entry is None or now_us >= entry.fresh_until_us:
            return None
        return entry

    def stale(self, tenant: str, key: bytes, now_us: int) -> Entry | None:
        """The result while it may serve as a fallback, also while it is fresh."""
        return self._of(tenant, key, now_us)

    def used(self, entry: Entry, now_us: int) -> None:
        """An entry answered a call."""
        entry.hits += 1
        entry.used_at_us = now_us
        if entry.key in self._all:
            self._all.move_to_end(entry.key)
            self._tenants[entry.tenant].entries.move_to_end(entry.key)

    def listed(self, tenant: str) -> Iterable[Entry]:
        """A tenant's entries, the last used first."""
        held = self._tenants.get(tenant)
        return reversed(held.entries.values()) if held is not None else ()

    def size(self, tenant: str) -> tuple[int, int]:
        """How many entries a tenant has, and their bytes."""
        held = self._tenants.get(tenant)
        return (len(held.entries), held.size_bytes) if held is not None else (0, 0)

    def figures(self, tenant: str, tool: str) -> ToolFigures:
        """What it did for a tool; whoever knows of more adds it."""
        figures = self._figures.get((tenant, tool))
        if figures is None:
            figures = self._figures[tenant, tool] = ToolFigures()
            if len(self._figures) > _FIGURES_MAX:
                self._figures.popitem(last=False)
        else:
            self._figures.move_to_end((tenant, tool))
        return figures

    def tools(self, tenant: str) -> list[str]:
        """The tools of which there are figures, by name."""
        return sorted(tool for owner, tool in self._figures if owner == tenant)

    def _of(self, tenant: str, key: bytes, now_us: int) -> Entry | None:
        held = self._tenants.get(tenant)
        entry = held.entries.get(key) if held is not None else None
        if entry is None:
            return None
        return entry if self._is_usable(entry, now_us) else None

    def _is_usable(self, entry: Entry, now_us: int) -> bool:
        """Whether it is fresh or stale. One that is neither is forgotten, and one that expired is counted once."""
        if now_us >= entry.fresh_until_us and not entry.is_expired:
            entry.is_expired = True
            self.figures(entry.tenant, entry.tool).expirations += 1
        if now_us < entry.stale_until_us:
            return True
        self._forget(entry)
        return False

    # Changing

    def keep(self, entry: Entry, now_us: int) -> bool:
        """Keep a result, in the place of an earlier one, and make room for it; whether there can be enough."""
        bounds, size = self.bounds, entry.size_bytes
        before = self._all.get(entry.key)
        if before is not None:
            self._is_usable(before, now_us)
            self._forget(before)
        if size > min(bounds.tenant_bytes, bounds.size_bytes):
            return False
        self._sweep(now_us)
        held = self._tenants.setdefault(entry.tenant, _Tenant())
        held.entries[entry.key] = self._all[entry.key] = entry
        held.size_bytes += size
        self._size_bytes += size
        self.figures(entry.tenant, entry.tool).stores += 1
        while len(held.entries) > bounds.tenant_entries or held.size_bytes > bounds.tenant_bytes:
            self._evict(next(iter(held.entries.values())))
        while len(self._all) > bounds.entries or self._size_bytes > bounds.size_bytes:
            self._evict(next(iter(self._all.values())))
        return True

    def end(self, tenant: str, tool: str, arguments_digest: bytes) -> int:
        """Forget a tenant's entries of a tool (empty: of all) for arguments (empty: for any). Returns how many."""
        found = self.matching(tenant, tool, arguments_digest)
        for entry in found:
            self._forget(entry)
            self.figures(tenant, entry.tool).invalidations += 1
        return len(found)

    def matching(self, tenant: str, tool: str, arguments_digest: bytes) -> list[Entry]:
        """The entries that `end` would forget."""
        return [
            entry
            for entry in self.listed(tenant)
            if tool in ("", entry.tool) and arguments_digest in (b"", entry.arguments_digest)
        ]

    def _sweep(self, now_us: int) -> None:
        for _ in range(_SWEPT_AT_ONCE):
            oldest = next(iter(self._all.values()), None)
            if oldest is None or self._is_usable(oldest, now_us):
                return

    def _evict(self, entry: Entry) -> None:
        self._forget(entry)
        self.figures(entry.tenant, entry.tool).evictions += 1

    def _forget(self, entry: Entry) -> None:
        held = self._tenants[entry.tenant]
        del held.entries[entry.key], self._all[entry.key]
        size = entry.size_bytes
        held.size_bytes -= size
        self._size_bytes -= size
        if not held.entries:
            del self._tenants[entry.tenant]
