"""Lets no RPC through that does not say who calls and may not call the method.

Servicers read the caller from `current_caller()`; nothing in a request is trusted to say who sent it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from service.admission.tokens import Caller, Tokens
from service.api.handlers import Context
from service.api.methods import ASKED_AGAIN, METHOD_PERMISSIONS
from service.api.peers import Peers
from service.domain.errors import Basis, Denied, Unauthenticated
from service.domain.permissions import Case, PermissionDecision, Policy, case_of, is_operators
from service.domain.policy_rules import facts_of
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
    """A caller whose token was verified, and the questions it asked a policy, by the method."""

    __slots__ = ("caller", "cases", "keys_revision", "policy", "revocations_seen")

    def __init__(self, caller: Caller, keys_revision: int) -> None:
        self.caller = caller
        self.keys_revision = keys_revision
        self.revocations_seen = 0
        self.policy: tuple[str, int] = "", -1
        self.cases: dict[str, Case] = {}

    def case(self, policy: Policy, method: str, permission: str) -> Case:
        """The question whether the caller has the permission that a method needs.

        Where the servicer asks again with a name, any name will do here; a method that has no name is for those alone
        whose grant is not limited to names.
        """
        if self.policy != (policy.name, policy.revision):
            self.policy = policy.name, policy.revision
            self.cases.clear()
        case = self.cases.get(method)
        if case is None:
            resource = None if method in ASKED_AGAIN else ""
            case = self.cases[method] = case_of(policy, self.caller.authority, [permission], resource)
        return case


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
        peers: Peers,
        check_caller: Callable[[Caller], None],
        operator_tenant: str = "default",
        remembered: int = 4096,
    ) -> None:
        """`check_caller` refuses a caller whatever the method is, once it is known who it is."""
        self._tokens = tokens
        self._clock = clock
        self._policy_of = policy_of
        self._peers = peers
        self._check_caller = check_caller
        self._revocations = revocations
        self._operator_tenant = operator_tenant
        self._remembered = remembered
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def __call__(self, method: str, context: Context) -> None:
        """Admit an RPC and leave its caller in the context of its task; see service.api.handlers.Guard."""
        metadata = context.invocation_metadata() or ()
        authorization = [str(value) for name, value in metadata if name == "authorization"]
        self.admit(method, authorization, self._peers.address_of(context))

    def admit(self, method: str, authorization: list[str], address: str) -> Caller:
        """Who calls a method, from the values of its authorization metadata and the address it comes from.

        Whoever is known but refused is the caller of the task too. Raises Unauthenticated, Denied and LimitExceeded.
        """
        known = self._verified(_token(authorization), address)
        # The variable is not reset: it ends with the task, and a generator may be closed by another one.
        _caller.set(known.caller)
        self._check_caller(known.caller)
        permission = METHOD_PERMISSIONS.get(method)
        if permission is None:
            raise Denied("METHOD_CLOSED", "nobody may call this method")
        decision = self._decide(known, method, permission)
        if not decision.allowed:
            policy, subject = self._policy_of(known.caller.tenant), known.caller.authority.principal.subject
            basis = Basis(permission, "", decision.rule, policy.name, policy.revision)
            raise Denied("PERMISSION_DENIED", f"{subject} needs {permission} (rule {decision.rule})", basis=basis)
        return known.caller

    def _decide(self, known: _Known, method: str, permission: str) -> PermissionDecision:
        caller = known.caller
        case = known.case(self._policy_of(caller.tenant), method, permission)
        decision = case.settled or case.decide(facts_of(caller.authority, case.needs, now_us=self._clock.now_us()))
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
