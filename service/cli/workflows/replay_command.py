"""`podium replay`: rebuilds a workflow's state from its events, in the live service or from a file, and compares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Tenant, Token

if TYPE_CHECKING:
    from podium.v1 import replay_service_pb2
    from service.cli.connecting import Service
    from service.cli.workflows.replay_comparison import Difference, Folded


EXAMPLE = example(
    "podium replay WORKFLOW",
    "podium replay WORKFLOW --json > live.json",
    "podium replay WORKFLOW --database copy.db --against live.json",
)


def replay(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's id.")],
    database: Annotated[
        str | None,
        typer.Option(metavar="URL|PATH", help="Fold the events of this database in this process, which only reads it."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compare with this, which `podium replay WORKFLOW --json` printed."),
    ] = None,
    tenant: Tenant = "default",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Rebuild a workflow's state from its events, and compare it.

    Without --database the live service rebuilds it, and compares it with the state that it works with. With --database
    this process folds the events of a file; --against compares them, record by record, and the state that they make,
    with what the live service said before. The answer is `replay matches`, or `differs at version N` and exit code 1.
    """
    if database is not None:
        _offline(workflow_id, database, against, tenant, as_json)
        return
    if against is not None:
        raise CommandFailed("--against needs --database, the file to compare", ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    _live(workflow_id, address, token, as_json)


def _live(workflow_id: str, address: str | None, token: str | None, as_json: bool) -> None:
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def ask(service: Service) -> replay_service_pb2.ReplayResponse:
        return await live_replay(service, workflow_id)

    answer = with_service(address, token, ask)
    if as_json:
        print_json(live_dict(answer))
    elif answer.matches:
        say(f"replay matches: {answer.stream_version} events make the live state {answer.live_state_digest.hex()}")
    else:
        say(f"differs at version {answer.stream_version}: the events make another state than the live one")
    raise typer.Exit(ExitCode.OK if answer.matches else ExitCode.FAILED)


def _offline(workflow_id: str, database: str, against: Path | None, tenant: str, as_json: bool) -> None:
    from service.cli.json_options import read_text
    from service.cli.output import print_json, say
    from service.cli.workflows.replay_comparison import compare, saved_replay
    from service.main import replay_offline

    if "://" not in database and not Path(database).is_file():
        # It is not repeated: an address that was written in another way may hold a password.
        raise CommandFailed("--database names no file that is there", ExitCode.NOT_FOUND, "DATABASE_NOT_FOUND")
    live = None if against is None else saved_replay(read_text(str(against), "--against"), str(against))
    if live is not None and live.workflow_id != workflow_id:
        message = f"{against} is about {live.workflow_id}, not about {workflow_id}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    folded = replay_offline(database, workflow_id, tenant)
    if live is None and not folded.record_digests:
        message = f"there is no workflow {workflow_id} of tenant {tenant} in this database"
        raise CommandFailed(message, ExitCode.NOT_FOUND, "WORKFLOW_NOT_FOUND")
    difference = compare(live, folded) if live is not None else own_difference(folded)
    if as_json:
        print_json(_offline_dict(workflow_id, folded, difference))
    elif difference is not None:
        say(f"{difference}: {difference.problem}")
    elif live is None:
        say(f"folds: {folded.stream_version} events make the state {folded.state_digest.hex()}")
    else:
        say(f"replay matches: {folded.stream_version} events make the state {folded.state_digest.hex()}")
    raise typer.Exit(ExitCode.OK if difference is None else ExitCode.FAILED)


async def live_replay(service: Service, workflow_id: str) -> replay_service_pb2.ReplayResponse:
    """Ask the live service to rebuild a workflow. Raises podium.PodiumError."""
    from podium.v1 import replay_service_pb2, replay_service_pb2_grpc

    stub = replay_service_pb2_grpc.ReplayServiceStub(service.connection.channel)
    return await service.connection.call(stub.Replay, replay_service_pb2.ReplayRequest(workflow_id=workflow_id))


def live_dict(answer: replay_service_pb2.ReplayResponse) -> dict[str, Any]:
    """Return what the live service said, as --against reads it."""
    return {
        "workflow_id": answer.workflow_id,
        "stream_version": answer.stream_version,
        "matches": answer.matches,
        "state_digest": answer.live_state_digest.hex(),
        "rebuilt_state_digest": answer.rebuilt_state_digest.hex(),
        "record_digests": [digest.hex() for digest in answer.record_digests],
    }


def own_difference(folded: Folded) -> Difference | None:
    """Return where the events of a file do not fold; None when they do."""
    from service.cli.workflows.replay_comparison import Difference

    return None if folded.failed_version is None else Difference(folded.failed_version, folded.problem)


def _offline_dict(workflow_id: str, folded: Folded, difference: Difference | None) -> dict[str, Any]:
    return {
        "workflow_id": workflow_id,
        "stream_version": folded.stream_version,
        "matches": difference is None,
        "state_digest": folded.state_digest.hex(),
        "differs_at_version": difference.version if difference is not None else None,
        "problem": difference.problem if difference is not None else "",
        "record_digests": [digest.hex() for digest in folded.record_digests],
    }
