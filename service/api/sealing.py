"""Sealing what callers submit before it becomes a command, and opening outputs for callers who may read them."""

from __future__ import annotations

from collections.abc import Sequence

from podium.v1 import definition_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from service.api.parts import ApiParts
from service.api.summaries import StepOutput
from service.domain.errors import AlreadyExists, Unavailable
from service.domain.values import SealBrokenError


async def make_ready(parts: ApiParts, tenant: str, definition: definition_pb2.ToolDefinition) -> None:
    """Make sure, before a tool is registered, that there is a key for what its schemas mark."""
    if any(parts.sensitivity.of_definition(definition)):
        await parts.sealing.of(tenant).ready()


def seal_steps(
    parts: ApiParts, tenant: str, steps: Sequence[definition_pb2.StepDefinition]
) -> tuple[Sequence[definition_pb2.StepDefinition], bool]:
    """The steps with the templates sealed of those whose tool's input is sensitive, and whether there are any."""
    sensitive = [parts.sensitivity.of_input(tenant, step.tool, step.tool_version) for step in steps]
    if not any(sensitive):
        return steps, False
    return [
        _sealed(parts, tenant, step) if marked else step for step, marked in zip(steps, sensitive, strict=True)
    ], True


def _sealed(parts: ApiParts, tenant: str, step: definition_pb2.StepDefinition) -> definition_pb2.StepDefinition:
    sealed = definition_pb2.StepDefinition()
    sealed.CopyFrom(step)
    try:
        seals = parts.sealing.of(tenant)
        sealed.arguments.CopyFrom(seals.seal_template(step.arguments))
        if step.HasField("for_each"):
            sealed.for_each.items.CopyFrom(seals.seal_template(step.for_each.items))
    except SealBrokenError as error:
        raise Unavailable("NO_DATA_KEY", f"the arguments of {step.id} cannot be sealed: {error}") from error
    return sealed


def recorded_digest(parts: ApiParts, tenant: str, digest: bytes, *, sealed: bool) -> bytes:
    """The digest of a request's body as it may be recorded: nobody may try out what a sealed part of it was."""
    return parts.sealing.of(tenant).named_digest(digest) if sealed else digest


def check_same_body(parts: ApiParts, tenant: str, recorded: bytes, digest: bytes) -> None:
    """Raise AlreadyExists when a request id was used before with another body."""
    if recorded == digest or parts.sealing.of(tenant).same_digest(recorded, digest):
        return
    raise AlreadyExists(
        "REQUEST_ID_REUSED",
        "the request_id was used before for another request: use a new one",
        violations=[("request_id", "was used before with another body")],
    )


async def put_output(
    parts: ApiParts,
    tenant: str,
    output: StepOutput,
    message: workflow_service_pb2.StepSummary | tool_service_pb2.ToolOutcome,
) -> None:
    """Write a step's output into what its caller sees, or why a sealed one cannot be opened any more."""
    try:
        message.output_json = await output.text(tenant, parts.payloads, parts.sealing.of(tenant))
    except SealBrokenError as error:
        message.output_failure.CopyFrom(value_pb2.Failure(reason="SEAL_BROKEN", message=str(error)))
