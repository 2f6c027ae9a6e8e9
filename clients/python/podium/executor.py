"""An executor: a name, and the tools it serves.

Declaring tools needs no connection and no gRPC, so that a module full of tools stays light to import, in worker
processes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from podium.batching import Batch
from podium.caching import Caching
from podium.chance import new_id
from podium.durations import Duration, seconds
from podium.errors import IllegalState, Unavailable
from podium.probing import HealthFunction, Probe
from podium.tasks import end, spawn
from podium.tool import Declaration, Isolation, Tool
from podium.worker_process import refuse_in_worker

if TYPE_CHECKING:
    from podium.connection import TLS, Connection, Token
    from podium.serving import Serving

ToolFunction = TypeVar("ToolFunction", bound=Callable[..., object])

FIRST_WELCOME_S = 30.0
GRACE = "30s"


class Executor:
    """Serves tools to a Podium service. It dials out; nothing has to reach it.

    Args:
        name: What executors of this kind are called; its replicas share it.
        max_parallel: How many attempts run at once; a batch runs as one. At least as many are taken as fill the largest
            batch.
        instance_id: Names this process. The same over reconnects, so that its attempts are kept; otherwise made up.
        labels: For people.
        max_processes: How many processes serve tools with isolation="process"; by default as many as there are cores.
    """

    def __init__(
        self,
        name: str,
        *,
        max_parallel: int = 16,
        instance_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        max_processes: int | None = None,
    ) -> None:
        self.name = name
        self.max_parallel = max_parallel
        self.instance_id = instance_id or f"{socket.gethostname()}-{os.getpid()}-{new_id()[:8]}"
        self.labels = dict(labels or {})
        self.max_processes = max_processes or min(max_parallel, os.cpu_count() or 1)
        self._tools: dict[str, Tool] = {}
        self._serving: Serving | None = None

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name."""
        return self._tools

    @overload
    def tool(self, function: ToolFunction, /) -> ToolFunction: ...

    @overload
    def tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        permissions: Iterable[str] = (),
        secrets: Iterable[str] = (),
        read_only: bool = False,
        idempotent: bool = False,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        streams_output: bool = False,
        isolation: Isolation = "thread",
        caching: Caching | None = None,
        batch: Batch | None = None,
        health: HealthFunction | None = None,
        probe: Probe | None = None,
    ) -> Callable[[ToolFunction], ToolFunction]: ...

    def tool(  # noqa: PLR0913 -- what can be said about a tool, by name
        self,
        function: Callable[..., object] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        permissions: Iterable[str] = (),
        secrets: Iterable[str] = (),
        read_only: bool = False,
        idempotent: bool = False,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        streams_output: bool = False,
        isolation: Isolation = "thread",
        caching: Caching | None = None,
        batch: Batch | None = None,
        health: HealthFunction | None = None,
        probe: Probe | None = None,
    ) -> Any:
        """Makes a function a tool. The function stays what it is and can be called as before.

        Args:
            function: The function, when nothing is said about it: `@app.tool`.
            name: What the tool is called by; the function's name by default.
            description: What it does, for a model; the first paragraph of the docstring by default.
            permissions: What a caller needs, all of it.
            secrets: Names of secrets that it is given, in `ctx.secret(name)`.
            read_only: It changes nothing: results may be cached, failures repeated.
            idempotent: It honours `ctx.idempotency_key`: failures may be repeated.
            timeout: How long one attempt may take when a step does not say.
            heartbeat: The longest silence of `ctx.heartbeat()`.
            streams_output: The pieces that a generator yields are its output, joined, and no transcript beside it.
            isolation: Where a function that is not async runs: in a "thread", or in a "process", which can be killed.
            caching: How long the service keeps its results; for tools that are read_only.
            batch: It takes calls as one: `def f(calls: list[Call], contexts: list[podium.Context]) -> list[...]`, a
                result or an exception for each. Call is a dataclass or a TypedDict, the contexts may be left out.
            health: Says whether the tool could be run now: returns True or None, False or a `podium.Health`, or raises.
            probe: How often that is asked, and what follows.
        """
        declaration = Declaration(
            name=name,
            description=description,
            permissions=permissions,
            secrets=secrets,
            read_only=read_only,
            idempotent=idempotent,
            timeout=timeout,
            heartbeat=heartbeat,
            streams_output=streams_output,
            isolation=isolation,
            caching=caching,
            batch=batch,
            health=health,
            probe=probe,
        )

        def declare(declared: ToolFunction) -> ToolFunction:
            tool = declaration.tool(declared)
            if tool.name in self._tools:
                raise ValueError(f"executor {self.name} already has a tool {tool.name}")
            self._tools[tool.name] = tool
            return declared

        return declare if function is None else declare(function)

    async def serve(
        self, address: str | None = None, token: Token | None = None, *, tls: TLS | bool | None = None
    ) -> None:
        """Serves until `stop`, through any outage of the service.

        Args:
            address: Where the service listens; otherwise found as `podium.connect` does.
            token: Who the executor is; a function is asked anew for every connection.
            tls: How to reach the service with TLS.

        Raises:
            PodiumError: The service refused the executor's first hello.
        """
        from podium.connecting import opened  # noqa: PLC0415 -- gRPC comes with the first connection

        async with opened(address, token, tls=tls) as connection:
            with self._present(connection) as serving:
                await serving.run()

    @contextlib.asynccontextmanager
    async def attached(self, connection: Connection) -> AsyncGenerator[None, None]:
        """Serves on a connection for as long as the block lasts; it begins when the service has said welcome."""
        with self._present(connection) as serving:
            run = spawn(serving.run(), name=f"executor {self.name}")
            clean = False
            try:
                try:
                    async with asyncio.timeout(FIRST_WELCOME_S):
                        await serving.welcomed()
                except TimeoutError:
                    raise Unavailable(f"the service did not welcome executor {self.name}") from None
                yield
                clean = True
            finally:
                # After an error nobody waits for tools that still run.
                await serving.stop(seconds(GRACE) if clean else 0.0)
                await asyncio.wait({run}, timeout=1.0)
                await end(run)

    async def stop(self, grace: Duration = GRACE) -> None:
        """Takes no more work, waits this long for what runs, and leaves."""
        if self._serving is not None:
            await self._serving.stop(seconds(grace))

    def run(self, address: str | None = None, token: Token | None = None, *, tls: TLS | bool | None = None) -> None:
        """Serves until SIGTERM or SIGINT: a program of its own. A second signal does not wait for what runs."""
        asyncio.run(self._until_signal(address, token, tls=tls))

    async def _until_signal(self, address: str | None, token: Token | None, *, tls: TLS | bool | None) -> None:
        loop = asyncio.get_running_loop()
        serving = spawn(self.serve(address, token, tls=tls), name=f"executor {self.name}")
        stops: list[asyncio.Task[None]] = []

        def stop() -> None:
            if stops or self._serving is None:
                serving.cancel()
            stops.append(spawn(self.stop(), name=f"executor {self.name} stops"))

        handled = (signal.SIGTERM, signal.SIGINT)
        # Where a loop has no signals, Ctrl-C ends the program as it always does.
        with contextlib.suppress(NotImplementedError):
            for number in handled:
                loop.add_signal_handler(number, stop)
        try:
            await serving
        except asyncio.CancelledError:
            if not stops:
                raise

    @contextlib.contextmanager
    def _present(self, connection: Connection) -> Generator[Serving, None, None]:
        from podium.serving import Identity, Serving  # noqa: PLC0415 -- as above

        refuse_in_worker()
        if self._serving is not None:
            raise IllegalState(f"executor {self.name} already serves", reason="ALREADY_SERVING")
        identity = Identity(
            self.name, self.instance_id, self._tools, self.labels, self.max_parallel, self.max_processes
        )
        self._serving = Serving(identity, connection)
        try:
            yield self._serving
        finally:
            self._serving = None
