"""The states of all breakers as metrics tell them: by the policies in force, without a say in what they are."""

import dataclasses

from podium.v1 import events_pb2, policy_pb2
from service.admission.breaker_book import BreakerBook
from service.domain.permissions import DEFAULT_POLICY

CLOSED, OPEN, DISABLED, HELD = (
    events_pb2.BREAKER_STATE_CLOSED,
    events_pb2.BREAKER_STATE_OPEN,
    events_pb2.BREAKER_STATE_DISABLED,
    events_pb2.BREAKER_STATE_FORCED_OPEN,
)


class Policies:
    """The policy in force, of every tenant."""

    def __init__(self):
        self.put(policy_pb2.BreakerRule(id="r"))

    def put(self, *rules):
        """Another policy."""
        self.policy = dataclasses.replace(DEFAULT_POLICY, breakers=rules)

    def of(self, _tenant):
        return self.policy


def test_they_follow_the_policy_in_force_and_to_tell_them_changes_nothing():
    policies = Policies()
    book = BreakerBook(policies.of)
    mine = book.of("acme", "search")
    assert book.of("other", "search") is not mine
    mine.breaker.restore(events_pb2.BreakerTransitioned(to_state=OPEN), 1)
    assert set(book.states()) == {("acme", "search", OPEN), ("other", "search", CLOSED)}
    policies.put()
    assert {state for _, _, state in book.states()} == {DISABLED}
    policies.put(policy_pb2.BreakerRule(id="r", mode=policy_pb2.BREAKER_MODE_FORCED_OPEN))
    assert {state for _, _, state in book.states()} == {HELD}
    assert mine.breaker.state == OPEN
    assert not mine.is_current, "what a policy means for it is worked out in a turn that can record it"
    policies.put(policy_pb2.BreakerRule(id="r"))
    assert set(book.states()) == {("acme", "search", OPEN), ("other", "search", CLOSED)}


def test_they_are_those_that_an_operator_is_shown():
    policies = Policies()
    book = BreakerBook(policies.of)
    for tool in ("search", "mail"):
        book.of("acme", tool)
    policies.put(policy_pb2.BreakerRule(id="r", tools=["mail"]))
    listed = {(each.tenant, each.tool, each.breaker.adopted_state(each.settings_in_force)) for each in book}
    assert set(book.states()) == listed == {("acme", "search", DISABLED), ("acme", "mail", CLOSED)}
