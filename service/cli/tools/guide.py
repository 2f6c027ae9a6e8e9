"""A tool's guide: what it does, what it takes, who may call it, what is recorded, and what to watch for.

Made from what the tool declares and what the policy says, and from nothing else: the same tool and policy give the same
text, to the byte. What a tool's author wrote is quoted as text and cannot become a heading or a table of the guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from podium.marks import SENSITIVE
from podium.v1 import policy_pb2
from service.cli.tools.facts import Parameter, ToolFacts, is_marked, risky_parameters, unsealed_secrets
from service.cli.tools.grants import forbidding, granting, limits_of
from service.cli.tools.markdown_text import code, code_block, plain, table, word

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2

_CONSTRAINTS = (
    *("enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "default"),
)
"""Keywords of a schema that say what a value may be, in the order in which they are told."""
_SAMPLES: Mapping[str, object] = {
    "string": "text", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def guide(tool: ToolFacts, policy: access_service_pb2.PolicyRevision | None) -> str:
    """Return the guide in Markdown. Without a policy it says so where the policy would be read."""
    parts = (
        [f"# {tool.name}", f"Version {tool.version}. {_behaviour(tool)}"],
        [plain(tool.description) or "It has no description."],
        ["## Parameters", *_parameters(tool)],
        ["## Who may call it", *_access(tool, policy)],
        ["## Limits", *_limits(tool, policy)],
        ["## A call", *_calls(tool)],
        ["## What is recorded", *_record(tool)],
        ["## What to watch for", *_warnings(tool)],
    )
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def example_arguments(tool: ToolFacts) -> object:
    """Return arguments to show: the first example of the schema, or the required parameters with samples."""
    if tool.examples:
        return tool.examples[0]
    return {each.name: _sample(each.schema) for each in tool.parameters if each.required and "." not in each.name}


def _behaviour(tool: ToolFacts) -> str:
    changes = "It changes nothing." if tool.read_only else "It changes something."
    if tool.read_only or tool.idempotent:
        repeated = "An attempt that failed may be repeated."
    else:
        repeated = "An attempt that failed in the tool itself is not repeated."
    return f"{changes} {repeated}"


def _parameters(tool: ToolFacts) -> Iterator[str]:
    if not tool.parameters:
        yield "None that its schema names."
        return
    rows = [
        (
            code(each.name),
            _type(each.schema),
            "yes" if each.required else "",
            _constraints(each),
            plain(each.description),
        )
        for each in tool.parameters
    ]
    yield table(("name", "type", "required", "constraints and sanitizers", "meaning"), rows)
    if tool.input_schema.get("additionalProperties") is not False:
        yield "Other members are accepted, and are checked by nothing."


def _access(tool: ToolFacts, policy: access_service_pb2.PolicyRevision | None) -> Iterator[str]:
    needs = ", ".join(code(each) for each in tool.permissions)
    yield f"It needs {needs}, and `tools.call` or `workflows.start`." if needs else "It needs no permission of its own."
    if policy is None:
        yield "Which roles grant that could not be read."
        return
    named = f"policy {plain(policy.policy.name)}, revision {policy.revision}" if policy.revision else "built-in policy"
    rows = [(code(each), granting(each, tool, policy.policy)) for each in tool.permissions]
    if rows:
        yield f"By the {named}:"
        yield table(("permission", "granted by"), rows)
    yield from forbidding(tool, policy.policy)


def _limits(tool: ToolFacts, policy: access_service_pb2.PolicyRevision | None) -> Iterator[str]:
    timeout = f"{tool.timeout_ms} ms" if tool.timeout_ms else "the service's default"
    silence = f", and may be silent for {tool.heartbeat_timeout_ms} ms" if tool.heartbeat_timeout_ms else ""
    yield f"* An attempt may take {timeout}{silence}."
    if policy is None:
        yield "* Rate limits could not be read."
        return
    limits = limits_of(tool.name, policy.policy)
    for limit in limits:
        yield f"* {code(limit.id)}: {limit.count} in {limit.period_ms} ms{_per(limit)}."
    if not limits:
        yield "* No rate limit counts it."


def _per(limit: policy_pb2.RateLimit) -> str:
    keys = [policy_pb2.LimitKey.Name(key).removeprefix("LIMIT_KEY_").lower() for key in limit.per]
    return f" by {' and '.join(keys)}" if keys else ""


def _calls(tool: ToolFacts) -> Iterator[str]:
    arguments = json.dumps(example_arguments(tool), ensure_ascii=False)
    request = json.dumps({"call": {"tool": tool.name, "arguments_json": arguments}}, ensure_ascii=False)
    yield code_block("console", f"podium call {tool.name} --arguments {word(arguments)}")
    yield code_block(
        "python", f"output = await client.call({_literal(tool.name)}, {_literal(example_arguments(tool))})"
    )
    yield code_block(
        "console",
        f'grpcurl -H "authorization: Bearer $PODIUM_TOKEN" -d {word(request)} \\\n'
        '  "$PODIUM_ADDRESS" podium.v1.ToolService/CallTool',
    )


def _record(tool: ToolFacts) -> Iterator[str]:
    sealed = "sealed, as ciphertext" if is_marked(tool.input_schema) else "in the open"
    output = "sealed, as ciphertext" if is_marked(tool.output_schema) else "in the open"
    yield (
        "* Each decision (`PermissionChecked`: who, what was needed and missing, the rule, the policy's revision, the "
        "arguments' digest), each attempt, and how it ended."
    )
    yield f"* Its arguments, {sealed}."
    yield f"* Its output{', which it streams in chunks' if tool.streams_output else ''}, {output}."
    if tool.secrets:
        names = ", ".join(code(each) for each in tool.secrets)
        yield f"* The names of the secrets that it is given, and never their values: {names}."


def _warnings(tool: ToolFacts) -> Iterator[str]:
    found = [] if tool.permissions else ["* Whoever may call tools may call it: it needs no permission."]
    found += [
        f"* {code(name)} looks like a {kind} and has no sanitizer: a model's text reaches it unchecked."
        for name, kind in risky_parameters(tool)
    ]
    found += [
        f'* {code(name)} looks like a secret and is recorded: mark it `"{SENSITIVE}": true`.'
        for name in unsealed_secrets(tool)
    ]
    if not (tool.read_only or tool.idempotent):
        found.append("* Calling it twice does it twice: a repeated call needs the `request_id` of the first.")
    yield from found or ["* Nothing that its declaration shows."]


def _required(parameter: Parameter) -> str:
    return "yes" if parameter.required else ""


def _constraints(parameter: Parameter) -> str:
    told = [f"{name} {_json(parameter.schema[name])}" for name in _CONSTRAINTS if name in parameter.schema]
    told += [
        f"sanitizer {kind}" + (f" {_json(options)}" if options else "")
        for kind, options in parameter.sanitizers.items()
    ]
    return ", ".join([*(code(each) for each in told), *(["sealed"] if is_marked(parameter.schema) else [])])


def _type(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "any")
    return " or ".join(map(str, kinds)) if isinstance(kinds, list) else str(kinds)


def _sample(schema: Mapping[str, Any]) -> object:
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    for name in ("default", "const", "minimum"):
        if name in schema:
            return schema[name]
    kind = schema.get("type", "string")
    return _SAMPLES.get(str(kind[0] if isinstance(kind, list) and kind else kind), "text")


def _literal(value: object) -> str:
    """A JSON value as Python writes it, with the quotes that its formatters prefer."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return _json(value) if isinstance(value, str) else repr(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
