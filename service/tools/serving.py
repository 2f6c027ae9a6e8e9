"""The executor of the built-in tools: opens what the settings name, declares each tool that is on, and closes it all.

Invariant: a tool is served only if it is named and what it touches is named; everything it needs is there before it is
served, so that a missing folder or program is found at the start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator

from podium import Executor, Probe
from service.tools.command_run import add_command_run
from service.tools.file_list import add_file_list
from service.tools.file_read import add_file_read
from service.tools.file_search import add_file_search
from service.tools.file_write import add_file_write
from service.tools.folders import Folders
from service.tools.html_sanitize import add_html_sanitize
from service.tools.http_request import add_http_request, client_of
from service.tools.pools import log_pools
from service.tools.settings import Builtin
from service.tools.sql_query import add_sql_query, connections_of
from service.tools.text_extract import add_text_extract


@contextlib.asynccontextmanager
async def builtin_executor(settings: Builtin) -> AsyncGenerator[Executor, None]:
    """The executor, ready to serve for as long as the block lasts. Raises OSError for what cannot be opened."""
    app = Executor(settings.name, max_parallel=settings.process.max_parallel)
    served = frozenset(settings.tools)
    probe = Probe(interval=settings.process.probe_interval_s)
    async with contextlib.AsyncExitStack() as opened:
        _add_files(app, settings, served, opened)
        if "http_request" in served and settings.http is not None:
            client = client_of(settings.http)
            opened.push_async_callback(client.aclose)
            opened.callback(lambda: log_pools([client.statistics()]))
            add_http_request(app, client, settings.http, probe)
        if "sql_query" in served:
            databases = {each.name: (each, connections_of(each)) for each in settings.databases}
            for _, connections in databases.values():
                opened.push_async_callback(connections.close)
            opened.callback(lambda: log_pools(each.statistics() for _, each in databases.values()))
            add_sql_query(app, databases, probe)
        if "command_run" in served and settings.commands is not None:
            for program in settings.commands.programs.values():
                if not os.access(program.path, os.X_OK):
                    raise FileNotFoundError(f"{program.path} is no program that can be run")
            add_command_run(app, _folders((settings.commands.directory,), "read", opened), settings.commands)
        if "html_sanitize" in served:
            add_html_sanitize(app, settings.text)
        yield app


def _add_files(app: Executor, settings: Builtin, served: frozenset[str], opened: contextlib.AsyncExitStack) -> None:
    files = settings.files
    readable = _folders(files.readable, "read", opened) if files is not None and files.readable else None
    if files is not None and readable is not None:
        for name, add in (("file_read", add_file_read), ("file_list", add_file_list), ("file_search", add_file_search)):
            if name in served:
                add(app, readable, files)
    if files is not None and files.writable and "file_write" in served:
        add_file_write(app, _folders(files.writable, "write", opened), files)
    if "text_extract" in served:
        add_text_extract(app, readable, settings.text)


def _folders(paths: tuple[str, ...], mode: str, opened: contextlib.AsyncExitStack) -> Folders:
    folders = Folders(paths, mode)
    opened.callback(folders.close)
    return folders
