"""What is refused costs no more memory than what was sent, and gives that back."""

import subprocess
import sys
from pathlib import Path

from tests.integration.rig.caller import Caller
from tests.integration.rig.forked_process import environment
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.requests import invoke_with_bytes

START = "/podium.v1.WorkflowService/StartWorkflow"
EMPTY_STEP = b"\x22\x00"
REQUESTS = 20
KEPT_MAX_MIB = 150
KIB_PER_MIB = 1024

MEASURE_THE_MESSAGE = f"""
from pathlib import Path
from podium.v1 import workflow_service_pb2
def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
before = resident()
message = workflow_service_pb2.StartWorkflowRequest.FromString({EMPTY_STEP!r} * 4_000_000)
print(resident() - before)
"""


def resident_mib(service):
    """The memory of the service's process, as the system counts it."""
    status = Path(f"/proc/{service.process_id}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / KIB_PER_MIB


async def kept_mib(service, caller, steps, reason):
    """How much the process has grown by after so many requests that are refused for the reason."""
    before = resident_mib(service)
    for _ in range(REQUESTS):
        refusal = await refusal_of(invoke_with_bytes(caller, START, EMPTY_STEP * steps))
        assert refusal.reason == reason
    return resident_mib(service) - before


async def test_a_stranger_does_not_use_up_memory_with_messages_that_grow(own_service):
    service = own_service().start()
    stranger = Caller(service.address)
    assert await kept_mib(service, stranger, 4_000_000, "TOKEN_MISSING") < KEPT_MAX_MIB
    await stranger.close()


async def test_what_a_refused_message_took_is_given_back(own_service):
    service = own_service().start()
    known = Caller(service.address, service.token())
    assert await kept_mib(service, known, 400_000, "TOO_MANY_STEPS") < KEPT_MAX_MIB
    await known.close()


def test_one_such_message_takes_more_memory_than_all_of_them_may_keep():
    """The negative control: the bound is one that a service that read these messages would not keep."""
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE_THE_MESSAGE], env=environment(), capture_output=True, text=True, check=True
    )
    assert int(measured.stdout) / KIB_PER_MIB > KEPT_MAX_MIB
