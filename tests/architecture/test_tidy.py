"""Style as a test: sizes, names and leftovers. Every rule is shown to fire before it is trusted."""

import tempfile
from pathlib import Path, PurePosixPath

import pytest

from tests.architecture import tidy_rules
from tests.architecture.checkout import CLIENT, HAND_WRITTEN, ROOT, committed_texts, modules

CODE_RULES = [
    tidy_rules.long_module,
    tidy_rules.long_function,
    tidy_rules.banned_module_name,
    tidy_rules.banned_class_name,
    tidy_rules.busy_package,
    tidy_rules.silent_exception,
]
TEXT_RULES = [tidy_rules.leftover, tidy_rules.registry_host]

# The tests that may sleep, each with its reason. A new one is an exception, not a habit.
MAY_SLEEP: dict[str, str] = {
    "tests/benchmarks/quiet.py": "that a service has nothing more to do by itself is seen in its CPU time alone",
    "tests/unit/api_edge/test_keepalive.py": "a silence is time in which nothing happens",
    "tests/faults/postgres_outcomes.py": "a fault comes at any moment of an append, and nothing tells of a moment",
}

# The modules that may take what the linter bans (TID251 in pyproject.toml), each with what it owns.
OWNERS = {
    "service/clock.py": "the service's time and chance",
    "service/config.py": "the service's environment",
    "service/cli/child_processes.py": "what child processes inherit",
    "service/tools/environment.py": "the environment of the built-in tools' process",
    "clients/python/podium/chance.py": "the client's chance",
    "clients/python/podium/clock.py": "the client's time outside of a loop",
    "clients/python/podium/discovery.py": "the client's environment",
    "clients/python/podium/tasks.py": "the client's background tasks",
}

PACKAGE_FILE = PurePosixPath("service/engine/__init__.py")
MODULE = PurePosixPath("service/engine/mailbox.py")


def findings(rule, files):
    return [f"{path}: {finding}" for path, text in files for finding in rule(path, text)]


def machine_folders():
    """This machine's own folders: the home, and where the checkout lies, unless that is a place everybody has."""
    shared_places = {"/", tempfile.gettempdir()}
    candidates = {str(Path.home()), str(ROOT.parent)} - shared_places
    return frozenset(f"{folder}/" for folder in candidates)


@pytest.mark.parametrize("rule", CODE_RULES, ids=lambda rule: rule.__name__)
def test_hand_written_code_is_tidy(rule):
    files = [(path, (ROOT / path).read_text()) for path in modules(*HAND_WRITTEN)]
    assert findings(rule, files) == []


def test_time_chance_environment_and_loose_tasks_have_their_owners():
    files = [(path, (ROOT / path).read_text()) for path in modules(*HAND_WRITTEN)]
    owners = frozenset(OWNERS)
    assert findings(lambda path, text: tidy_rules.unowned_exception(path, text, owners), files) == []


@pytest.mark.parametrize("rule", TEXT_RULES, ids=lambda rule: rule.__name__)
def test_nothing_unfinished_and_no_registry_is_committed(rule):
    assert findings(rule, committed_texts()) == []


def test_no_path_of_this_machine_is_committed():
    folders = machine_folders()
    assert findings(lambda path, text: tidy_rules.machine_path(path, text, folders), committed_texts()) == []


def test_no_test_sleeps():
    files = [(path, (ROOT / path).read_text()) for path in modules(PurePosixPath("tests"))]
    sleeping = {str(path): found for path, text in files if (found := list(tidy_rules.sleeping_test(path, text)))}
    assert {path: found for path, found in sleeping.items() if path not in MAY_SLEEP} == {}
    assert MAY_SLEEP.keys() <= sleeping.keys(), "a test that no longer sleeps needs no permission"


def function_of(lines):
    return "def f():\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (tidy_rules.long_module, MODULE, "x = 1\n" * (tidy_rules.MODULE_LINES_MAX + 1)),
        (tidy_rules.long_function, MODULE, function_of(tidy_rules.FUNCTION_LINES_MAX + 1)),
        (tidy_rules.long_function, MODULE, "async " + function_of(tidy_rules.FUNCTION_LINES_MAX + 1)),
        (tidy_rules.banned_module_name, PurePosixPath("service/engine/helpers.py"), ""),
        (tidy_rules.banned_module_name, PurePosixPath("service/utils/text.py"), ""),
        (tidy_rules.banned_class_name, MODULE, "class LeaseManager: ..."),
        (tidy_rules.banned_class_name, MODULE, "def f():\n    class StoreImpl: ..."),
        (tidy_rules.busy_package, PACKAGE_FILE, ""),
        (tidy_rules.busy_package, PACKAGE_FILE, '"""The engine."""\nfrom service.engine.mailbox import Mailbox\n'),
        (tidy_rules.busy_package, CLIENT / "__init__.py", '"""The client."""\nimport os\n'),
        (tidy_rules.silent_exception, MODULE, "x = f()  # noqa: S608"),
        (tidy_rules.silent_exception, MODULE, "x = f()  # type: ignore[misc]"),
        (tidy_rules.silent_exception, MODULE, "x = f()  # noqa"),
        (tidy_rules.leftover, MODULE, "# TO" + "DO: later"),
        (tidy_rules.registry_host, PurePosixPath("requirements/run.txt"), "--index-url https://py" + "pi.org/simple"),
        (tidy_rules.registry_host, PurePosixPath("package-lock.json"), "https://registry.npm" + "js.org/x"),
        (
            tidy_rules.sleeping_test,
            PurePosixPath("tests/unit/test_lease.py"),
            "async def f():\n    await asyncio.sleep(delay)",
        ),
        (tidy_rules.sleeping_test, PurePosixPath("tests/unit/test_lease.py"), "from time import sleep\nsleep(delay)"),
    ],
)
def test_a_rule_fires_on_what_it_forbids(rule, path, text):
    assert list(rule(path, text))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (tidy_rules.long_module, MODULE, "x = 1\n" * tidy_rules.MODULE_LINES_MAX),
        (tidy_rules.long_function, MODULE, function_of(tidy_rules.FUNCTION_LINES_MAX)),
        (tidy_rules.banned_class_name, MODULE, "class Managers: ..."),
        (tidy_rules.busy_package, PACKAGE_FILE, '"""The engine."""\n'),
        (tidy_rules.busy_package, CLIENT / "__init__.py", '"""The client."""\nfrom podium.a import B\n__all__ = ["B"]'),
        (
            tidy_rules.sleeping_test,
            PurePosixPath("tests/unit/test_lease.py"),
            "async def f():\n    await asyncio.sleep(0)",
        ),
    ],
)
def test_a_rule_is_silent_on_what_it_allows(rule, path, text):
    assert list(rule(path, text)) == []


@pytest.mark.parametrize(
    "line", ["/srv/checkouts/podium/x", "see /ro" + "ot/x", "/ho" + "me/ada/x", "'/Use" + "rs/ada/x'"]
)
def test_a_path_of_one_machine_is_found(line):
    assert list(tidy_rules.machine_path(MODULE, line, frozenset({"/srv/checkouts/"})))


@pytest.mark.parametrize("line", ["/usr/bin/env bash", "docs/ho" + "me/index", "https://example.org/ro" + "ot/x"])
def test_a_path_that_every_machine_has_is_allowed(line):
    assert list(tidy_rules.machine_path(MODULE, line, frozenset({"/srv/checkouts/"}))) == []
