"""The fault table as text: for a terminal, for a page of the documentation, and over many rounds."""

from dataclasses import replace
from itertools import zip_longest

HEADINGS = ("row", "seed", "cases", "target", "violations", "negative control", "seconds")
BEGIN, END = "<!-- fault table: begin -->", "<!-- fault table: end -->"


def markdown(results):
    """A table that is aligned as text and valid as Markdown."""
    lines = [HEADINGS, *(_cells(row, seconds) for row, seconds in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def _cells(row, seconds):
    control = "caught" if row.control_found else "NOT CAUGHT"
    counts = (f"{row.cases:,}", f"{row.target:,}", str(len(row.violations)))
    return (row.name, str(row.seed), *counts, control, f"{seconds:.0f}")


def verdict(results, scale):
    """What is wrong, each violation with the command that shows it again, and what rows have to say besides."""
    lines = [f"{row.name}: {row.notes}" for row, _ in results if row.notes]
    for row, _ in results:
        if row.cases < row.target:
            lines.append(f"MISSED  {row.name}: {row.cases:,} of {row.target:,} cases")
        if not row.control_found:
            lines.append(f"BLIND   {row.name}: what was broken on purpose was not found")
        for what, replay in row.violations:
            again = replay or f"python -m tests.faults.table --only {row.name} --scale {scale} --seed {row.seed}"
            lines += [f"FAILED  {row.name}: {what}", f"        again: {again}"]
    return "".join(f"{line}\n" for line in lines)


def cumulated(total, results):
    """The table of all rounds so far: cases and violations add up, and one control that is missed stays missed."""
    return [
        (_both(before[0], now[0]), before[1] + now[1]) if before else now for before, now in zip_longest(total, results)
    ]


def _both(before, now):
    return replace(
        now,
        cases=before.cases + now.cases,
        target=before.target + now.target,
        violations=before.violations + now.violations,
        control_found=before.control_found and now.control_found,
    )


def replace_table(page, table):
    """Put the table between the markers of a page. Raises ValueError when the page has none."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no place for the table: it needs the lines {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n{table}{END}{tail}")
