"""Items of the production checklist that look at the tools and the policy of the running service."""

from __future__ import annotations

from collections.abc import Sequence

from podium.marks import SANITIZE, SENSITIVE
from podium.v1 import definition_pb2, policy_pb2
from service.cli.policy import almighty_grants
from service.cli.production.facts import Facts, Outcome, failed, not_applicable, passed, warned
from service.cli.tools.facts import ToolFacts, risky_parameters, unsealed_secrets
from service.cli.tools.grants import limits_of
from service.domain.caching import plan_of

_NAMED = 5
NETWORK = "network_access"


def named(names: Sequence[str]) -> str:
    """Some of the names, and how many there are beside them."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def all_tools(facts: Facts, wrong: Sequence[str], problem: str, remedy: str, *, fails: bool = False) -> Outcome:
    """An item that every tool must pass; `wrong` names those that do not."""
    if not facts.tools:
        return not_applicable("there are no tools")
    if not wrong:
        return passed(f"{len(facts.tools)} tools")
    told = f"{problem}: {named(wrong)}"
    return failed(told, remedy) if fails else warned(told, remedy)


def permissions(facts: Facts) -> Outcome:
    """Tools need permissions, or change nothing and take nothing that could reach further."""
    wrong = [tool.name for tool in facts.tools if not tool.permissions and not _is_harmless(tool)]
    remedy = "declare the permissions they need; what only computes is declared read_only"
    return all_tools(facts, wrong, "need no permission and are not declared harmless", remedy, fails=True)


def _is_harmless(tool: ToolFacts) -> bool:
    return tool.read_only and not tool.secrets and not any(risky_parameters(tool))


def own_policy(facts: Facts) -> Outcome:
    """Nothing is allowed that the operator did not allow."""
    revision = facts.revision
    if revision.revision:
        return passed(f"{revision.policy.name}, revision {revision.revision}; what it does not allow is denied")
    return failed(
        "the built-in policy is in force", "write your own: `podium policy show > policy.json`, then apply it"
    )


def almighty(facts: Facts) -> Outcome:
    """Nothing grants everything."""
    found = list(almighty_grants.almighty(facts.policy))
    if found:
        return warned(f"grant everything: {named(found)}", "name what each role needs, and keep one for emergencies")
    return passed(
        f"{len(facts.policy.roles)} roles and {len(facts.policy.rules)} rules, none of which grants everything"
    )


def approval(facts: Facts) -> Outcome:
    """Whoever has one stolen token cannot change the policy."""
    if facts.policy.changes_need_approval:
        return passed("a second person approves changes of the policy")
    return warned("one person can change the policy", "set changes_need_approval in the policy")


def auditors(facts: Facts) -> Outcome:
    """Somebody can read the trail without being able to change what it is about."""
    free = list(almighty_grants.auditors_alone(facts.policy))
    if free:
        return passed(f"may read the trail and change no policy: {named(free)}")
    return warned(
        "no role is an auditor's alone", "make one with audit.read, and export with it: `podium audit export`"
    )


def limits(facts: Facts) -> Outcome:
    """A tool that changes something or reaches the network cannot be called without end."""
    wanted = [tool for tool in facts.tools if not tool.read_only or NETWORK in tool.permissions]
    wrong = [tool.name for tool in wanted if not limits_of(tool.name, facts.policy)]
    remedy = "add limits with scope attempts to the policy"
    return all_tools(
        facts, wrong, "change something or reach the network, and no rate limit counts them", remedy, fails=True
    )


def request_limits(facts: Facts) -> Outcome:
    """A caller cannot keep the service busy alone."""
    found = [limit.id for limit in facts.policy.limits if limit.scope == policy_pb2.LIMIT_SCOPE_REQUESTS]
    if found:
        return passed(f"limits of requests: {named(found)}")
    return warned("requests are not limited", "add a limit with scope requests, by subject or address, to the policy")


def lockout(facts: Facts) -> Outcome:
    """An address that fails again and again is blocked by itself."""
    lockout = facts.policy.addresses.lockout
    if lockout.failures:
        return passed(f"after {lockout.failures} failures in {lockout.within_ms} ms, for {lockout.block_ms} ms")
    return failed("nothing blocks an address that goes on failing", "set addresses.lockout in the operator's policy")


def sanitizers(facts: Facts) -> Outcome:
    """Paths, URLs, commands and SQL are checked before they reach a tool."""
    wrong = [f"{tool.name}.{name} ({kind})" for tool in facts.tools for name, kind in risky_parameters(tool)]
    return all_tools(facts, wrong, "have no sanitizer", f'declare "{SANITIZE}" at them', fails=True)


def sealed(facts: Facts) -> Outcome:
    """What looks like a secret is not in the log in the open."""
    if facts.read_settings is not None and facts.read_settings.sealing.seal_everything:
        return passed("everything is sealed")
    wrong = [f"{tool.name}.{name}" for tool in facts.tools for name in unsealed_secrets(tool)]
    return all_tools(facts, wrong, "look like secrets and are recorded", f'mark them "{SENSITIVE}": true')


def timeouts(facts: Facts) -> Outcome:
    """Each tool says how long it may take."""
    wrong = [tool.name for tool in facts.tools if not tool.timeout_ms]
    return all_tools(facts, wrong, "declare no timeout, so that the default counts", "declare one that fits the tool")


def repeats(facts: Facts) -> Outcome:
    """Each tool says whether a failure may be repeated."""
    wrong = [tool.name for tool in facts.tools if not tool.read_only and not tool.idempotent]
    remedy = "make them honour the idempotency key and declare idempotent, or accept that a person looks at failures"
    return all_tools(facts, wrong, "change something and are not repeated when they fail", remedy)


def caching(facts: Facts) -> Outcome:
    """What only reads need not be called again for what it just told."""
    reading = [tool for tool in facts.tools if tool.read_only]
    if not reading:
        return not_applicable("no tool is declared read_only")
    cached = [tool for tool in reading if plan_of(facts.policy.caches, _cached_by_itself(tool)) is not None]
    if cached:
        return passed(f"results of {len(cached)} of {len(reading)} read-only tools")
    return warned("no results are", "declare how long results are fresh (caching), or say so in the policy (caches)")


def _cached_by_itself(tool: ToolFacts) -> definition_pb2.ToolDefinition:
    return definition_pb2.ToolDefinition(name=tool.name, read_only=tool.read_only, caching=tool.caching)


def descriptions(facts: Facts) -> Outcome:
    """A model and a person can tell what each tool is for."""
    wrong = [tool.name for tool in facts.tools if not tool.description]
    return all_tools(facts, wrong, "have no description", "describe them where they are defined", fails=True)


def parameter_descriptions(facts: Facts) -> Outcome:
    """A model and a person can tell what each parameter means."""
    wrong = [f"{tool.name}.{each.name}" for tool in facts.tools for each in tool.parameters if not each.description]
    return all_tools(facts, wrong, "have no description", "give them a description in the tool's schema")


def examples(facts: Facts) -> Outcome:
    """Each tool's schema holds examples, and accepts them."""
    wrong = [tool.name for tool in facts.tools if not _accepts_its_examples(tool)]
    remedy = 'add "examples" to their input schemas. What the tools do with them is tested where the tools are made'
    return all_tools(facts, wrong, "have no examples that their own schema accepts", remedy)


def _accepts_its_examples(tool: ToolFacts) -> bool:
    import jsonschema_rs

    # It leads nowhere else: the service refused remote references when the tool was registered.
    schema = dict(tool.input_schema)
    try:
        return bool(tool.examples) and all(jsonschema_rs.is_valid(schema, each) for each in tool.examples)
    except (jsonschema_rs.ValidationError, ValueError):
        return False
