"""Calls a tool's function: on the loop, in a thread, or in a process of its own.

All ways give the same: pieces go to `emit`, which waits while the service is behind, and the output comes back as
JSON text, None when the pieces are the output.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias, TypeVar, cast

from podium.context import AttemptFacts, Context, Signals
from podium.errors import Canceled
from podium.interrupts import of_tool
from podium.pieces import Pieces, output_json
from podium.tool import Kind, Tool
from podium.worker_process import Job, WorkerPool

Emit: TypeAlias = Callable[[bytes], Coroutine[Any, Any, None]]
Result = TypeVar("Result")


async def invoke(
    tool: Tool,
    arguments_json: str,
    facts: Callable[[], AttemptFacts],
    signals: Signals,
    emit: Emit,
    workers: WorkerPool,
) -> str | None:
    """Calls the tool once. A cancel of this task stops what can be stopped: see `in_thread`."""
    if tool.isolation == "process":
        return await _in_process(tool, arguments_json, facts(), signals, emit, workers)
    keywords = tool.signature.bind(arguments_json, lambda: Context(facts(), signals))
    match tool.kind:
        case Kind.COROUTINE:
            return output_json(await cast("Awaitable[object]", tool.function(**keywords)))
        case Kind.ASYNC_GENERATOR:
            pieces = Pieces(streams_output=tool.definition.streams_output)
            produced = cast("AsyncGenerator[object, None]", tool.function(**keywords))
            async with contextlib.aclosing(produced):
                async for piece in produced:
                    if data := pieces.take(piece):
                        await emit(data)
            return pieces.output()
        case Kind.FUNCTION:
            return await in_thread(lambda: output_json(tool.function(**keywords)), tool.name)
        case Kind.GENERATOR:
            put = blocking(emit)

            def drain() -> str | None:
                pieces = Pieces(streams_output=tool.definition.streams_output)
                generated = cast("Generator[object, None, None]", tool.function(**keywords))
                with contextlib.closing(generated):
                    for piece in generated:
                        if data := pieces.take(piece):
                            put(data)
                        # Between two pieces is where a generator can be stopped.
                        if signals.cancelled:
                            raise Canceled("the attempt is not wanted any more")
                return pieces.output()

            return await in_thread(drain, tool.name)


async def in_thread(body: Callable[[], Result], name: str) -> Result:
    """Runs `body` in a thread of its own and returns its result.

    A thread cannot be stopped: a cancel of the waiting task leaves it running. It is a daemon, so that one that hangs
    does not keep the process alive for ever, as the threads of a pool would.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Callable[[], Result]) -> None:
        if done.done():
            return
        try:
            done.set_result(result())
        except StopIteration as error:
            done.set_exception(RuntimeError(f"StopIteration: {error.value}"))
        except BaseException as error:  # noqa: BLE001 -- it belongs to whoever waits
            done.set_exception(error)

    def run() -> None:
        try:
            value = body()
        except KeyboardInterrupt as error:
            # Of its own: a Ctrl-C is raised in the main thread.
            outcome = _raiser(of_tool(error))
        except BaseException as error:  # noqa: BLE001 -- as above
            outcome = _raiser(error)
        else:
            outcome = _returner(value)
        # The loop may have ended in the meantime.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name=f"podium {name}", daemon=True).start()
    return await done


def blocking(emit: Emit) -> Callable[[bytes], None]:
    """Returns `emit` for use in another thread, which waits as the loop's tasks do."""
    loop = asyncio.get_running_loop()

    def put(data: bytes) -> None:
        asyncio.run_coroutine_threadsafe(emit(data), loop).result()

    return put


async def _in_process(
    tool: Tool, arguments_json: str, facts: AttemptFacts, signals: Signals, emit: Emit, workers: WorkerPool
) -> str | None:
    job = Job(tool.function, arguments_json, facts, tool.kind.streams, tool.definition.streams_output)
    put = blocking(emit)
    async with workers.places:
        # Starting a process takes a while; the loop does not wait for it.
        worker = await in_thread(workers.take, f"{tool.name} starts")
        try:
            return await in_thread(lambda: worker.call(job, put, signals), tool.name)
        except asyncio.CancelledError:
            worker.kill()
            raise
        finally:
            workers.give_back(worker)


def _raiser(error: BaseException) -> Callable[[], Any]:
    def result() -> Any:  # noqa: ANN401 -- never returns
        raise error

    return result


def _returner(value: Result) -> Callable[[], Result]:
    return lambda: value
