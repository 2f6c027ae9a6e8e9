"""What is found in how things are: tokens, tools and the policy, compared with what the trail says was used.

What the log does not hold is not judged: for which methods of the API a role was used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from podium.marks import SANITIZE
from service.cli.policy.almighty_grants import almighty
from service.cli.security.findings import Evidence, Finding, Severity
from service.cli.security.trail import microseconds
from service.cli.tools.facts import ToolFacts, granted_by, risky_parameters

if TYPE_CHECKING:
    from podium.v1 import policy_pb2

_US_PER_DAY = 86_400_000_000
TOKEN_AGE_DAYS = 30
"""A token that is used so long after its issue lives too long: no run keeps its authority for longer either."""
UNUSED_DAYS = 14
"""A token that was not used for so long should not be lying about."""


def _tokens(evidence: Evidence) -> Iterator[Finding]:
    """Tokens that live too long, and those that lie about unused."""
    trail = evidence.trail
    for token_id, token in trail.tokens.items() if trail is not None else ():
        if trail is not None and trail.revoked & {token_id, token.session_id, token.subject}:
            continue
        seen = token.seen
        last_us = microseconds(seen.last_at)
        age_days = (last_us - (token.issued_at_us or microseconds(seen.first_at))) // _US_PER_DAY
        unused_days = (evidence.now_us - last_us) // _US_PER_DAY
        if age_days >= TOKEN_AGE_DAYS:
            what, severity = f"was used {age_days} days after its issue", Severity.MEDIUM
        elif unused_days >= UNUSED_DAYS:
            what, severity = f"was last used {unused_days} days ago and is not revoked", Severity.LOW
        else:
            continue
        yield Finding(
            severity,
            "stale-tokens",
            f"the token {token_id} of {token.subject} {what}",
            "the longer a token lives, the more places hold a copy of it",
            f"mint short-lived tokens; `podium token revoke {token_id}` ends this one",
            seen.count,
            seen.events,
        )


def _unused(evidence: Evidence) -> Iterator[Finding]:
    """Tools that nobody called, and grants of tools' permissions that nobody made use of."""
    trail = evidence.trail
    if trail is None or evidence.tools is None:
        return
    for tool in evidence.tools:
        if (tool.name,) not in trail.allowed_calls:
            yield Finding(
                Severity.LOW,
                "unused-tools",
                f"{tool.name} was not called",
                "a tool that nobody needs is one more way in",
                "stop serving it",
            )
    roles = evidence.policy.policy.roles if evidence.policy is not None else ()
    for role in roles:
        # Who inherits a grant uses it in the name of the role it has.
        bearers = _heirs(role.name, roles)
        used = {(tool, permission) for name, tool, permission in trail.used_roles if name in bearers}
        yield from _unused_grants(role, evidence.tools, used)


def _heirs(name: str, roles: Sequence[policy_pb2.Role]) -> set[str]:
    """The role, and all that inherit from it."""
    heirs = {name}
    while more := {role.name for role in roles if heirs & set(role.inherits)} - heirs:
        heirs |= more
    return heirs


def _unused_grants(role: policy_pb2.Role, tools: Sequence[ToolFacts], used: set[tuple[str, str]]) -> Iterator[Finding]:
    for grant in role.grants:
        covered = granted_by(grant, tools)
        exercised = covered & used
        if covered and not exercised:
            yield Finding(
                Severity.LOW,
                "unused-grants",
                f"nobody used {grant} of the role {role.name}",
                "what is granted and not needed serves only who steals a token",
                "take the grant away; `podium policy apply FILE --dry-run --since 30d` tells what that would change",
            )
        elif "*" in grant and len(exercised) * 2 < len(covered):
            yield Finding(
                Severity.MEDIUM,
                "broad-grants",
                f"of {len(covered)} calls that {grant} of the role {role.name} allows, {len(exercised)} were made",
                "a wildcard grants every tool that will ever come, too",
                "name what is used: " + ", ".join(sorted({permission for _, permission in exercised})),
            )


def _roles(evidence: Evidence) -> Iterator[Finding]:
    for which in almighty(evidence.policy.policy) if evidence.policy is not None else ():
        yield Finding(
            Severity.MEDIUM,
            "almighty-roles",
            f"everything is granted by {which}",
            "one stolen token with it is the whole tenant",
            "split it, and keep what grants everything for emergencies",
        )


def _tools(evidence: Evidence) -> Iterator[Finding]:
    for tool in evidence.tools or ():
        if not tool.permissions:
            yield Finding(
                Severity.MEDIUM if tool.read_only else Severity.HIGH,
                "tools-without-permissions",
                f"{tool.name} needs no permission",
                "whoever may call tools at all may call it" + ("" if tool.read_only else ", and it changes something"),
                "declare the permissions it needs where it is defined",
            )
        for name, sanitizer in risky_parameters(tool):
            yield Finding(
                Severity.HIGH if sanitizer in ("command", "sql") else Severity.MEDIUM,
                "parameters-without-sanitizers",
                f"{tool.name} takes {name} without a sanitizer",
                f"its name says that it is a {sanitizer}; what a model puts there may come from somebody's text",
                f'declare "{SANITIZE}": {{"{sanitizer}": ...}} at it, or the values it may have as an enum',
            )


STANDING_JUDGES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (_tokens, _unused, _roles, _tools)
"""What is looked for."""
