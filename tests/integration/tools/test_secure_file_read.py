"""The secure file read from end to end: allowed folders, a recorded denial, ten calls a minute and no eleventh."""

import json

import pytest

from podium.v1 import policy_pb2, value_pb2
from tests.integration.rig import policies
from tests.integration.rig.caller import step
from tests.integration.rig.history import payload, payloads
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases

READS_A_MINUTE = policy_pb2.RateLimit(
    id="reads-a-minute",
    tools=["file_read"],
    per=[policy_pb2.LIMIT_KEY_SUBJECT, policy_pb2.LIMIT_KEY_TOOL],
    count=10,
    period_ms=60_000,
)
GREETING = {"path": "greeting.txt"}
OUTSIDE = {"path": "../../etc/passwd"}


async def test_a_secure_read_is_bounded_by_folder_permission_and_rate_and_all_of_it_is_on_record(
    serve, ground, caller, admit
):
    serve(ground.file(tools=["file_read"], files={"roots": [{"path": "data"}]}))
    in_force = (await policies.in_force(caller)).policy
    in_force.limits.append(READS_A_MINUTE)
    revision = (await policies.apply(caller, in_force)).revision
    ana = admit("ana", roles=["agent"])

    # Without the permission nothing is read, and the denial names what was missing.
    victor = admit("victor", roles=["viewer"])
    assert (await refusal_of(victor.call("file_read", GREETING))).reason == "PERMISSION_DENIED"
    denied = [each for each in await caller.refusals() if each.principal.subject == "victor"]
    assert [each.required for each in denied] == ["tools.call"]

    # Outside of the allowed folders: refused before anything runs, in a direct call and in a step that learns it late.
    assert (await refusal_of(ana.call("file_read", OUTSIDE))).code == "INVALID_ARGUMENT"
    [refused] = [each for each in await caller.refusals() if each.principal.subject == "ana"]
    assert (refused.reason, refused.field) == ("INPUT_REJECTED", "call.arguments.path")
    assert (refused.guard, refused.sanitizer_reason) == ("path", "PATH_TRAVERSAL")
    workflow_id = await ana.start(step("file_read", {"path": "${input.path}"}), input_json=json.dumps(OUTSIDE))
    await ana.ended(workflow_id)
    events = await caller.history(workflow_id)
    rejected = payload(events, "input_rejected")
    assert (rejected.guard, rejected.field, rejected.reason) == ("path", "arguments.path", "PATH_TRAVERSAL")
    assert payload(events, "permission_checked").policy_revision == revision
    assert payloads(events, "attempt_started") == []

    # What was refused has not been counted: ten reads pass.
    for _ in range(10):
        outcome = (await ana.call("file_read", GREETING)).outcome
        assert (outcome.state, json.loads(outcome.output_json)["content"]) == (
            value_pb2.STEP_STATE_SUCCEEDED,
            "hello\nworld\n",
        )
    eleventh = await ana.call("file_read", GREETING)
    assert (eleventh.outcome.state, eleventh.outcome.failure.reason) == (value_pb2.STEP_STATE_DENIED, "RATE_LIMITED")
    assert 0 < eleventh.outcome.failure.retry_after_ms <= 6_000
    events = await caller.history(eleventh.workflow_id)
    assert payload(events, "rate_limited").limit == "reads-a-minute"
    assert payloads(events, "attempt_started") == []
