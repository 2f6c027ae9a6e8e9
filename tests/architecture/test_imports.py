"""What may be imported at all, where import-linter's contracts can only say what may not."""

import sys

import pytest

from tests.architecture.checkout import ROOT
from tests.architecture.import_graph import imported_names, sources

# Beside the standard library.
ALLOWED = {
    "service.domain": ("service.domain", "podium.v1", "google.protobuf.message"),
    "podium": ("podium", "grpc", "google.protobuf"),
}

# A package within one that stands alone, and the libraries of the extra that it may import beside.
WITH_EXTRA = {"podium.sanitizers": ("httpcore", "idna", "jsonschema_rs", "nh3", "re2", "sqlglot")}

# These read and write messages and know no transport. The generated stubs (`*_pb2_grpc`) would bring gRPC in.
WITHOUT_TRANSPORT = ("service.domain", "store")


def begins_with(name, prefix):
    return name == prefix or name.startswith(f"{prefix}.")


def foreign_imports(package, modules):
    """What the modules of `package` import beyond what it is allowed, each as a line."""
    return [
        f"{module} imports {name}"
        for module, source in modules
        if begins_with(module, package)
        for name in imported_names(source)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(begins_with(name, allowed) for allowed in (*ALLOWED[package], *extra_of(module)))
    ]


def extra_of(module):
    """What a module may import because its package has an extra."""
    return [name for package, extra in WITH_EXTRA.items() if begins_with(module, package) for name in extra]


def transport_imports(package, modules):
    """The generated stubs that the modules of `package` import, each as a line."""
    return [
        f"{module} imports {name}"
        for module, source in modules
        if begins_with(module, package)
        for name in imported_names(source)
        if begins_with(name, "podium.v1") and "_pb2_grpc" in name
    ]


@pytest.mark.parametrize("package", WITHOUT_TRANSPORT)
def test_events_are_read_without_a_transport(package):
    assert transport_imports(package, sources(ROOT)) == []


def test_an_import_of_a_transport_is_found():
    source = "from podium.v1 import tool_service_pb2, tool_service_pb2_grpc"
    assert transport_imports("store", [("store.writer", source)]) == [
        "store.writer imports podium.v1.tool_service_pb2_grpc"
    ]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_that_stands_alone_imports_only_what_it_may(package):
    assert foreign_imports(package, sources(ROOT)) == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("service.domain", "import orjson"),
        ("service.domain", "from service.config import Settings"),
        ("service.domain", "from podium.client import Client"),
        ("service.domain", "def f():\n    import store"),
        ("podium", "from google.rpc import status_pb2"),
        ("podium", "import nh3"),
        ("podium", "import service.domain"),
    ],
)
def test_a_foreign_import_is_found(package, source):
    assert len(foreign_imports(package, [(f"{package}.module", source)])) == 1


def test_a_library_of_the_extra_is_found_outside_of_the_package_that_needs_it():
    assert foreign_imports("podium", [("podium.sanitizers.html", "import nh3")]) == []
    assert foreign_imports("podium", [("podium.sanitize", "import nh3")]) == ["podium.sanitize imports nh3"]


@pytest.mark.parametrize(
    ("package", "source"),
    [
        (
            "service.domain",
            "import dataclasses\nfrom service.domain.graph import Graph\nfrom podium.v1 import events_pb2",
        ),
        (
            "podium",
            "import asyncio\nimport grpc.aio\nfrom google.protobuf import json_format\nfrom podium.v1 import value_pb2",
        ),
    ],
)
def test_an_allowed_import_is_not_found(package, source):
    assert foreign_imports(package, [(f"{package}.module", source)]) == []
