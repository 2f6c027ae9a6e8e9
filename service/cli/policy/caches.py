"""Rules of caching in a policy's file, from their fields and back."""

from __future__ import annotations

from typing import Any

from podium.v1 import definition_pb2, policy_pb2
from service.cli.fields import Fields
from service.cli.policy.durations import duration_text


def read_cache(fields: Fields) -> policy_pb2.CacheRule:
    """A rule of caching from its fields."""
    fields.known("id", "tools", "disabled", "ttl", "stale", "shared")
    rule = policy_pb2.CacheRule(
        id=fields.text("id", required=True), tools=fields.texts("tools"), disabled=fields.truth("disabled")
    )
    if any(fields.has(name) for name in ("ttl", "stale", "shared")):
        caching = definition_pb2.Caching(
            ttl_ms=fields.duration_ms("ttl"), stale_ms=fields.duration_ms("stale"), shared=fields.truth("shared")
        )
        rule.caching.CopyFrom(caching)
    return rule


def cache_content(rule: policy_pb2.CacheRule) -> dict[str, Any]:
    """A rule as the values that are in a file of it. What is empty is left out."""
    caching = rule.caching
    content = {
        "id": rule.id,
        "tools": list(rule.tools),
        "disabled": rule.disabled,
        "ttl": duration_text(caching.ttl_ms) if caching.ttl_ms else "",
        "stale": duration_text(caching.stale_ms) if caching.stale_ms else "",
        "shared": caching.shared,
    }
    return {name: value for name, value in content.items() if value}
