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

    def run(*words, roles=("admin",), **variables):
        token = service.token("ana", roles=roles)
        called = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token, **beside, **variables}
        return podium_command("check", *words, **called)

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
