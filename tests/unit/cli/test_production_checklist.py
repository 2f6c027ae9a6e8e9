"""Each item of the production checklist passes where all is well, and does not where its one thing is not."""

import json
from dataclasses import replace
from ipaddress import ip_network

import pytest

from podium.v1 import access_service_pb2, policy_pb2, tool_service_pb2
from service.cli.production.facts import Facts, State
from service.cli.production.items import ITEMS, examine
from service.cli.tools.facts import tool_facts
from service.config import (
    AccessSettings,
    CheckpointSettings,
    SealingSettings,
    SecretSettings,
    Settings,
)
from service.settings.listening import Listening
from service.settings.storage import Storage
from service.settings.telemetry import TelemetrySettings
from service.settings.tokens import PublicKeyFile, TokenSettings

BY_ID = {item.id: item for item in ITEMS}
SCHEMA = {
    "type": "object",
    "properties": {
        "to": {"type": "string", "description": "Whom."},
        "file": {"type": "string", "description": "What.", "x-podium-sanitize": {"path": {"roots": ["/srv"]}}},
    },
    "examples": [{"to": "ana", "file": "a.txt"}],
}
MAIL = {
    "name": "mail",
    "description": "Send mail.",
    "permissions": ["email_send"],
    "idempotent": True,
    "timeout_ms": 1000,
    "input_schema_json": json.dumps(SCHEMA),
}
QUOTE = {
    "name": "quote",
    "description": "Look up a quote.",
    "read_only": True,
    "caching": {"ttl_ms": 1000},
    "timeout_ms": 1000,
    "input_schema_json": json.dumps({"type": "object", "examples": [{}]}),
}
NOT_YET = set()


def tools(*definitions):
    return [tool_facts(tool_service_pb2.Tool(definition=definition, version=1)) for definition in definitions]


def policy():
    return policy_pb2.Policy(
        name="house",
        roles=[
            policy_pb2.Role(name="agent", grants=["email_send", "workflows.*"]),
            policy_pb2.Role(name="auditor", grants=["audit.read"]),
        ],
        limits=[
            policy_pb2.RateLimit(id="mails", tools=["mail"], count=10, period_ms=60_000),
            policy_pb2.RateLimit(id="requests", scope=policy_pb2.LIMIT_SCOPE_REQUESTS, count=10, period_ms=1000),
        ],
        addresses=policy_pb2.AddressRules(lockout=policy_pb2.Lockout(failures=5, within_ms=60_000, block_ms=60_000)),
        changes_need_approval=True,
    )


@pytest.fixture
def good(tmp_path):
    """A deployment in which every item passes."""
    state, keys = tmp_path / "state", tmp_path / "keys"
    secrets = tmp_path / "secrets"
    for folder in (state, keys, secrets):
        folder.mkdir(mode=0o700)
    for path in (keys / "master.key", state / "checkpoint.key", state / "token.key"):
        path.touch(mode=0o600)
    settings = Settings(
        listening=Listening("0.0.0.0:7233", tmp_path / "certificate.pem", tmp_path / "key.pem"),
        storage=Storage("postgresql://service@db/podium", state),
        tokens=TokenSettings(
            token_public_keys=(PublicKeyFile("issuer", "EdDSA", keys / "issuer.pem"),), session_max_age_s=28_800
        ),
        sealing=SealingSettings(master_key_file=keys / "master.key"),
        secrets=SecretSettings(secrets),
        checkpoints=CheckpointSettings(checkpoint_command="append-only"),
        telemetry=TelemetrySettings(metrics_address="127.0.0.1:9464"),
        access=AccessSettings("operators", tenants_must_exist=True, trusted_proxies=(ip_network("10.0.0.7/32"),)),
    )
    return Facts(
        settings,
        {"address": "db", "server": "Postgres 18", "may_change_events": False},
        tools(MAIL, QUOTE),
        access_service_pb2.PolicyRevision(revision=2, policy=policy()),
        ["acme"],
        ['podium_breaker_state{state="open"} == 1'],
    )


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_where_all_is_well_passes(good, item):
    outcome = examine(item, good)
    assert outcome.state is (State.NOT_APPLICABLE if item.id in NOT_YET else State.PASS), outcome
    assert outcome.looked_at


def settings(section, **changed):
    def change(facts):
        now = getattr(facts.read_settings, section)
        facts.read_settings = replace(facts.read_settings, **{section: replace(now, **changed)})

    return change


def tool(**changed):
    def change(facts):
        facts.read_tools = tools({**MAIL, **changed})

    return change


def schema(**properties):
    return tool(input_schema_json=json.dumps({"type": "object", "properties": properties}))


def in_policy(change):
    return lambda facts: change(facts.read_policy.policy)


def database(**changed):
    def change(facts):
        facts.read_database = {**facts.read_database, **changed}

    return change


def open_state_directory(facts):
    facts.read_settings.storage.state_directory.chmod(0o770)


def open_key(facts):
    (facts.read_settings.storage.state_directory / "checkpoint.key").chmod(0o640)


def open_secrets(facts):
    facts.read_settings.secrets.secrets_directory.chmod(0o750)


def key_in_state_directory(facts):
    settings("sealing", master_key_file=facts.read_settings.storage.state_directory / "master.key")(facts)


def copied_into_state_directory(facts):
    path = facts.read_settings.storage.state_directory / "checkpoints"
    settings("checkpoints", checkpoint_command="", checkpoint_file=path)(facts)


def built_in(facts):
    facts.read_policy.revision = 0


def others_rules(facts):
    facts.read_rules = ["up == 0"]


def without_tls(facts):
    settings("telemetry", metrics_address="0.0.0.0:9464", metrics_token_file="metrics.token")(facts)
    settings("listening", tls_certificate_file=None)(facts)


def open_metrics_token(facts):
    path = facts.read_settings.storage.state_directory / "metrics.token"
    path.touch(mode=0o600)
    path.chmod(0o644)
    settings("telemetry", metrics_token_file=path)(facts)


WRONG = [
    ("metrics", State.FAIL, settings("telemetry", metrics_address="")),
    ("metrics", State.WARN, settings("telemetry", metrics_address="0.0.0.0:9464")),
    ("metrics", State.WARN, without_tls),
    ("alerts", State.FAIL, others_rules),
    ("tool-permissions", State.FAIL, tool(permissions=[])),
    ("tool-permissions", State.FAIL, tool(permissions=[], read_only=True, secrets=["key"])),
    ("own-policy", State.FAIL, built_in),
    ("almighty-roles", State.WARN, in_policy(lambda policy: policy.roles[0].grants.append("*"))),
    ("policy-approval", State.WARN, in_policy(lambda policy: policy.ClearField("changes_need_approval"))),
    ("sanitizers", State.FAIL, schema(path={"type": "string"})),
    ("attempt-limits", State.FAIL, in_policy(lambda policy: policy.limits.pop(0))),
    ("request-limits", State.WARN, in_policy(lambda policy: policy.limits.pop(1))),
    ("lockout", State.FAIL, in_policy(lambda policy: policy.addresses.ClearField("lockout"))),
    ("cache", State.WARN, tool(read_only=True)),
    ("timeouts", State.WARN, tool(timeout_ms=0)),
    ("repeats", State.WARN, tool(idempotent=False)),
    ("descriptions", State.FAIL, tool(description="")),
    ("parameters", State.WARN, schema(to={"type": "string"})),
    ("examples", State.WARN, schema(to={"type": "string"})),
    ("examples", State.WARN, tool(input_schema_json=json.dumps({**SCHEMA, "examples": [{"to": 1}]}))),
    ("transport", State.FAIL, settings("listening", tls_certificate_file=None)),
    ("proxies", State.FAIL, settings("access", trusted_proxies=(ip_network("0.0.0.0/0"),))),
    ("token-keys", State.WARN, settings("tokens", token_public_keys=())),
    ("session-age", State.WARN, settings("tokens", session_max_age_s=0)),
    ("key-files", State.FAIL, open_state_directory),
    ("key-files", State.FAIL, open_key),
    ("key-files", State.FAIL, open_metrics_token),
    ("secret-files", State.FAIL, open_secrets),
    ("master-key", State.FAIL, key_in_state_directory),
    ("sealed", State.WARN, schema(password={"type": "string"})),
    ("checkpoints", State.FAIL, settings("checkpoints", checkpoint_command="")),
    ("checkpoints", State.WARN, copied_into_state_directory),
    ("auditors", State.WARN, in_policy(lambda policy: policy.roles[1].grants.append("policies.change"))),
    ("database", State.WARN, database(server="SQLite 3")),
    ("database-rights", State.FAIL, database(may_change_events=True)),
    ("tenants", State.WARN, settings("access", tenants_must_exist=False)),
    ("operator-tenant", State.WARN, settings("access", operator_tenant="default")),
]


@pytest.mark.parametrize(("item_id", "state", "spoil"), WRONG, ids=[f"{each[0]}-{n}" for n, each in enumerate(WRONG)])
def test_where_its_one_thing_is_wrong_does_not_pass(good, item_id, state, spoil):
    spoil(good)
    outcome = examine(BY_ID[item_id], good)
    assert outcome.state is state
    assert outcome.looked_at
    assert outcome.remedy


def test_every_item_that_can_be_wrong_has_been():
    assert {item_id for item_id, _, _ in WRONG} == BY_ID.keys() - NOT_YET


FINE = [
    (
        "metrics",
        settings("telemetry", metrics_address="0.0.0.0:9464", metrics_token_file="metrics.token"),
    ),
    ("metrics", settings("telemetry", metrics_address="", otlp_endpoint="http://127.0.0.1:4318")),
    ("token-keys", settings("tokens", token_public_keys=(), token_jwks_url="https://issuer.example/keys")),
    ("tool-permissions", tool(permissions=[], read_only=True, input_schema_json='{"type": "object"}')),
    ("transport", settings("listening", listen_address="127.0.0.1:7233", tls_certificate_file=None)),
    ("sealed", schema(password={"type": "string", "x-podium-sensitive": True})),
    ("attempt-limits", tool(name="other", read_only=True)),
]


@pytest.mark.parametrize(("item_id", "change"), FINE, ids=[each[0] for each in FINE])
def test_what_is_right_in_another_way_passes_too(good, item_id, change):
    change(good)
    assert examine(BY_ID[item_id], good).state is State.PASS


@pytest.mark.parametrize("item", [item for item in ITEMS if item.id not in NOT_YET], ids=lambda item: item.id)
def test_what_could_not_be_looked_at_has_failed(item):
    outcome = examine(item, Facts(unread=["the tools: no service answers"]))
    assert outcome.state is State.FAIL
    assert "could not be looked at" in outcome.looked_at


def test_without_tools_there_is_nothing_to_say_of_them(good):
    good.read_tools = []
    assert examine(BY_ID["tool-permissions"], good).state is State.NOT_APPLICABLE


def test_without_a_folder_of_secrets_nobody_can_read_it(good):
    settings("secrets", secrets_directory=None)(good)
    assert examine(BY_ID["secret-files"], good).state is State.NOT_APPLICABLE


def test_a_folder_of_secrets_that_is_not_there_fails(good):
    good.read_settings.secrets.secrets_directory.rmdir()
    assert examine(BY_ID["secret-files"], good).state is State.FAIL


def test_a_key_that_is_not_there_fails(good):
    (good.read_settings.storage.state_directory / "checkpoint.key").unlink()
    assert examine(BY_ID["key-files"], good).state is State.FAIL
