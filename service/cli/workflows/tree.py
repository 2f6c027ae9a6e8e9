"""Draws a picture of a workflow as a tree: a line a step, with what it says while it runs; items below their step.

What does not fit the height is counted: running and failed items are shown before those that ended well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from service.cli.terminal_text import counted, duration, one_line
from service.cli.workflows.picture import StepPicture, WorkflowPicture

ITEMS_MAX = 50
"""Items shown below a step when there is room for any number."""

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "|/-\\"
_BAR_CELLS = 16
_SHORT_BAR_CELLS = 8
_ID_CELLS_MAX = 32

_SYMBOLS = {
    "pending": ("·", ".", "dim"),
    "ready": ("·", ".", "dim"),
    "queued": ("◦", "o", "yellow"),
    "running": ("", "", "cyan"),
    "backing_off": ("↻", "~", "yellow"),
    "expanded": ("", "", "cyan"),
    "succeeded": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "denied": ("⊘", "!", "bold red"),
    "skipped": ("–", "-", "dim"),
    "canceled": ("■", "#", "yellow"),
    "canceling": ("", "", "yellow"),
}
_ACTIVE = frozenset({"running", "expanded", "canceling"})
_FIRST_SHOWN = ("failed", "denied", "running", "backing_off", "queued", "ready", "canceled", "pending", "skipped")


def workflow_tree(
    picture: WorkflowPicture, now_us: int, console: Console, *, frame: int = 0, height: int | None = None
) -> Tree:
    """Return the drawing.

    Args:
        picture: What to draw.
        now_us: The time, microseconds since the Unix epoch.
        console: What it is drawn on.
        frame: Turns the signs of what is running.
        height: The most lines; None: any number.
    """
    drawing = _Drawing(picture, now_us, console, frame)
    roots = list(picture.roots)
    items_max = ITEMS_MAX if height is None else drawing.items_within(height, roots)
    tree = Tree(drawing.header(), guide_style="dim", hide_root=False)
    for step in roots:
        branch = tree.add(drawing.step(step))
        for item in _shown(step.items, items_max):
            branch.add(drawing.step(item))
        if len(step.items) > items_max:
            branch.add(drawing.rest(step.items, _shown(step.items, items_max)))
    return tree


class _Drawing:
    """One frame."""

    def __init__(self, picture: WorkflowPicture, now_us: int, console: Console, frame: int) -> None:
        self._picture = picture
        self._now_us = now_us
        self._width = console.width
        self._ascii = not console.encoding.startswith("utf")
        self._frame = frame
        longest = max((len(step.id) + (4 if step.parent else 0) for step in picture.steps.values()), default=0)
        self._id_cells = min(longest, _ID_CELLS_MAX)

    def header(self) -> Text:
        picture = self._picture
        end_us = picture.ended_us or self._now_us
        took = f"  {duration(end_us - picture.started_us)}" if picture.started_us else ""
        total = len(picture.steps)
        return Text.assemble(
            self._symbol(picture.state),
            (f" {one_line(picture.name, _ID_CELLS_MAX) or 'workflow'}", "bold"),
            (f"  {picture.id}", "dim"),
            f"  {picture.state}{took}",
            (f"  {picture.ended_count} of {counted(total, 'step')}", "dim"),
            (f"  {picture.note}" if picture.note else "", "red"),
            overflow="ellipsis",
            no_wrap=True,
        )

    def step(self, step: StepPicture) -> Text:
        cells = self._id_cells - (4 if step.parent else 0)
        line = Text.assemble(self._symbol(step.state), " ", (one_line(step.id, _ID_CELLS_MAX).ljust(cells), ""))
        line.append(f"  {self._time(step):>9}", "dim")
        if step.attempts > 1:
            line.append(f"  attempt {step.attempts}", "yellow")
        if step.link and not step.ended:
            line.append(f"  link {step.link}", "yellow")
        if step.parent is None and step.tool and step.tool != step.id:
            line.append(f"  {step.tool}", "dim")
        if step.items:
            line.append(f"  {sum(item.ended for item in step.items)} of {len(step.items)}", "dim")
        line.append_text(self._saying(step))
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def rest(self, items: Sequence[StepPicture], shown: Sequence[StepPicture]) -> Text:
        hidden = {id(item) for item in shown}
        states = Counter(item.state for item in items if id(item) not in hidden)
        text = ", ".join(f"{count} {state}" for state, count in states.most_common())
        return Text(f"and {len(items) - len(shown)} more: {text}", "dim", no_wrap=True, overflow="ellipsis")

    def items_within(self, height: int, roots: Sequence[StepPicture]) -> int:
        expanded = sum(bool(step.items) for step in roots)
        left = height - len(roots) - 1
        return max(1, left // expanded - 1) if expanded else ITEMS_MAX

    def _saying(self, step: StepPicture) -> Text:
        if step.note:
            return Text(f"  {step.note}", "red" if step.state in ("failed", "denied") else "yellow")
        if step.state != "running":
            return Text("")
        text = Text("  ")
        if step.fraction is not None:
            text.append_text(self._bar(step.fraction))
            text.append(f" {step.fraction:.0%} ")
        text.append(step.doing, "dim")
        if step.tail:
            text.append(" | " if self._ascii else " │ ", "dim")
            text.append(step.tail)
        return text

    def _bar(self, fraction: float) -> Text:
        cells = _BAR_CELLS if self._width >= 100 else _SHORT_BAR_CELLS  # noqa: PLR2004 -- a wide terminal
        done = round(min(1.0, fraction) * cells)
        full, empty = ("#", ".") if self._ascii else ("━", "━")
        return Text.assemble((full * done, "cyan"), (empty * (cells - done), "dim"))

    def _symbol(self, state: str) -> tuple[str, str]:
        symbol, plain, style = _SYMBOLS.get(state, ("?", "?", ""))
        if state in _ACTIVE:
            spinner = _SPINNER_ASCII if self._ascii else _SPINNER
            return spinner[self._frame % len(spinner)], style
        return plain if self._ascii else symbol, style

    def _time(self, step: StepPicture) -> str:
        if not step.started_us:
            return ""
        return duration((step.ended_us or self._picture.ended_us or self._now_us) - step.started_us)


def _shown(items: Sequence[StepPicture], items_max: int) -> list[StepPicture]:
    """The items that matter most, in their own order."""
    if len(items) <= items_max:
        return list(items)
    order = {state: rank for rank, state in enumerate(_FIRST_SHOWN)}
    foremost = sorted(range(len(items)), key=lambda n: (order.get(items[n].state, len(order)), -items[n].ended_us, n))
    return [items[number] for number in sorted(foremost[:items_max])]
