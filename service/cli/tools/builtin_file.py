"""The file that says what the built-in tools may touch, YAML or JSON: from its text to the tools' settings.

Invariant: everything that is wrong is told at once, each with its path, and nothing that is not named is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from podium.sanitizers.command import CommandSanitizer, is_launcher
from podium.sanitizers.declaration import SpecificationRefused
from podium.sanitizers.path import PathSanitizer
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.sql import SqlSanitizer
from podium.sanitizers.url import UrlSanitizer
from service.cli.failures import Violation
from service.cli.fields import Fields
from service.cli.file_text import parsed
from service.cli.workflows.file import invalid
from service.tools import command_run, http_request, sql_query
from service.tools.settings import (
    READ_KINDS,
    TOOLS,
    Builtin,
    Commands,
    Database,
    Files,
    Http,
    Process,
    Program,
    Text,
)

Section = TypeVar("Section")

_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


def read_builtin(text: str, file: Path, environment: Mapping[str, str]) -> Builtin:
    """Return the settings of a file. Paths in it are relative to its folder. Raises CommandFailed.

    Args:
        text: The file's contents.
        file: Where it lies.
        environment: The variables that hold the addresses of databases.
    """
    problems: list[Violation] = []
    settings = _Reader(file.absolute().parent, environment).settings(Fields(parsed(text, file.name), "", problems))
    if problems:
        raise invalid(file.name, problems)
    return settings


class _Reader:
    """Reads one file."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def settings(self, file: Fields) -> Builtin:
        file.known("name", "tools", "process", "files", "http", "databases", "commands", "text")
        process, text = file.object("process"), file.object("text")
        process.known("max_parallel", "probe_interval", "memory", "open_files")
        text.known("max_document")
        settings = Builtin(
            name=file.text("name") or "builtin",
            tools=tuple(dict.fromkeys(file.texts("tools"))),
            process=Process(**_limits(process, "max_parallel", "probe_interval_s", "memory_bytes", "open_files")),
            files=self._files(file.object("files")) if file.has("files") else None,
            http=self._http(file.object("http")) if file.has("http") else None,
            databases=tuple(self._databases(file)),
            commands=self._commands(file.object("commands")) if file.has("commands") else None,
            text=Text(**_limits(text, "max_document_bytes")),
        )
        _refuse_tools_without_means(file, settings)
        return settings

    def _files(self, section: Fields) -> Files:
        section.known("roots", "max_read", "max_write", "max_entries", "max_search")
        folders: dict[str, list[str]] = {"read": [], "write": []}
        for root in section.objects("roots"):
            root.known("path", "modes")
            path = self._path(root, "path")
            for mode in root.texts("modes") or ["read"]:
                if mode not in folders:
                    root.wrong("modes", f"must hold read, write or both, not {mode!r}")
                elif path:
                    folders[mode].append(path)
            if path:
                _compiled(root, "path", lambda path=path: PathSanitizer({"roots": [path]}))
        limits = _limits(section, "max_read_bytes", "max_write_bytes", "max_entries", "max_search_bytes")
        return Files(readable=tuple(folders["read"]), writable=tuple(folders["write"]), **limits)

    def _http(self, section: Fields) -> Http:
        limits = ("max_request_bytes", "max_response_bytes", "timeout_s", "max_redirects", "max_connections")
        section.known("hosts", "methods", "schemes", "ports", "networks", "health_url", *map(_option, limits))
        given: dict[str, Any] = {
            name: tuple(section.texts(name))
            for name in ("hosts", "methods", "schemes", "networks")
            if section.has(name)
        }
        if section.has("ports"):
            ports = section.value("ports")
            given["ports"] = tuple(ports) if isinstance(ports, list) else (ports,)
        for method in given.get("methods", ()):
            if method not in _METHODS:
                section.wrong("methods", f"must hold some of {', '.join(_METHODS)}, not {method!r}")
        settings = Http(**given, health_url=section.text("health_url"), **_limits(section, *limits))
        try:
            sanitizer = UrlSanitizer(http_request.options_of(settings))
            if settings.health_url:
                sanitizer.check(settings.health_url)
        except SpecificationRefused as refused:
            section.wrong("", f"is refused: {refused}")
        except Rejected as rejected:
            section.wrong("health_url", rejected.message)
        return settings

    def _databases(self, file: Fields) -> Iterator[Database]:
        sections = file.object("databases")
        names = file.value("databases")
        limits = ("max_rows", "max_result_bytes", "timeout_s", "max_connections")
        for name in names if isinstance(names, Mapping) else ():
            section = sections.object(name)
            section.known(
                "url_variable", "path", "role", "kinds", "functions", "tables", "types", "health", *map(_option, limits)
            )
            lists: dict[str, Any] = {
                name: tuple(section.texts(name)) for name in ("functions", "tables", "types") if section.has(name)
            }
            kinds = tuple(section.texts("kinds")) or READ_KINDS
            settings = Database(
                name=name,
                url=self._url(section),
                role=section.text("role"),
                kinds=kinds,
                health=section.truth("health"),
                **lists,
                **_limits(section, *limits),
            )
            if settings.role and settings.dialect == "sqlite":
                section.wrong("role", "is for Postgres: SQLite has no roles")
            _compiled(section, "", lambda settings=settings: SqlSanitizer(sql_query.options_of(settings)))
            yield settings

    def _url(self, section: Fields) -> str:
        if section.has("path") == section.has("url_variable"):
            section.wrong("", "needs either path, of a SQLite file, or url_variable, of which the value is the address")
            return ""
        if section.has("path"):
            return f"sqlite:///{self._path(section, 'path')}"
        variable = section.text("url_variable")
        url = self._environment.get(variable, "")
        if not url:
            section.wrong("url_variable", f"names {variable}, which is not set")
        elif not url.startswith(_POSTGRES_SCHEMES):
            # The value may hold a password, and is not shown.
            section.wrong("url_variable", f"names {variable}, which does not begin with postgresql://")
        return url.replace("postgres://", "postgresql://", 1)

    def _commands(self, section: Fields) -> Commands:
        limits = (
            "timeout_s",
            "max_output_bytes",
            "memory_bytes",
            "file_size_bytes",
            "open_files",
            "processes",
        )
        section.known("directory", "writable", "programs", "environment", "user", *map(_option, limits))
        programs = section.object("programs")
        names = section.value("programs")
        if not isinstance(names, Mapping) or not names:
            section.wrong("programs", "is missing: programs by name, each with path and arguments")
            names = {}
        user: dict[str, Any] = {"user": section.text("user")} if section.has("user") else {}
        settings = Commands(
            programs={name: self._program(programs.object(name)) for name in names},
            directory=self._path(section, "directory"),
            writable=section.truth("writable"),
            environment=_texts_by_name(section, "environment"),
            **user,
            **_limits(section, *limits),
        )
        _compiled(section, "programs", lambda: CommandSanitizer(command_run.options_of(settings)))
        return settings

    def _program(self, section: Fields) -> Program:
        section.known("path", "arguments")
        path = section.text("path", required=True)
        if path and not path.startswith("/"):
            section.wrong("path", "must be absolute: what a search would find may change")
        elif path and _runs_others(path):
            section.wrong("path", "must not be a shell or what runs others; name the program itself")
        return Program(path=path, arguments=tuple(section.texts("arguments")))

    def _path(self, section: Fields, name: str) -> str:
        given = section.text(name, required=True)
        return os.path.normpath(self._folder / given) if given else ""


def _runs_others(path: str) -> bool:
    """By what the file is: the name that callers know says nothing of it, and neither does that of a link."""
    target = os.path.realpath(path)
    # Busybox is the program whose name the link has.
    return is_launcher(path) or (is_launcher(target) and Path(target).name != "busybox")


def _refuse_tools_without_means(file: Fields, settings: Builtin) -> None:
    if not settings.tools:
        file.wrong("tools", f"is empty: name those to serve, of {', '.join(TOOLS)}")
    files = settings.files
    for tool in settings.tools:
        section = TOOLS.get(tool)
        if section is None:
            file.wrong("tools", f"holds {tool!r}; there are {', '.join(TOOLS)}")
        elif section and not file.has(section):
            file.wrong("tools", f"holds {tool}, which needs the section {section}")
        elif files is not None and section == "files":
            mode = "write" if tool == "file_write" else "read"
            if not (files.writable if mode == "write" else files.readable):
                file.wrong("tools", f"holds {tool}, and no root in files.roots has the mode {mode}")


def _limits(section: Fields, *names: str) -> dict[str, Any]:
    """The limits that are given, by the names of the settings, whose last word is their unit."""
    given: dict[str, Any] = {}
    for name in names:
        option = _option(name)
        if not section.has(option):
            continue
        if name.endswith("_bytes"):
            given[name] = section.size_bytes(option)
        elif name.endswith("_s"):
            given[name] = section.duration_ms(option) / 1000
        else:
            given[name] = section.count(option)
        if not given[name] and section.value(option) == 0:
            section.wrong(option, "must be more than 0")
    return given


def _option(name: str) -> str:
    """What the file calls a setting: units are written beside values there."""
    return name.removesuffix("_bytes").removesuffix("_s")


def _texts_by_name(section: Fields, name: str) -> dict[str, str]:
    value = section.value(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        section.wrong(name, "must hold texts by name")
        return {}
    return dict(value)


def _compiled(section: Fields, name: str, compile_: Any) -> None:  # noqa: ANN401 -- the constructor of any sanitizer
    try:
        compile_()
    except SpecificationRefused as refused:
        section.wrong(name, f"is refused: {refused}")
