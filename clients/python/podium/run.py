"""A workflow that was started: the handle its starter holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.outcomes import Result, WorkflowStatus
from podium.v1 import definition_pb2
from podium.watching import Update

if TYPE_CHECKING:
    from podium.client import Client


@dataclass(frozen=True, slots=True)
class Run:
    """A running workflow. It goes on whether or not anybody holds this."""

    client: Client
    id: str
    step_ids: tuple[str, ...]

    async def status(self) -> WorkflowStatus:
        """Returns the workflow's live state."""
        return await self.client.get(self.id)

    async def result(self) -> Result:
        """Waits until the workflow has ended, well or not."""
        return await self.client.result(self.id)

    def watch(self, cursor: str | None = None, *, chunks: bool = True) -> AsyncGenerator[Update, None]:
        """Yields what happens until the workflow ends."""
        return self.client.watch(self.id, cursor, chunks=chunks)

    async def add_steps(self, steps: Iterable[definition_pb2.StepDefinition]) -> tuple[str, ...]:
        """Adds steps to an open workflow, `workflow.steps[n:]` for example, and returns their ids."""
        return await self.client.add_steps(self.id, steps)

    async def finish(self) -> None:
        """Says that no more steps will be added to an open workflow."""
        await self.client.finish(self.id)

    async def cancel(self, reason: str = "") -> None:
        """Asks for the workflow to end."""
        await self.client.cancel(self.id, reason)
