"""Which authorities a revocation hits, and which it does not."""

import pytest

from podium.v1 import events_pb2, value_pb2
from service.domain.revocations import Revocations

ADMIN = value_pb2.Principal(subject="ana")
AT_US = 1_000_000


def revoked(**credential):
    revocations = Revocations()
    revocations.add(
        "acme", events_pb2.CredentialsRevoked(**credential), revoked_at_us=AT_US, revoked_by=ADMIN, position=7
    )
    return revocations


def authority(issued_at_us=0, **principal):
    return value_pb2.Authority(principal=value_pb2.Principal(**principal), issued_at_us=issued_at_us)


@pytest.mark.parametrize(
    ("credential", "principal", "rule"),
    [
        ({"token_id": "t"}, {"token_id": "t", "subject": "bob"}, "revoked:token"),
        ({"session_id": "s"}, {"session_id": "s", "token_id": "t"}, "revoked:session"),
        ({"subject": "bob"}, {"subject": "bob"}, "revoked:subject"),
    ],
)
def test_it_hits_what_it_names_in_its_tenant(credential, principal, rule):
    revocations = revoked(**credential)
    assert revocations.find("acme", authority(**principal)).rule == rule
    assert revocations.find("elsewhere", authority(**principal)) is None


@pytest.mark.parametrize("credential", [{"token_id": "x"}, {"session_id": "x"}, {"subject": "x"}], ids=str)
def test_it_hits_nothing_else(credential):
    revocations = revoked(**credential)
    [own] = credential
    for field in {"token_id", "session_id", "subject", "agent", "on_behalf_of", "address"} - {own}:
        assert revocations.find("acme", authority(**{field: "x"})) is None
    assert revocations.find("acme", authority()) is None


def test_a_subject_is_hit_with_what_was_issued_until_then():
    revocations = revoked(subject="bob")
    for issued_at_us in (0, 1, AT_US):
        assert revocations.find("acme", authority(issued_at_us, subject="bob")) is not None
    assert revocations.find("acme", authority(AT_US + 1, subject="bob")) is None


def test_a_token_of_an_issuer_whose_clock_is_ahead_counts_as_issued_until_then():
    """The negative control is one that was issued later than any clock within the leeway would say."""
    revocations = Revocations(leeway_us=10)
    event = events_pb2.CredentialsRevoked(subject="bob")
    revocations.add("acme", event, revoked_at_us=AT_US, revoked_by=ADMIN, position=7)
    for issued_at_us, is_hit in ((AT_US, True), (AT_US + 10, True), (AT_US + 11, False)):
        assert (revocations.find("acme", authority(issued_at_us, subject="bob")) is not None) == is_hit


def test_of_two_of_a_subject_the_later_counts_and_both_are_listed():
    revocations = revoked(subject="bob")
    again = events_pb2.CredentialsRevoked(subject="bob")
    revocations.add("acme", again, revoked_at_us=AT_US + 10, revoked_by=ADMIN, position=9)
    assert revocations.find("acme", authority(AT_US + 5, subject="bob")).position == 9
    assert [each.position for each in revocations.of_tenant("acme")] == [7, 9]


def test_each_raises_the_revision_so_that_what_was_decided_is_decided_again():
    revocations = Revocations()
    assert revocations.revision == 0
    for number in range(3):
        event = events_pb2.CredentialsRevoked(token_id=f"t{number}")
        revocations.add("acme", event, revoked_at_us=AT_US, revoked_by=ADMIN, position=number)
        assert revocations.revision == number + 1


def test_a_revocation_of_nothing_cannot_be_folded():
    with pytest.raises(ValueError, match="names no credential"):
        revoked()
