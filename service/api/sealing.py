"""Sealing what callers submit before it becomes a command, and opening outputs for callers who may read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podium.v1 import definition_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from service.api.parts import ApiParts
from service.api.summaries import StepOutput
from service.domain.calls import calls_of
from service.domain.errors import AlreadyExists, Unavailable
from service.domain.values import SealBrokenError


async def make_ready(parts: ApiParts, tenant: str, definition: definition_pb2.ToolDefinition) -> None:
    """Make sure, before a tool is registered, that there is a key for what its schemas mark."""
    if any(parts.sensitivity.of_definition(definition)):
        await parts.sealing.of(tenant).ready()


def seal_steps(
    parts: ApiParts, tenant: str, steps: Sequence[definition_pb2.StepDefinition]
) -> tuple[Sequence[definition_pb2.StepDefinition], bool]:
    """The steps with what is sensitive in them sealed, and whether anything is.

    The tools of a step's fallback chain count as its own does: one that marks its input has all of the step's templates
    sealed, and one that marks its output the values that the chain declares.
    """
    # Of many steps nearly all call the same few tools, of which nearly none mark anything.
    tools = {(step.tool, step.tool_version) for step in steps}
    tools |= {(call.tool, call.tool_version) for step in steps if step.fallback for call in calls_of(step)}
    sensitivity = parts.sensitivity
    if not any(sensitivity.of_input(tenant, *tool) or sensitivity.of_output(tenant, *tool) for tool in tools):
        return steps, False
    sensitive = [_sensitive(parts, tenant, step) for step in steps]
    if not any(inputs or values for inputs, values in sensitive):
        return steps, False
    return [
        _sealed(parts, tenant, step, inputs=inputs, values=values) if inputs or values else step
        for step, (inputs, values) in zip(steps, sensitive, strict=True)
    ], True


def _sensitive(parts: ApiParts, tenant: str, step: definition_pb2.StepDefinition) -> tuple[bool, bool]:
    """Whether the templates of a step are to be sealed, and whether the values that it declares."""
    sensitivity = parts.sensitivity
    calls = calls_of(step)
    inputs = any(sensitivity.of_input(tenant, call.tool, call.tool_version) for call in calls)
    declares = any(link.HasField("value") for link in step.fallback)
    return inputs, declares and any(sensitivity.of_output(tenant, call.tool, call.tool_version) for call in calls)


def _sealed(
    parts: ApiParts, tenant: str, step: definition_pb2.StepDefinition, *, inputs: bool, values: bool
) -> definition_pb2.StepDefinition:
    sealed = definition_pb2.StepDefinition()
    sealed.CopyFrom(step)
    try:
        seals = parts.sealing.of(tenant)
        for template in _templates(sealed) if inputs else ():
            template.CopyFrom(seals.seal_template(template))
        for link in sealed.fallback if values else ():
            if link.HasField("value"):
                link.value.CopyFrom(seals.seal_inline(link.value.json))
    except SealBrokenError as error:
        raise Unavailable("NO_DATA_KEY", f"what {step.id} holds cannot be sealed: {error}") from error
    return sealed


def _templates(step: definition_pb2.StepDefinition) -> Iterator[definition_pb2.Template]:
    """All templates of a step, to be changed in place."""
    yield step.arguments
    if step.HasField("for_each"):
        yield step.for_each.items
    for link in step.fallback:
        if link.HasField("tool") and link.tool.HasField("arguments"):
            yield link.tool.arguments


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
