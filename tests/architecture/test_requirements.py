"""The pinned requirements: complete, hashed, from nowhere in particular, and what the two distributions declare."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.checkout import ROOT

PINNED = ("requirements/run.txt", "requirements/dev.txt")
MANIFESTS = ("pyproject.toml", "clients/python/pyproject.toml")
OURS = {"podium-client"}

# A pin that goes on with its hashes, a hash, a comment, nothing.
ORDINARY = re.compile(r"[\w.-]+==[\w.!+-]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]+( \\)?|\s*#.*|")
PLACE = re.compile(r"://|\s/\w")


def pins(text):
    """Package and version of every pinned line."""
    return dict(re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, re.MULTILINE))


def objections(text):
    """The lines by which a requirements file depends on more than names, versions and hashes."""
    return [line for line in text.splitlines() if not ORDINARY.fullmatch(line) or PLACE.search(line)]


def declared(manifest):
    return [Requirement(line) for line in project(manifest)["dependencies"]]


def project(manifest):
    return tomllib.loads((ROOT / manifest).read_text())["project"]


@pytest.mark.parametrize("name", PINNED)
def test_every_requirement_is_pinned_with_its_hashes_and_names_no_place(name):
    assert objections((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "grpcio==1.85.1",
        "grpcio>=1.85 \\",
        "--index-url here",
        "--find-links wheels",
        "-e .",
        "x @ https://example.org/x.whl",
        "    # via -r /srv/podium/requirements/run.in",
    ],
)
def test_a_line_that_depends_on_a_place_or_a_day_is_found(line):
    pinned = "rich==15.0.0 \\\n    --hash=sha256:00\n    # via podium-server (pyproject.toml)\n"
    assert objections(pinned) == []
    assert objections(f"{pinned}{line}\n") == [line]


def test_developers_run_what_users_run():
    run, dev = (pins((ROOT / name).read_text()) for name in PINNED)
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_pins_satisfy_what_the_distributions_declare(manifest):
    run = pins((ROOT / "requirements/run.txt").read_text())
    for requirement in declared(manifest):
        name = canonicalize_name(requirement.name)
        assert name in OURS or requirement.specifier.contains(run[name]), f"{requirement}: run `make lock`"


def test_the_client_needs_grpcio_and_protobuf_alone():
    assert {requirement.name for requirement in declared("clients/python/pyproject.toml")} == {"grpcio", "protobuf"}


def test_the_pins_satisfy_the_extra_of_the_client_that_the_server_asks_for():
    run = pins((ROOT / "requirements/run.txt").read_text())
    assert {requirement.name: requirement.extras for requirement in declared("pyproject.toml")}["podium-client"] == {
        "sanitizers"
    }
    for line in project("clients/python/pyproject.toml")["optional-dependencies"]["sanitizers"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(run[canonicalize_name(requirement.name)]), f"{line}: run `make lock`"


def test_the_stubs_generator_and_its_runtime_are_one_version():
    dev = pins((ROOT / "requirements/dev.txt").read_text())
    assert dev["grpcio"] == dev["grpcio-tools"]


def test_both_distributions_carry_one_version():
    server, client = (project(manifest) for manifest in MANIFESTS)
    assert server["version"] == client["version"]
    assert f"podium-client[sanitizers]=={client['version']}" in server["dependencies"]


def test_the_extra_names_the_libraries_of_the_examples():
    lines = (ROOT / "requirements/examples.in").read_text().splitlines()
    wanted = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    extra = project("pyproject.toml")["optional-dependencies"]["examples"]
    assert {canonicalize_name(Requirement(line).name) for line in extra} == wanted
