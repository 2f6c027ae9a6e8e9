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
from service.api.methods import METHOD_PERMISSIONS
from service.api.peers import Peers
from service.domain.errors import Basis, Denied, Unauthenticated
from service.domain.permissions import Case, Policy, case_of
from service.domain.policy_rules import facts_of

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
    """A caller whose token was verified, and the questions it asked a policy, by the permission they need."""

    __slots__ = ("caller", "cases", "policy")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.policy: tuple[str, int] = "", -1
        self.cases: dict[str, Case] = {}

    def case(self, policy: Policy, permission: str) -> Case:
        """The question whether the caller has a permission. The resource is not known yet: any will do here."""
        if self.policy != (policy.name, policy.revision):
            self.policy = policy.name, policy.revision
            self.cases.clear()
        case = self.cases.get(permission)
        if case is None:
            case = self.cases[permission] = case_of(policy, self.caller.authority, [permission], None)
        return case


class Authentication:
    """A guard: verifies the token of every RPC, and the permission its method needs.

    Verified tokens are remembered until they expire, the last `remembered` of them. `policy_of` gives a tenant's
    current policy; a policy that changes must raise its revision.
    """

    def __init__(
        self,
        tokens: Tokens,
        clock: Clock,
        policy_of: Callable[[str], Policy],
        *,
        peers: Peers,
        check_caller: Callable[[Caller], None],
        remembered: int = 4096,
    ) -> None:
        """`check_caller` refuses a caller whatever the method is, once it is known who it is."""
        self._tokens = tokens
        self._clock = clock
        self._policy_of = policy_of
        self._peers = peers
        self._check_caller = check_caller
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
        authority = known.caller.authority
        case = known.case(self._policy_of(known.caller.tenant), permission)
        decision = case.settled or case.decide(facts_of(authority, case.needs, now_us=self._clock.now_us()))
        if not decision.allowed:
            policy, subject = self._policy_of(known.caller.tenant), authority.principal.subject
            basis = Basis(permission, "", decision.rule, policy.name, policy.revision)
            raise Denied("PERMISSION_DENIED", f"{subject} needs {permission} (rule {decision.rule})", basis=basis)
        return known.caller

    def _verified(self, token: str, address: str) -> _Known:
        now_us = self._clock.now_us()
        key = (token, address)
        known = self._known.get(key)
        if known is not None and now_us < known.caller.expires_at_us:
            self._known.move_to_end(key)
            return known
        # An expired token is verified again, so that it is refused with the same words as ever.
        self._known.pop(key, None)
        known = self._known[key] = _Known(self._tokens.verify(token, now_us).at(address))
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return known


def _token(authorization: list[str]) -> str:
    if not authorization:
        return ""
    value = authorization[0]
    if len(authorization) > 1 or not value.lower().startswith(_SCHEME):
        raise Unauthenticated("TOKEN_INVALID", "the token is not valid")
    return value[len(_SCHEME) :].strip()
