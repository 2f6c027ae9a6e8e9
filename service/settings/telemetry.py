"""The settings of traces, metrics and logs, and what is wrong with them; service.config reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from service.settings.listening import Listening
from service.settings.tokens import is_loopback

LOG_FORMATS = ("text", "json")
_PORT_MAX = 65_535
_STANDARD_NAMES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "PODIUM_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS": "PODIUM_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "PODIUM_OTLP_TIMEOUT_MS",
    "OTEL_METRIC_EXPORT_INTERVAL": "PODIUM_OTLP_METRICS_INTERVAL_MS",
    "OTEL_SERVICE_NAME": "PODIUM_OTLP_SERVICE_NAME",
}
"""OpenTelemetry's own names, which count where Podium's are not set."""


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What others are told of how the service does. All of it is off unless it is set."""

    metrics_address: str = ""
    """host:port at which Prometheus finds the metrics of all tenants; port 0: any that is free; empty: nowhere. Beyond
    this machine they are served with the service's certificate, over https."""
    metrics_token_file: Path | None = None
    """Whoever asks for the metrics must have the token that this file holds: 32 bytes in hexadecimal."""
    metrics_allow_insecure_listen: bool = False
    """Serve them beyond this machine without TLS, or to whoever asks, where something else protects the network."""
    metrics_tools_max: int = 100
    """Tools, of all tenants together, that have metrics of their own, and pools of executors; the rest count as
    "other"."""
    otlp_endpoint: str = field(default="", repr=False)
    """The http or https address of an OpenTelemetry collector, without /v1/traces; empty: nothing is sent."""
    otlp_headers: tuple[str, ...] = field(default=(), repr=False)
    """What is sent with it, as NAME=VALUE, several joined by commas."""
    otlp_timeout_ms: int = 10_000
    """How long a request to the collector may take as a whole."""
    otlp_metrics_interval_ms: int = 60_000
    """How often metrics are sent to it."""
    otlp_service_name: str = "podium"
    """What the service is called in traces."""
    trace_ratio: float = 1.0
    """The part of the traces that begin here that is sent, 0 to 1. A caller's is sent if the caller samples it."""
    log_format: str = "text"
    """text, or json: an object a line."""

    @property
    def metrics_are_local(self) -> bool:
        """Whether only this machine can reach the metrics."""
        return is_loopback(self.metrics_address.rpartition(":")[0].strip("[]"))

    @property
    def is_on(self) -> bool:
        """Whether anything is told of what happens."""
        return bool(self.metrics_address or self.otlp_endpoint)


def with_standard_names(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which OpenTelemetry's own names stand for Podium's, which win."""
    standing_in = {ours: environment.get(theirs, "") for theirs, ours in _STANDARD_NAMES.items()}
    return {**environment, **{name: text for name, text in standing_in.items() if text and not environment.get(name)}}


def metrics_are_guarded(telemetry: TelemetrySettings, listening: Listening) -> bool:
    """Whether metrics beyond this machine are hidden from those between, and from whoever is not known."""
    has_tls = listening.tls_certificate_file is not None
    return has_tls and (telemetry.metrics_token_file is not None or listening.tls_client_ca_file is not None)


def telemetry_problems(telemetry: TelemetrySettings, listening: Listening) -> Iterator[str]:
    """What is wrong with the settings, a line each."""
    if telemetry.metrics_address:
        yield from _metrics_address(telemetry, listening)
    if telemetry.metrics_tools_max < 1:
        yield "PODIUM_METRICS_TOOLS_MAX must be at least 1"
    if telemetry.otlp_endpoint and not _is_http(telemetry.otlp_endpoint):
        # Not repeated: it may hold a password.
        yield "PODIUM_OTLP_ENDPOINT is no http or https address, such as http://127.0.0.1:4318"
    for header in telemetry.otlp_headers:
        name, separator, value = header.partition("=")
        if not separator or not name.strip().isascii() or not value.isascii() or not (name + value).isprintable():
            yield "PODIUM_OTLP_HEADERS has a part that is not NAME=VALUE"
    for name in ("otlp_timeout_ms", "otlp_metrics_interval_ms"):
        if getattr(telemetry, name) < 1:
            yield f"PODIUM_{name.upper()} must be at least 1"
    if not 0 <= telemetry.trace_ratio <= 1:
        yield "PODIUM_TRACE_RATIO must be from 0 to 1"
    if telemetry.log_format not in LOG_FORMATS:
        yield f"PODIUM_LOG_FORMAT is {telemetry.log_format!r}, neither text nor json"


def _metrics_address(telemetry: TelemetrySettings, listening: Listening) -> Iterator[str]:
    address = telemetry.metrics_address
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _PORT_MAX:
        yield f"PODIUM_METRICS_ADDRESS is {address!r}, which is not host:port"
    elif not (
        telemetry.metrics_are_local
        or telemetry.metrics_allow_insecure_listen
        or metrics_are_guarded(telemetry, listening)
    ):
        yield (
            f"PODIUM_METRICS_ADDRESS is {address}, which others can reach, and metrics name all tenants and tools: set "
            "PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE, and PODIUM_METRICS_TOKEN_FILE or "
            "PODIUM_TLS_CLIENT_CA_FILE, serve them on 127.0.0.1, or set PODIUM_METRICS_ALLOW_INSECURE_LISTEN=true "
            "where something else protects the network"
        )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
