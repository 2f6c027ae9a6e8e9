"""The tenants that were made, and what each may use: a stream `tenant` in each of them, folded at start."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from podium.v1 import events_pb2, policy_pb2
from service.domain.errors import AlreadyExists, LimitExceeded, NotFound
from service.engine.journal import Journal
from service.engine.resident import Cause
from store.contract import EventReader, RecordedEvent
from store.records import decode_record, known_payload

STREAM_ID = "tenant"
QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
NO_QUOTAS = policy_pb2.Quotas()


class Tenant(NamedTuple):
    """A tenant that was made."""

    name: str
    display_name: str
    quotas: policy_pb2.Quotas
    created_at_us: int


class Tenants:
    """The tenants that were made, by name. One that was not may work all the same, without quotas."""

    def __init__(self) -> None:
        self._journal: Journal | None = None
        self._tenants: dict[str, Tenant] = {}
        self._configuring = asyncio.Lock()

    async def load(self, reader: EventReader, journal: Journal) -> None:
        """Fold the streams."""
        self._journal = journal
        for tenant, stream_id in await reader.list_streams(STREAM_ID):
            if stream_id == STREAM_ID:
                for recorded in await reader.read_stream(tenant, stream_id):
                    self._fold(recorded)

    def __contains__(self, name: str) -> bool:
        return name in self._tenants

    def get(self, name: str) -> Tenant:
        """A tenant. Raises NotFound."""
        tenant = self._tenants.get(name)
        if tenant is None:
            raise NotFound("TENANT_NOT_FOUND", f"nobody made a tenant {name[:100]!r}")
        return tenant

    def listed(self, after: str, count: int) -> list[Tenant]:
        """At most so many tenants, those whose names come after one, by name."""
        return [self._tenants[name] for name in sorted(self._tenants) if name > after][:count]

    def quotas_of(self, name: str) -> policy_pb2.Quotas:
        """What a tenant may use."""
        tenant = self._tenants.get(name)
        return tenant.quotas if tenant is not None else NO_QUOTAS

    async def configure(
        self, name: str, display_name: str, quotas: policy_pb2.Quotas, cause: Cause, *, create: bool
    ) -> tuple[Tenant, int]:
        """Make a tenant or change it. Returns it with the event's position. Raises AlreadyExists."""
        assert self._journal is not None, "load comes first"
        event = events_pb2.TenantConfigured(display_name=display_name, quotas=quotas)
        async with self._configuring:
            if create and name in self._tenants:
                raise AlreadyExists("TENANT_EXISTS", f"there is a tenant {name} already")
            recording = self._journal.submit(name, STREAM_ID, event, cause, self._fold)
            try:
                recorded = await asyncio.shield(recording)
            except asyncio.CancelledError:
                # Nobody makes the tenant anew before it is known whether this one counts.
                await asyncio.wait([recording])
                recording.exception()
                raise
        return self._tenants[name], recorded.position

    def _fold(self, recorded: RecordedEvent) -> None:
        event = known_payload(decode_record(recorded.record))
        if isinstance(event, events_pb2.TenantConfigured):
            before = self._tenants.get(recorded.tenant)
            created_at_us = before.created_at_us if before is not None else recorded.recorded_at_us
            self._tenants[recorded.tenant] = Tenant(recorded.tenant, event.display_name, event.quotas, created_at_us)


def check_quota(what: str, used: int, quota: int) -> None:
    """Raise LimitExceeded when as many of something are used as may be; a quota of 0 is none."""
    if quota and used >= quota:
        problem = f"{used} of {quota} are used"
        raise LimitExceeded(QUOTA_EXCEEDED, f"the tenant's quota of {what}: {problem}", violations=[(what, problem)])
