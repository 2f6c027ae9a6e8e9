"""Where a caller is: the address of the connection, or what a trusted proxy says about its own caller."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from service.api.handlers import Context
from service.domain.addresses import LOCAL_SOCKET, Network, first_holding, parse_address

_FORWARDED_FOR = "x-forwarded-for"
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<v4>[\d.]+)):\d{1,5}")


class Peers:
    """Tells the addresses of callers. `trusted` are the networks of proxies; without any, no header is looked at."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address_of(self, context: Context) -> str:
        """The caller's address in its shortest form, `unix` for a local socket; empty for what is no address.

        Behind trusted proxies it is the last address of the chain that is none of theirs: each proxy appends whom it
        heard, and what stands before that the caller may have made up. It is empty when the chain cannot be read that
        far: to take the proxy's own address for the caller's would let a blocked one in.
        """
        peer = address_of(context.peer())
        if not self._trusted or not self._trusts(peer):
            return peer
        # Of several lines of one name the transport keeps the last.
        metadata = context.invocation_metadata() or ()
        chain = next((str(value) for name, value in metadata if name == _FORWARDED_FOR), None)
        for hop in reversed(chain.split(",") if chain is not None else ()):
            address = _address_of_hop(hop.strip())
            if not self._trusts(address):
                return address
        return peer

    def _trusts(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and first_holding(self._trusted, parsed) is not None


def address_of(peer: str) -> str:
    """The network address in gRPC's name for a peer, without its port; `unix` for a local socket."""
    kind, _, rest = peer.partition(":")
    if kind in ("unix", "unix-abstract"):
        return LOCAL_SOCKET
    return normal_address(rest.rpartition(":")[0])


def _address_of_hop(hop: str) -> str:
    """What a proxy wrote of whom it heard: an address, and maybe the port behind it; empty for anything else."""
    written = _WITH_PORT.fullmatch(hop)
    return normal_address(written["v6"] or written["v4"] if written else hop)


@lru_cache(maxsize=1024)
def normal_address(host: str) -> str:
    """An address in its shortest form, IPv4 where it is that; empty for what is no address."""
    return str(parse_address(unquote(host).strip("[]").partition("%")[0]) or "")
