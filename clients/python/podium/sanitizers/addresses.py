"""Which network addresses belong to the public internet, whatever form they are written or wrapped in.

The lists are the special-purpose registries of IANA, kept here because the standard library's answers differ by
release, and call multicast, tunnels and translated loopback addresses global. An address that carries another is as
public as that one.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    IPv4Network(each)
    for each in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 "
        "198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        # The address at which a large cloud's virtual machines reach their host; it looks like any other.
        "168.63.129.16/32"
    ).split()
)
_UNICAST_6 = IPv6Network("2000::/3")
# Of the unicast addresses: protocol assignments with Teredo in them, documentation, 6to4, name servers' black holes.
_NOT_PUBLIC_6 = tuple(
    IPv6Network(each) for each in "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20".split()
)
_TRANSLATED = IPv6Network("64:ff9b::/96")
_LOW_32_BITS = 0xFFFF_FFFF


def is_public(address: Address) -> bool:
    """Whether the address is one of the public internet's."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    embedded = unwrapped(address)
    if isinstance(embedded, IPv4Address):
        return is_public(embedded)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside of a mapped or translated (NAT64) one; every other address as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & _LOW_32_BITS)
    return address


def is_admitted(address: Address, networks: Collection[Network]) -> bool:
    """Whether the address is public, or in one of the networks that are allowed beside those."""
    inner = unwrapped(address)
    return is_public(address) or any(inner.version == network.version and inner in network for network in networks)
