"""What the security audit finds in how the service is set up: the items of the production checklist that concern it."""

from __future__ import annotations

from collections.abc import Iterator

from service.cli.production.facts import Facts, NotSeen, State
from service.cli.production.items import ITEMS
from service.cli.security.findings import Finding, Severity

_AREAS = {"permissions", "rate limits", "transport", "credentials", "secrets", "audit", "database", "tenants"}
_JUDGED_BETTER = {"tool-permissions", "sanitizers", "almighty-roles"}
"""Each tool and role that these items sum up has a finding of its own."""
_SEVERITIES = {State.FAIL: Severity.HIGH, State.WARN: Severity.MEDIUM}


def configuration(facts: Facts) -> Iterator[Finding]:
    """Yield the weaknesses in what could be read; what could not be is passed over here, and told by the caller."""
    for item in ITEMS:
        if item.area not in _AREAS or item.id in _JUDGED_BETTER:
            continue
        try:
            outcome = item.look(facts)
        except NotSeen:
            continue
        severity = _SEVERITIES.get(outcome.state)
        if severity is not None:
            yield Finding(severity, "configuration", outcome.looked_at, f"wanted: {item.title}", outcome.remedy)
