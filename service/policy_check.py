"""What can be told about a policy without a service: what is wrong with it, and how it decides given cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from podium.v1 import policy_pb2, value_pb2
from service.domain.errors import Violation
from service.domain.permissions import case_of
from service.domain.policy_compiling import compile_policy
from service.domain.policy_rules import facts_of
from service.domain.policy_validation import policy_violations, policy_warnings
from service.engine.policy_expressions import PolicyExpressions


@dataclass(frozen=True, slots=True)
class PolicyCase:
    """A call, or a request to the API, and what a policy should make of it."""

    name: str
    authority: value_pb2.Authority
    permissions: tuple[str, ...]
    """What the tool requires, or the method needs."""
    expect_allow: bool
    tool: str = ""
    """Empty: a method of the API is called."""
    arguments_json: str = "{}"
    time_us: int | None = None
    """None: a condition that reads the time is an error."""
    rule: str = ""
    """The rule that should decide; empty: any."""


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """What a policy made of a case."""

    case: PolicyCase
    allowed: bool
    rule: str
    missing: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether that is what was expected."""
        return self.allowed == self.case.expect_allow and self.case.rule in ("", self.rule)


def problems_of(policy: policy_pb2.Policy) -> tuple[list[Violation], list[Violation]]:
    """What keeps a policy from being applied, and what looks like a mistake in it."""
    violations = policy_violations(policy, PolicyExpressions())
    return violations, [] if violations else policy_warnings(policy)


def try_cases(policy: policy_pb2.Policy, cases: Iterable[PolicyCase]) -> list[CaseOutcome]:
    """Decide cases under a policy without violations."""
    compiled = compile_policy(policy, 0, PolicyExpressions())
    outcomes: list[CaseOutcome] = []
    for each in cases:
        resource = each.tool or None
        case = case_of(compiled, each.authority, each.permissions, resource, is_call=bool(each.tool))
        facts = facts_of(each.authority, case.needs, tool=each.tool, now_us=each.time_us)
        facts["arguments"] = orjson.loads(each.arguments_json)
        decision = case.decide(facts)
        outcomes.append(CaseOutcome(each, decision.allowed, decision.rule, decision.missing))
    return outcomes
