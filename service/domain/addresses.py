"""Rules about network addresses: which are blocked, and which alone may call.

An address is text in its shortest form, as the edge writes it; "unix" is whoever may open the socket, which the
file system decides and no rule of this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podium.v1 import policy_pb2

LOCAL_SOCKET = "unix"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
_REMEMBERED = 4096
"""Addresses whose verdict is remembered; the one that was asked about longest ago is forgotten first."""


def parse_network(text: str) -> Network:
    """A network of CIDR form, or of a single address. Raises ValueError, also for bits beside the mask."""
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Addresses are compared as what they are, and these are of IPv4.
        beginning = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((beginning, network.prefixlen - _MAPPED.prefixlen))
    return network


def network_of_host(address: Address) -> Network:
    """The smallest network that one host is sure to have for itself: in IPv6 it may choose among 2**64 addresses."""
    return ip_network((int(address), 32 if address.version == 4 else 64), strict=False)  # noqa: PLR2004 - prefix lengths


@lru_cache(maxsize=_REMEMBERED)
def parse_address(text: str) -> Address | None:
    """An address; None for what is none. An IPv4 address in IPv6's clothes is that IPv4 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def first_holding(networks: Iterable[Network], address: Address) -> Network | None:
    """The first network that holds an address."""
    return next((network for network in networks if address.version == network.version and address in network), None)


class Rules:
    """The block and allow lists of one policy, compiled. A block wins over an allow."""

    def __init__(self, rules: policy_pb2.AddressRules) -> None:
        """Raises ValueError for what is no network."""
        self._block = [parse_network(text) for text in rules.block]
        self._allow = [parse_network(text) for text in rules.allow]
        self._verdicts: dict[str, str] = {}

    def refusing(self, address: str, *, blocks_only: bool = False) -> str:
        """The rule that refuses an address: `block:NETWORK` or `allow`; empty: none does.

        With an allow list, an address that cannot be read is refused.
        """
        if address == LOCAL_SOCKET or not (self._block or (self._allow and not blocks_only)):
            return ""
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[address] = self._refusing(address)
        return "" if blocks_only and verdict == "allow" else verdict

    def _refusing(self, address: str) -> str:
        parsed = parse_address(address)
        if parsed is not None:
            blocked = first_holding(self._block, parsed)
            if blocked is not None:
                return f"block:{blocked}"
            if first_holding(self._allow, parsed) is not None:
                return ""
        return "allow" if self._allow else ""
