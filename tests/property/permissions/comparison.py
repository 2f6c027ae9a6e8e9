"""The decider against the reference evaluator, on generated policies and requests.

    python -m tests.property.permissions.comparison [--cases N] [--seed N]

Exits with 1 when a decision differs, and prints the first differences with their policies.
"""

import argparse
import json
import random
import sys
from dataclasses import dataclass, replace

from podium.v1 import definition_pb2, policy_pb2, value_pb2
from service.admission.permission import PermissionGuard
from service.admission.tool_request import ToolRequest
from service.domain.permissions import decide
from service.domain.policy_compiling import compile_policy
from service.engine.policy_expressions import PolicyExpressions
from tests.property.permissions import conditions, reference

PERMISSIONS = ("tools.read", "tools.call", "tools.callers", "email_send")
PATTERNS = (*PERMISSIONS, "tools.*", "*", "email_send.*")
RESOURCES = ("billing-refund", "billing", "search")
GLOBS = ("*", "billing-*", "billing", "s?arch", "b*r*d")
ROLES = ("a", "b", "c")
QUESTIONS_A_POLICY = 6


@dataclass(frozen=True)
class Question:
    """A request, as the reference reads it."""

    roles: tuple
    scopes: tuple | None
    required: tuple
    resource: str | None
    is_call: bool
    facts: dict


def some(chance, values, most):
    """At most so many of the values, none twice."""
    return chance.sample(values, chance.randrange(min(most, len(values)) + 1))


def grant(chance):
    pattern = chance.choice(PATTERNS)
    return f"{pattern}:{chance.choice(GLOBS)}" if chance.random() < 0.3 else pattern


def generate_policy(chance):
    """A policy, and the trees of its conditions by their texts."""
    trees, rules = {}, []
    for number in range(chance.randrange(6)):
        effect = chance.choice((policy_pb2.EFFECT_ALLOW, policy_pb2.EFFECT_ALLOW, policy_pb2.EFFECT_FORBID))
        text = ""
        if chance.random() < 0.6:
            tree = conditions.generate(chance)
            text = conditions.written(tree)
            trees[text] = tree
        permissions = some(chance, PATTERNS, 3)
        if effect == policy_pb2.EFFECT_ALLOW and not permissions:
            permissions = ["*"]
        tools = some(chance, GLOBS, 2) if chance.random() < 0.5 else []
        roles = some(chance, ROLES, 2) if chance.random() < 0.5 else []
        rules.append(
            policy_pb2.Rule(
                id=f"r{number}", effect=effect, tools=tools, permissions=permissions, roles=roles, condition=text
            )
        )
    roles = [
        policy_pb2.Role(
            name=name,
            grants=[grant(chance) for _ in range(chance.randrange(3))],
            inherits=some(chance, [each for each in ROLES if each != name], 1),
        )
        for name in some(chance, ROLES, 3)
    ]
    return policy_pb2.Policy(name="p", roles=roles, rules=rules), trees


def some_json(chance, depth=2):
    kind = chance.randrange(7 if depth else 5)
    if kind == 5:
        return {name: some_json(chance, depth - 1) for name in some(chance, conditions.NAMES, 3)}
    if kind == 6:
        return [some_json(chance, 0) for _ in range(chance.randrange(3))]
    return chance.choice(conditions.LITERALS)


def some_members(chance):
    return {name: some_json(chance) for name in some(chance, conditions.NAMES, 3)}


def generate_question(chance):
    """A question, with the authority that asks it."""
    roles = [chance.choice(ROLES) for _ in range(chance.randrange(3))]
    scopes = [grant(chance) for _ in range(chance.randrange(3))] if chance.random() < 0.3 else None
    claims, subject = some_members(chance), chance.choice(("x", "night", "ana"))
    address = chance.choice(("10.0.0.1", "192.0.2.1"))
    is_call = chance.random() < 0.7
    resource = chance.choice(RESOURCES if is_call else (*RESOURCES, "", None))
    facts = {
        "principal": {"subject": subject, "roles": roles},
        "claims": claims,
        "address": address,
        "tool": resource if is_call else "",
        "time_s": conditions.NOON_S + chance.randrange(-2, 3),
    }
    if is_call:
        facts["arguments"] = some_members(chance)
    authority = value_pb2.Authority(
        principal=value_pb2.Principal(subject=subject, address=address),
        roles=roles,
        scopes=scopes or [],
        limited=scopes is not None,
        claims=[value_pb2.Claim(name=name, value_json=json.dumps(value)) for name, value in claims.items()],
    )
    question = Question(tuple(roles), scopes, tuple(sorted(some(chance, PERMISSIONS, 3))), resource, is_call, facts)
    return question, authority


def asked_again(chance, question):
    """The same question of the same authority at another time, and of a call with other arguments."""
    facts = question.facts | {"time_s": conditions.NOON_S + chance.randrange(-2, 3)}
    if question.is_call:
        facts["arguments"] = some_members(chance)
    return replace(question, facts=facts)


class Decider:
    """The decider as the service asks it: calls of tools through the guard, with its memory, and methods directly."""

    def __init__(self, policy, expressions):
        self.policy = compile_policy(policy, 1, expressions)
        self.guard = PermissionGuard(lambda tenant: self.policy)

    def __call__(self, question, authority):
        now_us = question.facts["time_s"] * 1_000_000
        if not question.is_call:
            decision = decide(self.policy, authority, question.required, question.resource, now_us=now_us)
            return decision.allowed, decision.rule, list(decision.missing)
        tool = definition_pb2.ToolDefinition(name=question.resource, permissions=question.required)
        request = ToolRequest(
            tenant="t",
            workflow_id="w",
            step_id="s",
            attempt=1,
            tool=tool,
            # Stands for what the tool requires, as the version of a tool does.
            tool_version=sum(1 << PERMISSIONS.index(each) for each in question.required),
            authority=authority,
            arguments_json=json.dumps(question.facts["arguments"]),
        )
        check = self.guard.check(request, now_us).check
        return check.decision == 1, check.rule, list(check.missing)


def differences(cases, seed, make_decider=Decider):
    """Yields (policy, question, decided, expected) of each case that differs."""
    chance, expressions = random.Random(seed), PolicyExpressions()
    for _ in range(0, cases, QUESTIONS_A_POLICY):
        policy, trees = generate_policy(chance)
        decider = make_decider(policy, expressions)
        for _ in range(0, QUESTIONS_A_POLICY, 2):
            first, authority = generate_question(chance)
            # Again, because then memory may answer.
            for question in (first, asked_again(chance, first)):
                decided, expected = decider(question, authority), reference.decide(policy, question, trees)
                if decided != expected:
                    yield policy, question, decided, expected


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.property.permissions.comparison")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="what chance starts from; without it, a new one")
    asked = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if asked.seed is None else asked.seed
    found = list(differences(asked.cases, seed))
    for policy, question, decided, expected in found[:3]:
        sys.stdout.write(f"{policy}\n{question}\ndecided  {decided}\nexpected {expected}\n\n")
    sys.stdout.write(f"{asked.cases} cases from seed {seed}: {len(found)} differences\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
