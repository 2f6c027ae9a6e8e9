"""The documentation that every machine with Python has: docstrings of the standard library, and installed packages.

Invariant: nothing is imported or executed. Modules are parsed, and metadata is read as text.
"""

import ast
import email
import functools
import inspect
import os
import re
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

from research.documents import MAX_DOCUMENT_BYTES, Document, MediaType
from research.errors import UnreadableDocument

_MAX_MODULE_BYTES = 150_000
"""Parsing costs 0.2 s a megabyte; the few modules over this are mostly code and tables."""

_PASSED_OVER_NAMES = (
    "test tests idlelib lib2to3 site-packages dist-packages turtledemo ensurepip encodings pydoc_data distutils"
)
_PASSED_OVER = frozenset(_PASSED_OVER_NAMES.split())
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_CONTENT_TYPE = re.compile(r"^Description-Content-Type:\s*text/markdown\b", re.IGNORECASE | re.MULTILINE)


def standard_library_documents() -> Iterator[Document]:
    """The public modules of the standard library, named `stdlib:asyncio/queues.py`; the text is their docstrings."""
    root = Path(sysconfig.get_path("stdlib")).resolve()
    for path in _public_modules(root):
        status = path.stat()
        if status.st_size <= _MAX_MODULE_BYTES:
            place = path.relative_to(root)
            module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
            prepare = functools.partial(module_documentation, module)
            name = f"stdlib:{place.as_posix()}"
            yield Document(name, path, MediaType.PLAIN, status.st_size, status.st_mtime_ns, root, prepare)


def package_documents() -> Iterator[Document]:
    """The packages that this Python can import, named `package:typer`; the text is their long description."""
    seen: set[str] = set()
    for entry in sys.path:
        root = Path(entry or ".").resolve()
        for path in sorted([*root.glob("*.dist-info/METADATA"), *root.glob("*.egg-info/PKG-INFO")]):
            package = re.sub(r"[-_.]+", "-", path.parent.name.removesuffix(".egg-info").split("-")[0]).lower()
            status = path.stat()
            # The first on the path is the one that an import would find.
            if package in seen or status.st_size > MAX_DOCUMENT_BYTES or not path.resolve().is_relative_to(root):
                continue
            seen.add(package)
            name = f"package:{package}"
            media_type = MediaType.MARKDOWN if _is_markdown(path) else MediaType.PLAIN
            prepare = package_description
            yield Document(name, path, media_type, status.st_size, status.st_mtime_ns, root, prepare)


def module_documentation(module: str, source: str) -> str:
    """Return the docstrings of a module, its public classes and functions, under underlined headings.

    Raises:
        UnreadableDocument: The source is not Python that this interpreter can parse.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableDocument(f"{module} cannot be parsed: {error}.") from error
    overview = ast.get_docstring(tree) or ""
    sections = [("", overview)] if overview else []
    sections.extend(_definitions(tree.body, ""))
    if not sections:
        return ""
    first_line = overview.strip().partition("\n")[0]
    title = f"{module}: {first_line}" if first_line else module
    text = "\n\n".join([_heading(title, "="), *(_section(name, text) for name, text in sections)])
    # An escape in a docstring can stand for half a character, which no file and no message can hold.
    return text.encode(errors="replace").decode()


def package_description(metadata: str) -> str:
    """Return name, summary and long description of a package's core metadata, in the form that it declares."""
    message = email.message_from_string(metadata)
    # The description is the message's body since metadata 2.1, and was an indented header before.
    description = str(message.get_payload() or "").strip()
    if not description:
        first_line, _, rest = str(message.get("Description") or "").partition("\n")
        description = f"{first_line}\n{textwrap.dedent(rest)}".strip()
    title = f"{message.get('Name')}: {message.get('Summary') or ''}".strip(": ")
    heading = f"# {title}" if _CONTENT_TYPE.search(metadata) else _heading(title, "=")
    return f"{heading}\n\n{description}\n"


def _public_modules(root: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(root):
        # In place, so that site-packages, which can be large, is not walked at all.
        folders[:] = [name for name in folders if name not in _PASSED_OVER and not name.startswith("_")]
        for name in files:
            if name.endswith(".py") and (name == "__init__.py" or not name.startswith("_")):
                yield Path(parent, name)


def _is_markdown(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return _CONTENT_TYPE.search(file.read(64 * 1024)) is not None
    except OSError:
        return False


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, _DEFINITIONS) and not node.name.startswith("_"):
            name = f"{prefix}{node.name}"
            documentation = ast.get_docstring(node)
            if documentation:
                yield name, documentation
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{name}.")


def _section(name: str, text: str) -> str:
    cleaned = inspect.cleandoc(text)
    return f"{_heading(name, '-')}\n\n{cleaned}" if name else cleaned


def _heading(title: str, underline: str) -> str:
    return f"{title}\n{underline * max(len(title), 3)}"
