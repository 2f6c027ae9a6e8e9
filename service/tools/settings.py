"""What the built-in tools may touch, as an operator's file says it. Nothing is allowed that is not named here.

Invariant: settings are complete and checked when they are made (service/cli/tools/builtin_file.py reads the file), so
that a tool finds no mistake in them when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1024 * 1024

TOOLS = {
    "file_read": "files",
    "file_list": "files",
    "file_search": "files",
    "file_write": "files",
    "http_request": "http",
    "sql_query": "databases",
    "command_run": "commands",
    "text_extract": "",
    "html_sanitize": "",
}
"""Every tool, and the section of the file that it does not work without."""

READ_KINDS = ("select",)
WRITE_KINDS = ("insert", "update", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Folders, each with all that lies beneath it."""

    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    max_read_bytes: int = MIB
    """Of one file at once; a longer one is read piece by piece."""
    max_write_bytes: int = 8 * MIB
    """The size that a file may reach."""
    max_entries: int = 1000
    """Of a list, or matches of a search."""
    max_search_bytes: int = 64 * MIB
    """How much one search reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Servers that may be spoken to. Without `hosts` any public one."""

    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD")
    schemes: tuple[str, ...] = ("https",)
    ports: tuple[int, ...] = ()
    networks: tuple[str, ...] = ()
    """Networks that are not public and may be reached all the same, as CIDR."""
    max_request_bytes: int = MIB
    max_response_bytes: int = MIB
    timeout_s: float = 30.0
    max_redirects: int = 5
    max_connections: int = 32
    health_url: str = ""
    """What is requested to see whether the tool could be run; without it nobody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database. Callers know it by its name alone."""

    name: str
    url: str = field(repr=False)
    role: str = ""
    """A role of Postgres that statements run as."""
    kinds: tuple[str, ...] = READ_KINDS
    functions: tuple[str, ...] | None = None
    """Instead of those that the sanitizer allows by itself."""
    tables: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    """Of Postgres, beside the plain ones: what values may be cast to."""
    max_rows: int = 1000
    max_result_bytes: int = MIB
    timeout_s: float = 10.0
    max_connections: int = 4
    health: bool = False
    """Whether it is asked for a row to see whether the tool could be run."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgres`."""
        return "sqlite" if self.url.startswith("sqlite:") else "postgres"

    @property
    def writes(self) -> bool:
        """Whether any statement that is allowed changes something."""
        return any(kind in WRITE_KINDS for kind in self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that may be run, and what each of its arguments must match."""

    path: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Programs by the name that callers know, and where they run."""

    programs: Mapping[str, Program]
    directory: str
    """Where commands run, or beneath it."""
    writable: bool = False
    """Whether they may write there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    max_output_bytes: int = MIB
    memory_bytes: int = 512 * MIB
    file_size_bytes: int = 64 * MIB
    open_files: int = 256
    processes: int = 64
    user: str = "nobody"
    """Who runs them where the executor is root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Documents and markup."""

    max_document_bytes: int = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """Bounds on the executor itself."""

    max_parallel: int = 16
    probe_interval_s: float = 30.0
    """How often tools with a health of their own are asked for it."""
    memory_bytes: int = 1024 * MIB
    open_files: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """What one executor of built-in tools serves."""

    tools: tuple[str, ...]
    name: str = "builtin"
    process: Process = Process()
    files: Files | None = None
    http: Http | None = None
    databases: tuple[Database, ...] = ()
    commands: Commands | None = None
    text: Text = Text()
