"""What is wrong with the names, globs and lists in a policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from service.domain.errors import Violation

_LISTED_MAX = 1_000
"""Entries of one list of a role, a rule or a limit."""
_TEXT_MAX = 1_024

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,127}")
_TOOL_GLOB = re.compile(r"[A-Za-z0-9_*?\[\]!-]{1,128}")


def id_violations(path: str, identifier: str, seen: set[str]) -> Iterator[Violation]:
    """What is wrong with an id that no other of `seen` may have; adds it."""
    if not _ID.fullmatch(identifier):
        yield f"{path}.id", "must be of a-z 0-9 _ - and begin with a letter or a digit, for example no-refunds-at-night"
    elif identifier in seen:
        yield f"{path}.id", f"is {identifier} a second time: decisions name it, so give each its own"
    seen.add(identifier)


def glob_violations(path: str, globs: Sequence[str]) -> Iterator[Violation]:
    """What is wrong with globs of tools' names."""
    yield from list_violations(path, globs)
    for number, glob in enumerate(globs):
        if not _TOOL_GLOB.fullmatch(glob):
            yield (
                f"{path}[{number}]",
                f"is {glob[:80]!r}; a tool is named with A-Z a-z 0-9 _ -, and * ? [...] fit several",
            )


def role_violations(path: str, roles: Sequence[str]) -> Iterator[Violation]:
    """What is wrong with roles that something is limited to."""
    yield from list_violations(path, roles)
    for number, role in enumerate(roles):
        yield from role_name_violations(f"{path}[{number}]", role)


def role_name_violations(path: str, name: str) -> Iterator[Violation]:
    """What is wrong with the name of a role."""
    if not _ROLE.fullmatch(name):
        yield path, "must be of letters, digits and _ . : @ / - and begin with a letter or a digit"


def list_violations(path: str, entries: Sequence[str]) -> Iterator[Violation]:
    """What is wrong with a list as a whole."""
    if len(entries) > _LISTED_MAX:
        yield path, f"has {len(entries)} entries; at most {_LISTED_MAX} are allowed"
    elif len(set(entries)) < len(entries):
        twice = Counter(entries).most_common(1)[0][0]
        yield path, f"has {twice[:80]!r} twice"


def description_violations(path: str, text: str) -> Iterator[Violation]:
    """What is wrong with the description of what is at the path."""
    if len(text) > _TEXT_MAX:
        yield f"{path}.description", f"is longer than {_TEXT_MAX} characters"
