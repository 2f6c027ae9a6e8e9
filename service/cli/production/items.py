"""The production checklist: its items, in the order in which they are told.

A feature that comes with a duty of its operator adds a row. Invariant: an item that could not be looked at has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.cli.production import monitoring, settings, tools
from service.cli.production.facts import Facts, NotSeen, Outcome, failed, not_applicable


@dataclass(frozen=True, slots=True)
class Item:
    """One item. `id` is stable, for programs."""

    id: str
    area: str
    title: str
    look: Callable[[Facts], Outcome]


_REMEDY = (
    "run this beside the service, with its environment or the options that it was started with (--listen, --database, "
    "--config), with its address, and with an administrator's token"
)


def examine(item: Item, facts: Facts) -> Outcome:
    """Look at an item."""
    try:
        return item.look(facts)
    except NotSeen as unseen:
        return failed(f"could not be looked at: {unseen}", _REMEDY)


def _not_in_this_version(facts: Facts) -> Outcome:
    del facts
    return not_applicable("not available in this version")


ITEMS = (
    Item("tool-permissions", "permissions", "tools need permissions or are harmless", tools.permissions),
    Item("own-policy", "permissions", "a policy of your own, which denies by default", tools.own_policy),
    Item("almighty-roles", "permissions", "nothing grants everything", tools.almighty),
    Item("policy-approval", "permissions", "a second person approves changes of the policy", tools.approval),
    Item("sanitizers", "permissions", "paths, URLs, commands and SQL have sanitizers", tools.sanitizers),
    Item("metrics", "monitoring", "metrics can be collected", monitoring.metrics),
    Item("alerts", "monitoring", "somebody is told of failures", monitoring.alerts),
    Item("attempt-limits", "rate limits", "tools with effects are limited", tools.limits),
    Item("request-limits", "rate limits", "requests are limited", tools.request_limits),
    Item("lockout", "rate limits", "addresses that fail are locked out", tools.lockout),
    Item("cache", "caching", "results of read-only tools are cached", tools.caching),
    Item("timeouts", "error handling", "tools declare timeouts", tools.timeouts),
    Item("repeats", "error handling", "tools say whether failures may be repeated", tools.repeats),
    Item("descriptions", "documentation", "tools have descriptions", tools.descriptions),
    Item("parameters", "documentation", "parameters have descriptions", tools.parameter_descriptions),
    Item("examples", "tests of tools", "tools have examples that their schemas accept", tools.examples),
    Item("transport", "transport", "tokens cannot be read on their way", settings.transport),
    Item("proxies", "transport", "only known proxies name callers' addresses", settings.proxies),
    Item("token-keys", "credentials", "whoever checks tokens cannot make them", settings.token_keys),
    Item("session-age", "credentials", "sessions have an end", settings.session_age),
    Item("key-files", "credentials", "keys can be read by the service alone", settings.key_files),
    Item("master-key", "credentials", "the master key is not in the database's backup", settings.master_key),
    Item("secret-files", "secrets", "secrets of tools can be read by the service alone", settings.secret_files),
    Item("sealed", "secrets", "what looks like a secret is sealed", tools.sealed),
    Item("checkpoints", "audit", "checkpoints are copied out of the database's reach", settings.checkpoints),
    Item("auditors", "audit", "somebody else can read and export the trail", tools.auditors),
    Item("database", "database", "the log survives the machine", settings.database),
    Item("database-rights", "database", "the service cannot change the log", settings.rights),
    Item("tenants", "tenants", "tenants exist before tokens for them count", settings.tenants),
    Item("operator-tenant", "tenants", "the operator has a tenant of its own", settings.operator_tenant),
)
"""The checklist."""
