"""Shows a workflow while it runs: a tree that changes in place on a terminal, otherwise a line for each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol, Self

from service.cli.output import say, terminal
from service.cli.terminal_text import duration, one_line
from service.cli.workflows.picture import Change, StepPicture, WorkflowPicture

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from podium import Update

FRAMES_PER_SECOND = 8
PLAIN_TEXT_CHARACTERS = 100
PLAIN_CHUNK_BYTES = 8192
"""Without a terminal, streamed output is shown as a sample: one line for so many bytes."""
_PLAIN_PROGRESS = 0.25
_PLAIN_ID_CHARACTERS = 16


class View(Protocol):
    """Shows a picture as it changes."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...

    def changed(self, change: Change) -> None:
        """Something happened."""

    def tick(self) -> None:
        """Time has passed."""


async def follow(updates: AsyncGenerator[Update, None], picture: WorkflowPicture, view: View) -> None:
    """Take in all updates, the last of which ends the workflow, and show the picture meanwhile."""
    ended = asyncio.Event()

    async def tick() -> None:
        while not ended.is_set():
            view.tick()
            try:
                async with asyncio.timeout(1 / FRAMES_PER_SECOND):
                    await ended.wait()
            except TimeoutError:
                continue

    with view:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tick())
            async with aclosing(updates):
                async for update in updates:
                    if (change := picture.apply(update)) is not None:
                        view.changed(change)
            ended.set()


def view_of(picture: WorkflowPicture, now_us: Callable[[], int]) -> View:
    """Return the view that fits what standard output is."""
    console = terminal()
    if console.is_terminal and not console.is_dumb_terminal:
        return TreeView(picture, now_us, console)
    return LineView(picture)


class LineView:
    """A line for each change, for logs and pipes; no control codes."""

    def __init__(self, picture: WorkflowPicture, write: Callable[[str], None] = say) -> None:
        self._picture = picture
        self._write = write
        self._shown_bytes: dict[str, int] = {}
        self._shown_progress: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        return

    def changed(self, change: Change) -> None:
        """Write a line, unless it would say little more than one before it."""
        if change.kind == "chunk":
            self._chunk(change)
        elif change.kind != "progress" or self._is_news(change):
            self._line(change.step, change.text + self._took(change))

    def tick(self) -> None:
        """Nothing changes by itself."""

    def _chunk(self, change: Change) -> None:
        step = change.step
        assert step is not None, "output belongs to a step"
        shown = self._shown_bytes.get(step.id)
        if step.tail and (shown is None or step.streamed_bytes - shown >= PLAIN_CHUNK_BYTES):
            self._shown_bytes[step.id] = step.streamed_bytes
            self._line(step, f"| {step.tail}")

    def _is_news(self, change: Change) -> bool:
        step = change.step
        assert step is not None, "progress is a step's"
        # What differs only in a number, such as "3 of 10", is told now and then.
        words = "".join(character for character in step.doing if not character.isdigit())
        fraction = step.fraction or 0.0
        shown_fraction, shown_words = self._shown_progress.get(step.id, (-1.0, ""))
        if words == shown_words and fraction - shown_fraction < _PLAIN_PROGRESS:
            return False
        self._shown_progress[step.id] = (fraction, words)
        return bool(change.text)

    def _took(self, change: Change) -> str:
        about = change.step or self._picture
        return f" in {duration(about.ended_us - about.started_us)}" if about.ended_us and about.started_us else ""

    def _line(self, step: StepPicture | None, text: str) -> None:
        since = (self._picture.last_us - self._picture.started_us) / 1e6
        name = step.id if step is not None else one_line(self._picture.name, _PLAIN_ID_CHARACTERS) or "workflow"
        self._write(f"{since:8.2f}s  {name:<{_PLAIN_ID_CHARACTERS}} {one_line(text, PLAIN_TEXT_CHARACTERS)}")


class TreeView:
    """A tree that is drawn anew in place several times a second, and stays when the workflow has ended."""

    def __init__(self, picture: WorkflowPicture, now_us: Callable[[], int], console: Console) -> None:
        self._picture = picture
        self._now_us = now_us
        self._console = console
        self._live: Live | None = None
        self._frame = 0

    def __enter__(self) -> Self:
        from rich.live import Live

        # Not by a thread of its own, which could look at a picture that is half changed.
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop", transient=True)
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        from service.cli.workflows.tree import workflow_tree

        assert self._live is not None, "entered"
        self._live.stop()
        self._console.print(workflow_tree(self._picture, self._now_us(), self._console, frame=self._frame))

    def changed(self, change: Change) -> None:
        """The next frame shows it."""

    def tick(self) -> None:
        """Draw a frame."""
        from service.cli.workflows.tree import workflow_tree

        assert self._live is not None, "entered"
        self._frame += 1
        height = self._console.height - 1
        tree = workflow_tree(self._picture, self._now_us(), self._console, frame=self._frame, height=height)
        self._live.update(tree, refresh=True)
