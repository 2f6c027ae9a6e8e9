"""The read models, as an operator sees them: how far each has come, and rebuilds that outlive who asked for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from podium.v1 import admin_service_pb2 as pb
from service.domain.errors import NotFound, Unavailable
from service.projections.rebuild import Rebuild, RebuildStoppedError, Spawn
from service.projections.runner import ProjectionRunner, RunnerState
from store.contract import EventStore

STATES = {
    RunnerState.CATCHING_UP: pb.PROJECTION_STATE_CATCHING_UP,
    RunnerState.LIVE: pb.PROJECTION_STATE_LIVE,
    RunnerState.FAILED: pb.PROJECTION_STATE_FAILED,
    RunnerState.STOPPED: pb.PROJECTION_STATE_STOPPED,
}


class ProjectionsAdmin:
    """Lists and rebuilds the read models of a service."""

    def __init__(self, runners: Sequence[ProjectionRunner], store: EventStore, spawn: Spawn) -> None:
        self._runners = {runner.name: runner for runner in sorted(runners, key=lambda runner: runner.name)}
        self._store = store
        self._spawn = spawn
        self._rebuilds: dict[str, Rebuild] = {}

    async def list_projections(self) -> pb.ListProjectionsResponse:
        """List them by name, and how far each has come. Reads one event of the log for each that is behind."""
        return pb.ListProjectionsResponse(projections=[await self._told(r) for r in self._runners.values()])

    async def rebuild_projection(self, name: str) -> AsyncIterator[pb.RebuildProjectionResponse]:
        """Build one anew, or join whoever does, and tell how far that has come until it is done.

        It goes on when nobody listens any more.

        Raises:
            NotFound: There is no such projection.
            Unavailable: It has stopped; asked for again, it goes on where it was.
        """
        if name not in self._runners:
            names = ", ".join(self._runners)
            raise NotFound("PROJECTION_NOT_FOUND", f"there is no projection {name!r}; there are {names}")
        rebuild = self._under_way(name)
        if rebuild is None:
            rebuild = self._rebuilds[name] = Rebuild(self._runners[name], self._store, self._spawn)
            self._spawn(rebuild.run())
        try:
            async for progress in rebuild.progress():
                yield pb.RebuildProjectionResponse(
                    position=progress.position, head=progress.head, done=progress.is_done
                )
        except RebuildStoppedError as error:
            raise Unavailable(error.reason, str(error)) from None

    def _under_way(self, name: str) -> Rebuild | None:
        rebuild = self._rebuilds.get(name)
        return None if rebuild is None or rebuild.has_ended else rebuild

    async def _told(self, runner: ProjectionRunner) -> pb.Projection:
        rebuild = self._under_way(runner.name)
        problem = runner.problem or (f"the rebuild: {rebuild.problem}" if rebuild and rebuild.problem else "")
        return pb.Projection(
            name=runner.name,
            state=STATES[runner.state],
            position=runner.position,
            head=self._store.head,
            lag_events=runner.lag,
            lag_us=await runner.lag_us(),
            heartbeat_at_us=runner.heartbeat_at_us,
            problem=problem,
            rebuild_position=rebuild.position if rebuild else None,
        )
