"""`podium tools docs`: a guide for each tool, on how to use it and what to watch for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.connecting import Service
    from service.cli.tools.facts import ToolFacts

EXAMPLE = example("podium tools docs search", "podium tools docs --output docs/tools")


def docs(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[TOOL]...", help="These tools; without any: all you may see.")
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write a file a tool into this folder: TOOL.md."),
    ] = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Write usage and security guidelines of tools in Markdown: who may call them, with what, and what is recorded."""
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, say
    from service.cli.tools.guide import guide

    unread: list[str] = []

    async def read(service: Service) -> tuple[list[ToolFacts], access_service_pb2.PolicyRevision | None]:
        from service.cli.tools.reading import read_policy, read_tools

        return await read_tools(service, unread) or [], await read_policy(service, unread)

    tools, policy = with_service(address, token, read)
    guides = {tool.name: guide(tool, policy) for tool in chosen(tools, names or [])}
    for each in unread:
        note(f"not told: {each}")
    if output is not None:
        write(guides, output)
        note(f"{len(guides)} guides are in {output}")
    elif as_json:
        for name, text in guides.items():
            print_json({"tool": name, "guide": text})
    else:
        say("\n".join(guides.values()).rstrip("\n"))


def chosen(tools: list[ToolFacts], names: list[str]) -> list[ToolFacts]:
    """Return the tools of these names, or all, by name. Raises CommandFailed for one that is not there."""
    by_name = {tool.name: tool for tool in tools}
    for name in names:
        if name not in by_name:
            raise CommandFailed(f"there is no tool {name!r} that you may see", ExitCode.NOT_FOUND, "TOOL_NOT_FOUND")
    return [by_name[name] for name in sorted(set(names) or by_name)]


def write(guides: dict[str, str], folder: Path) -> None:
    """Write each guide into its file. A tool's name is a file's name: it holds no separator and no dot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in guides.items():
            (folder / f"{name}.md").write_text(text)
    except OSError as error:
        raise CommandFailed(
            f"{error.filename} cannot be written: {error.strerror}", ExitCode.BAD_INPUT, "UNWRITABLE_FILE"
        ) from None
