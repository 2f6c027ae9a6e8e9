"""Requests of chance: whatever bytes a method gets, it answers or refuses them, and tells nothing of another tenant.

Each case calls one method, as an administrator of a tenant of its own, with bytes of chance, with an odd message, or
with one of which some bytes were changed. No answer may be an internal error or hold what another tenant keeps secret,
the service writes no error into its log, and it serves afterwards. A case is made by its number and the seed alone.
"""

import asyncio
import contextlib
import json
import random
import tempfile
from pathlib import Path

import grpc.aio
from google.protobuf import message_factory

from podium.v1 import workflow_service_pb2, workflow_service_pb2_grpc
from tests.faults.row import Row, Violation
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.odd_messages import fill
from tests.integration.rig.requests import METHODS, invoke_with_bytes
from tests.integration.rig.service_process import ServiceProcess

TARGETS = {"make": 2_000, "faults": 100_000, "nightly": 20_000}
AT_ONCE = 16
CALL_TIMEOUT_S = 0.5
CANARY = "canary-of-tenant-one-7c1f"
WRONG_CODES = ("INTERNAL", "UNKNOWN")
BYTES_TOLD = 200
MESSAGES_READ = 3
KINDS = ("bytes", "message", "changed message")
LIST = "/podium.v1.WorkflowService/ListWorkflows"


def case(seed, number):
    """The method and the bytes of a case."""
    chance = random.Random(f"{seed}:{number}")
    path = chance.choice(list(METHODS))
    kind = chance.choice(KINDS)
    if kind == "bytes":
        return path, chance.randbytes(chance.choice([1, 2, 3, 8, 64, 1000]))
    message = message_factory.GetMessageClass(METHODS[path].input_type)()
    fill(message, chance)
    data = bytearray(message.SerializeToString())
    if kind == "changed message" and data:
        for _ in range(chance.choice([1, 1, 4, 16])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.choice([len(data), chance.randrange(len(data))]) :]
    return path, bytes(data)


async def told(caller, path, data):
    """All that a method answers, as bytes, and its status."""
    call = invoke_with_bytes(caller, path, data, timeout=CALL_TIMEOUT_S)
    heard = bytearray()
    try:
        if not METHODS[path].server_streaming:
            return bytes(await call), "OK"
        for _ in range(MESSAGES_READ):
            message = await call.read()
            if message is grpc.aio.EOF:
                break
            heard += message
        call.cancel()
    except grpc.aio.AioRpcError as error:
        trailing = str(error.trailing_metadata()).encode()
        return bytes(heard) + (error.details() or "").encode() + trailing, error.code().name
    return bytes(heard), "OK"


def problem_of(path, answer, status):
    """What is wrong with an answer; empty: nothing is."""
    if CANARY.encode() in answer:
        return "tells what another tenant keeps secret"
    # grpc.aio's client makes an INTERNAL of its own when a stream is refused while it is written; then the log tells.
    if status in WRONG_CODES and not METHODS[path].client_streaming:
        return f"answers {status}: {answer[:BYTES_TOLD]!r}"
    return ""


async def fuzz(service, seed, cases, progress):
    """Try the cases, and return the first violation of each method and whether the controls were found."""
    wrong = {}
    numbers = iter(range(cases))
    async with contextlib.AsyncExitStack() as stack:

        def admitted(tenant):
            caller = Caller(service.address, service.token(tenant=tenant))
            stack.push_async_callback(caller.close)
            return caller

        owner = admitted("one")
        workflow_id = await plant(owner)

        async def work():
            stranger = admitted("two")
            for number in numbers:
                path, data = case(seed, number)
                if problem := problem_of(path, *await told(stranger, path, data)):
                    wrong.setdefault(path, f"case {number}: {path} {problem}, asked with {data[:BYTES_TOLD].hex()}")
                progress(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
        # It serves still, and what it kept is there.
        assert (await owner.get(workflow_id)).workflow_id == workflow_id
        controls = [await finds_a_leak(owner), await finds_an_internal_error()]
    complaints = [f"the service's log has: {line}" for line in dict.fromkeys(service.complaints())]
    return [*wrong.values(), *complaints], all(controls)


async def plant(owner):
    """Put the canary wherever a tenant can put a text."""
    await owner.register("note", description=CANARY)
    return await owner.start(
        step("note", {"what": CANARY}), name=CANARY, input_json=json.dumps(CANARY), open=True, request_id="planted"
    )


async def finds_a_leak(owner):
    """Whether the check finds the canary where it may be: in what its owner is answered."""
    request = workflow_service_pb2.ListWorkflowsRequest(name=CANARY)
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:
        answer, status = await told(owner, LIST, request.SerializeToString())
        if CANARY.encode() in answer:
            return bool(problem_of(LIST, answer, status))
    return False


async def finds_an_internal_error():
    """Whether the check finds a service whose edge does not catch what is no message."""
    server = grpc.aio.server()
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(
        workflow_service_pb2_grpc.WorkflowServiceServicer(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    caller = Caller(f"127.0.0.1:{port}")
    try:
        return bool(problem_of(LIST, *await told(caller, LIST, b"\xff")))
    finally:
        await caller.close()
        await server.stop(None)


def run(scale, seed, progress):
    """See tests/faults/row.py."""
    cases = TARGETS[scale]
    with tempfile.TemporaryDirectory() as directory:
        service = ServiceProcess(Path(directory)).start()
        try:
            found, caught = asyncio.run(fuzz(service, seed, cases, progress))
        finally:
            service.stop()
    return Row("fuzzed_requests", seed, cases, cases, tuple(map(Violation, found)), caught)
