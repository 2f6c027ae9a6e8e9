"""`podium audit security`: what an auditor should look at, with the events behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from service.cli.connecting import Service
    from service.cli.security.findings import Evidence, Finding
    from service.config import Settings

EXAMPLE = example(
    "podium audit security --since 30d",
    "podium audit security --json --fail-on medium | jq -r '.findings[].what'",
)
SEVERITIES = ("low", "medium", "high", "critical")
_EVENTS_SHOWN = 3
_SINCE_MAX_US = 100 * 365 * 86_400_000_000

Since = Annotated[str, typer.Option(metavar="DURATION", help="How far back to look, for example 12h or 30d.")]
FailOn = Annotated[
    str, typer.Option("--fail-on", metavar="|".join(SEVERITIES), help="Exit with 1 when something is so bad.")
]


def security(
    *,
    since: Since = "30d",
    fail_on: FailOn = "high",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Report what to look at: denials, lockouts, refused inputs, unused and broad grants, stale tokens, weak settings.

    The report is of your tenant. It needs audit.read, and for all of it tools.administer and policies.read too; what
    could not be looked at is told. Who failed to authenticate is in the operator's tenant.
    """
    from service.cli.connecting import with_service
    from service.cli.output import print_json

    if fail_on not in SEVERITIES:
        message = f"--fail-on is one of {', '.join(SEVERITIES)}, not {fail_on!r}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    since_us = _microseconds(since)

    async def read(service: Service) -> Evidence:
        return await read_evidence(service, since_us)

    evidence = with_service(address, token, read)
    found = all_findings(evidence)
    if as_json:
        print_json(report_dict(evidence, found))
    else:
        _show(evidence, found)
    bad = [finding for finding in found if finding.severity.name.lower() in SEVERITIES[SEVERITIES.index(fail_on) :]]
    if bad:
        raise typer.Exit(ExitCode.FAILED)


async def read_evidence(service: Service, since_us: int) -> Evidence:
    """Read everything the report is made from. Raises podium.PodiumError when the service cannot be reached."""
    from service.cli.output import note
    from service.cli.security.findings import Evidence
    from service.cli.security.reading import read_trail
    from service.cli.tools.reading import read_or_note, read_policy, read_tools
    from service.clock import SystemClock

    now_us = SystemClock().now_us()
    evidence = Evidence(now_us, max(0, now_us - since_us))

    def progress(lines: int) -> None:
        note(f"{lines:,} lines of the trail so far")

    unread = evidence.not_examined
    evidence.trail = await read_or_note("the trail", lambda: read_trail(service, evidence.since_us, progress), unread)
    evidence.tools = await read_tools(service, unread)
    evidence.policy = await read_policy(service, unread)
    evidence.settings = settings_of(service.address)
    if evidence.settings is None:
        unread.append("the settings of the service: `podium check --production` beside it looks at them")
    return evidence


def settings_of(address: str) -> Settings | None:
    """Return the settings of this environment, if the service at an address is one on this machine that has them."""
    from service.config import ConfigurationError, load_settings

    try:
        settings = load_settings()
    except ConfigurationError:
        return None
    there, here = address.rpartition(":"), settings.listening.listen_address.rpartition(":")
    is_here = replace(settings.listening, listen_address=address).is_local and there[2] == here[2]
    return settings if is_here else None


def all_findings(evidence: Evidence) -> list[Finding]:
    """Everything that is found, the worst first."""
    from service.cli.production.facts import Facts
    from service.cli.security.configuration_findings import configuration
    from service.cli.security.standing_findings import STANDING_JUDGES
    from service.cli.security.trail_findings import TRAIL_JUDGES

    found = [finding for judge in (*TRAIL_JUDGES, *STANDING_JUDGES) for finding in judge(evidence)]
    found += configuration(
        Facts(read_settings=evidence.settings, read_tools=evidence.tools, read_policy=evidence.policy)
    )
    return sorted(found, key=lambda finding: (-finding.severity, finding.kind, -finding.count, finding.what))


def report_dict(evidence: Evidence, found: Sequence[Finding]) -> dict[str, Any]:
    """Return the report as JSON."""
    from service.cli.output import moment

    return {
        "since": moment(evidence.since_us),
        "until": moment(evidence.now_us),
        "lines": evidence.trail.lines if evidence.trail is not None else None,
        "findings": [
            {
                "severity": finding.severity.name.lower(),
                "kind": finding.kind,
                "what": finding.what,
                "why": finding.why,
                "remedy": finding.remedy,
                "count": finding.count,
                "events": list(finding.events),
            }
            for finding in found
        ],
        "not_examined": evidence.not_examined,
    }


def _show(evidence: Evidence, found: Sequence[Finding]) -> None:
    from service.cli.output import moment, note, say, table

    if found:
        table(("severity", "what", "why", "remedy", "events"), [_row(finding) for finding in found])
    else:
        say("nothing was found")
    lines = f"{evidence.trail.lines:,} lines of the trail" if evidence.trail is not None else "no line of the trail"
    note(f"looked at {lines}, from {moment(evidence.since_us)} to {moment(evidence.now_us)}")
    for each in evidence.not_examined:
        note(f"not examined: {each}")


def _row(finding: Finding) -> tuple[str, ...]:
    shown = " ".join(finding.events[:_EVENTS_SHOWN])
    more = finding.count - _EVENTS_SHOWN
    return (
        finding.severity.name.lower(),
        finding.what,
        finding.why,
        finding.remedy,
        f"{shown} and {more:,} more" if shown and more > 0 else shown,
    )


def _microseconds(duration: str) -> int:
    from podium.durations import milliseconds

    try:
        return min(milliseconds(duration) * 1000, _SINCE_MAX_US)
    except ValueError as error:
        raise CommandFailed(f"--since: {error}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
