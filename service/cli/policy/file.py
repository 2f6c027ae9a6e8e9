"""A policy in a file, YAML or JSON: from its text to the policy of the contract, and the cases that test it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from podium.durations import milliseconds
from podium.v1 import policy_pb2
from service.cli.failures import CommandFailed, ExitCode, Violation
from service.cli.fields import Fields
from service.cli.file_text import parsed
from service.cli.policy.breakers import read_breaker
from service.cli.policy.bulkheads import read_bulkhead
from service.cli.policy.caches import read_cache
from service.cli.policy.cases import read_case

if TYPE_CHECKING:
    from service.policy_check import PolicyCase

EFFECTS = {"": policy_pb2.EFFECT_UNSPECIFIED, "allow": policy_pb2.EFFECT_ALLOW, "forbid": policy_pb2.EFFECT_FORBID}
SCOPES = {
    "": policy_pb2.LIMIT_SCOPE_UNSPECIFIED,
    "attempts": policy_pb2.LIMIT_SCOPE_ATTEMPTS,
    "requests": policy_pb2.LIMIT_SCOPE_REQUESTS,
}
KEYS = {
    "subject": policy_pb2.LIMIT_KEY_SUBJECT,
    "tool": policy_pb2.LIMIT_KEY_TOOL,
    "address": policy_pb2.LIMIT_KEY_ADDRESS,
}
PERIODS_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_MEMBERS = (
    "name",
    "roles",
    "rules",
    "limits",
    "addresses",
    "patterns",
    "changes_need_approval",
    "breakers",
    "caches",
    "bulkheads",
    "tests",
)
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\S+)\s*")


def read_policy(file: str) -> PolicyFile:
    """Read a policy from a file, or from standard input for "-". Raises CommandFailed."""
    from service.cli.json_options import read_text

    return PolicyFile(read_text(file, "the policy"), "standard input" if file == "-" else file)


class PolicyFile:
    """What a file says: a policy, and cases. `cases` is a function because they need what a policy alone does not."""

    def __init__(self, text: str, name: str) -> None:
        """Read the file; its `name`, for messages, ends with .json when it is JSON. Raises CommandFailed."""
        self.name = name
        problems: list[Violation] = []
        file = Fields(parsed(text, name), "", problems)
        file.known(*_MEMBERS)
        self.policy = policy_pb2.Policy(
            name=file.text("name", required=True),
            roles=[_role(name, fields) for name, fields in file.members("roles")],
            rules=[_rule(fields) for fields in _listed(file, "rules")],
            limits=[_limit(fields) for fields in _listed(file, "limits")],
            patterns=[_pattern(fields) for fields in _listed(file, "patterns")],
            breakers=[read_breaker(fields) for fields in _listed(file, "breakers")],
            changes_need_approval=file.truth("changes_need_approval"),
            caches=[read_cache(fields) for fields in _listed(file, "caches")],
            bulkheads=[read_bulkhead(fields) for fields in _listed(file, "bulkheads")],
        )
        if file.has("addresses"):
            self.policy.addresses.CopyFrom(_addresses(file.object("addresses")))
        self._tests = list(_listed(file, "tests"))
        self._problems = problems
        if problems:
            raise self.failure(problems)

    def cases(self) -> list[PolicyCase]:
        """The cases in the file. Raises CommandFailed."""
        cases = [read_case(fields) for fields in self._tests]
        if self._problems:
            raise self.failure(self._problems)
        return cases

    def failure(self, violations: Sequence[Violation]) -> CommandFailed:
        """The failure that tells what is wrong, in the words of the file, the first on its first line."""
        told = self.told(violations)
        path, problem = told[0]
        return CommandFailed(f"{path} {problem}", ExitCode.BAD_INPUT, "INVALID_POLICY", told, context=self.name)

    def told(self, violations: Sequence[Violation]) -> list[Violation]:
        """What is wrong, with paths in the words of the file."""
        return [(self._path(path), problem) for path, problem in violations]

    def _path(self, path: str) -> str:
        """A path in the contract's words as one in the file's, where roles have names and durations no unit."""
        path = path.removeprefix("policy.")
        role = re.match(r"roles\[(\d+)\](?:\.name)?", path)
        if role and int(role[1]) < len(self.policy.roles):
            path = f"roles.{self.policy.roles[int(role[1])].name}{path[role.end() :]}"
        return re.sub(r"\b(\w+)_ms\b", r"\1", path)


def _listed(file: Fields, name: str) -> list[Fields]:
    return list(file.objects(name)) if file.has(name) else []


def _role(name: str, role: Fields) -> policy_pb2.Role:
    role.known("grants", "inherits", "description")
    return policy_pb2.Role(
        name=name, grants=role.texts("grants"), inherits=role.texts("inherits"), description=role.text("description")
    )


def _rule(rule: Fields) -> policy_pb2.Rule:
    rule.known("id", "effect", "tools", "permissions", "roles", "condition", "description")
    return policy_pb2.Rule(
        id=rule.text("id", required=True),
        effect=EFFECTS[rule.choice("effect", ("allow", "forbid"))],
        tools=rule.texts("tools"),
        permissions=rule.texts("permissions"),
        roles=rule.texts("roles"),
        condition=rule.text("condition"),
        description=rule.text("description"),
    )


def _limit(limit: Fields) -> policy_pb2.RateLimit:
    limit.known("id", "scope", "tools", "roles", "per", "rate", "count", "period", "burst", "weights")
    count, period_ms = _rate(limit)
    per = limit.texts("per")
    for number, key in enumerate(per):
        if key not in KEYS:
            limit.wrong(f"per[{number}]", f"must be one of {', '.join(KEYS)}, not {key!r}")
    return policy_pb2.RateLimit(
        id=limit.text("id", required=True),
        scope=SCOPES[limit.choice("scope", ("attempts", "requests"))],
        tools=limit.texts("tools"),
        roles=limit.texts("roles"),
        per=[KEYS[key] for key in per if key in KEYS],
        count=count,
        period_ms=period_ms,
        burst=limit.count("burst"),
        weights=_weights(limit),
    )


def _rate(limit: Fields) -> tuple[int, int]:
    """How many in how many milliseconds: `rate: 10/minute`, or count and period."""
    if not limit.has("rate"):
        return limit.count("count"), limit.duration_ms("period")
    if limit.has("count") or limit.has("period"):
        limit.wrong("rate", "says already what count and period say: leave one of the two out")
    found = _RATE.fullmatch(limit.text("rate"))
    try:
        if found:
            period = found[2] if found[2][0].isdigit() else f"1{found[2]}"
            return int(found[1]), PERIODS_MS.get(found[2]) or milliseconds(period)
    except ValueError:
        pass
    limit.wrong("rate", "must be a count, a slash and a period, for example 10/minute or 100/15m")
    return 1, 1


def _weights(limit: Fields) -> list[policy_pb2.Weight]:
    value = limit.value("weights")
    if value is None:
        return []
    if not isinstance(value, Mapping):
        limit.wrong("weights", "must be an object with globs of tools and what a call of them counts for")
        return []
    fields = limit.object("weights")
    return [policy_pb2.Weight(tools=str(glob), weight=fields.count(glob)) for glob in value]


def _addresses(addresses: Fields) -> policy_pb2.AddressRules:
    addresses.known("block", "allow", "lockout")
    rules = policy_pb2.AddressRules(block=addresses.texts("block"), allow=addresses.texts("allow"))
    if addresses.has("lockout"):
        lockout = addresses.object("lockout")
        lockout.known("failures", "within", "block")
        rules.lockout.failures = lockout.count("failures")
        rules.lockout.within_ms = lockout.duration_ms("within")
        rules.lockout.block_ms = lockout.duration_ms("block")
    return rules


def _pattern(pattern: Fields) -> policy_pb2.ContentPattern:
    pattern.known("id", "expression", "refuse_input", "redact_output")
    return policy_pb2.ContentPattern(
        id=pattern.text("id", required=True),
        expression=pattern.text("expression", required=True),
        refuse_input=pattern.truth("refuse_input"),
        redact_output=pattern.truth("redact_output"),
    )
