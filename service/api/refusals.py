"""Refused RPCs become events: what is recorded of each, and the lockouts that follow from too many."""

from __future__ import annotations

import logging

from podium.v1 import events_pb2, value_pb2
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.peers import Peers
from service.domain import errors
from service.engine.address_blocks import AddressBlocks
from service.engine.lockouts import Lockouts
from service.engine.refusal_log import Refusal, RefusalLog
from service.engine.timers import Clock
from store.contract import StoreError

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

LIMITS = frozenset({"RATE_LIMITED", "QUOTA_EXCEEDED"})
"""Limits that somebody set. That the service itself is busy is nobody's refusal."""
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
        event = await self._log.record(refusal)
        if refusal.names_caller:
            # A stranger is not told how long the log is.
            error.event = error.event or event
        if self._counts(error):
            await self._failed(refusal.tenant, address)

    def refusal_of(self, method: str, error: errors.DomainError, address: str) -> Refusal | None:
        """What is recorded of a refusal; None: nothing."""
        if isinstance(error, errors.Unauthenticated):
            failed = events_pb2.AuthenticationFailed(reason=error.reason, method=method, address=address)
            return Refusal(self._operator_tenant, ("AuthenticationFailed", error.reason, address), failed)
        try:
            caller = current_caller()
            tenant, principal = caller.tenant, caller.authority.principal
        except LookupError:
            tenant, principal = self._operator_tenant, value_pb2.Principal(address=address)
        by = (error.reason, method, principal.subject, principal.address)
        if isinstance(error, errors.Denied) or error.reason in LIMITS:
            return Refusal(tenant, ("RequestDenied", *by), _denied(method, error, principal))
        if method in SUBMISSIONS and isinstance(error, _OF_SUBMISSION):
            field = _recordable(error.violations[0][0]) if error.violations else ""
            guard, why = error.basis.rule, error.basis.sanitizer_reason
            refused = events_pb2.SubmissionRefused(
                reason=error.reason, method=method, principal=principal, field=field, guard=guard, sanitizer_reason=why
            )
            return Refusal(tenant, ("SubmissionRefused", *by, guard, why), refused)
        return None

    @staticmethod
    def _counts(error: errors.DomainError) -> bool:
        """Whether it counts towards a lockout: somebody who tries what is not theirs."""
        if isinstance(error, errors.Unauthenticated):
            return error.reason not in _HARMLESS
        return error.reason == "PERMISSION_DENIED"

    async def _failed(self, tenant: str, address: str) -> None:
        network = self._lockouts.failed(tenant, address, self._clock.now_us())
        rule = self._lockouts.rule_of(tenant)
        if network is None or rule is None:
            return
        try:
            await self._blocks.block(
                tenant,
                network,
                reason=f"{rule.failures} failures within {rule.within_ms} ms",
                duration_ms=rule.block_ms,
                failures=rule.failures,
            )
        except StoreError as error:
            logger.warning("%s could not be blocked: %s", network, error)


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
