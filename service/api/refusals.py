"""Refused RPCs become events: what is recorded of each, and the lockouts that follow from too many."""

from __future__ import annotations

import asyncio
import logging

from podium.v1 import events_pb2, value_pb2
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.peers import Peers
from service.domain import errors
from service.engine.address_blocks import AddressBlocks
from service.engine.lockouts import Lockouts
from service.engine.refusal_log import WAIT_S, Refusal, RefusalLog
from service.engine.timers import Clock
from store.contract import RecordedEvent

logger = logging.getLogger(__name__)

SUBMISSIONS = frozenset(
    {
        "/podium.v1.WorkflowService/StartWorkflow",
        "/podium.v1.WorkflowService/RunWorkflow",
        "/podium.v1.WorkflowService/AddSteps",
        "/podium.v1.ToolService/RegisterTool",
        "/podium.v1.ToolService/CallTool",
        "/podium.v1.ToolService/CallToolBatch",
        "/podium.v1.ExecutorService/Session",
    }
)
"""Methods by which something is submitted: that it was refused is recorded whatever the reason is."""

LIMITS = frozenset({"RATE_LIMITED", "QUOTA_EXCEEDED", "OVERLOADED"})
"""Limits that somebody set, and that the service takes no more work of a priority. What is full for a moment, as
a mailbox is, is nobody's refusal."""
_HARMLESS = frozenset({"TOKEN_EXPIRED", "SESSION_TOO_OLD"})
"""Failures to authenticate of somebody who could once: they count towards no lockout."""
_OF_SUBMISSION = (
    errors.InvalidInput,
    errors.NotFound,
    errors.AlreadyExists,
    errors.Conflict,
    errors.IllegalState,
)
_TEXT_MAX = 256


class Refusals:
    """Records the refusals of the edge and of servicers, and blocks addresses that failed too often."""

    def __init__(
        self,
        log: RefusalLog,
        lockouts: Lockouts,
        blocks: AddressBlocks,
        *,
        peers: Peers,
        clock: Clock,
        operator_tenant: str,
    ) -> None:
        self._log = log
        self._lockouts = lockouts
        self._blocks = blocks
        self._peers = peers
        self._clock = clock
        self._operator_tenant = operator_tenant

    async def __call__(self, method: str, context: Context, error: errors.DomainError) -> None:
        """Record what an RPC was refused for, and tell a caller who is known which event holds it."""
        address = self._peers.address_of(context)
        refusal = self.refusal_of(method, error, address)
        if refusal is None:
            return
        # Counted, and blocked, before anything is waited for: a caller that resets its RPC at once changes nothing.
        blocking = self._failed(refusal.tenant, address) if self._counts(error) else None
        event = await self._log.record(refusal)
        if refusal.names_caller:
            # A stranger is not told how long the log is.
            error.event = error.event or event
        if blocking is not None:
            await asyncio.wait([blocking], timeout=WAIT_S)

    def refusal_of(self, method: str, error: errors.DomainError, address: str) -> Refusal | None:
        """What is recorded of a refusal; None: nothing."""
        if isinstance(error, errors.Unauthenticated):
            failed = events_pb2.AuthenticationFailed(reason=error.reason, method=method, address=address)
            return Refusal(self._operator_tenant, failed)
        try:
            caller = current_caller()
            tenant, principal = caller.tenant, caller.authority.principal
        except LookupError:
            tenant, principal = self._operator_tenant, value_pb2.Principal(address=address)
        if isinstance(error, errors.Denied) or error.reason in LIMITS:
            return Refusal(tenant, _denied(method, error, principal))
        if method in SUBMISSIONS and isinstance(error, _OF_SUBMISSION):
            field = _recordable(error.violations[0][0]) if error.violations else ""
            guard, why = error.basis.rule, error.basis.sanitizer_reason
            refused = events_pb2.SubmissionRefused(
                reason=error.reason, method=method, principal=principal, field=field, guard=guard, sanitizer_reason=why
            )
            return Refusal(tenant, refused)
        return None

    @staticmethod
    def _counts(error: errors.DomainError) -> bool:
        """Whether it counts towards a lockout: somebody who tries what is not theirs."""
        if isinstance(error, errors.Unauthenticated):
            return error.reason not in _HARMLESS
        return error.reason == "PERMISSION_DENIED"

    def _failed(self, tenant: str, address: str) -> asyncio.Future[RecordedEvent] | None:
        """Count a failure. What blocks the address, when it was one too many, is on its way already."""
        network = self._lockouts.failed(tenant, address, self._clock.now_us())
        rule = self._lockouts.rule_of(tenant)
        if network is None or rule is None:
            return None

        def blocked(outcome: asyncio.Future[RecordedEvent]) -> None:
            if not outcome.cancelled() and (error := outcome.exception()) is not None:
                logger.warning("%s could not be blocked: %s", network, error)

        blocking = self._blocks.lock_out(tenant, network, rule)
        blocking.add_done_callback(blocked)
        return blocking


def _recordable(text: str) -> str:
    """What is left of a text that a caller may have worded, once it is short and fit to be stored."""
    return text[:_TEXT_MAX].encode(errors="replace").decode()


def _denied(method: str, error: errors.DomainError, principal: value_pb2.Principal) -> events_pb2.RequestDenied:
    basis = error.basis
    return events_pb2.RequestDenied(
        reason=error.reason,
        method=method,
        principal=principal,
        required=basis.required,
        resource=_recordable(basis.resource),
        rule=basis.rule,
        policy=basis.policy,
        policy_revision=basis.policy_revision,
    )
