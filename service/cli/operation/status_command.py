"""`podium status`: whether the service is well, part by part, and what waits in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from service.cli.examples import example
from service.cli.failures import ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import monitoring_service_pb2 as pb
    from service.cli.connecting import Service

EXAMPLE = example(
    "podium status",
    "podium status --json | jq -r '.components[] | select(.healthy | not).component'",
)
COMPONENTS = ("component", "", "detail")
STUCK = ("waits since", "for", "workflow", "step")


def status(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Show how the service is: who owns the log, how far the read models are, what runs, and what waits for how long.

    Exits with 0 when it takes work, and with 1 when it does not: it stops or is full, or a part that it cannot do
    without is not well. Figures of the whole service and its names are told to the operator's tenant alone.
    """
    from podium.v1 import monitoring_service_pb2 as messages
    from podium.v1 import monitoring_service_pb2_grpc as stubs
    from service.cli.connecting import with_service
    from service.cli.output import print_json
    from service.clock import SystemClock

    async def read(service: Service) -> pb.GetStatusResponse:
        stub = stubs.MonitoringServiceStub(service.connection.channel)
        return await service.connection.call(stub.GetStatus, messages.GetStatusRequest())

    answer = with_service(address, token, read)
    if as_json:
        print_json(status_dict(answer))
    else:
        _draw(answer, SystemClock().now_us())
    if not answer.serving:
        raise typer.Exit(ExitCode.FAILED)


def status_dict(answer: pb.GetStatusResponse) -> dict[str, Any]:
    """Return a status as JSON: every field, also those that are zero."""
    from google.protobuf.json_format import MessageToDict

    from service.cli.output import moment

    content: dict[str, Any] = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # Numbers of 64 bits are text in proto3's JSON, which nobody can compute with.
    for name in ("started_at_us", "epoch", "lease_expires_at_us", "head", "projection_lag_us"):
        content[name] = getattr(answer, name)
    content["started_at"] = moment(answer.started_at_us)
    for told, wait in zip(content["stuck"], answer.stuck, strict=True):
        told["since_us"], told["since"] = wait.since_us, moment(wait.since_us)
    return content


def figures(answer: pb.GetStatusResponse, now_us: int) -> list[tuple[str, str]]:
    """Return what there is to say of the service as a whole, (what, how), for a person."""
    lines = [
        ("service", f"{'takes work' if answer.serving else 'TAKES NO WORK'}, {answer.load:.0%} full"),
        ("version", f"{answer.version}, up for {duration(now_us - answer.started_at_us)}"),
    ]
    if answer.owner:
        lease = f", lease for {duration(answer.lease_expires_at_us - now_us)}" if answer.lease_expires_at_us else ""
        lines += [
            ("database", answer.database),
            ("owner", f"{answer.owner}, epoch {answer.epoch}{lease}"),
            ("head", f"position {answer.head}"),
        ]
    lines += [
        ("read models", f"{duration(answer.projection_lag_us)} behind"),
        ("executors", f"{answer.executors} sessions"),
        ("workflows", f"{answer.open_workflows} open"),
        ("attempts", f"{answer.running_attempts} run, {answer.queued_steps} steps wait"),
    ]
    return lines


def duration(microseconds: int) -> str:
    """Return a duration for a person: 1.5 s, 12 min, 3.1 h, 12.5 d."""
    seconds = max(0, microseconds) / 1e6
    for unit, length, below in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 72 * 3600)):
        if seconds < below:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def _draw(answer: pb.GetStatusResponse, now_us: int) -> None:
    from service.cli.output import say, table

    for what, how in figures(answer, now_us):
        say(f"{what:<12}{how}")
    say()
    words = {(True, True): "well", (True, False): "well", (False, True): "NOT WELL", (False, False): "not well"}
    table(
        COMPONENTS, [(each.component, words[each.healthy, each.essential], each.detail) for each in answer.components]
    )
    if answer.stuck:
        say()
        rows = [
            (
                duration(now_us - each.since_us) if each.since_us else "",
                each.waits_for,
                each.workflow_id,
                each.step_id,
            )
            for each in answer.stuck
        ]
        table(STUCK, rows)
