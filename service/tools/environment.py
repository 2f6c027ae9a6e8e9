"""The environment of the process that serves the built-in tools: read once, and then empty.

Invariant: after `take_environment` no token, address of a database or proxy is left for a library or a child to find.
"""

from __future__ import annotations

import os

_KEPT = frozenset({"LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def take_environment() -> dict[str, str]:
    """Return all variables, and leave those alone that say nothing but language, time zone and certificates."""
    environment = os.environ  # noqa: TID251 -- this module is the owner of the built-in tools' environment
    taken = dict(environment)
    for name in taken.keys() - _KEPT:
        del environment[name]
    return taken
