"""The settings: defaults, the environment, and what the service refuses to start with."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.config import (
    ConfigurationError,
    Limits,
    Settings,
    load_settings,
)
from service.domain.retry import DEFAULTS
from service.settings.listening import Listening
from service.settings.storage import Storage
from service.settings.tokens import PublicKeyFile, TokenSettings


def problems(**environment):
    """What is wrong with an environment, one line each."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings({f"PODIUM_{name}": value for name, value in environment.items()})
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


def test_an_empty_environment_gives_the_defaults():
    assert load_settings({}) == Settings()


def test_the_defaults_are_the_documented_ones():
    settings = Settings()
    assert settings.listening.listen_address == "127.0.0.1:7233"
    assert settings.storage.database_url == "sqlite:///podium.db"
    assert settings.limits.inline_bytes == settings.limits.chunk_bytes == 65_536
    assert settings.limits.payload_bytes == 8_388_608
    assert settings.limits.message_bytes > settings.limits.payload_bytes
    assert (settings.limits.workflow_steps, settings.limits.json_depth, settings.limits.condition_bytes) == (
        100_000,
        64,
        4096,
    )
    assert (settings.limits.request_steps, settings.limits.json_elements) == (10_000, 250_000)
    assert settings.timings.reconnect_grace_ms == 5_000
    assert settings.timings.heartbeat_interval_ms == 2_000
    assert settings.timings.park_after_ms == 60_000
    assert settings.timings.reconcile_interval_ms == 15_000
    assert settings.timings.start_to_close_ms == 300_000
    assert settings.timings.schedule_to_start_ms == 600_000
    assert settings.timings.cancel_grace_ms == 10_000
    assert settings.retry == DEFAULTS
    assert dataclasses.astuple(DEFAULTS) == (3, 500, 30_000, 2.0, 0.2)


def test_every_kind_of_setting_is_read_from_the_environment():
    settings = load_settings(
        {
            "PODIUM_LISTEN_ADDRESS": "[::1]:9000",
            "PODIUM_DATABASE_URL": "postgresql://podium:secret@db/podium",
            "PODIUM_STATE_DIRECTORY": "/var/lib/podium",
            "PODIUM_TOKEN_PUBLIC_KEYS": "idp=ES256:/keys/idp.pem, next=EdDSA:/keys/next.pem",
            "PODIUM_LIMIT_WORKFLOW_STEPS": "50_000",
            "PODIUM_HEARTBEAT_INTERVAL_MS": "1000",
            "PODIUM_RETRY_MULTIPLIER": "1.5",
            "PODIUM_ALLOW_INSECURE_LISTEN": "TRUE",
            "PODIUM_TOKEN_ISSUER": "https://idp.example.com, podium",
            "PODIUM_TOKEN_CLAIMS": "department,team",
            "PODIUM_TRUSTED_PROXIES": "10.0.0.0/8, ::ffff:192.0.2.0/120",
        }
    )
    assert settings.listening == Listening(listen_address="[::1]:9000", allow_insecure_listen=True)
    assert settings.storage == Storage("postgresql://podium:secret@db/podium", Path("/var/lib/podium"))
    assert settings.tokens.token_public_keys == (
        PublicKeyFile("idp", "ES256", Path("/keys/idp.pem")),
        PublicKeyFile("next", "EdDSA", Path("/keys/next.pem")),
    )
    assert settings.tokens.token_issuer == ("https://idp.example.com", "podium")
    assert settings.tokens.token_claims == ("department", "team")
    assert not settings.tokens.made_here
    assert settings.access.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))
    assert settings.limits.workflow_steps == 50_000
    assert settings.timings.heartbeat_interval_ms == 1000
    assert settings.retry.multiplier == 1.5
    assert settings.key_file == Path("/var/lib/podium/token.key")


def test_the_key_file_may_lie_elsewhere():
    settings = Settings(tokens=TokenSettings(token_key_file=Path("/run/secrets/podium")))
    assert settings.key_file == Path("/run/secrets/podium")


def test_an_empty_value_is_as_if_it_were_not_set():
    assert load_settings({"PODIUM_LISTEN_ADDRESS": "", "PODIUM_RETRY_JITTER": ""}) == Settings()


def test_settings_cannot_be_changed_once_they_are_read():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().limits.json_depth = 1


def test_settings_do_not_show_the_password_of_the_database():
    settings = load_settings({"PODIUM_DATABASE_URL": "postgresql://podium:hunter2@db/podium"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(problems(DATABASE_URL="mysql://podium:hunter2@db/podium"))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "localhost:7233", "[::1]:7233", "127.8.8.8:1", "unix:/run/podium.sock"]
)
def test_an_address_of_this_machine_needs_no_tls(address):
    load_settings({"PODIUM_LISTEN_ADDRESS": address})


REMOTE = ["0.0.0.0:7233", "[::]:7233", "10.0.0.1:7233", "podium.example:7233", "localhost.example:7233", "127.1:7233"]


@pytest.mark.parametrize("address", REMOTE)
def test_an_address_that_others_can_reach_needs_tls(address):
    (problem,) = problems(LISTEN_ADDRESS=address)
    assert "there is no TLS to protect tokens" in problem


@pytest.mark.parametrize("address", REMOTE)
@pytest.mark.parametrize(
    "protection",
    [
        {"PODIUM_TLS_CERTIFICATE_FILE": "c", "PODIUM_TLS_KEY_FILE": "k"},
        {"PODIUM_ALLOW_INSECURE_LISTEN": "yes"},
    ],
)
def test_with_tls_or_with_consent_it_may_be_listened_on(address, protection):
    load_settings({"PODIUM_LISTEN_ADDRESS": address, **protection})


TLS = {"TLS_CERTIFICATE_FILE": "c", "TLS_KEY_FILE": "k"}
METRICS = [address.replace("7233", "9464") for address in REMOTE]


@pytest.mark.parametrize("address", METRICS)
@pytest.mark.parametrize(
    "lacking",
    [{}, TLS, {"METRICS_TOKEN_FILE": "t"}, {"ALLOW_INSECURE_LISTEN": "true"}],
    ids=["everything", "a token", "TLS", "consent"],
)
def test_metrics_that_others_can_reach_need_tls_and_to_know_who_asks(address, lacking):
    (problem,) = problems(METRICS_ADDRESS=address, **lacking)
    assert "metrics name all tenants and tools" in problem


@pytest.mark.parametrize("address", METRICS)
@pytest.mark.parametrize(
    "protection",
    [
        {**TLS, "METRICS_TOKEN_FILE": "t"},
        {**TLS, "TLS_CLIENT_CA_FILE": "a"},
        {"METRICS_ALLOW_INSECURE_LISTEN": "true"},
    ],
)
def test_with_tls_and_a_credential_or_with_consent_metrics_may_be_reached(address, protection):
    load_settings({f"PODIUM_{name}": value for name, value in {"METRICS_ADDRESS": address, **protection}.items()})


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "localhost:0", "[::1]:9464"])
def test_metrics_for_this_machine_need_nothing(address):
    load_settings({"PODIUM_METRICS_ADDRESS": address})


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"METRICS_ADDRESS": "9464"}, "which is not host:port"),
        ({"LISTEN_ADDRESS": "7233"}, "neither host:port nor unix:path"),
        ({"LISTEN_ADDRESS": "localhost:"}, "neither host:port nor unix:path"),
        ({"LISTEN_ADDRESS": "localhost:99999"}, "neither host:port nor unix:path"),
        ({"TLS_KEY_FILE": "k"}, "need each other"),
        ({"TLS_CLIENT_CA_FILE": "k"}, "PODIUM_TLS_CLIENT_CA_FILE needs"),
        ({"LIMIT_JSON_DEPTH": "many"}, "PODIUM_LIMIT_JSON_DEPTH is 'many', not a number"),
        ({"LIMIT_JSON_DEPTH": "0"}, "must be at least 1"),
        ({"LIMIT_JSON_DEPTH": "201"}, "at most 200"),
        ({"LIMIT_INLINE_BYTES": "9000000"}, "must not be more than PODIUM_LIMIT_PAYLOAD_BYTES"),
        ({"DRAIN_MS": "-1"}, "PODIUM_DRAIN_MS must be at least 1"),
        ({"HEARTBEAT_INTERVAL_MS": "5000"}, "must be less than PODIUM_RECONNECT_GRACE_MS"),
        ({"ALLOW_INSECURE_LISTEN": "maybe"}, "neither true nor false"),
        ({"TOKEN_PUBLIC_KEYS": "idp=HS256:/k"}, "is not ID=ALGORITHM:PATH"),
        ({"TOKEN_PUBLIC_KEYS": "/k"}, "is not ID=ALGORITHM:PATH"),
        ({"TOKEN_LEEWAY_S": "-1"}, "must not be negative"),
        ({"RETRY_MAX_ATTEMPTS": "0"}, "must be at least 1"),
        ({"RETRY_INITIAL_BACKOFF_MS": "60000"}, "at most PODIUM_RETRY_MAX_BACKOFF_MS"),
        ({"RETRY_MULTIPLIER": "nan"}, "PODIUM_RETRY_MULTIPLIER must be from 1 to 100"),
        ({"RETRY_MULTIPLIER": "1e6"}, "PODIUM_RETRY_MULTIPLIER must be from 1 to 100"),
        (
            {"LIMIT_CHUNK_BYTES": "8388609"},
            "PODIUM_LIMIT_CHUNK_BYTES must not be more than PODIUM_LIMIT_PAYLOAD_BYTES",
        ),
        ({"TOKEN_JWKS_URL": "https://keys.example/a b"}, "is no address https://host/path"),
        ({"TOKEN_JWKS_URL": "https://keys.example:0/"}, "is no address https://host/path"),
        ({"RETRY_JITTER": "1.1"}, "from 0 to 1"),
        ({"LISTEN_ADRESS": "x"}, "PODIUM_LISTEN_ADRESS is no setting: PODIUM_LISTEN_ADDRESS is"),
        ({"LIMITS_JSON_DEPTH": "1"}, "PODIUM_LIMITS_JSON_DEPTH is no setting: PODIUM_LIMIT_JSON_DEPTH is"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_wrong(environment, problem):
    (line,) = problems(**environment)
    assert problem in line
    assert line.startswith("PODIUM_")


def test_everything_that_is_wrong_is_told_at_once():
    assert len(problems(LIMIT_JSON_DEPTH="x", RETRY_JITTER="y", ALLOW_INSECURE_LISTEN="z")) == 3
    assert len(problems(LIMIT_JSON_DEPTH="0", RETRY_JITTER="7", LISTEN_ADDRESS="0.0.0.0:1")) == 3


def test_names_of_the_client_and_of_others_are_left_alone():
    load_settings({"PODIUM_ADDRESS": "x", "PODIUM_TOKEN": "y", "PODIUM_DEV_FILE": "z", "PODIUMS": "p", "PATH": "/bin"})


def test_settings_that_were_put_together_by_hand_can_be_checked_too():
    settings = Settings(limits=Limits(json_depth=0))
    with pytest.raises(ConfigurationError):
        settings.checked()
    assert Settings().checked() == Settings()


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("PODIUM_LIMIT_JSON_DEPTH", "32")
    assert load_settings().limits.json_depth == 32


def test_checkpoints_are_read_from_the_environment():
    settings = load_settings(
        {
            "PODIUM_CHECKPOINT_EVERY_EVENTS": "50",
            "PODIUM_CHECKPOINT_INTERVAL_MS": "2000",
            "PODIUM_CHECKPOINT_FILE": "/mnt/worm/checkpoints.txt",
            "PODIUM_CHECKPOINT_COMMAND": "publish --to 'the archive'",
            "PODIUM_CHECKPOINT_KEY_FILE": "/keys/log.key",
            "PODIUM_LOG_ORIGIN": "example.com/podium",
        }
    ).checkpoints
    assert (settings.checkpoint_every_events, settings.checkpoint_interval_ms) == (50, 2000)
    assert settings.checkpoint_file == Path("/mnt/worm/checkpoints.txt")
    assert settings.command_words == ["publish", "--to", "the archive"]
    assert settings.log_origin == "example.com/podium"
    assert Settings(checkpoints=settings).checkpoint_key_file == Path("/keys/log.key")
    assert Settings().checkpoint_key_file == Path(".podium/checkpoint.key")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHECKPOINT_EVERY_EVENTS", "0"),
        ("CHECKPOINT_EVERY_EVENTS", "100001"),
        ("CHECKPOINT_INTERVAL_MS", "0"),
        ("CHECKPOINT_COMMAND", "publish 'to"),
        ("CHECKPOINT_COMMAND", " "),
        ("LOG_ORIGIN", "two words"),
        ("LOG_ORIGIN", "a+b"),
    ],
)
def test_checkpoints_that_cannot_be_made_are_refused(name, value):
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"PODIUM_{name}")


@pytest.mark.parametrize("address", ["postgresql://bob:S3cret/part@127.0.0.1/x", "postgresql://bob:S3c:ret@h:S3cret/x"])
def test_an_address_that_cannot_be_read_is_refused_without_a_word_of_it(address):
    with pytest.raises(ConfigurationError, match="percent-encoded") as refused:
        load_settings({"PODIUM_DATABASE_URL": address})
    assert "S3c" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["postgresql://h/x", "postgresql://u:p%2F@[::1]:5432/x", "postgresql:///x?host=/run", "postgresql://a:1,b:2/x"],
)
def test_an_address_may_name_a_user_several_hosts_or_none(address):
    assert load_settings({"PODIUM_DATABASE_URL": address}).storage.database_url == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://idp.example.com/keys", "must begin with https://"),
        ("https://user:hunter2@idp.example.com/keys", "no address https://host/path without a user"),
        ("idp.example.com/keys", "no address"),
        ("file:///etc/passwd", "no address"),
        ("https://", "no address"),
        ("https://idp:port/", "no address"),
        ("https://[::1/", "no address"),
    ],
)
def test_an_address_of_keys_that_is_none_or_not_protected_is_refused(url, words):
    [problem] = problems(TOKEN_JWKS_URL=url)
    assert problem.startswith("PODIUM_TOKEN_JWKS_URL ")
    assert words in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "url", ["https://idp.example.com/keys", "http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:5/x"]
)
def test_an_address_of_keys_is_protected_or_on_this_machine(url):
    assert load_settings({"PODIUM_TOKEN_JWKS_URL": url}).tokens.token_jwks_url == url


@pytest.mark.parametrize(
    "environment",
    [
        {"TOKEN_JWKS_COOLDOWN_S": "0"},
        {"TOKEN_JWKS_COOLDOWN_S": "400"},
        {"TOKEN_JWKS_GRACE_S": "-1"},
        {"SESSION_MAX_AGE_S": "-1"},
        {"RUN_AUTHORITY_MAX_S": "0"},
        {"TOKEN_ISSUER": "a,,b"},
        {"TOKEN_CLAIMS": ",".join("abcdefghijklmnopq")},
        {"TOKEN_CLAIMS": "a,"},
    ],
    ids=str,
)
def test_settings_of_tokens_that_make_no_sense_are_refused(environment):
    [problem] = problems(**environment)
    assert problem.startswith(f"PODIUM_{next(iter(environment))}")


def test_opentelemetry_s_own_names_count_where_ours_are_not_set():
    theirs = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a=1, b=2"}
    telemetry = load_settings(theirs).telemetry
    assert (telemetry.otlp_endpoint, telemetry.otlp_headers) == ("http://collector:4318", ("a=1", "b=2"))
    assert load_settings({**theirs, "PODIUM_OTLP_ENDPOINT": "http://ours:4318"}).telemetry.otlp_endpoint == (
        "http://ours:4318"
    )
    assert not load_settings({}).telemetry.is_on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METRICS_ADDRESS", "9464"),
        ("METRICS_ADDRESS", "127.0.0.1:99999"),
        ("METRICS_TOOLS_MAX", "0"),
        ("OTLP_ENDPOINT", "collector:4317"),
        ("OTLP_ENDPOINT", "grpc://collector:4317"),
        ("OTLP_ENDPOINT", "http://collector:port"),
        ("OTLP_HEADERS", "no separator"),
        ("OTLP_TIMEOUT_MS", "0"),
        ("TRACE_RATIO", "1.5"),
        ("TRACE_RATIO", "nan"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_telemetry_that_cannot_be_is_refused(name, value):
    [problem] = problems(**{name: value})
    assert problem.startswith(f"PODIUM_{name}")


def test_what_authenticates_at_the_collector_is_not_shown():
    assert "hush" not in repr(load_settings({"PODIUM_OTLP_HEADERS": "x-key=hush"}))
