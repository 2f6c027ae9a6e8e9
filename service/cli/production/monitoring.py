"""Items of the production checklist that look at what the service tells of itself, and at who is told of failures."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from service.cli.production.facts import Facts, NotSeen, Outcome, failed, passed, warned
from service.outgoing_http import HttpRequest
from service.settings.telemetry import metrics_are_guarded

_ANSWER_BYTES_MAX = 8 * 1024 * 1024
_TIMEOUT_S = 5.0
_OK = 200


def metrics(facts: Facts) -> Outcome:
    """Somebody can collect metrics."""
    telemetry, listening = facts.settings.telemetry, facts.settings.listening
    address = telemetry.metrics_address
    is_remote = bool(address) and not telemetry.metrics_are_local
    if is_remote and not metrics_are_guarded(telemetry, listening):
        return warned(
            f"metrics are served on {address}: others read the names of all tenants and tools there, or on the way",
            "serve them on 127.0.0.1, or with TLS to who shows PODIUM_METRICS_TOKEN_FILE or a certificate",
        )
    guarded = " over TLS, to who is known" if is_remote else ""
    places = [f"served on {address}{guarded}"] * bool(address) + ["sent to a collector"] * bool(telemetry.otlp_endpoint)
    if places:
        return passed(f"metrics are {' and '.join(places)}")
    return failed("nobody can collect metrics", "set PODIUM_METRICS_ADDRESS=127.0.0.1:9464 or PODIUM_OTLP_ENDPOINT")


def alerts(facts: Facts) -> Outcome:
    """Somebody is told when something fails."""
    ours = [expression for expression in facts.rules if "podium_" in expression]
    if ours:
        return passed(f"Prometheus has {len(ours)} alerts on Podium's metrics")
    return failed("Prometheus has no alert on Podium's metrics", "load docs/alerts.yaml, or rules of your own")


def read_rules(url: str) -> list[str]:
    """The expressions of the alerts that a Prometheus has. Raises NotSeen."""
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/api/v1/rules?type=alert"
    try:
        answer = HttpRequest(parts, _TIMEOUT_S).send("GET", path, {}, answer_bytes_max=_ANSWER_BYTES_MAX)
        if answer.status != _OK:
            raise NotSeen(f"Prometheus answered with the status {answer.status}")
        groups: list[dict[str, Any]] = json.loads(answer.data)["data"]["groups"]
        return [rule["query"] for group in groups for rule in group["rules"]]
    except (OSError, http.client.HTTPException) as error:
        raise NotSeen(f"Prometheus cannot be asked: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise NotSeen("what answered is no Prometheus") from None
