"""Rules about network addresses: which are blocked, and which alone may call.

An address is text in its shortest form, as the edge writes it; "unix" is whoever may open the socket, which the
file system decides and no rule of this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

from podium.v1 import policy_pb2

LOCAL_SOCKET = "unix"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
V = TypeVar("V")

_MAPPED = IPv6Network("::ffff:0:0/96")
_REMEMBERED = 4096
"""Addresses that are remembered as they were read; the one that was asked about longest ago is forgotten first."""


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


@lru_cache(maxsize=_REMEMBERED)
def host_of(address: str) -> str:
    """The network of an address's host, as text; what is no address is left as it is."""
    parsed = parse_address(address)
    return address if parsed is None else str(network_of_host(parsed))


def first_holding(networks: Iterable[Network], address: Address) -> Network | None:
    """The first network that holds an address."""
    return next((network for network in networks if address.version == network.version and address in network), None)


class NetworkTable(Generic[V]):
    """Values by network, in the order in which they were put.

    Those whose networks hold an address are found in one look for each length of prefix that is there, however many
    networks there are.
    """

    def __init__(self) -> None:
        self._values: dict[Network, V] = {}
        self._networks: dict[tuple[int, int], dict[int, Network]] = {}
        """By version and by how many bits are no part of the prefix: the networks by their prefix."""

    def __len__(self) -> int:
        return len(self._values)

    def get(self, network: Network) -> V | None:
        """The value of exactly this network."""
        return self._values.get(network)

    def values(self) -> Iterable[V]:
        """All values, the one first that was put longest ago."""
        return self._values.values()

    def put(self, network: Network, value: V) -> None:
        """Set the value of a network, which is the last from now on."""
        self._values.pop(network, None)
        self._values[network] = value
        beside = network.max_prefixlen - network.prefixlen
        prefixes = self._networks.setdefault((network.version, beside), {})
        prefixes[int(network.network_address) >> beside] = network

    def remove(self, network: Network) -> None:
        """Forget a network, if it is there."""
        if self._values.pop(network, None) is None:
            return
        beside = network.max_prefixlen - network.prefixlen
        prefixes = self._networks[network.version, beside]
        del prefixes[int(network.network_address) >> beside]
        if not prefixes:
            del self._networks[network.version, beside]

    def holding(self, address: Address) -> Iterator[V]:
        """The values of the networks that hold an address."""
        number = int(address)
        for (version, beside), prefixes in self._networks.items():
            if version == address.version and (network := prefixes.get(number >> beside)) is not None:
                yield self._values[network]


class Rules:
    """The block and allow lists of one policy, compiled. A block wins over an allow."""

    def __init__(self, rules: policy_pb2.AddressRules) -> None:
        """Raises ValueError for what is no network."""
        self._block = _table(rules.block)
        self._allow = _table(rules.allow)

    def refusing(self, address: str, *, blocks_only: bool = False) -> str:
        """The rule that refuses an address: `block:NETWORK` or `allow`; empty: none does.

        With an allow list, an address that cannot be read is refused.
        """
        allow_too = bool(self._allow) and not blocks_only
        if address == LOCAL_SOCKET or not (self._block or allow_too):
            return ""
        parsed = parse_address(address)
        if parsed is not None:
            blocked = next(self._block.holding(parsed), None)
            if blocked is not None:
                return f"block:{blocked}"
            if allow_too and next(self._allow.holding(parsed), None) is not None:
                return ""
        return "allow" if allow_too else ""


def _table(texts: Iterable[str]) -> NetworkTable[Network]:
    table: NetworkTable[Network] = NetworkTable()
    for text in texts:
        network = parse_network(text)
        table.put(network, network)
    return table
