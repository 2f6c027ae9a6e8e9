"""Reads the fallback chain of a submitted step: each link into its normal form, and what is wrong with it.

In the normal form a tool has its version and its arguments are a template, and a declared value is a value.
"""

from __future__ import annotations

from collections.abc import Iterator

from podium.v1 import definition_pb2 as pb
from service.domain.call_reading import REASONS_MAX, CallReading
from service.domain.fallback import ANY
from service.domain.reasons import reason_problem
from service.domain.validation import Validation

LINKS_MAX = 8


def read_chain(step: pb.StepDefinition, reading: CallReading, validation: Validation) -> Iterator[None]:
    """Read one link of a step after the other. Its own arguments were read before."""
    if len(step.fallback) > LINKS_MAX:
        reading.wrong("fallback", f"has {len(step.fallback)} links, and may have {LINKS_MAX}: leave the last ones out")
        return
    for number, link in enumerate(step.fallback):
        field = f"fallback[{number}]"
        _read_reasons(link, field, reading)
        kind = link.WhichOneof("link")
        if kind == "tool":
            _read_tool(step, link.tool, f"{field}.tool.", reading)
        elif kind in ("value", "value_json"):
            _read_value(link, field, reading, validation.limits.value_bytes)
        elif kind is None:
            reading.wrong(field, "says nothing to fall back on: give a tool, stale, or a value")
        yield


def _read_reasons(link: pb.Fallback, field: str, reading: CallReading) -> None:
    if len(link.on) > REASONS_MAX:
        reading.wrong(f"{field}.on", f"must be at most {REASONS_MAX} reasons")
        return
    for number, reason in enumerate(link.on):
        if reason != ANY and (problem := reason_problem(reason)):
            reading.wrong(f"{field}.on[{number}]", f"{problem}; {ANY} is any")


def _read_tool(step: pb.StepDefinition, link: pb.ToolFallback, prefix: str, reading: CallReading) -> None:
    reading.read_arguments(link, prefix)
    reading.read_tool(link, prefix, link.arguments if link.HasField("arguments") else step.arguments)
    reading.read_retry(link.retry, f"{prefix}retry")


def _read_value(link: pb.Fallback, field: str, reading: CallReading, limit_bytes: int) -> None:
    if link.HasField("value"):
        field = f"{field}.value"
        if link.value.WhichOneof("kind") != "json":
            # What is stored or sealed belongs to whoever stored it; it is not opened for one who knows its name.
            reading.wrong(field, "is no JSON text: give it as json, or as value_json")
            return
        reading.check_json(link.value.json, field)
    else:
        field = f"{field}.value_json"
        parsed = reading.parse(link.value_json, field, shorthand=False)
        if parsed is None:
            return
        if not parsed.HasField("literal_json"):
            reading.wrong(field, "refers to something: a declared value has no holes, and $${ stands for ${")
            return
        link.value.json = parsed.literal_json
    if len(link.value.json.encode()) > limit_bytes:
        problem = f"is larger than {limit_bytes} bytes: declare a smaller value, or fall back on a tool that gives it"
        reading.wrong(field, problem)
