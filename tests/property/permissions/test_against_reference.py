"""Each decision, with its rule and what is missing, is that of an evaluator that was written apart from it.

`python -m tests.property.permissions.comparison` compares 100,000 of them.
"""

from dataclasses import replace

import pytest

from podium.v1 import policy_pb2, value_pb2
from tests.property.permissions.comparison import Decider, differences

CASES, SEED = 5_000, 2026


def test_the_decider_decides_what_the_reference_decides():
    assert list(differences(CASES, SEED)) == []


def changed(change):
    """A decider of policies that something was done to."""

    def make(policy, expressions):
        broken = policy_pb2.Policy()
        broken.CopyFrom(policy)
        change(broken)
        return Decider(broken, expressions)

    return make


def without_forbids(policy):
    kept = [rule for rule in policy.rules if rule.effect == policy_pb2.EFFECT_ALLOW]
    del policy.rules[:]
    policy.rules.extend(kept)


def without_conditions(policy):
    for rule in policy.rules:
        rule.condition = ""


def with_errors_swallowed(policy):
    for rule in policy.rules:
        if rule.condition:
            # In CEL a certain side swallows the other's error; this one makes an error false.
            rule.condition = f"({rule.condition}) && false"


def without_inheritance(policy):
    for role in policy.roles:
        del role.inherits[:]


def without_tools(policy):
    for rule in policy.rules:
        del rule.tools[:]


def in_another_order(policy):
    policy.rules.reverse()


def without_scopes(policy, expressions):
    decider = Decider(policy, expressions)

    def decide(question, authority):
        free = value_pb2.Authority()
        free.CopyFrom(authority)
        free.limited = False
        return decider(question, free)

    return decide


def with_a_memory_for_arguments(policy, expressions):
    decider, known = Decider(policy, expressions), {}

    def decide(question, authority):
        key = (question.is_call, question.resource, question.required, question.roles, question.scopes is None)
        return known.setdefault(key, decider(question, authority))

    return decide


def with_names_left_out(policy, expressions):
    """What has no name counts as what has any."""
    decider = Decider(policy, expressions)
    return lambda question, authority: decider(replace(question, resource=question.resource or None), authority)


BROKEN = [
    with_names_left_out,
    changed(without_forbids),
    changed(without_conditions),
    changed(with_errors_swallowed),
    changed(without_inheritance),
    changed(without_tools),
    changed(in_another_order),
    without_scopes,
    with_a_memory_for_arguments,
]


@pytest.mark.parametrize("make_decider", BROKEN)
def test_a_decider_that_is_broken_is_found(make_decider):
    assert next(differences(CASES, SEED, make_decider), None) is not None
