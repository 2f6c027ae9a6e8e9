"""A secret in what a tool's schema marks is in no file, event, line of the log or error of the real service."""

import hashlib
import json
import sqlite3

import pytest

from podium.v1 import audit_service_pb2, definition_pb2, executor_service_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import invalid, refusal_of
from tests.integration.rig.vault import CANARY, LARGE, files_with, tools, vault

NEEDLES = (CANARY.encode(), CANARY[:20].encode())
DIGEST = hashlib.sha256(json.dumps({"secret": CANARY}, separators=(",", ":")).encode()).digest()
"""What anyone could try secrets out on, were it recorded."""


CHAIN = [
    definition_pb2.Fallback(
        tool=definition_pb2.ToolFallback(tool="plain", arguments_json=json.dumps({"secret": CANARY}))
    ),
    definition_pb2.Fallback(value_json=json.dumps(CANARY)),
]


def everywhere():
    """A workflow that takes the secret through every way there is."""
    return [
        step("vault", {"secret": CANARY}, id="small"),
        step("vault", {"secret": CANARY, "large": "y" * LARGE}, id="large"),
        step("vault", {"secret": "${item}"}, id="each"),
        step("stream", {"secret": CANARY}, id="streamed"),
        step("vault", {"secret": CANARY, "bad": True}, id="bad", on_failure=2),
        step("vault", {"secret": "${steps.small.output.list}"}, id="refused", on_failure=2),
        step("vault", {"secret": f'${{steps.small.output["{CANARY}"]}}'}, id="astray", on_failure=2),
        step("plain", {"secret": "${steps.small.output.secret}"}, id="passed"),
        step("plain", {"got": "${steps.large.output.secret}", "also": "${steps.streamed.output}"}, id="both"),
        step("plain", {}, id="asked", condition="steps.small.output.secret != ''", on_failure=2),
        step("plain", {}, id="judged", condition="steps.small.state == 'succeeded'"),
        step("vault", {"secret": CANARY, "bad": True}, id="declared", fallback=[CHAIN[1]]),
        step("vault", {"secret": CANARY, "bad": True}, id="fallen", fallback=CHAIN),
        step("plain", {"item": "${item}"}, id="counted", on_failure=2),
    ]


def submitted():
    steps = everywhere()
    steps[2].for_each.items_json = json.dumps([CANARY, CANARY + "2"])
    steps[-1].for_each.items_json = '"${steps.small.output.list}"'
    return steps


async def run_everywhere(ana, *, marked):
    """Runs it, and returns its id, its steps and what the tools were called with."""
    async with vault(ana, marked=marked) as served:
        workflow_id = await ana.start(*submitted(), request_id="once")
        await ana.ended(workflow_id)
        return workflow_id, await ana.steps(workflow_id), served.arguments


async def test_a_secret_reaches_its_tool_and_its_reader_and_nothing_that_is_kept(own_service, admit, monkeypatch):
    monkeypatch.setenv("TEST_LOG_LEVEL", "DEBUG")
    service = own_service().start()
    ana = admit(to=service)
    workflow_id, steps, arguments = await run_everywhere(ana, marked=True)

    assert arguments["small"] == arguments["passed"] == {"secret": CANARY}
    assert arguments["large"]["secret"] == arguments["both"]["got"] == CANARY
    assert arguments["both"]["also"] == f"{CANARY} 1\n{CANARY} 2\n"
    assert arguments["each[1]"] == {"secret": CANARY + "2"}
    assert json.loads(steps["small"].output_json)["secret"] == CANARY
    assert json.loads(steps["large"].output_json)["secret"] == CANARY
    assert json.loads(steps["streamed"].output_json) == arguments["both"]["also"]
    assert [each["secret"] for each in json.loads(steps["each"].output_json)] == [CANARY, CANARY]
    assert steps["judged"].output_json == '"done"'
    assert (steps["declared"].output_json, steps["declared"].degraded_by) == (json.dumps(CANARY), 1)
    assert (steps["fallen"].output_json, arguments["fallen"]) == ('"done"', {"secret": CANARY})
    failures = {name: each.failure for name, each in steps.items() if each.failure.reason}
    assert {name: failure.reason for name, failure in failures.items()} == {
        "bad": "INVALID_OUTPUT",
        "refused": "INVALID_ARGUMENTS",
        "astray": "REFERENCE_ERROR",
        "asked": "CONDITION_ERROR",
        "counted": "REFERENCE_ERROR",
    }
    assert "sealed" in failures["asked"].message
    assert "sealed" in failures["counted"].message

    kept = [event.SerializeToString() for event in await ana.log()]
    kept += [item.SerializeToString() async for item in ana.watch(workflow_id)]
    kept.append((await ana.audit.QueryAudit(audit_service_pb2.QueryAuditRequest())).SerializeToString())
    kept += [failure.SerializeToString() for failure in failures.values()]
    assert [record for record in kept if any(needle in record for needle in (*NEEDLES, DIGEST))] == []
    assert (await ana.replay(workflow_id)).matches
    assert files_with(service.directory, *NEEDLES, DIGEST) == []
    service.stop()
    assert files_with(service.directory, *NEEDLES, DIGEST) == []


async def test_the_search_finds_a_secret_that_is_not_sealed(own_service, admit):
    service = own_service().start()
    ana = admit(to=service)
    workflow_id, steps, _ = await run_everywhere(ana, marked=False)
    assert steps["asked"].output_json == '"done"'
    assert any(NEEDLES[0] in event.SerializeToString() for event in await ana.history(workflow_id))
    assert "podium.db-wal" in files_with(service.directory, *NEEDLES)
    service.stop()
    assert files_with(service.directory, *NEEDLES) == files_with(service.directory, DIGEST) == ["podium.db"]


async def test_streamed_chunks_are_watched_as_they_are_recorded(caller):
    async with vault(caller):
        workflow_id = await caller.start(step("vault", {"secret": CANARY}))
        watched = [
            item.chunk async for frame in caller.watch(workflow_id) for item in frame.items if item.HasField("chunk")
        ]
    assert [chunk.data for chunk in watched] == [b"", b""]
    assert all(chunk.sealed_data and CANARY.encode() not in chunk.sealed_data for chunk in watched)
    [ended] = [event.step_succeeded for event in await caller.history(workflow_id) if event.HasField("step_succeeded")]
    assert ended.chunks_digest == hashlib.sha256(b"".join(chunk.sealed_data for chunk in watched)).digest()


async def test_a_repeated_request_with_a_secret_is_recognised(caller):
    async with vault(caller):
        first = await caller.start(step("vault", {"secret": CANARY}), request_id="r")
        assert await caller.start(step("vault", {"secret": CANARY}), request_id="r") == first
        refusal = await refusal_of(caller.start(step("vault", {"secret": "another"}), request_id="r"))
        assert refusal.reason == "REQUEST_ID_REUSED"
        opened = await caller.start(open=True)
        added = await caller.add(opened, step("vault", {"secret": CANARY}), request_id="a")
        assert await caller.add(opened, step("vault", {"secret": CANARY}), request_id="a") == added
        [started, *_] = await caller.history(first)
        body = workflow_service_pb2.StartWorkflowRequest(steps=[step("vault", {"secret": CANARY})])
        tried = hashlib.sha256(body.SerializeToString(deterministic=True)).digest()
        assert tried not in started.workflow_started.request_digest
        open_body = workflow_service_pb2.StartWorkflowRequest(open=True)
        known = hashlib.sha256(open_body.SerializeToString(deterministic=True)).digest()
        [started, *_] = await caller.history(opened)
        assert started.workflow_started.request_digest == known, "this is how it is tried"


async def test_a_sealed_template_from_the_log_is_not_opened_for_whoever_submits_it(caller):
    async with vault(caller):
        workflow_id = await caller.start(step("vault", {"secret": CANARY}))
        [_, added, *_] = await caller.history(workflow_id)
        stolen = step("plain", {})
        stolen.arguments_json = ""
        stolen.arguments.CopyFrom(added.steps_added.steps[0].arguments)
        assert stolen.arguments.HasField("sealed")
        assert (await invalid(caller.start(stolen))).fields == {"steps[0].arguments"}
        nested = step("plain", {})
        nested.arguments_json = ""
        nested.arguments.object.members.add(name="secret").value.CopyFrom(stolen.arguments)
        assert "steps[0].arguments" in (await invalid(caller.start(nested))).fields


async def test_an_upload_says_whose_output_it_is(caller):
    async with raw_executor(caller, *tools(marked=True)) as executor:
        workflow_id = await caller.start(step("vault", {"secret": "x"}), step("plain", {}, id="open"))
        attempts = {work.tool: work.attempt for work in (await executor.work(), await executor.work())}

        def pieces(**fields):
            async def upload():
                yield executor_service_pb2.UploadRequest(data=json.dumps(CANARY).encode(), **fields)

            return upload()

        assert (await invalid(caller.executors.Upload(pieces()))).reason == "ATTEMPT_MISSING"
        nowhere = executor_service_pb2.AttemptReference(workflow_id=workflow_id, step_id="nowhere", attempt=1)
        assert (await refusal_of(caller.executors.Upload(pieces(attempt=nowhere)))).code == "NOT_FOUND"
        sealed = (await caller.executors.Upload(pieces(attempt=attempts["vault"]))).payload
        open_ = (await caller.executors.Upload(pieces(attempt=attempts["plain"]))).payload
        # Each refers to what was uploaded for the other.
        await executor.succeed(attempts["vault"], value_pb2.Value(payload=open_))
        await executor.succeed(attempts["plain"], value_pb2.Value(payload=sealed))
        await caller.ended(workflow_id)
        reasons = {name: each.failure.reason for name, each in (await caller.steps(workflow_id)).items()}
        assert reasons == {"step_1": "SEAL_BROKEN", "open": "INVALID_OUTPUT"}


async def test_everything_is_sealed_when_a_setting_says_so(own_service, admit):
    service = own_service(seal_everything="true").start()
    ana = admit(to=service)
    async with vault(ana, marked=False) as served:
        large = json.dumps({"secret": CANARY, "filling": "z" * LARGE})
        workflow_id = await ana.start(
            step("plain", {"secret": "${input.secret}"}),
            step("vault", {"secret": CANARY}, id="second"),
            step("plain", {}, id="asked", condition="input.secret != ''", on_failure=2),
            input_json=large,
        )
        await ana.ended(workflow_id)
        steps = await ana.steps(workflow_id)
        assert served.arguments["step_1"] == {"secret": CANARY}
        assert steps["asked"].failure.reason == "CONDITION_ERROR"
        assert json.loads(steps["second"].output_json)["secret"] == CANARY
    service.stop()
    assert files_with(service.directory, *NEEDLES, DIGEST) == []


async def test_values_are_read_again_after_a_kill_and_a_destroyed_key_erases_them(own_service, admit):
    service = own_service().start()
    ana = admit(to=service)
    async with vault(ana):
        workflow_id = await ana.start(step("vault", {"secret": CANARY}), open=True)
        await ana.call("plain")
    service.kill()
    service.start()
    ana = admit(to=service)
    async with vault(ana):
        await ana.add(workflow_id, step("plain", {"again": "${steps.step_1.output.secret}"}))
        await ana.finish(workflow_id)
        await ana.ended(workflow_id)
        steps = await ana.steps(workflow_id)
    assert json.loads(steps["step_1"].output_json)["secret"] == CANARY
    log = [event.SerializeToString() for event in await ana.log()]
    digest = (await ana.replay(workflow_id)).rebuilt_state_digest
    service.stop()

    with sqlite3.connect(service.database) as database:
        database.execute("UPDATE data_keys SET wrapped_key = NULL, destroyed_at_us = 1")
    database.close()
    service.start()
    ana = admit(to=service)
    steps = await ana.steps(workflow_id)
    assert (steps["step_1"].output_json, steps["step_1"].output_failure.reason) == ("", "SEAL_BROKEN")
    assert "destroyed" in steps["step_1"].output_failure.message
    assert steps["step_2"].output_json == '"done"'
    assert [event.SerializeToString() for event in await ana.log()] == log
    replay = await ana.replay(workflow_id)
    assert replay.matches
    assert replay.rebuilt_state_digest == digest
    async with vault(ana):
        # What comes next is sealed with a new key.
        later = await ana.start(step("vault", {"secret": CANARY}))
        await ana.ended(later)
        assert json.loads((await ana.steps(later))["step_1"].output_json)["secret"] == CANARY


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda key: key.chmod(0o640), "chmod 600"),
        (lambda key: key.write_text("00" * 32), "the master key does not open the data key"),
        (lambda key: key.unlink(), "the master key does not open the data key"),
    ],
    ids=["readable by others", "another key", "lost"],
)
async def test_the_service_does_not_start_with_a_master_key_that_is_not_the_one(own_service, admit, spoil, told):
    service = own_service().start()
    await admit(to=service).register("vault", {"type": "object", "x-podium-sensitive": True})
    service.stop()
    key = service.directory / "state" / "master.key"
    assert key.stat().st_mode & 0o777 == 0o600
    spoil(key)
    with pytest.raises(RuntimeError, match=told):
        service.start()


async def test_a_tool_with_a_sensitive_output_alone_keeps_its_arguments_readable(caller):
    marked = tool("lookup", output_schema_json='{"x-podium-sensitive": true}')
    async with raw_executor(caller, marked) as executor:
        workflow_id = await caller.start(step("lookup", {"name": "Ada"}))
        work = await executor.work()
        await executor.succeed(work.attempt, {"salary": 1})
        await caller.ended(workflow_id)
    history = await caller.history(workflow_id)
    assert history[1].steps_added.steps[0].arguments.literal_json == '{"name":"Ada"}'
    [ended] = [event.step_succeeded for event in history if event.HasField("step_succeeded")]
    assert ended.output.WhichOneof("kind") == "sealed"
