"""A workflow while it runs: the picture that its updates make, and how it is drawn."""

import io

import pytest
from rich.console import Console

from podium import Update
from podium.outcomes import state_name
from podium.v1 import definition_pb2, events_pb2, value_pb2, workflow_service_pb2
from service.cli.workflows.live_view import LineView, TreeView, follow
from service.cli.workflows.picture import WorkflowPicture
from service.cli.workflows.tree import _SYMBOLS, workflow_tree

START_US = 1_700_000_000_000_000


class History:
    """Makes the updates of a workflow, each event a tenth of a second after the one before."""

    def __init__(self):
        self.now_us = START_US
        self.version = 0

    def event(self, payload):
        self.version += 1
        field = next(
            each.name
            for each in events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
            if each.message_type is payload.DESCRIPTOR
        )
        event = events_pb2.Event(
            position=self.version, stream_version=self.version, recorded_at_us=self.now_us, **{field: payload}
        )
        self.now_us += 100_000
        return Update(f"c{self.version}", event=event)

    def steps(self, *ids):
        steps = [definition_pb2.StepDefinition(id=each, tool=f"{each}_tool") for each in ids]
        return self.event(events_pb2.StepsAdded(steps=steps))

    def started(self, step_id, attempt=1):
        return self.event(events_pb2.AttemptStarted(step_id=step_id, attempt=attempt, executor="alpha"))

    def succeeded(self, step_id):
        return self.event(events_pb2.StepSucceeded(step_id=step_id, attempt=1))


def chunk(step_id, data):
    return Update("c", chunk=workflow_service_pb2.OutputChunk(step_id=step_id, attempt=1, sequence=1, data=data))


def progress(step_id, fraction, message=""):
    about = workflow_service_pb2.AttemptProgress(step_id=step_id, attempt=1, fraction=fraction, message=message)
    return Update("c", progress=about)


@pytest.fixture
def history():
    return History()


@pytest.fixture
def picture():
    return WorkflowPicture("wf_1")


def opening(history, *ids):
    return [history.event(events_pb2.WorkflowStarted(name="probe")), history.steps(*ids)]


def drawn(picture, *, width=100, height=None, encoding="utf-8", now_us=START_US + 60_000_000):
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding), width=width, highlight=False, markup=False)
    console.print(workflow_tree(picture, now_us, console, height=height))
    console.file.flush()
    return raw.getvalue().decode(encoding)


def apply(picture, updates):
    return [change.text for update in updates if (change := picture.apply(update)) is not None]


def test_a_step_goes_through_its_states(history, picture):
    told = apply(
        picture,
        [
            *opening(history, "a", "b"),
            history.event(events_pb2.StepQueued(step_id="a", waits_for="a_tool")),
            history.started("a"),
            history.event(
                events_pb2.AttemptFailed(
                    step_id="a",
                    attempt=1,
                    failure=value_pb2.Failure(reason="TOOL_ERROR", message="no luck"),
                    retry_at_us=history.now_us + 500_000,
                )
            ),
            history.started("a", 2),
            history.succeeded("a"),
            history.event(events_pb2.StepSkipped(step_id="b", reason=events_pb2.SKIP_REASON_CONDITION)),
            history.event(events_pb2.WorkflowSucceeded()),
        ],
    )
    assert told == [
        "started",
        "2 steps",
        "waits for a_tool",
        "runs on alpha",
        "attempt 1 failed: TOOL_ERROR: no luck, next attempt in 0.5 s",
        "runs on alpha, attempt 2",
        "succeeded",
        "skipped: its condition was false",
        "succeeded",
    ]
    assert (picture.state, picture.ended, picture.event_count, picture.ended_count) == ("succeeded", True, 9, 2)
    step = picture.steps["a"]
    assert (step.state, step.attempts, step.ended_us - step.started_us) == ("succeeded", 2, 300_000)


def test_a_denial_says_what_is_missing_and_which_rule_decided(history, picture):
    denied = events_pb2.PermissionChecked(
        step_id="a", tool="refund", decision=events_pb2.DECISION_DENY, missing=["money"], rule="default-deny"
    )
    told = apply(
        picture, [*opening(history, "a"), history.event(denied), history.event(events_pb2.StepDenied(step_id="a"))]
    )
    assert told[-1] == "denied: refund needs money (rule default-deny)"


def test_items_stand_below_their_step(history, picture):
    apply(picture, [*opening(history, "a"), history.event(events_pb2.ForEachExpanded(step_id="a", count=3))])
    apply(picture, [history.started("a[1]"), history.succeeded("a[1]")])
    lines = drawn(picture).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["a[0]", "s", "a[2]"]
    assert all("│" in line or "    " in line for line in lines[2:])
    assert "1 of 3" in lines[1]


def test_many_items_are_counted_and_the_failed_ones_shown(history, picture):
    apply(picture, [*opening(history, "a"), history.event(events_pb2.ForEachExpanded(step_id="a", count=1000))])
    apply(picture, [history.succeeded(f"a[{n}]") for n in range(990)])
    failure = value_pb2.Failure(reason="TOOL_ERROR", message="no luck")
    apply(picture, [history.event(events_pb2.StepFailed(step_id="a[500]", failure=failure)), history.started("a[995]")])
    text = drawn(picture, height=10)
    assert len(text.splitlines()) <= 10
    assert "a[500]" in text
    assert "a[995]" in text
    assert "more: 98" in text


def test_a_running_step_shows_how_far_it_is_and_what_it_says(history, picture):
    apply(picture, [*opening(history, "a", "b"), history.started("a"), history.started("b")])
    apply(
        picture,
        [
            progress("a", 0.45, "indexing\x1b[2J 9 of 20"),
            chunk("a", b"first\nsecond\n"),
            chunk("b", b"one\ntwo \xe2\x9c"),
            chunk("b", b"\x93\n"),
        ],
    )
    text = drawn(picture)
    assert "45% indexing[2J 9 of 20 │ second" in text
    assert "│ two ✓" in text
    assert "\x1b" not in text


def test_what_an_ended_step_still_says_changes_nothing(history, picture):
    apply(picture, [*opening(history, "a"), history.started("a"), history.succeeded("a")])
    assert picture.apply(progress("a", 0.5)) is None
    assert picture.steps["a"].fraction is None


def test_a_terminal_without_unicode_is_drawn_on_too(history, picture):
    apply(picture, [*opening(history, "a", "b"), history.started("a"), progress("a", 0.5), history.succeeded("b")])
    assert "+ b" in drawn(picture, encoding="ascii")


def test_a_narrow_terminal_gets_a_line_a_step(history, picture):
    apply(picture, [*opening(history, "a"), history.started("a"), progress("a", 0.5, "word " * 100)])
    assert len(drawn(picture, width=40).splitlines()) == 2


async def updates_of(updates):
    for update in updates:
        yield update


async def test_without_a_terminal_each_change_is_a_line(history, picture):
    lines = []
    updates = [*opening(history, "a"), history.started("a"), chunk("a", b"text\x1b[1m"), history.succeeded("a")]
    await follow(
        updates_of([*updates, history.event(events_pb2.WorkflowSucceeded())]), picture, LineView(picture, lines.append)
    )
    assert [line.split(maxsplit=2) for line in lines] == [
        ["0.00s", "probe", "started"],
        ["0.10s", "probe", "1 step"],
        ["0.20s", "a", "runs on alpha"],
        ["0.20s", "a", "| text[1m"],
        ["0.30s", "a", "succeeded in 0.10 s"],
        ["0.40s", "probe", "succeeded in 0.40 s"],
    ]


async def test_without_a_terminal_a_flood_is_sampled(history, picture):
    lines = []
    updates = [*opening(history, "a"), history.started("a")]
    updates += [progress("a", n / 1000, f"document {n} of 1000") for n in range(1000)]
    updates += [chunk("a", b"x" * 79 + b"\n") for _ in range(1000)]
    await follow(updates_of(updates), picture, LineView(picture, lines.append))
    assert 10 <= len(lines) <= 25


async def test_on_a_terminal_the_tree_stays_when_the_workflow_has_ended(history, picture):
    # A terminal of its own, whatever the tests run in: a dumb one has no cursor to hide.
    looks = {"force_terminal": True, "width": 80, "height": 10, "_environ": {"TERM": "xterm"}}
    console = Console(file=io.StringIO(), highlight=False, markup=False, **looks)
    updates = [*opening(history, "a"), history.started("a"), history.succeeded("a")]
    updates.append(history.event(events_pb2.WorkflowSucceeded()))
    await follow(updates_of(updates), picture, TreeView(picture, lambda: history.now_us, console))
    written = console.file.getvalue()
    assert "probe" in written.splitlines()[-2]
    assert "✓" in written.splitlines()[-1]
    assert written.index("\x1b[?25l") < written.index("\x1b[?25h"), "the cursor is back"


async def test_an_error_while_following_reaches_the_caller(history, picture):
    async def broken():
        yield history.event(events_pb2.WorkflowStarted())
        raise ConnectionError

    with pytest.raises(ExceptionGroup) as caught:
        await follow(broken(), picture, LineView(picture, lambda _line: None))
    assert isinstance(caught.value.exceptions[0], ConnectionError)


def test_every_state_of_the_contract_is_drawn():
    states = {state_name(state) for state in value_pb2.StepState.values()} - {"unspecified"}
    assert states <= _SYMBOLS.keys()


def falling_back(history):
    """A step whose tool fails, and that goes on with another tool, whose first attempt is not made."""
    links = [
        definition_pb2.Fallback(tool=definition_pb2.ToolFallback(tool="mirror")),
        definition_pb2.Fallback(stale=definition_pb2.StaleFallback()),
        definition_pb2.Fallback(value=value_pb2.Value(json="1")),
    ]
    definition = definition_pb2.StepDefinition(id="a", tool="search", fallback=links)
    open_breaker = value_pb2.Failure(reason="BREAKER_OPEN")
    return [
        history.event(events_pb2.StepsAdded(steps=[definition])),
        history.started("a"),
        history.event(events_pb2.AttemptFailed(step_id="a", attempt=1, failure=value_pb2.Failure(reason="BUSY"))),
        history.event(
            events_pb2.FallbackTried(step_id="a", link=1, tool="mirror", failure=value_pb2.Failure(reason="BUSY"))
        ),
        history.event(
            events_pb2.AttemptRejected(
                step_id="a", attempt=2, guard="breaker", failure=open_breaker, retry_at_us=history.now_us + 2_000_000
            )
        ),
    ]


def test_a_step_that_falls_back_shows_its_link_and_the_tool_it_calls(history, picture):
    told = apply(picture, falling_back(history))
    assert told[-2:] == [
        "falls back on mirror, link 1: BUSY",
        "attempt 2 was not made: BREAKER_OPEN, next attempt in 2.0 s",
    ]
    assert picture.steps["a"].state == "backing_off"
    line = drawn(picture).splitlines()[1]
    assert "link 1" in line
    assert "mirror" in line


@pytest.mark.parametrize(("link", "word"), [(1, "mirror"), (2, "an old result"), (3, "a declared value")])
def test_a_degraded_step_says_what_its_output_is_from(history, picture, link, word):
    apply(picture, falling_back(history))
    told = apply(picture, [history.event(events_pb2.StepSucceeded(step_id="a", degraded_by=link))])
    assert told == [f"succeeded: degraded: {word}, link {link}"]
    assert f"degraded: {word}" in drawn(picture)
