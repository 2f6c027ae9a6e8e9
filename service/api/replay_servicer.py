"""ReplayService: rebuild a workflow's state from the log and compare it with the live one."""

from __future__ import annotations

import hashlib

from podium.v1 import replay_service_pb2 as pb
from podium.v1 import replay_service_pb2_grpc as grpc_stubs
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.workflow_servicer import workflow_key
from service.domain.canonical import state_digest
from service.domain.rebuild import rebuild
from service.engine.engine import Engine
from service.engine.resident import Resident
from store.contract import EventStore
from store.records import decode_record


class ReplayServicer(grpc_stubs.ReplayServiceServicer):
    """Serves ReplayService. Method names are those of the contract."""

    def __init__(self, engine: Engine, store: EventStore) -> None:
        self._engine = engine
        self._store = store

    async def Replay(self, request: pb.ReplayRequest, context: Context) -> pb.ReplayResponse:
        """Fold the stream up to the version of the live state and compare the two digests."""
        key = workflow_key(current_caller().tenant, request.workflow_id)

        def live(resident: Resident) -> tuple[int, bytes]:
            return resident.version, state_digest(resident.state)

        version, live_digest = await self._engine.read(key, live)
        records = [event.record for event in await self._store.read_stream(*key, limit=version)]
        rebuilt = state_digest(rebuild(records, decode_record))
        return pb.ReplayResponse(
            workflow_id=key.workflow_id,
            stream_version=version,
            live_state_digest=live_digest,
            rebuilt_state_digest=rebuilt,
            matches=live_digest == rebuilt,
            record_digests=[hashlib.sha256(record).digest() for record in records],
        )
