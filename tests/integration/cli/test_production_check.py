"""`podium check --production` beside a running service, with its settings, and apart from it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


@pytest.fixture
def check(own_service, podium_command):
    """A service of its own and the command, with the service's environment or without."""
    service = own_service().start()
    beside = {
        "PODIUM_STATE_DIRECTORY": str(service.directory / "state"),
        "PODIUM_DATABASE_URL": f"sqlite:///{service.database}",
        "PODIUM_LISTEN_ADDRESS": service.address,
    }

    def run(*words, roles=("admin",), cwd=None, **variables):
        token = service.token("ana", roles=roles)
        called = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token, **beside, **variables}
        return podium_command("check", *words, cwd=cwd, **called)

    run.settings = beside
    return run


def states(ended):
    return {line["id"]: line["state"] for line in ended.lines}


def test_a_fresh_service_is_not_ready_and_is_told_why(check):
    ended = check("--production", "--json")
    assert ended.code == 1
    found = states(ended)
    assert found["own-policy"] == "fail"
    assert found["checkpoints"] == "fail"
    assert found["transport"] == found["key-files"] == "pass"
    assert found["database"] == "warn"
    assert found["metrics"] == found["alerts"] == "fail"
    assert found["cache"] == "not applicable"
    assert all(line["remedy"] for line in ended.lines if line["state"] in ("fail", "warn"))


def test_what_the_caller_may_not_see_fails(check):
    found = states(check("--production", "--json", roles=("viewer",)))
    assert found["lockout"] == "fail"


def test_without_a_service_what_it_would_tell_fails_and_the_settings_are_told(check):
    found = states(check("--production", "--json", PODIUM_ADDRESS="127.0.0.1:1"))
    assert found["own-policy"] == found["tool-permissions"] == "fail"
    assert found["transport"] == "pass"


def test_settings_that_are_wrong_fail(check):
    found = states(check("--production", "--json", PODIUM_LISTEN_ADDRESS="nowhere"))
    assert found["transport"] == "fail"
    assert found["own-policy"] == "fail"


def test_for_a_person_it_is_a_table_with_a_sum(check):
    ended = check("--production")
    assert "the built-in policy is in force" in ended.out
    assert "not applicable" in ended.out.splitlines()[-1]


def test_it_asks_what_to_check_for(check):
    assert check().code == 2


@pytest.fixture
def prometheus():
    """A Prometheus as far as its rules go."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.server.rules[self.path].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("query", "state"), [("podium_loop_lag_seconds > 1", "pass"), ("up == 0", "fail"), (None, "fail")]
)
def test_the_alerts_that_prometheus_has_are_looked_at(check, prometheus, query, state):
    group = {"rules": [{"query": query}]} if query else {}
    prometheus.rules = {"/api/v1/rules?type=alert": json.dumps({"data": {"groups": [group]}})}
    url = f"http://127.0.0.1:{prometheus.server_address[1]}"
    ended = check("--production", "--json", "--prometheus", url, PODIUM_METRICS_ADDRESS="127.0.0.1:9464")
    assert states(ended)["alerts"] == state
    assert states(ended)["metrics"] == "pass"


def looked_at(ended):
    return {line["id"]: line["looked_at"] for line in ended.lines}


@pytest.fixture
def elsewhere(check, tmp_path):
    """The command without the service's settings: where it is run there are others, or none."""
    others = {"PODIUM_STATE_DIRECTORY": "", "PODIUM_DATABASE_URL": "", "PODIUM_LISTEN_ADDRESS": ""}

    def run(*words, **variables):
        return check("--production", "--json", *words, cwd=tmp_path, **{**others, **variables})

    return run


OF_SETTINGS = {
    "transport",
    "proxies",
    "token-keys",
    "session-age",
    "key-files",
    "master-key",
    "secret-files",
    "checkpoints",
    "database",
    "database-rights",
    "tenants",
    "operator-tenant",
    "metrics",
}


def test_settings_of_another_service_vouch_for_nothing(check, elsewhere):
    ended = elsewhere()
    assert ended.code == 1
    for item, state in states(ended).items():
        if item in OF_SETTINGS:
            assert state == "fail", item
            assert "not those of the service at 127.0.0.1:" in looked_at(ended)[item]
    assert states(ended)["own-policy"] == "fail"
    assert "the built-in policy is in force" in looked_at(ended)["own-policy"], "the service was asked"


def test_the_options_of_serve_name_its_settings(check, elsewhere):
    """Negative control: with them the same command knows the service again."""
    settings = check.settings
    options = [
        *("--listen", settings["PODIUM_LISTEN_ADDRESS"]),
        *("--database", settings["PODIUM_DATABASE_URL"].removeprefix("sqlite:///")),
        *("--state-dir", settings["PODIUM_STATE_DIRECTORY"]),
    ]
    assert states(elsewhere(*options)) == states(check("--production", "--json"))
    assert states(elsewhere(*options))["transport"] == "pass"


def test_a_file_of_settings_names_them_too(check, elsewhere, tmp_path):
    settings = check.settings
    file = tmp_path / "podium.toml"
    file.write_text(
        f"[listening]\nlisten_address = {json.dumps(settings['PODIUM_LISTEN_ADDRESS'])}\n"
        f"[storage]\ndatabase_url = {json.dumps(settings['PODIUM_DATABASE_URL'])}\n"
        f"state_directory = {json.dumps(settings['PODIUM_STATE_DIRECTORY'])}\n"
    )
    assert states(elsewhere("--config", str(file)))["transport"] == "pass"


def test_another_database_at_the_same_address_is_another_service(check, elsewhere, tmp_path):
    ended = elsewhere("--listen", check.settings["PODIUM_LISTEN_ADDRESS"], "--database", str(tmp_path / "other.db"))
    assert states(ended)["transport"] == states(ended)["database"] == "fail"
    assert "other.db, and it says that its own is" in looked_at(ended)["transport"]
