"""Rules about addresses, and whom a proxy's word makes of a caller."""

import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from podium.v1 import policy_pb2
from service.admission.addresses import AddressBook, AddressGuard
from service.admission.verdicts import Allowed, Denied
from service.api.peers import Peers
from service.domain.addresses import Rules, network_of_host, parse_network
from service.domain.permissions import DEFAULT_POLICY
from service.engine.lockouts import HOSTS_MAX, Lockouts
from tests.unit.admission.calls import a_request, an_authority

SECOND_US = 1_000_000


def refused(address, **rules):
    return Rules(policy_pb2.AddressRules(**rules)).refusing(address)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("203.0.113.9", "block:203.0.113.0/24"),
        ("203.0.114.9", ""),
        ("::ffff:203.0.113.9", "block:203.0.113.0/24"),
        ("2001:db8::1", "block:2001:db8::/32"),
        ("2001:db9::1", ""),
        ("198.51.100.7", "block:198.51.100.0/25"),
        ("198.51.100.200", ""),
        ("unix", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_a_block_list_refuses_whom_it_names(address, rule):
    # The last one is a network of IPv4 in IPv6's clothes.
    blocks = ["203.0.113.0/24", "2001:db8::/32", "::ffff:198.51.100.0/121"]
    assert refused(address, block=blocks) == rule


@pytest.mark.parametrize(
    ("address", "rule"),
    [("10.1.2.3", ""), ("10.9.2.3", "block:10.9.0.0/16"), ("192.0.2.1", "allow"), ("", "allow"), ("unix", "")],
)
def test_an_allow_list_refuses_everybody_else_and_a_block_wins(address, rule):
    assert refused(address, allow=["10.0.0.0/8"], block=["10.9.0.0/16"]) == rule


def test_a_verdict_is_the_same_when_it_is_remembered():
    rules = Rules(policy_pb2.AddressRules(allow=["10.0.0.0/8"]))
    for _ in range(2):
        assert rules.refusing("192.0.2.1") == "allow"
        assert rules.refusing("192.0.2.1", blocks_only=True) == ""
        assert rules.refusing("10.0.0.1") == ""


def test_a_policy_with_what_is_no_network_refuses_to_be_compiled():
    with pytest.raises(ValueError, match="nonsense"):
        Rules(policy_pb2.AddressRules(block=["nonsense"]))


def test_a_host_of_ipv6_is_all_the_addresses_that_it_may_choose_from():
    assert network_of_host(ip_address("192.0.2.1")) == ip_network("192.0.2.1/32")
    assert network_of_host(ip_address("2001:db8:1:2:3::4")) == ip_network("2001:db8:1:2::/64")
    assert parse_network("::ffff:0:0/96") == ip_network("0.0.0.0/0")


class Context:
    def __init__(self, peer, *forwarded):
        self._peer = peer
        self._metadata = [("x-forwarded-for", value) for value in forwarded]

    def peer(self):
        return self._peer

    def invocation_metadata(self):
        return self._metadata


PROXY = "ipv4:10.0.0.1:5000"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PROXY, ["203.0.113.9"], "203.0.113.9"),
        (PROXY, ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (PROXY, ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (PROXY, ["2001:db8::1"], "2001:db8::1"),
        (PROXY, ["[2001:DB8::1]"], "2001:db8::1"),
        (PROXY, ["::ffff:203.0.113.9"], "203.0.113.9"),
        (PROXY, ["203.0.113.9:4711"], "203.0.113.9"),
        (PROXY, ["203.0.113.9:4711, 10.0.0.2:80"], "203.0.113.9"),
        (PROXY, ["[2001:db8::1]:443"], "2001:db8::1"),
        (PROXY, ["2001:db8::1:443"], "2001:db8::1:443"),
        (PROXY, [], "10.0.0.1"),
        (PROXY, [""], ""),
        (PROXY, ["203.0.113.9,"], ""),
        (PROXY, ["203.0.113.9, nonsense"], ""),
        (PROXY, ["203.0.113.9, unknown, 10.0.0.2"], ""),
        (PROXY, ["203.0.113.9:port"], ""),
        (PROXY, ["203.0.113.009"], ""),
        (PROXY, ["for=203.0.113.9"], ""),
        (PROXY, ["unix"], ""),
        (PROXY, ["10.0.0.9"], "10.0.0.1"),
        (PROXY, ["nonsense, 203.0.113.9"], "203.0.113.9"),
        ("ipv4:192.0.2.1:5000", ["203.0.113.9"], "192.0.2.1"),
        ("unix:", ["203.0.113.9"], "unix"),
        ("ipv6:[::ffff:10.0.0.1]:5000", ["203.0.113.9"], "203.0.113.9"),
    ],
)
def test_a_trusted_proxy_tells_who_called_it_and_nobody_else_does(peer, forwarded, address):
    assert Peers([ip_network("10.0.0.0/8")]).address_of(Context(peer, *forwarded)) == address


def test_without_trusted_proxies_no_header_is_looked_at():
    assert Peers().address_of(Context(PROXY, "203.0.113.9")) == "10.0.0.1"


def book(blocked="", **rules):
    policies = {
        "operators": dataclasses.replace(DEFAULT_POLICY, addresses=policy_pb2.AddressRules(block=["192.0.2.0/24"])),
        "default": dataclasses.replace(DEFAULT_POLICY, addresses=policy_pb2.AddressRules(**rules)),
    }
    return AddressBook(policies.__getitem__, lambda tenant, address, now_us: blocked, "operators")


def test_the_guard_denies_what_was_submitted_from_a_blocked_address():
    guard = AddressGuard(book(block=["203.0.113.0/24"]))
    for address, allowed in (("203.0.113.9", False), ("192.0.2.9", False), ("198.51.100.1", True)):
        verdict = guard.check(a_request(authority=an_authority("agent", address=address)), 0)
        assert isinstance(verdict, Allowed if allowed else Denied), address
    assert verdict is not None
    blocked = AddressGuard(book(blocked="198.51.100.0/24")).check(
        a_request(authority=an_authority("agent", address="198.51.100.1")), 0
    )
    assert (blocked.guard, blocked.failure.reason, blocked.failure.retryable) == ("address", "ADDRESS_BLOCKED", False)


@pytest.fixture
def lockouts():
    rule = policy_pb2.Lockout(failures=3, within_ms=10_000, block_ms=1)
    policy = dataclasses.replace(DEFAULT_POLICY, addresses=policy_pb2.AddressRules(lockout=rule))
    return Lockouts(lambda _tenant: policy)


def test_failures_within_the_time_lock_out_and_slower_ones_do_not(lockouts):
    slow = [lockouts.failed("acme", "192.0.2.1", second * 6 * SECOND_US) for second in range(10)]
    assert slow == [None] * 10
    quick = [lockouts.failed("acme", "192.0.2.2", second * SECOND_US) for second in range(4)]
    assert quick == [None, None, ip_network("192.0.2.2/32"), None]


def test_failures_are_counted_by_tenant_and_host(lockouts):
    assert [lockouts.failed(tenant, "192.0.2.1", 0) for tenant in "abab"] == [None] * 4
    hosts = [f"2001:db8::{number:x}" for number in range(3)]
    assert [lockouts.failed("acme", host, 0) for host in hosts] == [None, None, ip_network("2001:db8::/64")]


@pytest.mark.parametrize("address", ["unix", "", "nonsense"])
def test_who_has_no_address_is_not_locked_out(lockouts, address):
    assert [lockouts.failed("acme", address, 0) for _ in range(10)] == [None] * 10


def test_without_a_lockout_in_the_policy_nothing_is_counted():
    lockouts = Lockouts(lambda _tenant: DEFAULT_POLICY)
    assert [lockouts.failed("acme", "192.0.2.1", 0) for _ in range(10)] == [None] * 10


def test_the_hosts_that_are_counted_are_bounded(lockouts):
    for number in range(HOSTS_MAX + 100):
        lockouts.failed("acme", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert len(lockouts._failures) == HOSTS_MAX  # noqa: SLF001 - a leak is seen nowhere else
