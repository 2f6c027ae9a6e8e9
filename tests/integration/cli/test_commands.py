"""Every command that asks a service, against a real one: what it prints for programs, and how it ends."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess

import pytest

from service.cli import main
from tests.integration.cli.conftest import COMMAND, Finished, Program
from tests.integration.rig.forked_process import ROOT, environment

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


TOOLS = """\
import podium
app = podium.Executor("greeter")

@app.tool(read_only=True)
async def split(text: str) -> list[str]:
    "Split a text into its words."
    return text.split()

@app.tool(permissions=["read_files"], read_only=True)
async def greet(who: str, ctx: podium.Context):
    "Greet somebody."
    ctx.progress(0.5, "thinking")
    yield f"dear {who}\\n"
    yield podium.Output(f"hello {who}")

@app.tool(read_only=True)
async def label(text: str | None) -> str:
    "Label something."
    return text or "nothing"

@app.tool(read_only=True)
async def fail(why: str) -> str:
    "Fail."
    raise podium.ToolFailed(why, reason="NO_LUCK", retryable=False)
"""


@pytest.fixture(scope="module")
def served(shared_service_on_sqlite, tmp_path_factory):
    """The name of a tenant of this module's own, for which an executor process serves tools."""
    folder = tmp_path_factory.mktemp("greeter")
    (folder / "greeter.py").write_text(TOOLS)
    token = shared_service_on_sqlite.token("greeter", tenant="cli", roles=["executor"])
    words = ("executor", str(folder / "greeter.py"), "--json")
    executor = Program(*words, PODIUM_ADDRESS=shared_service_on_sqlite.address, PODIUM_TOKEN=token)
    assert json.loads(executor.says())["ready"]
    yield "cli"
    assert executor.end() == 0
    executor.close()


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Runs a command in this process, where it starts at once: `command("tools", "list", PODIUM_TOKEN=...)`."""
    monkeypatch.chdir(tmp_path)

    def run(*words, given="", **variables):
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO(given))
            for name in ("PODIUM_ADDRESS", "PODIUM_TOKEN", "PODIUM_DEV_FILE"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as exited:
                main.run([str(word) for word in words])
        said = capsys.readouterr()
        return Finished(int(exited.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def ask(service, served, command):
    """Runs a command as Ana: `ask("tools", "list", roles=["viewer"])`."""

    def run(*words, roles=("admin",), given=""):
        token = service.token("ana", roles=roles, tenant=served)
        return command(*words, given=given, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


@pytest.fixture
def flow(tmp_path):
    def write(text=FLOW, name="flow.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_file_runs_to_its_end(ask, flow):
    ended = ask("run", flow())
    assert ended.code == 0, ended.err
    assert "greet[0]         | dear world" in ended.out
    assert ended.out.endswith('\ngreet:\n[\n  "hello world"\n]\n')


def test_a_result_is_one_object_for_programs(ask, flow):
    ended = ask("run", flow(), "--input", '{"who": "ana bob"}', "--json")
    result = ended.json
    assert (ended.code, result["state"], result["name"]) == (0, "succeeded", "greeting")
    assert result["steps"]["greet"]["output"] == ["hello ana", "hello bob"]
    assert result["steps"]["greet[1]"]["parent"] == "greet"
    assert result["steps"]["names"]["attempts"] == 1


@pytest.mark.parametrize(
    ("options", "recorded"),
    [((), "PRIORITY_LOW"), (("--priority", "high"), "PRIORITY_HIGH")],
)
def test_a_priority_of_the_command_takes_the_place_of_the_one_of_the_file(ask, flow, options, recorded):
    started = ask("run", flow("priority: low\n" + FLOW), "--no-watch", *options).out.strip()
    (first,) = ask("events", started, "--type", "workflow_started", "--json").lines
    assert first["workflow_started"]["priority"] == recorded


def test_a_call_has_the_priority_that_it_is_given(ask):
    ask("call", "split", "text=a", "--priority", "low")
    *_, called = ask("events", "--type", "workflow_started", "--json").lines
    assert called["workflow_started"]["priority"] == "PRIORITY_LOW"
    refused = ask("call", "split", "text=a", "--priority", "urgent")
    assert refused.code == 2
    assert "--priority" in refused.err


def test_a_file_comes_on_standard_input_and_is_only_started(ask):
    started = ask("run", "-", "--no-watch", "--json", given=FLOW)
    assert started.json["step_ids"] == ["names", "greet"]
    again = ask("workflows", "watch", started.json["workflow_id"])
    assert again.code == 0
    assert re.fullmatch(r" +\d+\.\d\ds  greeting         succeeded in \d+\.\d\d s", again.out.splitlines()[-1])


def test_the_same_request_id_starts_a_workflow_once(ask, flow):
    name = flow()
    first, second = [ask("run", name, "--no-watch", "--request-id", "one") for _ in range(2)]
    assert first.out == second.out


def test_a_workflow_that_fails_ends_with_1(ask, flow):
    name = flow("steps: [{id: a, tool: fail, arguments: {why: rain}}]")
    ended = ask("run", name)
    assert ended.code == 1
    assert "NO_LUCK: rain" in ended.out
    failed = ask("run", name, "--json")
    assert (failed.code, failed.json["steps"]["a"]["failure"]["reason"]) == (1, "NO_LUCK")


def test_what_the_service_refuses_names_the_fields_of_the_file(ask, flow):
    ended = ask("run", flow("steps: [{id: a, tool: greet, arguments: {whom: x}}, {id: b, tool: nope}]"))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: flow.yaml: steps[0].arguments")
    assert "steps[1].tool nope is not registered" in ended.err


def test_a_cycle_is_told_step_by_step(ask, flow):
    steps = "{id: a, tool: split, depends_on: [b], arguments: {text: x}}, {id: b, tool: split, depends_on: [a], "
    ended = ask("run", flow(f"steps: [{steps} arguments: {{text: x}}}}]"))
    assert (ended.code, "a → b → a" in ended.err) == (2, True)


def documented_file(number):
    blocks = (ROOT / "docs" / "workflows.md").read_text().split("```yaml\n")[1:]
    return blocks[number].partition("```")[0]


def test_the_chain_of_the_documentation_is_understood(ask, flow):
    ended = ask("run", flow(documented_file(1)))
    assert ended.code == 2
    assert re.findall(r"(\S+ \w+) is not registered", ended.err) == [
        "steps[0].fallback[0].tool other_feed",
        "steps[0].tool market_feed",
    ]


def test_the_file_of_the_documentation_is_understood(ask, flow):
    documented = documented_file(0)
    ended = ask("run", flow(documented))
    assert ended.code == 2
    assert re.findall(r"steps\[\d\]\.tool (\w+) is not registered", ended.err) == [
        "search",
        "extract_text",
        "analyze_sentiment",
        "summarize",
    ]


def test_a_tool_is_called(ask):
    ended = ask("call", "greet", "who=ana")
    assert (ended.code, ended.out) == (0, "hello ana\n")
    answer = (ask("call", "split", "--arguments", '{"text": "a b"}', "--json")).json
    assert (answer["state"], answer["output"], answer["attempts"]) == ("succeeded", ["a", "b"], 1)


def test_a_call_ends_as_its_tool_does(ask):
    failed = ask("call", "fail", "why=rain")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("error: fail failed: rain (NO_LUCK, event 0:")
    denied = ask("call", "greet", "who=ana", "--json", roles=["viewer", "caller"])
    assert denied.code == 3
    assert (ask("call", "greet", "whom=ana")).code == 2
    assert ask("call", "no tool").code == 2, "a name that no tool can have"


@pytest.mark.parametrize(
    "words",
    [
        ("call", "nope"),
        ("call", "nope", "x=1"),
        ("tools", "docs", "nope"),
        ("tools", "show", "nope"),
        ("cache", "invalidate", "nope"),
        ("breakers", "open", "nope"),
    ],
    ids=" ".join,
)
def test_a_tool_that_is_not_there_is_not_found_by_every_command(ask, words):
    ended = ask(*words, "--json")
    assert (ended.code, json.loads(ended.err)["error"]["reason"]) == (4, "TOOL_NOT_FOUND")


@pytest.mark.parametrize("value", ["1", "1e3", "true", "null", "[1]", '"1"'])
def test_what_the_schema_calls_a_string_is_one_however_it_looks(ask, value):
    assert ask("call", "greet", f"who={value}").out == f"hello {value.strip(chr(34))}\n"


def test_what_is_too_large_for_a_message_is_bad_input_as_what_is_too_large_for_the_service(ask):
    for size, reason in ((8_500_000, "INVALID_WORKFLOW"), (9_000_000, "MESSAGE_TOO_LARGE")):
        ended = ask("call", "greet", "--arguments", "-", "--json", given=json.dumps({"who": "x" * size}))
        assert (ended.code, json.loads(ended.err)["error"]["reason"]) == (2, reason)


def test_what_may_be_more_than_a_string_is_read_as_json_and_that_is_told(ask):
    """Negative control: it is the schema that makes text of a number, and not the command."""
    assert ask("call", "label", "text=null").out == "nothing\n"
    refused = ask("call", "label", "text=1")
    assert refused.code == 2
    assert """text=1 was read as JSON; as text it is text='"1"'""" in refused.err
    assert ask("call", "label", """text="1" """.strip()).out == "1\n"


def test_a_denied_call_says_what_is_missing(ask, admit):
    ended = ask("call", "greet", "who=ana", roles=["agent"])
    assert ended.code == 0
    denied = ask("call", "greet", "who=ana", roles=["auditor"])
    assert (denied.code, "default-deny" in denied.err) == (3, True)


def test_workflows_are_listed_shown_and_canceled(ask, flow):
    name = flow("name: slow\nsteps: [{tool: greet, arguments: {who: x}}]")
    started = (ask("run", name, "--json")).json
    last = (ask("events", started["workflow_id"], "--json")).lines[-1]["event"]
    listed = (ask("workflows", "list", "--name", "slow", "--state", "succeeded", "--wait-for", last, "--json")).lines
    assert [each["workflow_id"] for each in listed] == [started["workflow_id"]]
    assert started["workflow_id"] in (ask("workflows", "list")).out
    shown = ask("workflows", "show", started["workflow_id"], "--outputs")
    assert shown.out.endswith("step_1:\nhello x\n")
    assert (ask("workflows", "show", started["workflow_id"], "--json")).json["steps"]["step_1"]["output"] == "hello x"
    assert (ask("workflows", "cancel", started["workflow_id"])).code in (0, 1)
    assert (ask("workflows", "show", "wf_nope")).code == 4
    assert (ask("workflows", "list", "--state", "bored")).code == 2


def test_a_watch_is_json_lines_for_programs_and_resumes(ask, flow):
    started = (ask("run", flow(), "--json")).json
    watched = ask("workflows", "watch", started["workflow_id"], "--json")
    kinds = [line["kind"] for line in watched.lines]
    assert (watched.code, kinds[0], kinds[-1]) == (0, "workflow_started", "workflow_succeeded")
    assert [line["text"] for line in watched.lines if line["kind"] == "chunk"] == ["dear world\n"]
    assert watched.lines[-1]["event"]["stream_version"] == started["stream_version"]
    cursor = watched.lines[-1]["cursor"]
    assert (ask("workflows", "watch", started["workflow_id"], "--json", "--after", cursor)).lines == []


def test_tools_are_listed_and_shown(ask):
    tools = {tool["name"]: tool for tool in (ask("tools", "list", "--json")).lines}
    assert tools.keys() == {"split", "greet", "label", "fail"}
    assert (tools["greet"]["permissions"], tools["greet"]["sessions"]) == (["read_files"], 1)
    shown = (ask("tools", "show", "split", "--json")).json
    assert shown["input_schema"]["properties"]["text"]["type"] == "string"
    assert "read_files" in (ask("tools", "list")).out
    assert (ask("tools", "show", "nope")).code == 4


def test_events_are_read_by_stream_and_whole(ask, flow):
    workflow_id = (ask("run", flow(), "--json")).json["workflow_id"]
    stream = (ask("events", workflow_id, "--json")).lines
    assert [each["stream_version"] for each in stream] == list(range(1, len(stream) + 1))
    after = (ask("events", workflow_id, "--after", "3", "--json")).lines
    assert after == stream[3:]
    decided = (ask("events", "--type", "permission_checked", "--json")).lines
    assert {each["kind"] for each in decided} == {"permission_checked"}
    rest = (ask("events", "--after", stream[4]["event"], "--limit", "2", "--json")).lines
    assert rest == stream[5:7]
    followed = (ask("events", workflow_id, "--follow", "--limit", str(len(stream)), "--json")).lines
    assert followed == stream
    assert f"{workflow_id}@1" in (ask("events", workflow_id)).out
    assert (ask("events", "wf_nope")).code == 4
    assert (ask("events", "--type", "nope")).code == 2
    assert (ask("events", "--after", "soon")).code == 2


def test_the_audit_trail_is_queried_and_exported(ask, flow, tmp_path):
    result = (ask("run", flow(), "--json")).json
    workflow_id, count = result["workflow_id"], result["stream_version"]
    decisions = (ask("audit", "query", "--stream", workflow_id, "--decision", "allow", "--json")).lines
    assert [(each["step_id"], each["rule"]) for each in decisions] == [
        ("names", "no-permission-required"),
        ("greet[0]", "role:admin"),
    ]
    exported = (ask("audit", "export", "--stream", workflow_id)).lines
    assert len(exported) == count
    written = ask("audit", "export", "--output", "trail.jsonl")
    assert (written.out, "entries are in trail.jsonl" in written.err) == ("", True)
    assert [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    none = ask("audit", "query", "--from", "2999-01-01", "--json")
    assert (none.code, none.out) == (0, "")
    assert (ask("audit", "query", "--from", "soon")).code == 2
    assert (ask("audit", "query", "--decision", "maybe")).code == 2
    assert (ask("audit", "query", roles=["viewer"])).code == 3


def test_a_live_replay_can_be_saved_and_compared(ask, flow, service, served, tmp_path):
    workflow_id = (ask("run", flow(), "--json")).json["workflow_id"]
    assert (ask("replay", workflow_id)).out.startswith("replay matches: ")
    live = ask("replay", workflow_id, "--json")
    assert (live.code, live.json["matches"], len(live.json["record_digests"])) == (0, True, live.json["stream_version"])
    (tmp_path / "live.json").write_text(live.out)
    words = ("replay", workflow_id, "--database", service.database, "--tenant", served)
    compared = ask(*words, "--against", "live.json")
    assert (compared.code, compared.out.startswith("replay matches: ")) == (0, True)
    folded = ask(*words)
    assert (folded.code, live.json["state_digest"] in folded.out) == (0, True)
    assert (ask("replay", "wf_nope")).code == 4


def test_a_token_is_minted_and_looked_into(command, service):
    state = service.directory / "state"
    minted = command("token", "mint", "--subject", "bob", "--role", "viewer", "--ttl", "1h", "--state-dir", state)
    token = minted.out.strip()
    assert command("tools", "list", PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token).code == 0
    claims = command("token", "inspect", token, "--json").json["claims"]
    assert (claims["sub"], claims["roles"], claims["exp"] - claims["iat"]) == ("bob", ["viewer"], 3600)
    assert "bob" in command("token", "inspect", PODIUM_TOKEN=token).out
    assert command("token", "inspect", "nonsense").code == 2
    assert command("token", "mint", "--subject", "", "--state-dir", state).code == 2


def test_whoever_is_nobody_or_reaches_nobody_is_told(command, service):
    nobody = command("tools", "list", PODIUM_ADDRESS=service.address, PODIUM_TOKEN="forged")
    assert (nobody.code, "podium token mint" in nobody.err) == (3, True)
    nowhere = command("tools", "list", PODIUM_DEV_FILE="none.json")
    assert (nowhere.code, "podium dev" in nowhere.err) == (5, True)
    told = command("tools", "list", "--json", PODIUM_DEV_FILE="none.json")
    assert json.loads(told.err)["error"]["exit_code"] == 5


def test_a_program_of_its_own_prints_the_same(ask, service, served, podium_command, flow):
    variables = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": service.token("ana", tenant=served)}
    assert podium_command("tools", "list", "--json", **variables) == ask("tools", "list", "--json")


def test_on_a_terminal_the_tree_is_drawn_in_place(service, served, flow, tmp_path):
    controller, terminal = pty.openpty()
    variables = {"PODIUM_ADDRESS": service.address, "PODIUM_TOKEN": service.token("ana", tenant=served)}
    with subprocess.Popen(
        [*COMMAND, "run", flow()],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=environment(TERM="xterm-256color", COLUMNS="100", LINES="30", **variables),
    ) as process:
        os.close(terminal)
        written = _all_of(controller)
        assert process.wait(60) == 0
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is back"
    assert re.search(r"✓.*greeting.*succeeded", written)


def _all_of(controller):
    data = b""
    with os.fdopen(controller, "rb", buffering=0) as file, contextlib.suppress(OSError):
        # An error is how Linux says that nobody holds the other end any more.
        while piece := file.read(65536):
            data += piece
    return data.decode()
