"""AdminService: what an operator looks at and sets right while the service runs, within the caller's tenant."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import admin_service_pb2_grpc as grpc_stubs
from service.api import parts as p
from service.api.admin_projections import ProjectionsAdmin
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.workflow_servicer import workflow_key
from service.domain.errors import InvalidInput
from service.engine.data_keys import KeyFacts
from service.engine.recovery import release

logger = logging.getLogger(__name__)


class AdminServicer(grpc_stubs.AdminServiceServicer):
    """Serves AdminService. Method names are those of the contract."""

    def __init__(self, parts: p.ApiParts, projections: ProjectionsAdmin) -> None:
        self._engine = parts.engine
        self._keyring = parts.sealing.keyring
        self._projections = projections

    # Projections

    async def ListProjections(self, request: pb.ListProjectionsRequest, context: Context) -> pb.ListProjectionsResponse:
        """The read models, and how far each has come."""
        return await self._projections.list_projections()

    async def RebuildProjection(
        self, request: pb.RebuildProjectionRequest, context: Context
    ) -> AsyncIterator[pb.RebuildProjectionResponse]:
        """Build a read model anew beside the one that is read."""
        async for progress in self._projections.rebuild_projection(request.name):
            yield progress

    # Quarantine

    async def ListQuarantined(self, request: pb.ListQuarantinedRequest, context: Context) -> pb.ListQuarantinedResponse:
        """The workflows that could not be folded, and why."""
        tenant = current_caller().tenant
        quarantined = sorted((key, why) for key, why in self._engine.residency.quarantined.items() if key[0] == tenant)
        return pb.ListQuarantinedResponse(
            workflows=[pb.QuarantinedWorkflow(workflow_id=key.workflow_id, problem=why) for key, why in quarantined]
        )

    async def ReleaseQuarantined(
        self, request: pb.ReleaseQuarantinedRequest, context: Context
    ) -> pb.ReleaseQuarantinedResponse:
        """Fold a workflow again, and go on with it when that succeeds."""
        problem = await release(self._engine, workflow_key(current_caller().tenant, request.workflow_id))
        return pb.ReleaseQuarantinedResponse(released=not problem, problem=problem)

    # Data keys

    async def ListDataKeys(self, request: pb.ListDataKeysRequest, context: Context) -> pb.ListDataKeysResponse:
        """The data keys, the oldest first."""
        return pb.ListDataKeysResponse(keys=[_info(facts) for facts in self._keyring.keys(current_caller().tenant)])

    async def RotateDataKey(self, request: pb.RotateDataKeyRequest, context: Context) -> pb.RotateDataKeyResponse:
        """Seal with a new key from now on."""
        return pb.RotateDataKeyResponse(key=self._told(await self._keyring.rotate(current_caller().tenant)))

    async def DestroyDataKey(self, request: pb.DestroyDataKeyRequest, context: Context) -> pb.DestroyDataKeyResponse:
        """Erase for good what a key sealed."""
        if not request.key_id:
            problem = "is missing: ListDataKeys tells the keys' ids"
            raise InvalidInput("KEY_ID_MISSING", f"key_id {problem}", violations=[("key_id", problem)])
        caller = current_caller()
        await self._keyring.destroy(caller.tenant, request.key_id)
        subject = caller.authority.principal.subject
        logger.warning("the data key %s of tenant %s was destroyed by %s", request.key_id, caller.tenant, subject)
        return pb.DestroyDataKeyResponse(key=self._told(request.key_id))

    def _told(self, key_id: str) -> pb.DataKeyInfo:
        return next(_info(facts) for facts in self._keyring.keys(current_caller().tenant) if facts.key_id == key_id)


def _info(facts: KeyFacts) -> pb.DataKeyInfo:
    return pb.DataKeyInfo(
        key_id=facts.key_id,
        made_at_us=facts.made_at_us,
        destroyed_at_us=facts.destroyed_at_us,
        current=facts.current,
    )
