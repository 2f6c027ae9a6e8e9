"""The address of something on the web: its scheme, host and port must be allowed, and there must be one reading of it.

The grammar is stricter than any client's: where two parsers could see two hosts, the address is refused. A host that is
an address must be public and written in the ordinary way. What a name resolves to is seen only where it is used:
`podium.sanitizers.pinned_client`, which connects to no address that this module does not admit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import quote

import idna

from podium.sanitizers.addresses import Address, Network, is_admitted
from podium.sanitizers.declaration import Options
from podium.sanitizers.rejection import Rejected, text_of

KIND = "url"
_LENGTH_MAX = 8192
_NAME_LENGTH_MAX = 253
_PORT_MAX = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>[^#]*)(?:#.*)?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]%]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_FORBIDDEN = re.compile(
    r"[\x00-\x20\x7f-\xa0\"<>\\\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
_ENCODED_CONTROL = re.compile(r"%(?:25)*(?:0[0-9A-Fa-f]|1[0-9A-Fa-f]|7[Ff])")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# The last part of what a resolver may take for an IPv4 address: decimal, octal or hexadecimal.
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IDEOGRAPHIC_DOT = "\u3002"
_PATTERN = re.compile(r"(?:\*\.)?[^*/:@\s]+|\[[0-9A-Fa-f:.]+\]")
_IN_A_TARGET = "/?&=%!$'()*+,;:@~-._|{}^[]`"

# Names that mean this machine, its network or a cloud's metadata without any answer from a resolver.
_LOCAL_SUFFIXES = ("arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "onion")
# Public names that answer with whatever address is written in them, or with the loopback address. What they resolve to
# is refused at the connection too; their one use in an argument is to get around a check.
_REFLECTING_SUFFIXES = (
    "1u.ms localh.st localtest.me lacolhost.com lvh.me nip.io rbndr.us sslip.io vcap.me xip.io yoogle.com "
    "bugbounty.dod.network spoofed.burpcollaborator.net"
).split()


@dataclass(frozen=True, slots=True)
class Target:
    """A checked address in the parts that a client needs: the host in ASCII, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query, percent-encoded. The fragment stays here."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: who the other side is."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class UrlSanitizer:
    """Refuses what is not an allowed address of the web; one that passes is returned as it is.

    Options: `schemes` (`https` and `http`; default `https`); `hosts`, exact names or `*.example.org` for all below it,
    without which any public host is allowed; `ports` beside the schemes' own; `networks`, in CIDR form, that may be
    reached although they are not public; `max_length`.
    """

    kind = KIND

    def __init__(self, options: Mapping[str, object]) -> None:
        read = Options(KIND, options)
        self.schemes = frozenset(read.chosen("schemes", ("https",), _DEFAULT_PORTS))
        hosts = read.texts("hosts") if "hosts" in options else read.texts("hosts", ())
        patterns = [_host_pattern(read, each) for each in hosts]
        self._hosts = frozenset(each for each in patterns if not each.startswith("*."))
        self._suffixes = tuple(each[1:] for each in patterns if each.startswith("*."))
        self._ports = frozenset(read.numbers("ports", _PORT_MAX))
        self._networks = tuple(_network(read, each) for each in read.texts("networks", ()))
        self._length_max = read.number("max_length", 2048, _LENGTH_MAX)
        read.close()

    def check(self, value: object) -> str:
        """Return the address, or raise Rejected."""
        text = text_of(KIND, value, self._length_max)
        self.target(text)
        return text

    def target(self, url: str) -> Target:
        """The parts of an address, checked. Raises Rejected."""
        parts = _PARTS.fullmatch(url)
        if parts is None or _FORBIDDEN.search(url):
            raise Rejected(KIND, "URL_MALFORMED", "is no plain address of the form scheme://host/path")
        if _ENCODED_CONTROL.search(url):
            raise Rejected(KIND, "CONTROL_CHARACTER", "holds an encoded control character")
        scheme = parts["scheme"].lower()
        if scheme not in self.schemes:
            raise Rejected(KIND, "URL_SCHEME", f"must begin with {' or '.join(sorted(self.schemes))}")
        authority = _AUTHORITY.fullmatch(parts["authority"])
        if authority is None:
            reason = "URL_USERINFO" if "@" in parts["authority"] else "URL_MALFORMED"
            raise Rejected(KIND, reason, "must name a host and at most a port, without a user")
        host = self._host(authority["host"])
        port = int(authority["port"] or _DEFAULT_PORTS[scheme])
        if port > _PORT_MAX or (port != _DEFAULT_PORTS[scheme] and port not in self._ports):
            raise Rejected(KIND, "URL_PORT", "has a port that is not allowed")
        return Target(scheme, host, port, quote((parts["path"] or "/") + parts["rest"], safe=_IN_A_TARGET))

    def admits(self, address: Address) -> bool:
        """Whether a connection may be made to the address."""
        return is_admitted(address, self._networks)

    def _host(self, written: str) -> str:
        address = _address(written)
        host = str(address) if address is not None else _name(written)
        listed = host in self._hosts or host.endswith(self._suffixes)
        if (self._hosts or self._suffixes) and not listed:
            raise Rejected(KIND, "URL_HOST", "has a host that is not allowed")
        if address is not None:
            if not self.admits(address):
                raise Rejected(KIND, "ADDRESS_NOT_PUBLIC", "leads to an address that is not public")
        elif not listed and _is_local(host):
            raise Rejected(KIND, "URL_HOST", "has a name that is not public")
        return host


def _address(host: str) -> Address | None:
    """The address that a host is written as; None for a name. What is a number but no plain address is refused."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if _NUMERIC.fullmatch(host.lower().rstrip(".").rpartition(".")[2]):
            return IPv4Address(host)
    except ValueError:
        raise Rejected(KIND, "ADDRESS_ODD", "has an address in an unusual spelling") from None
    return None


def _name(written: str) -> str:
    """A name in lower case and ASCII, without a last dot. Raises Rejected."""
    try:
        if written.isascii():
            name = written.lower().removesuffix(".")
            if "xn--" in name:
                idna.decode(name)
        else:
            # Compatibility characters (circled or wide letters and digits) and ideographic dots turn into others.
            if unicodedata.normalize("NFKC", written) != written or _IDEOGRAPHIC_DOT in written:
                raise Rejected(KIND, "URL_HOST", "has a host in compatibility characters")
            name = idna.encode(written.lower()).decode().removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        raise Rejected(KIND, "URL_HOST", "has a host that is no valid international name") from None
    if len(name) > _NAME_LENGTH_MAX or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Rejected(KIND, "URL_MALFORMED", "has a host that is no valid name")
    return name


def _is_local(name: str) -> bool:
    last = name.rpartition(".")[2]
    return (
        "." not in name
        or last in _LOCAL_SUFFIXES
        or any(name == suffix or name.endswith(f".{suffix}") for suffix in _REFLECTING_SUFFIXES)
    )


def _host_pattern(options: Options, given: str) -> str:
    remedy = "must hold names such as example.org, or *.example.org for all below it"
    if not _PATTERN.fullmatch(given):
        raise options.refuse("hosts", remedy)
    bare = given.removeprefix("*.")
    try:
        address = None if given != bare else _address(given)
        name = str(address) if address is not None else _name(bare)
    except Rejected:
        raise options.refuse("hosts", remedy) from None
    return f"*.{name}" if given != bare else name


def _network(options: Options, given: str) -> Network:
    try:
        return ip_network(given)
    except ValueError:
        raise options.refuse("networks", "must hold networks such as 10.1.0.0/16") from None
