"""The house's rules on size, names and leftovers, each a function from a file to what is wrong with it.

A rule gets the file's path, relative to the checkout, and its text, and touches nothing else.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "base", "models", "types", "misc"}
BANNED_CLASS_SUFFIXES = ("Manager", "Helper", "Impl")
REEXPORTING = {
    PurePosixPath("clients/python/podium/__init__.py"),
    PurePosixPath("clients/python/podium/sanitizers/__init__.py"),
}

# Written so that this file does not hold what it looks for.
LEFTOVERS = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")
REGISTRIES = re.compile(
    r"p[y]pi[.]org|p[y]thonhosted[.]|registry[.]npm[j]s|registry[.]y[a]rnpkg|proxy[.]golan[g]|sum[.]golan[g]"
    r"|repo1?[.]mave[n]|deb[.]debia[n]|(static|index)[.]crate[s]"
)
HOMES = re.compile(r"(?<![\w.~/-])/(ro[o]t|ho[m]e/\w+|Use[r]s/\w+)/")

SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore)", re.IGNORECASE)
SILENCED_WITH_REASON = re.compile(r"(noqa: [A-Z0-9, ]+ --? \w|type: ignore\[[\w, -]+\]\s+# \w)")
BAN_LIFTED = re.compile(r"#\s*noqa:[A-Z0-9, ]*TID251")


def long_module(_path: PurePosixPath, text: str) -> Iterator[str]:
    """A module over the limit has more than one responsibility."""
    lines = text.count("\n")
    if lines > MODULE_LINES_MAX:
        yield f"{lines} lines; the limit is {MODULE_LINES_MAX}"


def long_function(_path: PurePosixPath, text: str) -> Iterator[str]:
    """A function over the limit does not fit on a screen."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"line {node.lineno}: {node.name} has {lines} lines; the limit is {FUNCTION_LINES_MAX}"


def banned_module_name(path: PurePosixPath, _text: str) -> Iterator[str]:
    """A file and a folder are named for a responsibility."""
    for name in [*path.parts[:-1], path.stem]:
        if name in BANNED_MODULES:
            yield f"{name!r} names no responsibility"


def banned_class_name(_path: PurePosixPath, text: str) -> Iterator[str]:
    """A class is named for what it is."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name.endswith(BANNED_CLASS_SUFFIXES):
            yield f"line {node.lineno}: {node.name} says nothing by its last word"


def busy_package(path: PurePosixPath, text: str) -> Iterator[str]:
    """An __init__.py holds a docstring, and where the client faces its users also what it re-exports."""
    if path.name != "__init__.py":
        return
    tree = ast.parse(text)
    if ast.get_docstring(tree) is None:
        yield "it has no docstring"
    for node in tree.body[1:]:
        if path not in REEXPORTING:
            yield f"line {node.lineno}: more than a docstring"
        elif not isinstance(node, ast.ImportFrom | ast.Assign | ast.AnnAssign) and not _loads_on_use(node):
            yield f"line {node.lineno}: more than re-exports"


def _loads_on_use(node: ast.stmt) -> bool:
    """Whether it belongs to a re-export that is loaded when it is first used."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef) and node.name in ("__getattr__", "__dir__")


def leftover(_path: PurePosixPath, text: str) -> Iterator[str]:
    """What is not done goes into an issue; what is committed is done."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := LEFTOVERS.search(line):
            yield f"line {number}: {found[0]}"


def registry_host(_path: PurePosixPath, text: str) -> Iterator[str]:
    """An installer finds its index by its own settings; a host in a file overrides them."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := REGISTRIES.search(line):
            yield f"line {number}: names the package registry {found[0]}"


def machine_path(_path: PurePosixPath, text: str, folders: frozenset[str]) -> Iterator[str]:
    """A path of one machine is wrong on every other. `folders` are this machine's own, each with a last slash."""
    for number, line in enumerate(text.splitlines(), start=1):
        if HOMES.search(line) or any(folder in line for folder in folders):
            yield f"line {number}: names a path of one machine"


def silent_exception(_path: PurePosixPath, text: str) -> Iterator[str]:
    """A line that a tool must not look at says why."""
    for number, line in enumerate(text.splitlines(), start=1):
        if SILENCED.search(line) and not SILENCED_WITH_REASON.search(line):
            yield f"line {number}: silences a tool without saying why"


def unowned_exception(path: PurePosixPath, text: str, owners: frozenset[str]) -> Iterator[str]:
    """Time, chance, the environment and loose tasks have one owner each, and nobody else may silence their ban."""
    for number, line in enumerate(text.splitlines(), start=1):
        if BAN_LIFTED.search(line) and str(path) not in owners:
            yield f"line {number}: is no owner of what it takes"


def sleeping_test(_path: PurePosixPath, text: str) -> Iterator[str]:
    """A test waits for the thing itself: a sleep is too short on a slow machine and too long on every other.

    `sleep(0)` only gives way to other tasks, and is no wait.
    """
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        gives_way = [ast.unparse(argument) for argument in node.args] == ["0"]
        if called == "sleep" and not gives_way:
            yield f"line {node.lineno}: {ast.unparse(node)}"
