"""The workflow builder: a graph of tool calls, written down as ordinary Python.

Nothing runs here. Handing one step's output to another makes the dependency; the service validates the whole when it
is started, before anything is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from podium.durations import Duration, milliseconds
from podium.errors import InvalidInput
from podium.fallback import Fallback
from podium.json_text import to_json
from podium.references import Reference, Text
from podium.templates import references, template
from podium.v1 import definition_pb2, events_pb2, workflow_service_pb2

Choice = TypeVar("Choice")
JoinRule: TypeAlias = Literal["all", "done", "any"] | int

_JOINS = {"all": definition_pb2.JOIN_ALL, "done": definition_pb2.JOIN_DONE, "any": definition_pb2.JOIN_ANY}
_ON_FAILURE = {"fail": definition_pb2.ON_FAILURE_FAIL, "continue": definition_pb2.ON_FAILURE_CONTINUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How failed attempts are repeated: exponential backoff with jitter. What is not set is the service's default."""

    max_attempts: int = 0
    initial_backoff: Duration | None = None
    max_backoff: Duration | None = None
    multiplier: float = 0.0
    jitter: float | None = None
    budget: Duration | None = None
    """The time all attempts and waits may take together."""
    retry_on: Sequence[str] = ()
    """Reasons that are repeated; ("*",): all of them. Empty: what the tool's kind makes safe."""
    never_retry_on: Sequence[str] = ()

    def message(self) -> definition_pb2.RetryPolicy:
        """Returns the policy as the contract writes it."""
        return definition_pb2.RetryPolicy(
            max_attempts=self.max_attempts,
            initial_backoff_ms=milliseconds(self.initial_backoff),
            max_backoff_ms=milliseconds(self.max_backoff),
            multiplier=self.multiplier,
            jitter=self.jitter,
            budget_ms=milliseconds(self.budget),
            retry_on=self.retry_on,
            never_retry_on=self.never_retry_on,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step of a workflow that is being built. Given to another step as it is, it stands for its output."""

    id: str
    tool: str
    _workflow: Workflow = field(repr=False)

    def fallback(self, *links: Fallback) -> Step:
        """Says what takes the place of a failure, tried in this order after what was said before; returns the step.

        `workflow.step("price", symbol="AAPL").fallback(Fallback.tool("mirror"), Fallback.stale(max_age="1d"))`
        """
        self._workflow.add_fallback(self.id, links)
        return self

    @property
    def output(self) -> Reference:
        """What the step's tool will have returned."""
        return Reference("step_output", self.id)

    @property
    def state(self) -> Reference:
        """How the step will have ended: "succeeded", "failed", "denied", "skipped" or "canceled"."""
        return Reference("step_state", self.id)


class Workflow:
    """A workflow under construction."""

    def __init__(
        self,
        name: str = "",
        *,
        max_parallel: int = 0,
        timeout: Duration | None = None,
        cancel_grace: Duration | None = None,
        open: bool = False,  # noqa: A002 -- the contract's word
    ) -> None:
        self.name = name
        self._steps: dict[str, definition_pb2.StepDefinition] = {}
        self._request = workflow_service_pb2.StartWorkflowRequest(
            name=name,
            max_parallel=max_parallel,
            timeout_ms=milliseconds(timeout),
            cancel_grace_ms=milliseconds(cancel_grace),
            open=open,
            kind=events_pb2.WORKFLOW_KIND_WORKFLOW,
        )

    @property
    def input(self) -> Reference:
        """What the workflow will have been started with."""
        return Reference("input")

    @property
    def steps(self) -> tuple[definition_pb2.StepDefinition, ...]:
        """The steps so far, as the contract writes them."""
        return tuple(self._steps.values())

    def step(  # noqa: PLR0913 -- what can be said about a step, by name
        self,
        tool: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        step_id: str | None = None,
        after: Iterable[Step | str] = (),
        when: str = "",
        join: JoinRule = "all",
        for_each: Reference | Step | Sequence[object] | None = None,
        max_parallel: int = 0,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        start_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        on_failure: Literal["fail", "continue"] = "fail",
        **keywords: object,
    ) -> Step:
        """Adds a call of `tool`.

        Args:
            tool: The tool's name.
            arguments: The tool's arguments; for names that this method takes itself. Others can be keywords.
            step_id: A name of its own; otherwise step_N, N counting all steps from 1.
            after: Steps that must end first, beyond those whose output the arguments use.
            when: A CEL condition over `input` and `steps`; the step is skipped when it is false.
            join: What must be true of the dependencies: "all" succeeded, all are "done", "any" or N of them succeeded.
            for_each: Runs the tool once for each item; the arguments say `podium.item` and `podium.index`.
            max_parallel: How many items run at once; 0: no limit of its own.
            retry: How failed attempts are repeated.
            timeout: How long one attempt may take.
            start_timeout: How long the step may wait for an executor.
            heartbeat: The longest silence of the tool's own heartbeat.
            on_failure: "continue" lets the workflow succeed although this step does not.
            keywords: The tool's arguments.
        """
        step = Step(step_id or f"step_{len(self._steps) + 1}", tool, self)
        if step.id in self._steps:
            raise InvalidInput(f"the workflow already has a step {step.id}", field="step_id")
        definition = definition_pb2.StepDefinition(
            id=step.id,
            tool=tool,
            arguments=self._template({**(arguments or {}), **keywords}, "arguments"),
            depends_on=[self._known(each.id if isinstance(each, Step) else each, "after") for each in after],
            condition=_condition(when),
            retry=retry.message() if retry else None,
            on_failure=_choice(_ON_FAILURE, on_failure, "on_failure"),
        )
        if isinstance(join, int):
            definition.join, definition.join_count = definition_pb2.JOIN_N_OF, join
        elif join != "all":
            definition.join = _choice(_JOINS, join, "join")
        if for_each is not None:
            definition.for_each.items.CopyFrom(self._template(for_each, "for_each"))
            definition.for_each.max_parallel = max_parallel
        if any(each is not None for each in (timeout, start_timeout, heartbeat)):
            definition.timeouts.start_to_close_ms = milliseconds(timeout)
            definition.timeouts.schedule_to_start_ms = milliseconds(start_timeout)
            definition.timeouts.heartbeat_ms = milliseconds(heartbeat)
        self._steps[step.id] = definition
        return step

    def add_fallback(self, step_id: str, links: Iterable[Fallback]) -> None:
        """Adds links to the fallback chain of a step; `step.fallback` says it shorter."""
        definition = self._steps[self._known(step_id, "step_id")]
        definition.fallback.extend([link.message(self._template) for link in links])

    def request(self, input: object = None) -> workflow_service_pb2.StartWorkflowRequest:  # noqa: A002 -- the contract's word
        """Returns the request that starts the workflow with this input."""
        request = workflow_service_pb2.StartWorkflowRequest()
        request.CopyFrom(self._request)
        request.steps.extend(self.steps)
        if input is not None:
            request.input_json = to_json(input)
        return request

    def _template(self, value: object, path: str) -> definition_pb2.Template:
        def resolve(part: object) -> object:
            reference = part.output if isinstance(part, Step) else part
            for each in references(reference) if isinstance(reference, Reference | Text) else ():
                if each.step_id:
                    self._known(each.step_id, path)
            return reference

        return template(value, resolve, path)

    def _known(self, step_id: str, field: str) -> str:
        if step_id not in self._steps:
            raise InvalidInput(f"the workflow has no step {step_id}", field=field)
        return step_id


def _condition(when: object) -> str:
    if isinstance(when, str):
        return when
    raise InvalidInput('when= is CEL text, for example "steps.search.output.total > 0"', field="when")


def _choice(table: Mapping[str, Choice], chosen: str, field: str) -> Choice:
    try:
        return table[chosen]
    except KeyError:
        raise InvalidInput(f"{field} is one of {', '.join(table)}, not {chosen!r}", field=field) from None
