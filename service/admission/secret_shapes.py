"""What well-known secrets look like: the built-in patterns that outputs are searched for.

Conservative: a shape names an issuer's own prefix and length, so that words, hashes and identifiers pass. Expressions
are RE2's, of linear time, over UTF-8. For streams, `prefixes` and `goes_on` say which texts may still become one when
more text follows: together they must fit every beginning of every match.
"""

from __future__ import annotations

from typing import NamedTuple


class SecretShape(NamedTuple):
    """One kind of secret."""

    id: str
    expression: str
    prefixes: tuple[str, ...]
    """With which of these a match begins."""
    goes_on: str
    """After a prefix: what a match that is not complete consists of."""


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
        rf"\beyJ{_WORD}{{10,}}\.eyJ{_WORD}{{10,}}\.{_WORD}{{16,}}",
        ("eyJ",),
        r"[A-Za-z0-9_.-]*",
    ),
    SecretShape(
        "bearer-token",
        # With a digit, so that no words are taken for one.
        r"\b[Bb]earer\s+[A-Za-z._~+/-]{0,200}[0-9][A-Za-z0-9._~+/-]{15,}=*",
        ("Bearer", "bearer"),
        r"(?:\s+[A-Za-z0-9._~+/=-]*)?",
    ),
    SecretShape("aws-key", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b", ("AKIA", "ASIA"), r"[A-Z2-7]*"),
    SecretShape(
        "aws-secret",
        r"\b(?:aws|AWS|Aws)(?i:_?secret_?access_?key)[\"']?\s{0,4}[:=]\s{0,4}[\"']?[A-Za-z0-9/+]{40}\b",
        ("aws", "AWS", "Aws"),
        r"(?i:_?s?e?c?r?e?t?_?a?c?c?e?s?s?_?k?e?y?)[\"']?\s{0,4}[:=]?\s{0,4}[\"']?[A-Za-z0-9/+]{0,40}",
    ),
    SecretShape(
        "github-token",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"[A-Za-z0-9_]*",
    ),
    SecretShape("gitlab-token", rf"\bglpat-{_WORD}{{20,}}", ("glpat-",), rf"{_WORD}*"),
    SecretShape("slack-token", r"\bxox[abeoprs]-[0-9][A-Za-z0-9-]{20,}", ("xox",), r"[A-Za-z0-9-]*"),
    SecretShape("google-key", rf"\bAIza{_WORD}{{35}}", ("AIza",), rf"{_WORD}*"),
    SecretShape(
        "stripe-key",
        r"\b[rs]k_live_[A-Za-z0-9]{20,}",
        ("sk_live_", "rk_live_"),
        r"[A-Za-z0-9]*",
    ),
    SecretShape(
        "model-api-key",
        rf"\bsk-(?:ant-[a-z0-9]{{1,10}}-|proj-|svcacct-){_WORD}{{32,}}|\bsk-[A-Za-z0-9]{{48}}\b",
        ("sk-",),
        rf"{_WORD}*",
    ),
    SecretShape("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b", ("npm_",), r"[A-Za-z0-9]*"),
    SecretShape("pypi-token", rf"\bpypi-AgEI{_WORD}{{50,}}", ("pypi-AgEI",), rf"{_WORD}*"),
)
"""All of them. A found one is replaced by [redacted:ID]."""
