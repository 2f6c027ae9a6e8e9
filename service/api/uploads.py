"""Values over the inline limit that executors store before the result that names them.

An upload is cleaned and sealed as its tool's outputs are before any of it is stored.
"""

from __future__ import annotations

from podium.v1 import executor_service_pb2 as pb
from podium.v1 import value_pb2
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.workflow_servicer import workflow_key
from service.domain.errors import InvalidInput, NotFound, Unavailable
from service.engine.attempts import LiveAttempt
from service.engine.keys import ToolVersion
from service.engine.resident import Resident
from service.executors.outputs import Outputs
from service.executors.session_parts import SessionParts, outputs_of


class Uploads:
    """Stores what executors upload."""

    def __init__(self, parts: p.ApiParts, session_parts: SessionParts) -> None:
        self._parts = parts
        self._rules = session_parts.rules
        self._definition = session_parts.definition
        self._outputs: Outputs = outputs_of(session_parts)

    async def store(self, data: bytes, attempt: pb.AttemptReference | None) -> value_pb2.PayloadReference:
        """Store JSON text, for the attempt whose output it is. Raises InvalidInput, NotFound, Unavailable."""
        try:
            text = data.decode()
            if attempt is None:
                return await self._store_for_nobody(text)
            live = await self._live(attempt)
            return await self._outputs.upload(live, text)
        except ValueError as error:
            problem = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise InvalidInput("INVALID_PAYLOAD", f"the value: {problem}", violations=[("data", problem)]) from None

    async def _store_for_nobody(self, text: str) -> value_pb2.PayloadReference:
        tenant, sensitivity = current_caller().tenant, self._parts.sensitivity
        tools = [tool for tool in self._parts.catalog.versions() if tool.tenant == tenant]
        if any(sensitivity.of_output(*tool) or self._rules.changes(tool) or self._has_secrets(tool) for tool in tools):
            problem = "is missing: this tenant has tools whose outputs are sealed or cleaned, or that are given secrets"
            raise InvalidInput("ATTEMPT_MISSING", f"attempt {problem}", violations=[("attempt", problem)])
        cleaned = self._rules.clean(ToolVersion(tenant, "", 0), text, {}, {})
        return await self._parts.payloads.write(tenant, cleaned.encode())

    async def _live(self, attempt: pb.AttemptReference) -> LiveAttempt:
        tenant, subject = current_caller().tenant, current_caller().authority.principal.subject

        def exists(resident: Resident) -> bool:
            return attempt.step_id in resident.state.steps

        # The read loads the workflow, which after a restart makes its running attempts known.
        if not await self._parts.engine.read(workflow_key(tenant, attempt.workflow_id), exists):
            raise NotFound("ATTEMPT_NOT_RUNNING", f"there is no step {attempt.step_id[:100]!r}")
        live = self._parts.engine.attempts.find(tenant, attempt)
        # After a restart an upload may come before its session is back: the result counts from that session alone.
        if live is None or live.holder not in ("", subject):
            raise NotFound("ATTEMPT_NOT_RUNNING", "the attempt has ended or its fence is stale")
        p.require(self._parts, "tools.serve", live.tool.tool)
        if live.executor is None and not live.secrets and self._has_secrets(live.tool):
            # After a restart nobody knows what must not come back until the executor claims the attempt.
            raise Unavailable("ATTEMPT_NOT_CLAIMED", "the attempt's executor is not connected: upload again once it is")
        return live

    def _has_secrets(self, tool: ToolVersion) -> bool:
        """Whether a tool is given secrets; one that is not known may be."""
        definition = self._definition(*tool)
        return definition is None or bool(definition.secrets)
