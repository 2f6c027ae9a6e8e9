"""What the servicers work with, and what several of them do alike: identities, ids and answers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from podium.v1 import value_pb2, workflow_service_pb2
from service.admission.json_bounds import JsonBounds
from service.admission.sensitivity import Sensitivity
from service.admission.tokens import Caller
from service.api.authentication import current_caller
from service.api.plans import Plans
from service.api.trace_contexts import current_traceparent
from service.domain import permissions
from service.domain.errors import Basis, Denied, InvalidInput
from service.domain.permissions import Policy
from service.domain.revocations import Revocations
from service.domain.validation import Validation
from service.engine.address_blocks import AddressBlocks
from service.engine.breakers import Breakers
from service.engine.catalog import Catalog
from service.engine.engine import Engine
from service.engine.load import Load
from service.engine.payloads import PayloadCache
from service.engine.resident import Cause
from service.engine.result_caching import ResultCaching
from service.engine.revoking import Revoker
from service.engine.sealing import Sealing
from service.engine.tenants import Tenants
from service.engine.timers import Clock
from store.contract import SHARD, EventStore

REQUEST_ID_LENGTH = 256
ON_BEHALF_OF_LENGTH = 256
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
NUMBER_MAX = 2**63 - 1
"""The largest number that a database can hold."""
NUMBER_LENGTH = 19
"""How many digits it has."""


class Tokens(Protocol):
    """The service's chance, for ids."""

    def token(self) -> str:
        """A random string of lower-case letters and digits that nobody can guess."""

    def chance(self) -> float:
        """A random number in [0, 1)."""


class Identified(Protocol):
    """A request that can be repeated."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:
        """The request as bytes."""


class WorkflowLister(Protocol):
    """The read model behind ListWorkflows."""

    async def list_workflows(
        self, tenant: str, request: workflow_service_pb2.ListWorkflowsRequest
    ) -> workflow_service_pb2.ListWorkflowsResponse:
        """Read a page."""


@dataclass(slots=True)
class ApiParts:
    """What the servicers work with; built by the composition root."""

    engine: Engine
    store: EventStore
    catalog: Catalog
    payloads: PayloadCache
    clock: Clock
    tokens: Tokens
    policy_of: Callable[[str], Policy]
    blocks: AddressBlocks
    tenants: Tenants
    revocations: Revocations
    revoker: Revoker
    validation_of: Callable[[str], Validation]
    """The validation of workflows of a tenant."""
    plans: Plans
    sealing: Sealing
    sensitivity: Sensitivity
    cancel_grace_ms: int
    inline_bytes: int
    bounds: JsonBounds
    cache: ResultCaching
    batch_calls: int
    """How many calls a batch has at most."""
    breakers: Breakers
    load: Load
    """Whether more work is taken."""


def require(parts: ApiParts, permission: str, resource: str, *, why: str = "", caller: Caller | None = None) -> None:
    """Raise Denied unless the caller has a permission for a resource; `why` it is needed is told before its name.

    A task that serves no RPC, as a turn, says who the `caller` is.
    """
    caller = caller or current_caller()
    policy = parts.policy_of(caller.tenant)
    decision = permissions.decide(policy, caller.authority, [permission], resource, now_us=parts.clock.now_us())
    if not decision.allowed:
        basis = Basis(permission, resource, decision.rule, policy.name, policy.revision)
        raise Denied("PERMISSION_DENIED", f"{why}{resource} needs {permission} (rule {decision.rule})", basis=basis)


def cause_of_request(request_id: str = "") -> Cause:
    """The caller as the cause of what the request brings about."""
    return Cause(current_caller().authority.principal, request_id, current_traceparent())


def authority_for(
    parts: ApiParts,
    caller: Caller,
    *,
    now_us: int,
    on_behalf_of: str = "",
    narrowed: bool = False,
    granted: list[str] | None = None,
) -> value_pb2.Authority:
    """The caller's authority for steps: never more than the token gives, less when it is narrowed.

    Raises Denied when the token is bound to act on behalf of somebody else, and, when it is bound to nobody, unless the
    caller may act on behalf of who is named. Raises InvalidInput for a name that is too long.
    """
    authority = value_pb2.Authority()
    authority.CopyFrom(caller.authority)
    if narrowed:
        authority = permissions.narrow(authority, granted or [])
    bound = authority.principal.on_behalf_of
    if bound and on_behalf_of and on_behalf_of != bound:
        basis = Basis(permissions.ACT_ON_BEHALF, on_behalf_of[:ON_BEHALF_OF_LENGTH], "on-behalf-of-bound")
        raise Denied("ON_BEHALF_OF_BOUND", f"the token acts on behalf of {bound} and of nobody else", basis=basis)
    if on_behalf_of and not bound:
        if len(on_behalf_of) > ON_BEHALF_OF_LENGTH:
            problem = f"is longer than {ON_BEHALF_OF_LENGTH} characters"
            violations = [("on_behalf_of", problem)]
            raise InvalidInput("INVALID_ON_BEHALF_OF", f"on_behalf_of {problem}", violations=violations)
        # Of the caller and not of what was narrowed: whom it stands for is not among what its steps may do.
        require(parts, permissions.ACT_ON_BEHALF, on_behalf_of, why="acting on behalf of ", caller=caller)
    authority.principal.on_behalf_of = bound or on_behalf_of
    authority.granted_at_us = now_us
    return authority


def stream_id_for(prefix: str, method: str, request_id: str, tokens: Tokens) -> str:
    """The id of a new stream: derived from the request when it can be repeated, random otherwise."""
    if not request_id:
        return f"{prefix}_{tokens.token()}"
    check_request_id(request_id)
    caller = current_caller()
    scope = f"{caller.tenant}\0{caller.authority.principal.subject}\0{method}\0{request_id}"
    digest = hashlib.sha256(scope.encode()).digest()
    return f"{prefix}_{base64.b32encode(digest).decode().lower()[:26]}"


def check_request_id(request_id: str) -> None:
    """Raise InvalidInput for an id that is too long to be recorded."""
    if len(request_id) > REQUEST_ID_LENGTH:
        problem = f"is longer than {REQUEST_ID_LENGTH} characters"
        raise InvalidInput("INVALID_REQUEST_ID", f"request_id {problem}", violations=[("request_id", problem)])


def page_size(asked: int) -> int:
    """The size of a page. Raises InvalidInput."""
    if asked > PAGE_SIZE_MAX:
        problem = f"is {asked}; it is 1 to {PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}"
        raise InvalidInput("INVALID_PAGE_SIZE", f"page_size {problem}", violations=[("page_size", problem)])
    return asked or PAGE_SIZE_DEFAULT


def is_number(text: str) -> bool:
    """Whether the text is a number, in plain digits, that a database can hold."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_LENGTH and int(text) <= NUMBER_MAX


def body_digest(request: Identified) -> bytes:
    """SHA-256 of a request's canonical bytes without its request_id."""
    # Taken out and put back, because a copy of the request would cost more than its digest.
    request_id = request.request_id
    request.request_id = ""
    try:
        return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    finally:
        request.request_id = request_id


def event_name(position: int) -> str:
    """An event as people name it, shard:position."""
    return f"{SHARD}:{position}" if position else ""


def consistency_token(position: int) -> str:
    """The token that lets a read wait for what a mutation did."""
    return f"{SHARD}:{position}"


def position_of(token: str, field: str) -> int:
    """The position a token or cursor names. Raises InvalidInput."""
    shard, _, position = token.partition(":")
    if shard == str(SHARD) and is_number(position):
        return int(position)
    raise InvalidInput("INVALID_TOKEN", f"{field} is not from this service", violations=[(field, "is not readable")])
