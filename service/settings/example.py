"""Settings as text: the commented example of a file, made of the settings' own descriptions, and values to be shown.

Invariant: nothing that may be a secret is shown.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import groupby
from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlsplit

from service.config import Settings
from service.settings.reading import CONFIG_NAME, Setting, all_settings
from service.settings.tokens import PublicKeyFile

_WIDTH = 118
_HIDDEN = "(hidden)"
_WEB = ("http", "https")
_HEAD = f"""Podium's settings. What is commented out has its default; what the environment sets wins over this file.
The service reads it with `podium serve --config FILE` or {CONFIG_NAME}=FILE, and `podium config check FILE` tells what
is wrong with it. Paths are relative to where the service is started."""


def example_file() -> str:
    """A file with every setting, its description and its default, commented out."""
    lines = [*_comment(_HEAD)]
    kinds = get_type_hints(Settings)
    for section, settings in groupby(all_settings(Settings), key=lambda setting: setting.section):
        lines += ["", f"[{section}]", *_comment(inspect.getdoc(kinds[section]) or "")]
        described = descriptions(kinds[section])
        for setting in settings:
            lines += ["", *_comment(described[setting.name]), *_comment(f"In the environment {setting.variable}.")]
            lines.append(f"# {setting.name} = {toml_value(setting.default)}")
    return "\n".join(lines) + "\n"


def descriptions(section: type) -> dict[str, str]:
    """What the text below each field of a section says of it. A field without one raises KeyError where it is asked."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(definition, ast.ClassDef), "a section is a class"
    found = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


def shown(setting: Setting, value: object) -> object:
    """A setting's value as JSON has it; of a secret no more than where an address leads.

    What is no address is hidden whole: headers, and a command, whose arguments may be a password.
    """
    if setting.is_secret:
        return _without_credentials(value) if isinstance(value, str) else _HIDDEN if value else _plain(value)
    return _plain(value)


def toml_value(value: object) -> str:
    """A value as TOML has it; None, which TOML has not, is the empty text, which sets nothing."""
    plain = _plain(value)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, list):
        return f"[{', '.join(map(toml_value, plain))}]"
    if plain is None or isinstance(plain, str):
        return '"' + (plain or "").replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(plain)


def _plain(value: object) -> object:
    if isinstance(value, Path | IPv4Network | IPv6Network):
        return str(value)
    if isinstance(value, PublicKeyFile):
        return f"{value.id}={value.algorithm}:{value.path}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return value


def _without_credentials(url: str) -> str:
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _HIDDEN
    # A password with a slash of its own ends the host too early, and goes on in the path.
    if not url.startswith(f"{parts.scheme}://") or (parts.netloc and "@" in parts.path):
        return _HIDDEN
    user, at, hosts = parts.netloc.rpartition("@")
    # A user alone, and any in an address of the web, may be a token.
    name, colon, _ = user.partition(":")
    told = name if colon and parts.scheme not in _WEB else _HIDDEN if user else ""
    query = f"?{_HIDDEN}" if parts.query else ""
    return f"{parts.scheme}://{told}{at}{hosts}{parts.path}{query}"


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        for line in textwrap.wrap(" ".join(paragraph.split()), _WIDTH):
            yield f"# {line}"
