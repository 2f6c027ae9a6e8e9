"""Every command that asks a service, against a real one: what it prints for programs, and how it ends."""

import json
import os
import pty
import re

import pytest

import podium
from podium.outcomes import state_name
from tests.integration.rig.service_process import ROOT, environment

pytestmark = pytest.mark.usefixtures("served")

FLOW = """\
name: greeting
input: {who: world}
steps:
  - {id: names, tool: split, arguments: {text: "${input.who}"}}
  - id: greet
    tool: greet
    for_each: {items: "${steps.names.output}", max_parallel: 2}
    arguments: {who: "${item}"}
"""


def make_tools():
    app = podium.Executor("greeter")

    @app.tool(read_only=True)
    async def split(text: str) -> list[str]:
        """Split a text into its words."""
        return text.split()

    @app.tool(permissions=["read_files"], read_only=True)
    async def greet(who: str, ctx: podium.Context):
        """Greet somebody."""
        ctx.progress(0.5, "thinking")
        yield f"dear {who}\n"
        yield podium.Output(f"hello {who}")

    @app.tool(read_only=True)
    async def fail(why: str) -> str:
        """Fail."""
        raise podium.ToolFailed(why, reason="NO_LUCK", retryable=False)

    return app


@pytest.fixture
async def served(connect):
    return await connect(make_tools())


@pytest.fixture
def ask(service, tenant, podium_command, tmp_path):
    """Runs a command as somebody: `ask("tools", "list", roles=["viewer"])`. The loop goes on, for the executor's sake."""
    import asyncio

    async def run(*words, roles=("admin",), **more):
        token = service.token("ana", roles=roles, tenant=tenant)
        variables = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": token}
        return await asyncio.to_thread(podium_command, *words, cwd=tmp_path, **variables, **more)

    return run


@pytest.fixture
def flow(tmp_path):
    def write(text=FLOW, name="flow.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return write


async def test_a_file_runs_to_its_end(ask, flow):
    ended = await ask("run", flow())
    assert ended.code == 0, ended.err
    assert "greet[0]         | dear world" in ended.out
    assert ended.out.endswith('\ngreet:\n[\n  "hello world"\n]\n')


async def test_a_result_is_one_object_for_programs(ask, flow):
    ended = await ask("run", flow(), "--input", '{"who": "ana bob"}', "--json")
    result = ended.json
    assert (ended.code, result["state"], result["name"]) == (0, "succeeded", "greeting")
    assert result["steps"]["greet"]["output"] == ["hello ana", "hello bob"]
    assert result["steps"]["greet[1]"]["parent"] == "greet"
    assert result["steps"]["names"]["attempts"] == 1


async def test_a_file_comes_on_standard_input_and_is_only_started(ask):
    started = await ask("run", "-", "--no-watch", "--json", given=FLOW)
    assert started.json["step_ids"] == ["names", "greet"]
    again = await ask("workflows", "watch", started.json["workflow_id"])
    assert again.code == 0
    assert re.fullmatch(r" +\d+\.\d\ds  greeting         succeeded in \d+\.\d\d s", again.out.splitlines()[-1])


async def test_the_same_request_id_starts_a_workflow_once(ask, flow):
    name = flow()
    first, second = [await ask("run", name, "--no-watch", "--request-id", "one") for _ in range(2)]
    assert first.out == second.out


async def test_a_workflow_that_fails_ends_with_1(ask, flow):
    name = flow("steps: [{id: a, tool: fail, arguments: {why: rain}}]")
    ended = await ask("run", name)
    assert ended.code == 1
    assert "NO_LUCK: rain" in ended.out
    failed = await ask("run", name, "--json")
    assert (failed.code, failed.json["steps"]["a"]["failure"]["reason"]) == (1, "NO_LUCK")


async def test_what_the_service_refuses_names_the_fields_of_the_file(ask, flow):
    ended = await ask("run", flow("steps: [{id: a, tool: greet, arguments: {whom: x}}, {id: b, tool: nope}]"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: flow.yaml: steps[0].arguments")
    assert "steps[1].tool nope is not registered" in ended.err


async def test_a_cycle_is_told_step_by_step(ask, flow):
    steps = "{id: a, tool: split, depends_on: [b], arguments: {text: x}}, {id: b, tool: split, depends_on: [a], "
    ended = await ask("run", flow(f"steps: [{steps} arguments: {{text: x}}}}]"))
    assert (ended.code, "a → b → a" in ended.err) == (2, True)


async def test_the_file_of_the_documentation_is_understood(ask, flow):
    documented = (ROOT / "docs" / "workflows.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    ended = await ask("run", flow(documented))
    assert ended.code == 2
    assert re.findall(r"steps\[\d\]\.tool (\w+) is not registered", ended.err) == [
        "search",
        "extract_text",
        "analyze_sentiment",
        "summarize",
    ]


async def test_a_tool_is_called(ask):
    ended = await ask("call", "greet", "who=ana")
    assert (ended.code, ended.out) == (0, "hello ana\n")
    answer = (await ask("call", "split", "--arguments", '{"text": "a b"}', "--json")).json
    assert (answer["state"], answer["output"], answer["attempts"]) == ("succeeded", ["a", "b"], 1)


async def test_a_call_ends_as_its_tool_does(ask):
    failed = await ask("call", "fail", "why=rain")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("error: fail failed: rain (NO_LUCK, event 0:")
    denied = await ask("call", "greet", "who=ana", "--json", roles=["viewer", "caller"])
    assert denied.code == 3
    assert (await ask("call", "greet", "whom=ana")).code == 2
    assert (await ask("call", "nope")).code in (2, 4)


async def test_a_denied_call_says_what_is_missing(ask, admit):
    ended = await ask("call", "greet", "who=ana", roles=["agent"])
    assert ended.code == 0
    denied = await ask("call", "greet", "who=ana", roles=["auditor"])
    assert (denied.code, "default-deny" in denied.err) == (3, True)


async def test_workflows_are_listed_shown_and_canceled(ask, flow):
    name = flow("name: slow\nsteps: [{tool: greet, arguments: {who: x}}]")
    started = (await ask("run", name, "--json")).json
    listed = (await ask("workflows", "list", "--name", "slow", "--state", "succeeded", "--json")).lines
    assert [each["workflow_id"] for each in listed] == [started["workflow_id"]]
    assert started["workflow_id"] in (await ask("workflows", "list")).out
    shown = await ask("workflows", "show", started["workflow_id"], "--outputs")
    assert shown.out.endswith("step_1:\nhello x\n")
    assert (await ask("workflows", "show", started["workflow_id"], "--json")).json["steps"]["step_1"][
        "output"
    ] == "hello x"
    assert (await ask("workflows", "cancel", started["workflow_id"])).code in (0, 1)
    assert (await ask("workflows", "show", "wf_nope")).code == 4
    assert (await ask("workflows", "list", "--state", "bored")).code == 2


async def test_a_watch_is_json_lines_for_programs_and_resumes(ask, flow):
    started = (await ask("run", flow(), "--json")).json
    watched = await ask("workflows", "watch", started["workflow_id"], "--json")
    kinds = [line["kind"] for line in watched.lines]
    assert (watched.code, kinds[0], kinds[-1]) == (0, "workflow_started", "workflow_succeeded")
    assert [line["text"] for line in watched.lines if line["kind"] == "chunk"] == ["dear world\n"]
    assert watched.lines[-1]["event"]["stream_version"] == started["stream_version"]
    cursor = watched.lines[-1]["cursor"]
    assert (await ask("workflows", "watch", started["workflow_id"], "--json", "--after", cursor)).lines == []


async def test_tools_are_listed_and_shown(ask):
    tools = {tool["name"]: tool for tool in (await ask("tools", "list", "--json")).lines}
    assert tools.keys() == {"split", "greet", "fail"}
    assert (tools["greet"]["permissions"], tools["greet"]["sessions"]) == (["read_files"], 1)
    shown = (await ask("tools", "show", "split", "--json")).json
    assert shown["input_schema"]["properties"]["text"]["type"] == "string"
    assert "read_files" in (await ask("tools", "list")).out
    assert (await ask("tools", "show", "nope")).code == 4


async def test_events_are_read_by_stream_and_whole(ask, flow):
    workflow_id = (await ask("run", flow(), "--json")).json["workflow_id"]
    stream = (await ask("events", workflow_id, "--json")).lines
    assert [each["stream_version"] for each in stream] == list(range(1, len(stream) + 1))
    after = (await ask("events", workflow_id, "--after", "3", "--json")).lines
    assert after == stream[3:]
    decided = (await ask("events", "--type", "permission_checked", "--json")).lines
    assert {each["kind"] for each in decided} == {"permission_checked"}
    rest = (await ask("events", "--after", stream[4]["event"], "--limit", "2", "--json")).lines
    assert rest == stream[5:7]
    followed = (await ask("events", workflow_id, "--follow", "--limit", str(len(stream)), "--json")).lines
    assert followed == stream
    assert f"{workflow_id}@1" in (await ask("events", workflow_id)).out
    assert (await ask("events", "wf_nope")).code == 4
    assert (await ask("events", "--type", "nope")).code == 2
    assert (await ask("events", "--after", "soon")).code == 2


async def test_the_audit_trail_is_queried_and_exported(ask, flow, tmp_path):
    result = (await ask("run", flow(), "--json")).json
    workflow_id, count = result["workflow_id"], result["stream_version"]
    await ask("audit", "query", "--stream", workflow_id)
    decisions = (await ask("audit", "query", "--stream", workflow_id, "--decision", "allow", "--json")).lines
    assert [(each["step_id"], each["rule"]) for each in decisions] == [
        ("names", "no-permission-required"),
        ("greet[0]", "role:admin"),
    ]
    exported = (await ask("audit", "export", "--stream", workflow_id)).lines
    assert len(exported) == count
    written = await ask("audit", "export", "--output", "trail.jsonl")
    assert (written.out, "entries are in trail.jsonl" in written.err) == ("", True)
    assert [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    none = await ask("audit", "query", "--from", "2999-01-01", "--json")
    assert (none.code, none.out) == (0, "")
    assert (await ask("audit", "query", "--from", "soon")).code == 2
    assert (await ask("audit", "query", "--decision", "maybe")).code == 2
    assert (await ask("audit", "query", roles=["viewer"])).code == 3


async def test_a_live_replay_can_be_saved_and_compared(ask, flow, service, tenant, tmp_path):
    workflow_id = (await ask("run", flow(), "--json")).json["workflow_id"]
    assert (await ask("replay", workflow_id)).out.startswith("replay matches: ")
    live = await ask("replay", workflow_id, "--json")
    assert (live.code, live.json["matches"], len(live.json["record_digests"])) == (0, True, live.json["stream_version"])
    (tmp_path / "live.json").write_text(live.out)
    words = ("replay", workflow_id, "--database", service.database, "--tenant", tenant)
    compared = await ask(*words, "--against", "live.json")
    assert (compared.code, compared.out.startswith("replay matches: ")) == (0, True)
    folded = await ask(*words)
    assert (folded.code, live.json["state_digest"] in folded.out) == (0, True)
    assert (await ask("replay", "wf_nope")).code == 4


async def test_a_token_is_minted_and_looked_into(ask, service, podium_command):
    state = service.directory / "state"
    minted = podium_command(
        "token", "mint", "--subject", "bob", "--role", "viewer", "--ttl", "1h", "--state-dir", state
    )
    token = minted.out.strip()
    assert podium_command("tools", "list", PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token).code == 0
    claims = podium_command("token", "show", token, "--json").json
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == ("bob", ["viewer"], 3600)
    assert "bob" in podium_command("token", "show", PODIUM_TOKEN=token).out
    assert podium_command("token", "show", "nonsense").code == 2
    assert podium_command("token", "mint", "--subject", "", "--state-dir", state).code == 2


async def test_whoever_is_nobody_or_reaches_nobody_is_told(podium_command, service, tmp_path):
    nobody = podium_command("tools", "list", PODIUM_ADDRESS=service.address, PODIUM_TOKEN="forged")
    assert (nobody.code, "podium token mint" in nobody.err) == (3, True)
    nowhere = podium_command("tools", "list", PODIUM_DEV_FILE=str(tmp_path / "none.json"))
    assert (nowhere.code, "podium dev" in nowhere.err) == (5, True)
    told = podium_command("tools", "list", "--json", PODIUM_DEV_FILE=str(tmp_path / "none.json"))
    assert json.loads(told.err)["error"]["exit_code"] == 5


async def test_on_a_terminal_the_tree_is_drawn_in_place(service, tenant, flow, tmp_path):
    import asyncio

    controller, terminal = pty.openpty()
    variables = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": service.token("ana", tenant=tenant)}
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/env", "TERM=xterm-256color", "COLUMNS=100", "LINES=30"),
        *(os.sys.executable, "-P", "-m", "service.cli", "run", flow()),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=environment(**variables),
    )
    os.close(terminal)
    written = await asyncio.to_thread(_all_of, controller)
    assert await process.wait() == 0
    assert "\x1b[?25l" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is back"
    assert re.search(r"✓.*greeting.*succeeded", written)


def _all_of(controller):
    data = b""
    with os.fdopen(controller, "rb", buffering=0) as file:
        while True:
            try:
                piece = file.read(65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            data += piece
    return data.decode()


async def test_the_states_of_the_contract_are_those_that_are_drawn():
    from podium.v1 import value_pb2
    from service.cli.workflow_tree import _SYMBOLS

    states = {state_name(state) for state in value_pb2.StepState.values()} - {"unspecified"}
    assert states <= _SYMBOLS.keys()
