"""What is found in the trail: who was refused, locked out or held back, and who changed the policy alone.

Each is a count of the trail, made into a finding with its first events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service.cli.security.findings import Evidence, Finding, Severity
from service.cli.security.trail import OTHERS, Counts, Seen, Trail

MANY = 10
"""So often is more than a mistake."""
VERY_MANY = 100


def _of_trail(
    counts: Callable[[Trail], Counts], make: Callable[[tuple[str, ...], Seen], Finding]
) -> Callable[[Evidence], Iterator[Finding]]:
    """A judge that makes a finding of each count."""

    def judge(evidence: Evidence) -> Iterator[Finding]:
        if evidence.trail is not None:
            for key, seen in counts(evidence.trail).items():
                # What came after KEYS_MAX others has no parts to name.
                parts = key if key != OTHERS else (*OTHERS, *[""] * 4)
                yield make(parts, seen)

    return judge


def _by_count(count: int, few: Severity, many: Severity, very_many: Severity | None = None) -> Severity:
    if count >= VERY_MANY and very_many is not None:
        return very_many
    return many if count >= MANY else few


def _denied_call(key: tuple[str, ...], seen: Seen) -> Finding:
    subject, tool, rule, *_ = key
    return Finding(
        _by_count(seen.count, Severity.LOW, Severity.MEDIUM),
        "denied-calls",
        f"{subject} was denied {tool} {seen.count} times (rule {rule})",
        "an agent that goes on asking for what it may not do was told to, by a mistake or by somebody's text",
        "look at what asked for it; grant what it needs, or revoke its credentials",
        seen.count,
        seen.events,
    )


def _denied_request(key: tuple[str, ...], seen: Seen) -> Finding:
    who, method, asked, reason, *_ = key
    what = f"{method or 'requests'} ({asked})" if asked else method or "requests"
    return Finding(
        _by_count(seen.count, Severity.LOW, Severity.MEDIUM),
        "denied-requests",
        f"{who or 'someone'} was refused {what} {seen.count} times ({reason})",
        "a caller that tries methods it may not call is set up wrongly, or looks for a way in",
        "give it the role it needs, or revoke its credentials",
        seen.count,
        seen.events,
    )


def _failed_authentication(key: tuple[str, ...], seen: Seen) -> Finding:
    return Finding(
        _by_count(seen.count, Severity.LOW, Severity.MEDIUM, Severity.HIGH),
        "failed-authentications",
        f"{key[0]} failed to authenticate {seen.count} times",
        "tokens are being guessed or tried, or a client has not noticed that its token ended",
        "find who calls from there; a lockout in the policy's addresses blocks such addresses by itself",
        seen.count,
        seen.events,
    )


def _lockout(key: tuple[str, ...], seen: Seen) -> Finding:
    return Finding(
        Severity.MEDIUM,
        "lockouts",
        f"{key[0]} was locked out {seen.count} times",
        "it failed so often that the policy blocked it",
        "find who calls from there before the block ends; `podium addresses block` makes it last",
        seen.count,
        seen.events,
    )


def _refused_input(key: tuple[str, ...], seen: Seen) -> Finding:
    guard, reason, source, *_ = key
    by_schema = guard == "schema"
    return Finding(
        _by_count(seen.count, Severity.LOW, Severity.LOW if by_schema else Severity.HIGH),
        "refused-inputs",
        f"{guard} refused arguments of {source or 'a call'} {seen.count} times ({reason})",
        "arguments that a sanitizer refuses are what an attack through a model's input looks like",
        "look at where the arguments came from, above all at text that the agent had read before",
        seen.count,
        seen.events,
    )


def _invalid_submission(key: tuple[str, ...], seen: Seen) -> Finding:
    reason, method, source, *_ = key
    return Finding(
        Severity.LOW,
        "invalid-submissions",
        f"{method or 'requests'} of {source or 'someone'} were no valid requests {seen.count} times ({reason})",
        "a program that goes on submitting what is not valid is broken, or tries what it can get away with",
        "look at what it submits; the events name the field at fault",
        seen.count,
        seen.events,
    )


def _limited(key: tuple[str, ...], seen: Seen) -> Finding:
    limit, tool, *_ = key
    return Finding(
        _by_count(seen.count, Severity.LOW, Severity.LOW, Severity.MEDIUM),
        "rate-limits",
        f"the limit {limit} held back {tool or 'calls'} {seen.count} times",
        "an agent in a loop looks like this, and so does a limit that is too tight",
        "look at who calls so often, or raise the limit",
        seen.count,
        seen.events,
    )


def _lone_change(key: tuple[str, ...], seen: Seen) -> Finding:
    return Finding(
        Severity.MEDIUM,
        "policy-changed-alone",
        f"{key[0]} changed the policy {seen.count} times without a second person",
        "whoever has this one's token can give any right to anyone",
        "set changes_need_approval in the policy, and give policies.approve to others than policies.change",
        seen.count,
        seen.events,
    )


def _approved_own(key: tuple[str, ...], seen: Seen) -> Finding:
    return Finding(
        Severity.CRITICAL,
        "self-approved",
        f"{key[0]} approved {seen.count} changes of the policy that {key[0]} had proposed",
        "the second person was the first one",
        "find out how it came about, and look at what was changed",
        seen.count,
        seen.events,
    )


def _often_invalid(trail: Trail) -> Counts:
    """Of the submissions that were no valid requests, those that are more than a mistake."""
    return {key: seen for key, seen in trail.invalid_submissions.items() if seen.count >= MANY}


TRAIL_JUDGES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _of_trail(lambda trail: trail.denied_calls, _denied_call),
    _of_trail(lambda trail: trail.denied_requests, _denied_request),
    _of_trail(lambda trail: trail.failed_authentications, _failed_authentication),
    _of_trail(lambda trail: trail.lockouts, _lockout),
    _of_trail(lambda trail: trail.refused_inputs, _refused_input),
    _of_trail(_often_invalid, _invalid_submission),
    _of_trail(lambda trail: trail.limited, _limited),
    _of_trail(lambda trail: trail.lone_changes, _lone_change),
    _of_trail(lambda trail: trail.approved_own, _approved_own),
)
"""What is looked for."""
