"""The claims of docs/security.md, as tests/security/claims.toml has them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Claim:
    """A risk, what is done about it, and where that ends."""

    id: str
    name: str
    done: str
    ends: str
    tests: tuple[str, ...]
    """file::function."""


def _read(path):
    content = tomllib.loads(path.read_text())
    return {
        each["heading"]: [Claim(**{**risk, "tests": tuple(risk["tests"])}) for risk in each["risk"]]
        for each in content["list"]
    }


LISTS = _read(Path(__file__).with_name("claims.toml"))
"""The claims about each list, by its heading."""
