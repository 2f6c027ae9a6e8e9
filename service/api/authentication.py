"""Lets no RPC through that does not say who calls and may not call the method.

Servicers read the caller from `current_caller()`; nothing in a request is trusted to say who sent it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol
from urllib.parse import unquote

from service.admission.tokens import Caller, Tokens
from service.api.handlers import Context
from service.api.methods import METHOD_PERMISSIONS
from service.domain.errors import Denied, Unauthenticated
from service.domain.permissions import PermissionDecision, Policy, decide, is_operators
from service.domain.revocations import Revocation, Revocations

_SCHEME = "bearer "
_caller: ContextVar[Caller] = ContextVar("caller")


class Clock(Protocol):
    """The time tokens are checked by."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch."""


def current_caller() -> Caller:
    """Who called the RPC that the current task serves. Raises LookupError outside of one."""
    return _caller.get()


class _Known:
    """A caller whose token was verified, and what was decided about it."""

    __slots__ = ("caller", "decisions", "keys_revision", "revocations_seen")

    def __init__(self, caller: Caller, keys_revision: int) -> None:
        self.caller = caller
        self.keys_revision = keys_revision
        self.revocations_seen = 0
        self.decisions: dict[tuple[str, str, int], PermissionDecision] = {}


class Authentication:
    """A guard: verifies the token of every RPC, and the permission its method needs.

    Verified tokens are remembered until they expire, the last `remembered` of them. `policy_of` gives a tenant's
    current policy; a policy that changes must raise its revision. A remembered token is asked about again when
    something was revoked, and verified again when a key was dropped.
    """

    def __init__(
        self,
        tokens: Tokens,
        clock: Clock,
        policy_of: Callable[[str], Policy],
        revocations: Revocations,
        *,
        operator_tenant: str = "default",
        remembered: int = 4096,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._policy_of = policy_of
        self._revocations = revocations
        self._operator_tenant = operator_tenant
        self._remembered = remembered
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def __call__(self, method: str, context: Context) -> None:
        """Admit an RPC and leave its caller in the context of its task; see service.api.handlers.Guard."""
        metadata = context.invocation_metadata() or ()
        authorization = [str(value) for name, value in metadata if name == "authorization"]
        # The variable is not reset: it ends with the task, and a generator may be closed by another one.
        _caller.set(self.admit(method, authorization, context.peer()))

    def admit(self, method: str, authorization: list[str], peer: str) -> Caller:
        """Who calls a method, from the values of its authorization metadata and gRPC's name for the peer.

        Raises Unauthenticated and Denied.
        """
        known = self._verified(_token(authorization), address_of(peer))
        permission = METHOD_PERMISSIONS.get(method)
        if permission is None:
            raise Denied("METHOD_CLOSED", "nobody may call this method")
        policy = self._policy_of(known.caller.tenant)
        key = (permission, policy.name, policy.revision)
        decision = known.decisions.get(key)
        if decision is None:
            decision = known.decisions[key] = self._decide(policy, known.caller, permission)
        if not decision.allowed:
            subject = known.caller.authority.principal.subject
            raise Denied("PERMISSION_DENIED", f"{subject} needs {permission} (rule {decision.rule})")
        return known.caller

    def _decide(self, policy: Policy, caller: Caller, permission: str) -> PermissionDecision:
        # The tool a request is about is not known yet, so that a grant for any tool will do here.
        decision = decide(policy, caller.authority, [permission], None)
        if decision.allowed and is_operators(permission) and caller.tenant != self._operator_tenant:
            return PermissionDecision(allowed=False, rule="operator-tenant", missing=(permission,))
        return decision

    def _verified(self, token: str, address: str) -> _Known:
        now_us = self._clock.now_us()
        key = (token, address)
        known = self._known.get(key)
        keys_revision = self._tokens.revision
        if known is not None and now_us < known.caller.ends_at_us and known.keys_revision == keys_revision:
            self._known.move_to_end(key)
        else:
            # An expired token is verified again, so that it is refused with the same words as ever.
            self._known.pop(key, None)
            known = self._known[key] = _Known(self._tokens.verify(token, now_us).at(address), keys_revision)
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        if known.revocations_seen != self._revocations.revision:
            self._refuse_revoked(known)
        return known

    def _refuse_revoked(self, known: _Known) -> None:
        """Raise Unauthenticated for a revoked caller, now and whenever it comes again."""
        hit = self._revocations.find(known.caller.tenant, known.caller.authority)
        if hit is not None:
            raise refusal_of_revoked(hit)
        known.revocations_seen = self._revocations.revision


def refusal_of_revoked(hit: Revocation) -> Unauthenticated:
    """The refusal of a caller whose credentials are revoked."""
    return Unauthenticated("TOKEN_REVOKED", f"the {hit.kind} was revoked")


def _token(authorization: list[str]) -> str:
    if not authorization:
        return ""
    value = authorization[0]
    if len(authorization) > 1 or not value.lower().startswith(_SCHEME):
        raise Unauthenticated("TOKEN_INVALID", "the token is not valid")
    return value[len(_SCHEME) :].strip()


def address_of(peer: str) -> str:
    """The network address in gRPC's name for a peer, without its port; `unix` for a local socket."""
    kind, _, rest = peer.partition(":")
    if kind in ("unix", "unix-abstract"):
        return "unix"
    return _normal_address(rest.rpartition(":")[0])


@lru_cache(maxsize=1024)
def _normal_address(host: str) -> str:
    """An address in its shortest form, IPv4 where it is that; empty for what is no address."""
    try:
        address = ip_address(unquote(host).strip("[]").partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
