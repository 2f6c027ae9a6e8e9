"""The cases that test a policy, as a file describes them: who calls what, and what should come of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from podium.v1 import value_pb2
from service.cli.failures import CommandFailed, ExitCode, Violation
from service.cli.fields import Fields
from service.cli.file_text import parsed

if TYPE_CHECKING:
    from service.policy_check import PolicyCase

_US_PER_S = 1_000_000


def read_cases(text: str, name: str) -> list[PolicyCase]:
    """The cases of a file of their own: a list, or an object with `tests`. Raises CommandFailed."""
    content = parsed(text, name)
    problems: list[Violation] = []
    file = Fields({"tests": content} if isinstance(content, list) else content, "", problems)
    file.known("tests")
    cases = [read_case(fields) for fields in file.objects("tests")]
    if problems:
        path, problem = problems[0]
        raise CommandFailed(f"{path} {problem}", ExitCode.BAD_INPUT, "INVALID_FILE", problems, context=name)
    return cases


def read_case(case: Fields) -> PolicyCase:
    """The case that fields describe; what is wrong with it is noted."""
    from service.policy_check import PolicyCase

    case.known(
        "name", "principal", "roles", "scopes", "claims", "address",
        "tool", "permissions", "arguments", "time", "expect", "rule",
    )  # fmt: skip
    return PolicyCase(
        name=case.text("name", required=True),
        authority=_authority(case),
        permissions=tuple(case.texts("permissions")),
        expect_allow=case.choice("expect", ("allow", "deny")) == "allow" if _required(case, "expect") else False,
        tool=case.text("tool"),
        arguments_json=case.json_text("arguments") or "{}",
        time_us=_time_us(case),
        rule=case.text("rule"),
    )


def _authority(case: Fields) -> value_pb2.Authority:
    if isinstance(case.value("principal"), Mapping):
        fields = case.object("principal")
        fields.known("subject", "agent", "on_behalf_of", "session_id", "token_id")
        named = ("subject", "agent", "on_behalf_of", "session_id", "token_id")
        principal = value_pb2.Principal(**{name: fields.text(name) for name in named})
    else:
        principal = value_pb2.Principal(subject=case.text("principal"))
    principal.address = case.text("address")
    claims = case.object("claims")
    return value_pb2.Authority(
        principal=principal,
        roles=case.texts("roles"),
        scopes=case.texts("scopes"),
        limited=case.has("scopes"),
        claims=[value_pb2.Claim(name=name, value_json=claims.json_text(name)) for name in case.value("claims") or ()],
    )


def _time_us(case: Fields) -> int | None:
    text = case.text("time")
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        case.wrong("time", "must be a time with its zone, for example 2026-01-31T22:00:00Z")
        return None
    return round(time.timestamp() * _US_PER_S)


def _required(fields: Fields, name: str) -> bool:
    if not fields.has(name):
        fields.wrong(name, "is missing")
    return fields.has(name)
