"""The import graph between the project's packages, read from the source without running it.

A node is what a reader of the architecture knows by name: each child of `service`, and `store`, `migrations`, `podium`
and `podium.v1` as wholes. Relative imports do not occur here: the linter bans them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

Edge = tuple[str, str]

# Import package and where it lies in the checkout.
PACKAGES = {"service": "service", "store": "store", "migrations": "migrations", "podium": "clients/python/podium"}


def module_name(package: str, folder: Path, path: Path) -> str:
    """The dotted name of the module in the file `path` of `package`, which lies in `folder`."""
    parts = [package, *path.relative_to(folder).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(source: str) -> Iterator[str]:
    """The dotted name of everything a module imports, wherever in it the import stands.

    `from a import b` gives a.b: b may be a module, and where it is not, the name still begins with the module's.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Every module of the project below the checkout `root`: its dotted name and its text."""
    for package, place in PACKAGES.items():
        folder = root / place
        for path in sorted(folder.rglob("*.py")):
            yield module_name(package, folder, path), path.read_text()


def node_of(name: str) -> str | None:
    """The node a dotted name belongs to; None for another project's, and for the bare package `service`."""
    package, _, rest = name.partition(".")
    if package == "service":
        return f"service.{rest.split('.')[0]}" if rest else None
    if name == "podium.v1" or name.startswith("podium.v1."):
        return "podium.v1"
    return package if package in PACKAGES else None


def package_edges(root: Path) -> set[Edge]:
    """Who imports whom, between nodes, in the checkout `root`."""
    return {
        (importer, imported)
        for module, source in sources(root)
        for name in imported_names(source)
        if (importer := node_of(module)) and (imported := node_of(name)) and importer != imported
    }
