"""A tool that takes several calls as one: gathers what comes at about the same time, and gives each its own result.

Invariant: each call ends as itself. A call that is given up before its batch runs is not in it; one that is given up
later does not stop the others, and ends with what the function made of it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from podium.durations import Duration, milliseconds, seconds
from podium.errors import ToolFailed
from podium.interrupts import by_signal, of_tool
from podium.pieces import output_json
from podium.tasks import spawn
from podium.v1 import definition_pb2

if TYPE_CHECKING:
    from podium.context import Context
    from podium.tool import Tool

_CALLS = range(2, 1001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """`@app.tool(batch=podium.Batch(max_calls=50, max_wait="5ms"))`."""

    max_calls: int = 50
    """At most so many calls as one."""
    max_wait: Duration = 0.005
    """How long the first waits for others. 0: as one go those that come together."""

    def message(self) -> definition_pb2.Batching:
        """Returns it as the contract writes it. Raises ValueError."""
        if self.max_calls not in _CALLS:
            raise ValueError(f"a batch is of {_CALLS[0]} to {_CALLS[-1]} calls at most, not {self.max_calls}")
        return definition_pb2.Batching(max_calls=self.max_calls, max_wait_ms=milliseconds(self.max_wait))


@dataclass(slots=True, eq=False)
class _Member:
    """A call in a batch."""

    arguments: object
    context: Context
    called: Callable[[], None]
    output: asyncio.Future[str]
    wanted: bool = True

    def fail(self, error: BaseException) -> None:
        """Ends this call with a failure."""
        if not self.output.done():
            if isinstance(error, StopIteration):
                # A future takes none.
                error = RuntimeError("StopIteration")
            elif isinstance(error, KeyboardInterrupt):
                error = of_tool(error)
            self.output.set_exception(error)
            # Who gave it up does not ask.
            self.output.exception()


@dataclass(slots=True, eq=False)
class _Gathering:
    """A batch: its calls, and what runs the function once it runs."""

    stoppable: bool
    """Whether the function can be stopped while it runs."""
    members: list[_Member] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    called: bool = False
    task: asyncio.Task[None] | None = None

    def give_up(self, member: _Member) -> bool:
        """Nobody waits for this call any more; and nobody for the function, once that is said of all.

        Returns:
            Whether the batch is stopped by that: it takes no more calls, though its task has yet to notice.
        """
        member.wanted = False
        wanted = any(each.wanted for each in self.members)
        if wanted or self.task is None or (self.called and not self.stoppable):
            return False
        self.task.cancel()
        return True


class Gatherer:
    """Gathers the calls of one tool. Belongs to the executor's loop.

    Args:
        tool: A tool with a batch.
        places: One is taken by each batch while its function runs.
        in_thread: Runs a function that is not async.
    """

    def __init__(
        self, tool: Tool, places: asyncio.Semaphore, in_thread: Callable[[Callable[[], object], str], Awaitable[object]]
    ) -> None:
        if tool.batch is None:
            raise ValueError(f"{tool.name} takes no batches")
        self._tool = tool
        self._places = places
        self._in_thread = in_thread
        self._max_calls = tool.batch.max_calls
        self._max_wait_s = seconds(tool.batch.max_wait)
        self._gathering: _Gathering | None = None
        # What a library keeps with the task of one call is not the others'.
        self._surroundings = contextvars.copy_context()

    async def call(self, arguments: object, context: Context, called: Callable[[], None]) -> str:
        """Takes part in a batch and returns this call's output as JSON text.

        Args:
            arguments: What the function is given for this call.
            context: The same.
            called: Is called when the function is.

        Raises:
            BaseException: What the function raised, or gave in the place of a result.
        """
        member = _Member(arguments, context, called, asyncio.get_running_loop().create_future())
        gathering = self._join(member)
        try:
            return await asyncio.shield(member.output)
        except asyncio.CancelledError:
            if member.output.cancelled():
                raise
            if gathering.give_up(member):
                self._close(gathering)
            if not gathering.called:
                raise
            # As for a function in a thread: it sees that the call is not wanted, and what it did is told.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return await asyncio.shield(member.output)

    def _join(self, member: _Member) -> _Gathering:
        gathering = self._gathering
        if gathering is None:
            self._gathering = gathering = _Gathering(self._tool.kind.on_loop)
            work = self._run(gathering)
            gathering.task = self._surroundings.copy().run(spawn, work, name=f"a batch of {self._tool.name}")
        gathering.members.append(member)
        if len(gathering.members) == self._max_calls:
            gathering.full.set()
            self._close(gathering)
        return gathering

    def _close(self, gathering: _Gathering) -> None:
        """Whoever comes now begins another batch."""
        if self._gathering is gathering:
            self._gathering = None

    async def _run(self, gathering: _Gathering) -> None:
        try:
            await self._gather(gathering)
            async with self._places:
                gathering.members[:] = [each for each in gathering.members if each.wanted]
                gathering.called = True
                for member in gathering.members:
                    member.called()
                _settle(gathering.members, await self._call(gathering.members))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if by_signal(error):
                raise
            # A function may raise anything, or leave; the executor stays.
            for member in gathering.members:
                member.fail(error)
        finally:
            # Where the function was stopped.
            for member in gathering.members:
                member.output.cancel()

    async def _gather(self, gathering: _Gathering) -> None:
        try:
            async with asyncio.timeout(self._max_wait_s):
                await gathering.full.wait()
        except TimeoutError:
            pass
        finally:
            self._close(gathering)

    async def _call(self, members: list[_Member]) -> object:
        signature, function = self._tool.signature, self._tool.function
        keywords = signature.batched([each.arguments for each in members], [each.context for each in members])
        if self._tool.kind.on_loop:
            return await cast("Awaitable[object]", function(**keywords))
        return await self._in_thread(lambda: function(**keywords), self._tool.name)


def _settle(members: list[_Member], results: Any) -> None:  # noqa: ANN401 -- whatever the function returned
    if not isinstance(results, list | tuple) or len(results) != len(members):
        found = f"{len(results)} results" if isinstance(results, list | tuple) else f"a {type(results).__name__}"
        message = f"a batch of {len(members)} calls must return a list of as many results, not {found}"
        raise ToolFailed(message, reason="INVALID_OUTPUT", retryable=False)
    for member, result in zip(members, results, strict=True):
        if isinstance(result, BaseException):
            member.fail(result)
            continue
        try:
            output = output_json(result)
        except ToolFailed as error:
            member.fail(error)
        else:
            member.output.set_result(output)
