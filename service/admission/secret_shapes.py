"""What well-known secrets look like: the built-in patterns that outputs are searched for.

Conservative: a shape names an issuer's own prefix and length, so that words, hashes and identifiers pass. Expressions
are RE2's, of linear time, over UTF-8. For streams, `prefixes` and `goes_on` say which texts may still become one when
more text follows: together they must fit every beginning of every match.

A secret begins where a word does. Where a text was written into another, that place is hard to see: in %20ghp_, and
after a line break that is written as a backslash and n, what stands before the secret is a digit or letter of
something else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HEX = "[0-9A-Fa-f]"
_EDGES = (
    r"\b",
    # Of a name that was put before.
    "_",
    # Characters as JSON and programs write them.
    rf"\\(?:[abefnrtv]|[0-7]{{1,3}}|x{_HEX}{{2}}|u{_HEX}{{4}}|U{_HEX}{{8}})",
    # As addresses write them, and with %2520 addresses in addresses.
    rf"%(?:25)*{_HEX}{{2}}",
    # The end of a terminal's colour, or of what clears a line.
    r"\[[0-9;]*[mK]",
)
EDGE = f"(?:{'|'.join(_EDGES)})"
"""What stands before a secret. No letter or digit alone: words, hashes and base64 would be full of beginnings."""
_EDGE_BEGUN = re.compile(
    rb"\\(?:[0-7]{0,2}|x[0-9A-Fa-f]?|u[0-9A-Fa-f]{0,3}|U[0-9A-Fa-f]{0,7})|%(?:25){0,12}[0-9A-Fa-f]?|\[[0-9;]{0,30}"
)
_EDGE_BEGUN_BYTES = 32


class SecretShape(NamedTuple):
    """One kind of secret."""

    id: str
    expression: str
    prefixes: tuple[str, ...]
    """With which of these a match begins."""
    goes_on: str
    """After a prefix: what a match that is not complete consists of."""

    @property
    def edge(self) -> str:
        """The expression of what stands before it: anything, where the prefix is nothing that a word goes on with."""
        return EDGE if self.prefixes[0][0].isalnum() else ""


_KEY_NAME = r"(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?"
_BREAK = r"(?:\s|\\[rn])"
_WORD = r"[A-Za-z0-9_-]"

SECRET_SHAPES = (
    SecretShape(
        "private-key",
        # PEM and OpenPGP armour: header fields, then base64; also with its line breaks written as \n.
        rf"-----BEGIN {_KEY_NAME}-----{_BREAK}*(?:[A-Za-z-]+: [^\r\n\\]*{_BREAK}+)*[A-Za-z0-9+/=]{{40,}}"
        rf"(?:[A-Za-z0-9+/=]|{_BREAK})*(?:-----END {_KEY_NAME}-----)?",
        ("-----BEGIN ",),
        r"(?:[A-Z0-9 ]*-{0,4}|[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.()-]*)",
    ),
    SecretShape(
        "jwt",
        rf"eyJ{_WORD}{{10,}}\.eyJ{_WORD}{{10,}}\.{_WORD}{{16,}}",
        ("eyJ",),
        r"[A-Za-z0-9_.-]*",
    ),
    SecretShape(
        "bearer-token",
        # With a digit, so that no words are taken for one.
        r"[Bb]earer\s+[A-Za-z._~+/-]{0,200}[0-9][A-Za-z0-9._~+/-]{15,}=*",
        ("Bearer", "bearer"),
        r"(?:\s+[A-Za-z0-9._~+/=-]*)?",
    ),
    SecretShape("aws-key", r"(?:AKIA|ASIA)[A-Z2-7]{16}\b", ("AKIA", "ASIA"), r"[A-Z2-7]*"),
    SecretShape(
        "aws-secret",
        r"(?:aws|AWS|Aws)(?i:_?secret_?access_?key)[\"']?\s{0,4}[:=]\s{0,4}[\"']?[A-Za-z0-9/+]{40,}",
        ("aws", "AWS", "Aws"),
        r"(?i:_?s?e?c?r?e?t?_?a?c?c?e?s?s?_?k?e?y?)[\"']?\s{0,4}[:=]?\s{0,4}[\"']?[A-Za-z0-9/+]*",
    ),
    SecretShape(
        "github-token",
        r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"[A-Za-z0-9_]*",
    ),
    SecretShape("gitlab-token", rf"glpat-{_WORD}{{20,}}", ("glpat-",), rf"{_WORD}*"),
    SecretShape("slack-token", r"xox[abeoprs]-[0-9][A-Za-z0-9-]{20,}", ("xox",), r"[A-Za-z0-9-]*"),
    SecretShape("google-key", rf"AIza{_WORD}{{35}}", ("AIza",), rf"{_WORD}*"),
    SecretShape(
        "stripe-key",
        r"[rs]k_live_[A-Za-z0-9]{20,}",
        ("sk_live_", "rk_live_"),
        r"[A-Za-z0-9]*",
    ),
    SecretShape(
        "model-api-key",
        rf"sk-(?:(?:ant-[a-z0-9]{{1,10}}-|proj-|svcacct-){_WORD}{{32,}}|[A-Za-z0-9]{{48}}\b)",
        ("sk-",),
        rf"{_WORD}*",
    ),
    SecretShape("npm-token", r"npm_[A-Za-z0-9]{36}\b", ("npm_",), r"[A-Za-z0-9]*"),
    SecretShape("pypi-token", rf"pypi-AgEI{_WORD}{{50,}}", ("pypi-AgEI",), rf"{_WORD}*"),
)
"""All of them. A found one is replaced by [redacted:ID]."""


def edge_begun(data: bytes, end: int) -> bytes:
    """What before `end` may become an edge when more follows; nothing, if no more is needed."""
    first = max(0, end - _EDGE_BEGUN_BYTES)
    at = max(data.rfind(b"\\", first, end), data.rfind(b"%", first, end), data.rfind(b"[", first, end))
    return data[at:end] if at >= 0 and _EDGE_BEGUN.fullmatch(data, at, end) else b""
