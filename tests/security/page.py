"""Writes the claims into docs/security.md: `python -m tests.security.page`, from the checkout."""

import ast
from functools import cache

from tests.architecture.checkout import ROOT
from tests.security.claims import LISTS

PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- generated -->", "<!-- generated: end -->"
COLUMNS = ("risk", "what is done", "where it ends", "shown by")


def table(lists=None):
    """The part of the page that is generated."""
    parts = []
    for heading, claims in (lists or LISTS).items():
        lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_row, claims)]
        parts += [f"### {heading}\n", *(f"| {' | '.join(line)} |" for line in lines), ""]
    return "\n".join(parts)


def _row(claim):
    return f"**{claim.id}** {claim.name}", claim.done, claim.ends, "<br>".join(map(_shown, claim.tests))


def _shown(test):
    path, _, name = test.partition("::")
    return f"`{path.removeprefix('tests/')}` {name.removeprefix('test_').replace('_', ' ')}"


def missing(tests):
    """Those of the tests that do not exist."""
    return [test for test in tests if test.partition("::")[2] not in _tests_in(test.partition("::")[0])]


@cache
def _tests_in(path):
    """The tests of a file, by their names."""
    if not (ROOT / path).is_file():
        return frozenset()
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(name for name in functions if name.startswith("test_"))


def on_page(text):
    """What the page has in the place of the generated part. Raises ValueError when it has none."""
    _, begin, rest = text.partition(f"{BEGIN}\n")
    found, end, _ = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    return found


def write():
    """Put the generated part into its place."""
    text = PAGE.read_text()
    PAGE.write_text(text.replace(f"{BEGIN}\n{on_page(text)}{END}", f"{BEGIN}\n{table()}{END}"))


if __name__ == "__main__":
    write()
