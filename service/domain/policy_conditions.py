"""The conditions of a policy's rules: CEL expressions over the facts of a call, behind a port.

What a condition may cost is bounded as that of a workflow's condition is: see service.domain.expression_scan.
"""

from __future__ import annotations

from typing import Protocol

from service.domain.expression_scan import Read, Scan, Token
from service.domain.policy_rules import FACTS, PRINCIPAL_MEMBERS, Condition


class Conditions(Protocol):
    """Compiles the conditions of policies."""

    def compile(self, text: str) -> Condition:
        """Compile and type-check a condition, which must give a bool. Raises ExpressionError."""

    def pattern_problem(self, text: str) -> str:
        """What is wrong with a content pattern's expression; empty: nothing is."""


class _FactScan(Scan):
    """One pass over a condition of a policy."""

    roots = FACTS

    def named(self, root: Token, path: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """See Scan. A misspelt member of the principal would make the condition an error in every call."""
        if root.text == "principal" and path and path[0] not in PRINCIPAL_MEMBERS:
            raise self.error(root, f"principal has no {path[0][:80]}: it has {', '.join(PRINCIPAL_MEMBERS)}")
        return root.text, path


def find_facts(text: str) -> list[Read]:
    """What the condition `text` reads, each with the name of its fact as `step`. Raises ExpressionError."""
    return _FactScan(text).run()
