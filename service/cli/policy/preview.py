"""`podium policy apply --dry-run`: which past calls another policy would decide differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.cli.failures import CommandFailed, ExitCode

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2, policy_pb2, value_pb2
    from service.cli.connecting import Service

COLUMNS = ("when", "workflow", "step", "tool", "who", "was", "would be")


def named(principal: value_pb2.Principal) -> str:
    """Return who that is: the subject, and for whom it acts."""
    acting = f" for {principal.on_behalf_of}" if principal.on_behalf_of else ""
    return f"{principal.subject}{acting}"


def preview(
    policy: policy_pb2.Policy, since: str, changes: int, address: str | None, token: str | None, *, as_json: bool
) -> None:
    """Print which of the calls since so long ago another policy would decide differently, at most so many of them."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import told, with_service
    from service.cli.output import note, print_json, table

    found: list[pb.ChangedDecision] = []
    since_us = _since_us(since)

    async def watch(service: Service) -> pb.PreviewPolicyResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = pb.PreviewPolicyRequest(policy=policy, since_us=since_us, max_changes=changes)
        last = pb.PreviewPolicyResponse()
        async for last in told(stub.PreviewPolicy(request, metadata=service.connection.metadata())):
            found.extend(last.changes)
        return last

    last = with_service(address, token, watch)
    if as_json:
        for each in found:
            print_json(_change_dict(each))
        print_json({"decided": last.decided, "changed": last.changed, "undecidable": last.undecidable})
        return
    if found:
        table(COLUMNS, [_change_row(each) for each in found])
    if last.changed > len(found):
        note(f"and {last.changed - len(found)} more")
    note(f"{last.changed} of {last.decided} calls would be decided differently; nothing was changed")
    if last.undecidable:
        note(f"{last.undecidable} calls could not be decided again: what they rest on is sealed or gone")


def _change_row(change: access_service_pb2.ChangedDecision) -> tuple[str, ...]:
    from service.cli.access.audit_commands import decision_name
    from service.cli.output import moment

    return (
        moment(change.recorded_at_us),
        change.workflow_id,
        change.step_id,
        change.tool,
        named(change.principal),
        f"{decision_name(change.before)} ({change.rule_before})",
        f"{decision_name(change.after)} ({change.rule_after})",
    )


def _change_dict(change: access_service_pb2.ChangedDecision) -> dict[str, Any]:
    from service.cli.access.audit_commands import decision_name
    from service.cli.output import moment

    return {
        "event": change.event,
        "recorded_at": moment(change.recorded_at_us),
        "workflow_id": change.workflow_id,
        "step_id": change.step_id,
        "tool": change.tool,
        "subject": named(change.principal),
        "before": decision_name(change.before),
        "rule_before": change.rule_before,
        "after": decision_name(change.after),
        "rule_after": change.rule_after,
        "missing_after": list(change.missing_after),
    }


def _since_us(since: str) -> int:
    from podium.durations import milliseconds
    from service.clock import SystemClock

    try:
        return max(0, SystemClock().now_us() - milliseconds(since) * 1000)
    except ValueError as error:
        raise CommandFailed(f"--since: {error}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
