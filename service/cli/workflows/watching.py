"""Follows a workflow to its end for a command: live for a person, as JSON Lines for a program."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from service.cli.output import note, print_json
from service.cli.status_json import update_dict
from service.cli.workflows.live_view import follow, view_of
from service.cli.workflows.picture import WorkflowPicture

if TYPE_CHECKING:
    from podium import Client


async def watch_live(client: Client, workflow_id: str, *, chunks: bool = True) -> WorkflowPicture:
    """Show a workflow on standard output until it has ended, and return how it looks then."""
    from service.clock import SystemClock

    picture = WorkflowPicture(workflow_id)
    await follow(client.watch(workflow_id, chunks=chunks), picture, view_of(picture, SystemClock().now_us))
    return picture


async def watch_json(client: Client, workflow_id: str, *, cursor: str = "", chunks: bool = True) -> WorkflowPicture:
    """Print what happens to a workflow until it has ended, a line each, and return how it looks then."""
    picture = WorkflowPicture(workflow_id)
    async with aclosing(client.watch(workflow_id, cursor or None, chunks=chunks)) as updates:
        async for update in updates:
            picture.apply(update)
            print_json(update_dict(update))
    return picture


def tell_that_it_goes_on(workflow_id: str) -> None:
    """Say what becomes of a workflow whose viewer leaves."""
    if workflow_id:
        note(f"\n{workflow_id} goes on without you:")
        note(f"  podium workflows watch {workflow_id}\n  podium workflows cancel {workflow_id}")
