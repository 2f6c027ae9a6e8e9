"""The tools that are registered: one stream a tool, folded at start, versioned by every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from podium.v1 import definition_pb2, events_pb2
from service.domain.errors import Denied, IllegalState, InvalidInput
from service.domain.tool_guards import guards_taken_off
from service.engine.keys import ToolVersion
from service.engine.resident import Cause
from service.engine.tenants import check_quota
from store.contract import SHARD, Append, EventStore, NewEvent, StreamAppend
from store.records import decode_record, encode_envelope, known_payload

STREAM_PREFIX = "tool:"


class CatalogTool(NamedTuple):
    """A version of a tool."""

    definition: definition_pb2.ToolDefinition
    version: int


class Catalog:
    """All versions of all tools. A version is visible only once it is durable."""

    def __init__(
        self,
        store: EventStore,
        check_definition: Callable[[definition_pb2.ToolDefinition], Iterable[tuple[str, str]]],
    ) -> None:
        self._store = store
        self._check_definition = check_definition
        self._versions: dict[tuple[str, str], list[definition_pb2.ToolDefinition]] = {}
        self._registering = asyncio.Lock()

    async def load(self) -> None:
        """Fold all tool streams."""
        for tenant, stream_id in await self._store.list_streams(STREAM_PREFIX):
            for recorded in await self._store.read_stream(tenant, stream_id):
                payload = known_payload(decode_record(recorded.record))
                if isinstance(payload, events_pb2.ToolRegistered):
                    self._versions.setdefault((tenant, payload.definition.name), []).append(payload.definition)

    def newest(self, tenant: str, name: str) -> CatalogTool | None:
        """The newest version of a tool, or None."""
        versions = self._versions.get((tenant, name))
        return CatalogTool(versions[-1], len(versions)) if versions else None

    def definition(self, tenant: str, name: str, version: int) -> definition_pb2.ToolDefinition | None:
        """The definition of a version of a tool, or None."""
        versions = self._versions.get((tenant, name), [])
        return versions[version - 1] if 1 <= version <= len(versions) else None

    def versions(self) -> Iterator[ToolVersion]:
        """Every version of every tool of every tenant."""
        for (tenant, name), versions in self._versions.items():
            for version in range(1, len(versions) + 1):
                yield ToolVersion(tenant, name, version)

    def of_tenant(self, tenant: str) -> list[CatalogTool]:
        """The newest version of every tool of a tenant, by name."""
        names = sorted(name for owner, name in self._versions if owner == tenant)
        return [tool for name in names if (tool := self.newest(tenant, name)) is not None]

    def compatible(self, pinned: ToolVersion, served: int) -> bool:
        """Whether an executor that serves this version may run a step pinned to that one: both have one contract."""
        first = self.definition(pinned.tenant, pinned.tool, pinned.version)
        second = self.definition(pinned.tenant, pinned.tool, served)
        return first is not None and second is not None and _contract(first) == _contract(second)

    async def register(
        self,
        tenant: str,
        definition: definition_pb2.ToolDefinition,
        cause: Cause | None,
        *,
        is_served: Callable[[str, int], bool],
        may_administer: bool = False,
        tools_max: int = 0,
    ) -> int:
        """Register a tool and return its version: the current one when nothing changed.

        Raises InvalidInput for a definition that is none, IllegalState for another contract while executors serve
        the current one (`is_served(name, version)`), Denied for removing a required permission or a guard, and
        LimitExceeded for a tool more than the tenant may have (`tools_max`, 0: any number).
        """
        violations = list(self._check_definition(definition))
        if violations:
            field, problem = violations[0]
            raise InvalidInput("INVALID_TOOL", f"{field} {problem}", violations=violations)
        async with self._registering:
            current = self.newest(tenant, definition.name)
            if current is not None and current.definition == definition:
                return current.version
            if current is not None:
                self._check_change(current, definition, is_served=is_served, may_administer=may_administer)
            elif tools_max:
                check_quota("tools", len(self.of_tenant(tenant)), tools_max)
            version = current.version + 1 if current is not None else 1
            await self._record(tenant, definition, version, cause)
            self._versions.setdefault((tenant, definition.name), []).append(definition)
            return version

    def _check_change(
        self,
        current: CatalogTool,
        definition: definition_pb2.ToolDefinition,
        *,
        is_served: Callable[[str, int], bool],
        may_administer: bool,
    ) -> None:
        name = definition.name
        removed = sorted(set(current.definition.permissions) - set(definition.permissions))
        if removed and not may_administer:
            raise Denied(
                "PERMISSION_REMOVED",
                f"{name} would no longer require {', '.join(removed)}: removing a required permission needs "
                "tools.administer",
            )
        taken_off = [] if may_administer else guards_taken_off(current.definition, definition)
        if taken_off:
            raise Denied(
                "GUARD_REMOVED",
                f"{name} would no longer have {taken_off[0]} as it is: changing or removing what guards a tool needs "
                "tools.administer",
            )
        if _promises(current.definition) != _promises(definition) and is_served(name, current.version):
            raise IllegalState(
                "TOOL_CONFLICT",
                f"{name} is served with other schemas, secrets or properties (version {current.version}): stop the "
                "executors that serve it, or register the change under another name",
            )

    async def _record(
        self, tenant: str, definition: definition_pb2.ToolDefinition, version: int, cause: Cause | None
    ) -> None:
        stream_id = f"{STREAM_PREFIX}{definition.name}"
        envelope = encode_envelope(
            shard=SHARD,
            tenant=tenant,
            stream_id=stream_id,
            principal=cause.principal if cause else None,
            request_id=cause.request_id if cause else "",
        )
        event = NewEvent(events_pb2.ToolRegistered(definition=definition, version=version), envelope)
        await self._store.append(Append((StreamAppend(tenant, stream_id, version - 1, [event]),)))


def _contract(definition: definition_pb2.ToolDefinition) -> tuple[str, str]:
    return definition.input_schema_json, definition.output_schema_json


def _promises(definition: definition_pb2.ToolDefinition) -> tuple[object, ...]:
    """What callers and policies rely on while somebody serves it."""
    flags = (definition.read_only, definition.idempotent, definition.streams_output)
    return (*_contract(definition), *flags, sorted(definition.secrets))
