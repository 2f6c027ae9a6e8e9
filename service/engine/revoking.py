"""Revoking credentials: recorded first, then refused, and what runs under them is ended.

Attempts are denied while it is on its way to the log, so that none is recorded behind it; a failed append undoes that.

Invariant: what follows from a revocation begins in the commit's own callback. A caller that goes away meanwhile, or a
crash right after the commit, leaves nothing undone: the log has the revocation, and every workflow's turn asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from podium.v1 import events_pb2
from service.domain.revocations import KINDS, Revocations
from service.engine.engine import Engine
from service.engine.resident import Cause, Mail, answering
from service.engine.revoked_work import revoked
from store.contract import SHARD, Append, Committed, EventStore, NewEvent, StoreError, StreamAppend
from store.records import decode_record, encode_envelope, known_payload

logger = logging.getLogger(__name__)

STREAM = "credentials"


class Consequences(NamedTuple):
    """What a revocation has led to. All of it is durable."""

    position: int
    """Of the event."""
    canceled_workflows: int
    ended_streams: int


class _Effects(NamedTuple):
    position: int
    cancels: Sequence[asyncio.Future[int]]
    ended_streams: int


async def load_revocations(store: EventStore, revocations: Revocations) -> None:
    """Fold what was revoked in all tenants."""
    for tenant, stream_id in await store.list_streams(STREAM):
        if stream_id != STREAM:
            continue
        for recorded in await store.read_stream(tenant, stream_id):
            event = decode_record(recorded.record)
            payload = known_payload(event)
            if isinstance(payload, events_pb2.CredentialsRevoked):
                revocations.add(
                    tenant,
                    payload,
                    revoked_at_us=recorded.recorded_at_us,
                    revoked_by=event.principal,
                    position=recorded.position,
                )


class Revoker:
    """Revokes credentials."""

    def __init__(
        self, store: EventStore, revocations: Revocations, engine: Engine, end_streams: Callable[[str], int]
    ) -> None:
        """With `end_streams`, which ends the streams of a tenant's callers that are revoked, and returns how many."""
        self._store = store
        self._revocations = revocations
        self._engine = engine
        self._end_streams = end_streams
        self._on_their_way: Counter[str] = Counter()
        """Revocations of a tenant that are about to be durable."""

    async def revoke(self, tenant: str, event: events_pb2.CredentialsRevoked, cause: Cause) -> Consequences:
        """Revoke, and wait until it is durable and so are the cancels of what runs in memory.

        A token or a session that is revoked already is not recorded again; a subject is, because meanwhile it may have
        got other tokens. Raises StoreError.
        """
        field = event.WhichOneof("credential")
        assert field is not None, "the edge refuses a revocation of nothing"
        known = self._revocations.named(tenant, KINDS[field], getattr(event, field))
        if known is not None and field != "subject":
            effects = self._take_effect(tenant, known.position)
        else:
            effects = await self._record(tenant, event, cause)
        canceled = await asyncio.gather(*effects.cancels, return_exceptions=True)
        failed = sum(isinstance(outcome, Exception) for outcome in canceled)
        if failed:
            logger.warning("%d workflows under revoked credentials are canceled when they are back in memory", failed)
        return Consequences(effects.position, len(canceled) - failed, effects.ended_streams)

    async def _record(self, tenant: str, event: events_pb2.CredentialsRevoked, cause: Cause) -> _Effects:
        settled: asyncio.Future[_Effects] = asyncio.get_running_loop().create_future()

        def done(outcome: Committed | StoreError) -> None:
            self._on_their_way[tenant] -= 1
            self._revocations.arrived(tenant, coming)
            if isinstance(outcome, StoreError):
                if not settled.done():
                    settled.set_exception(outcome)
                return
            [recorded] = outcome.events
            self._revocations.add(
                tenant,
                event,
                revoked_at_us=recorded.recorded_at_us,
                revoked_by=cause.principal,
                position=recorded.position,
            )
            effects = self._take_effect(tenant, recorded.position)
            if not settled.done():
                settled.set_result(effects)

        envelope = encode_envelope(
            shard=SHARD, tenant=tenant, stream_id=STREAM, principal=cause.principal, request_id=cause.request_id
        )
        version = len(self._revocations.of_tenant(tenant)) + self._on_their_way[tenant]
        self._on_their_way[tenant] += 1
        append = Append((StreamAppend(tenant, STREAM, version, [NewEvent(event, envelope)]),))
        coming = self._revocations.announce(tenant, event, cause.principal)
        self._store.submit(append, done)
        return await settled

    def _take_effect(self, tenant: str, position: int) -> _Effects:
        """End the streams, and let every workflow that is hit take a turn, in which it cancels itself."""
        ended = self._end_streams(tenant)
        cancels: list[asyncio.Future[int]] = []
        for resident in self._engine.residency.running():
            if resident.key.tenant == tenant and revoked(resident, self._revocations) is not None:
                future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                self._engine.post(resident.key, Mail(None, reply=answering(future)))
                cancels.append(future)
        return _Effects(position, cancels, ended)
