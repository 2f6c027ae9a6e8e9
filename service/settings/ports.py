"""Ports in the addresses of databases and caches, where a password that is not encoded may stand in their place."""

from __future__ import annotations

PORT_MAX = 65_535
_DIGITS_MAX = 5
ENCODED = "what is special in a user or a password is percent-encoded, / as %2F, @ as %40, : as %3A"
"""The remedy for an address that cannot be read."""


def host_port(host: str) -> str:
    """What stands for a port behind a host, which may have credentials before it; empty: nothing does."""
    behind = host.rpartition("@")[2].rpartition("]")[2]
    return behind.rpartition(":")[2] if ":" in behind else ""


def is_port(text: str) -> bool:
    """Whether it is the number of a port."""
    return text.isdecimal() and len(text) <= _DIGITS_MAX and 1 <= int(text) <= PORT_MAX
