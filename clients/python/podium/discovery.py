"""Finds the server: what the program says, then its environment, then a development server on this machine.

`podium dev` leaves a small file that says where it listens and holds a token. The token lets its holder do anything on
that server, so a file that another user could have written or read is refused.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from podium.errors import InvalidInput, Unavailable

_PRIVATE = 0o600
REMEDY = "start a development server with `podium dev`, or name a server with PODIUM_ADDRESS and PODIUM_TOKEN"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens and how to be let in."""

    address: str
    token: str
    discovered: bool = False
    """Found in a development server's file: when nobody answers, that server has ended."""


def find_server(address: str | None, token: str | None) -> Target:
    """Returns the server that is meant.

    Raises:
        Unavailable: No server is named, and no development server has left its file.
        InvalidInput: The file is not safe to use, or cannot be read.
    """
    environment = os.environ  # noqa: TID251 -- this module is the owner of the client's environment
    named = address or environment.get("PODIUM_ADDRESS", "")
    held = token or environment.get("PODIUM_TOKEN", "")
    if named:
        return Target(named, held)
    if not hasattr(os, "getuid"):
        raise Unavailable("no server is named: set PODIUM_ADDRESS and PODIUM_TOKEN", reason="NO_SERVER")
    found = _read_file(Path(environment.get("PODIUM_DEV_FILE") or default_file()))
    return Target(found.address, held or found.token, discovered=True)


def tls_files() -> tuple[str | None, str | None, str | None]:
    """Returns the files for TLS that the environment names: authorities, our certificate, its key."""
    environment = os.environ  # noqa: TID251 -- as above
    names = ("PODIUM_TLS_CA_FILE", "PODIUM_TLS_CLIENT_CERTIFICATE_FILE", "PODIUM_TLS_CLIENT_KEY_FILE")
    authorities, certificate, key = (environment.get(name) or None for name in names)
    return authorities, certificate, key


def default_file() -> Path:
    """Returns where the development server of this user leaves its file."""
    return Path(tempfile.gettempdir()) / f"podium-dev-{os.getuid()}.json"


def _read_file(path: Path) -> Target:
    try:
        # A link could lead to a file of somebody else's choosing.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Unavailable(f"no Podium server found: {REMEDY}", reason="NO_SERVER") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", reason="UNSAFE_DEV_FILE") from None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
            raise InvalidInput(f"{path} is not a file of this user's; remove it", reason="UNSAFE_DEV_FILE")
        if stat.S_IMODE(about.st_mode) != _PRIVATE:
            mode = f"{stat.S_IMODE(about.st_mode):04o}"
            raise InvalidInput(f"{path} has mode {mode}, but must have 0600", reason="UNSAFE_DEV_FILE")
        text = file.read()
    try:
        content = json.loads(text)
        return Target(str(content["address"]), str(content["token"]))
    except (ValueError, KeyError, TypeError):
        message = f"{path} is not what `podium dev` writes; remove it and {REMEDY}"
        raise InvalidInput(message, reason="UNSAFE_DEV_FILE") from None
