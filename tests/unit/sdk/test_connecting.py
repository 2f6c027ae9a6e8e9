"""Finding the server, being let in, and what is said when that fails."""

import asyncio
import json
import os
import socket

import grpc
import grpc.aio
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import podium
from podium.connection import open_connection
from podium.discovery import Target, default_file, find_server
from podium.v1 import executor_service_pb2 as pb
from tests.unit.sdk.executor_peer import assignment, running_peer
from tests.unit.sdk.workflow_peer import refuse, running_workflow_peer


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No server is known but what a test says."""
    for name in ("PODIUM_ADDRESS", "PODIUM_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "dev.json"
    monkeypatch.setenv("PODIUM_DEV_FILE", str(file))
    return file


def write(file, content, mode=0o600):
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)


def test_what_the_program_says_comes_first_then_the_environment_then_the_file(environment, monkeypatch):
    write(environment, {"address": "127.0.0.1:1", "token": "dev", "pid": 1})
    assert find_server(None, None) == Target("127.0.0.1:1", "dev", discovered=True)
    monkeypatch.setenv("PODIUM_ADDRESS", "podium:2")
    monkeypatch.setenv("PODIUM_TOKEN", "env")
    assert find_server(None, None) == Target("podium:2", "env")
    assert find_server("other:3", "mine") == Target("other:3", "mine")


def test_without_any_server_the_remedy_is_named():
    with pytest.raises(podium.Unavailable, match="podium dev"):
        find_server(None, None)


def test_the_file_of_this_user_has_the_users_number(monkeypatch):
    monkeypatch.delenv("PODIUM_DEV_FILE")
    assert default_file().name == f"podium-dev-{os.getuid()}.json"


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602, 0o400])
def test_a_file_that_others_could_use_is_refused(environment, mode):
    write(environment, {"address": "a:1", "token": "t"}, mode)
    with pytest.raises(podium.InvalidInput, match="0600"):
        find_server(None, None)


def test_a_link_is_not_followed(environment, tmp_path):
    write(tmp_path / "elsewhere", {"address": "a:1", "token": "t"})
    environment.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(podium.InvalidInput, match="cannot be read"):
        find_server(None, None)


def test_a_pipe_is_no_file(environment):
    os.mkfifo(environment, 0o600)
    with pytest.raises(podium.InvalidInput, match="not a file of this user's"):
        find_server(None, None)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(environment):
    write(environment, {"address": "a:1", "token": "t"})
    os.chown(environment, 65534, 65534)
    with pytest.raises(podium.InvalidInput, match="not a file of this user's"):
        find_server(None, None)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": "a:1"}', "{"])
def test_a_file_that_says_nothing_is_refused(environment, content):
    write(environment, content)
    with pytest.raises(podium.InvalidInput, match="podium dev"):
        find_server(None, None)


async def test_a_development_server_that_has_ended_is_told_at_once_with_the_remedy(environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        write(environment, {"address": f"127.0.0.1:{taken.getsockname()[1]}", "token": "t"})
        with pytest.raises(podium.Unavailable, match="podium dev") as raised:
            async with podium.connect():
                pass
    assert "refused" in raised.value.message


@pytest.mark.parametrize(
    ("address", "tls", "allowed"),
    [
        ("127.0.0.1:1", None, True),
        ("localhost:1", None, True),
        ("[::1]:1", None, True),
        ("unix:/run/podium", None, True),
        ("podium:1", None, False),
        ("127.0.0.1.example.com:1", None, False),
        ("podium:1", False, True),
        ("http://podium:1", None, True),
        ("https://podium:1", None, True),
        ("podium:1", True, True),
        ("ftp://podium:1", None, False),
    ],
)
async def test_a_token_crosses_a_network_in_the_clear_only_when_somebody_said_so(address, tls, allowed):
    if allowed:
        await open_connection(Target(address, "t"), tls=tls).close()
    else:
        with pytest.raises(podium.InvalidInput) as raised:
            open_connection(Target(address, "t"), tls=tls)
        assert raised.value.field == "address"


async def test_a_token_that_is_a_function_is_asked_for_every_call():
    async with running_workflow_peer() as peer:
        tokens = iter(["one", "two"])
        async with podium.connect(peer.address, lambda: next(tokens)) as client:
            for _ in range(2):
                with pytest.raises(podium.NotFound):
                    await client.get("nowhere")
        with pytest.raises(StopIteration):
            next(tokens)


async def test_the_body_runs_when_the_executor_was_welcomed_and_the_executor_leaves_with_it():
    app = podium.Executor("billing")

    @app.tool
    async def greet(name: str) -> str:
        return f"hello {name}"

    entered, leave = asyncio.Event(), asyncio.Event()

    async def program():
        async with podium.connect(peer.address, "t", serve=app):
            entered.set()
            await leave.wait()

    async with running_peer() as peer, asyncio.TaskGroup() as group:
        group.create_task(program())
        session = await peer.session()
        hello = await session.receive("hello")
        assert not entered.is_set()
        await session.send_items(
            ("welcome", pb.Welcome(session_id="s", chunk_limit_bytes=64, inline_limit_bytes=64)),
            ("assign", assignment("greet", '{"name": "ana"}')),
        )
        result = await session.receive("result")
        assert entered.is_set()
        leave.set()
        await session.receive("leaving")
        assert not session.half_closed.is_set(), "it waits until its outcome is durable"
        await session.acknowledge(result)
    assert (hello.executor, result.output.json) == ("billing", '"hello ana"')


async def test_an_executor_that_is_refused_is_an_error_of_connect():
    async with running_peer() as peer:
        peer.refuse_next(grpc.StatusCode.PERMISSION_DENIED, "needs tools.serve")
        with pytest.raises(podium.PermissionDenied, match=r"needs tools\.serve"):
            async with podium.connect(peer.address, "t", serve=podium.Executor("billing")):
                pass


async def test_an_error_in_the_body_is_raised_as_it_is():
    async with running_peer() as peer, asyncio.TaskGroup() as group:

        async def welcome():
            await (await peer.session()).welcome()

        group.create_task(welcome())
        with pytest.raises(ZeroDivisionError):
            async with podium.connect(peer.address, "t", serve=podium.Executor("billing")):
                raise ZeroDivisionError


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_TOOL", podium.InvalidInput),
        (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", podium.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, "MISSING", podium.PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, "NO_WORKFLOW", podium.NotFound),
        (grpc.StatusCode.ABORTED, "VERSION", podium.Conflict),
        (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", podium.Conflict),
        (grpc.StatusCode.FAILED_PRECONDITION, "ENDED", podium.IllegalState),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", podium.RateLimited),
        (grpc.StatusCode.FAILED_PRECONDITION, "CIRCUIT_OPEN", podium.CircuitOpen),
        (grpc.StatusCode.INTERNAL, "INTERNAL", podium.PodiumError),
    ],
)
async def test_a_refusal_is_an_error_with_everything_its_status_says(code, reason, error):
    async with running_workflow_peer() as peer:

        async def refusing(request, context):
            violation = error_details_pb2.BadRequest.FieldViolation(field="steps[0].tool", description="unknown")
            await refuse(
                context,
                code,
                "no",
                error_details_pb2.ErrorInfo(reason="OTHER", domain="elsewhere"),
                error_details_pb2.ErrorInfo(reason=reason, domain="podium", metadata={"event": "0:9"}),
                error_details_pb2.BadRequest(field_violations=[violation]),
                error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
            )

        peer._called = refusing  # noqa: SLF001 -- the peer is the test's own
        async with podium.connect(peer.address, "t") as client:
            with pytest.raises(error) as raised:
                await client.get("wf")
    found = raised.value
    assert type(found) is error
    assert (found.message, found.reason, found.field) == ("no", reason, "steps[0].tool")
    assert found.violations == (("steps[0].tool", "unknown"),)
    assert (found.event, found.retry_after) == ("0:9", 1.5)
    assert str(found) == f"no ({reason}, field steps[0].tool, event 0:9)"


@pytest.mark.parametrize(
    ("words", "error", "reason", "remedy"),
    [
        ("SERVER: Received message larger than max (9 vs. 8)", podium.InvalidInput, "MESSAGE_TOO_LARGE", "split it"),
        ("CLIENT: Sent message larger than max (9 vs. 8)", podium.InvalidInput, "MESSAGE_TOO_LARGE", "split it"),
        ("Stream removed (CLIENT: Received message larger than max (9 vs. 8))", podium.InvalidInput,
         "MESSAGE_TOO_LARGE", "than this client takes"),
        ("SERVER: Sent message larger than max (9 vs. 8)", podium.InvalidInput, "MESSAGE_TOO_LARGE",
         "than the service sends"),
        ("received metadata size exceeds hard limit (9 vs. 8)", podium.InvalidInput, "METADATA_TOO_LARGE",
         "a shorter token"),
        ("Bandwidth exhausted", podium.PodiumError, "RESOURCE_EXHAUSTED", "a proxy"),
    ],
)  # fmt: skip
async def test_what_grpc_itself_refuses_as_too_large_is_no_rate_limit(words, error, reason, remedy):
    async with running_workflow_peer() as peer:

        async def refusing(request, context):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, words)

        peer._called = refusing  # noqa: SLF001 -- the peer is the test's own
        async with podium.connect(peer.address, "t") as client:
            with pytest.raises(podium.PodiumError) as raised:
                await client.get("wf")
    found = raised.value
    assert (type(found), found.reason, found.retryable) == (error, reason, False)
    assert words in found.message
    assert remedy in found.message


async def test_grpc_s_own_words_are_those_that_are_looked_for():
    """With a real message that is too large, and a real token: gRPC's words are not ours to keep."""
    async with running_workflow_peer() as peer:
        async with podium.connect(peer.address, "t") as client:
            for size in (5 << 20, 17 << 20):
                with pytest.raises(podium.InvalidInput) as raised:
                    await client.run(podium.Workflow("large"), "x" * size)
                assert (raised.value.reason, raised.value.retryable) == ("MESSAGE_TOO_LARGE", False)
        async with podium.connect(peer.address, "t" * 20_000) as client:
            with pytest.raises(podium.InvalidInput, match="shorter token"):
                await client.get("wf")
