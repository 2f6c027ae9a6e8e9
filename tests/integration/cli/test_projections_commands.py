"""`podium projections`, against a running service."""

import os
import pty
import subprocess

import pytest

from tests.integration.cli.conftest import COMMAND
from tests.integration.rig.forked_process import environment


@pytest.fixture
def ask(service, podium_command):
    def run(*words, roles=("admin",)):
        token = service.token("ana", roles=roles, tenant="default")
        return podium_command("projections", *words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


def test_they_are_listed(ask):
    told = ask("list", "--json")
    assert told.code == 0
    assert [(line["name"], line["state"], line["problem"]) for line in told.lines] == [
        ("audit", "live", ""),
        ("statistics", "live", ""),
        ("workflows", "live", ""),
    ]
    header, *rows = ask("list").out.splitlines()
    assert header.split()[:3] == ["projection", "state", "position"]
    assert [row.split()[0] for row in rows] == ["audit", "statistics", "workflows"]


def test_one_is_rebuilt(ask):
    told = ask("rebuild", "workflows", "--json")
    assert (told.code, told.lines[-1]["done"]) == (0, True)
    told = ask("rebuild", "workflows")
    assert (told.code, told.out) == (0, "")
    assert "workflows is read from its new tables" in told.err


def test_one_that_does_not_exist_ends_with_4_and_names_those_that_do(ask):
    told = ask("rebuild", "workflow")
    assert told.code == 4
    assert "there are audit, statistics, workflows" in told.err


def test_who_may_not_rebuild_is_told_what_is_missing(ask):
    told = ask("rebuild", "workflows", roles=["viewer"])
    assert told.code == 3
    assert "projections.rebuild" in told.err


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(service, ask):
    assert "rebuilding" not in ask("rebuild", "audit").err
    controller, terminal = pty.openpty()
    token = service.token("ana", roles=["admin"], tenant="default")
    with subprocess.Popen(
        [*COMMAND, "projections", "rebuild", "audit"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment(TERM="xterm-256color", PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token),
    ) as process:
        os.close(terminal)
        written = b""
        with os.fdopen(controller, "rb", buffering=0) as file:
            # An error is how Linux says that nobody holds the other end any more.
            try:
                while piece := file.read(65536):
                    written += piece
            except OSError:
                pass
        assert process.wait(60) == 0
        assert process.stdout.read() == b""
    assert "rebuilding audit" in written.decode()
