"""The breakers in a policy file, read and written: a rule is the same words in both directions.

Durations are written with a unit (30s), rates in percent, states and modes in lower case.
"""

from __future__ import annotations

from typing import Any

from podium.v1 import policy_pb2
from service.cli.fields import Fields
from service.cli.policy.durations import duration_text

_MODES = {
    "": policy_pb2.BREAKER_MODE_UNSPECIFIED,
    "normal": policy_pb2.BREAKER_MODE_NORMAL,
    "disabled": policy_pb2.BREAKER_MODE_DISABLED,
    "metrics_only": policy_pb2.BREAKER_MODE_METRICS_ONLY,
    "forced_open": policy_pb2.BREAKER_MODE_FORCED_OPEN,
}
_WHEN_OPEN = {
    "": policy_pb2.WHEN_OPEN_UNSPECIFIED,
    "fail": policy_pb2.WHEN_OPEN_FAIL,
    "wait": policy_pb2.WHEN_OPEN_WAIT,
}
_KINDS = {
    "": policy_pb2.WINDOW_KIND_UNSPECIFIED,
    "count": policy_pb2.WINDOW_KIND_COUNT,
    "time": policy_pb2.WINDOW_KIND_TIME,
}
_COUNTS = ("failure_threshold", "success_threshold", "half_open_permits")
_DURATIONS = ("recovery_timeout", "timeout", "half_open_max", "recovery_max")
_OTHERS = ("id", "tools", "mode", "when_open", "window", "recovery_multiplier", "record", "ignore")
_WINDOW = ("kind", "size", "minimum_calls", "failure_rate", "slow_call_rate", "slow_call")


def read_breaker(fields: Fields) -> policy_pb2.BreakerRule:
    """Read a breaker."""
    fields.known(*_OTHERS, *_COUNTS, *_DURATIONS)
    rule = policy_pb2.BreakerRule(
        id=fields.text("id", required=True),
        tools=fields.texts("tools"),
        mode=_MODES[fields.choice("mode", [name for name in _MODES if name])],
        when_open=_WHEN_OPEN[fields.choice("when_open", [name for name in _WHEN_OPEN if name])],
        recovery_multiplier=fields.number("recovery_multiplier") or 0,
        record=fields.texts("record"),
        ignore=fields.texts("ignore"),
    )
    for name in _COUNTS:
        setattr(rule, name, fields.count(name))
    for name in _DURATIONS:
        setattr(rule, f"{name}_ms", fields.duration_ms(name))
    if fields.has("window"):
        rule.window.CopyFrom(_read_window(fields.object("window")))
    return rule


def _read_window(fields: Fields) -> policy_pb2.BreakerWindow:
    fields.known(*_WINDOW)
    return policy_pb2.BreakerWindow(
        kind=_KINDS[fields.choice("kind", [name for name in _KINDS if name])],
        size=fields.count("size"),
        minimum_calls=fields.count("minimum_calls"),
        failure_rate=fields.number("failure_rate") or 0,
        slow_call_rate=fields.number("slow_call_rate") or 0,
        slow_call_ms=fields.duration_ms("slow_call"),
    )


def breaker_content(rule: policy_pb2.BreakerRule) -> dict[str, Any]:
    """A breaker as the values that are in a file of it. What is empty is left out."""
    content: dict[str, Any] = {
        "id": rule.id,
        "tools": list(rule.tools),
        "mode": _name(_MODES, rule.mode),
        "when_open": _name(_WHEN_OPEN, rule.when_open),
        **{name: getattr(rule, name) for name in _COUNTS},
        **{name: _duration(getattr(rule, f"{name}_ms")) for name in _DURATIONS},
        "recovery_multiplier": rule.recovery_multiplier,
        "window": _window_content(rule.window) if rule.HasField("window") else None,
        "record": list(rule.record),
        "ignore": list(rule.ignore),
    }
    # An empty window is one with every default, and not none.
    return {name: value for name, value in content.items() if value or (name == "window" and value is not None)}


def _window_content(window: policy_pb2.BreakerWindow) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": _name(_KINDS, window.kind),
        "size": window.size,
        "minimum_calls": window.minimum_calls,
        "failure_rate": window.failure_rate,
        "slow_call_rate": window.slow_call_rate,
        "slow_call": _duration(window.slow_call_ms),
    }
    return {name: value for name, value in content.items() if value}


def _duration(milliseconds: int) -> str:
    return duration_text(milliseconds) if milliseconds else ""


def _name(names: dict[str, Any], number: int) -> str:
    return next(name for name, each in names.items() if each == number)
