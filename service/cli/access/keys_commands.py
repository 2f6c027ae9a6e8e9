"""`podium keys`: the data keys that sealed values depend on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import admin_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Look at data keys, rotate and destroy them.", no_args_is_help=True, rich_markup_mode=None)


@app.command(
    "list",
    epilog=example(
        "podium keys list",
        "podium keys list --json | jq -r 'select(.current) | .key_id'",
    ),
)
def list_keys(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List your tenant's data keys, the oldest first."""
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, note, print_json, table

    async def read(service: Service) -> admin_service_pb2.ListDataKeysResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        return await service.connection.call(stub.ListDataKeys, admin_service_pb2.ListDataKeysRequest())

    keys = with_service(address, token, read).keys
    if as_json:
        for key in keys:
            print_json(_key_dict(key))
    elif not keys:
        note("there are no data keys: nothing of this tenant is sealed")
    else:
        rows = [(key.key_id, _state(key), moment(key.made_at_us), moment(key.destroyed_at_us)) for key in keys]
        table(("key", "state", "made", "destroyed"), rows)


@app.command("rotate", epilog=example("podium keys rotate"))
def rotate(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Seal with a new data key from now on. What earlier keys sealed stays readable."""
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def change(service: Service) -> admin_service_pb2.RotateDataKeyResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        return await service.connection.call(stub.RotateDataKey, admin_service_pb2.RotateDataKeyRequest())

    key = with_service(address, token, change).key
    if as_json:
        print_json(_key_dict(key))
    else:
        say(f"values are sealed with {key.key_id} from now on")


@app.command(
    "destroy",
    epilog=example(
        "podium keys destroy 0642ab1c9d3f005c7a9e01f2b3",
        "podium keys destroy 0642ab1c9d3f005c7a9e01f2b3 --yes --json",
    ),
)
def destroy(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `podium keys list` tells it.")],
    confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Destroy a data key for good: everything that it sealed is erased, here and in every copy of the log."""
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    if not confirmed:
        _confirm(key_id)

    async def change(service: Service) -> admin_service_pb2.DestroyDataKeyResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        request = admin_service_pb2.DestroyDataKeyRequest(key_id=key_id)
        return await service.connection.call(stub.DestroyDataKey, request)

    key = with_service(address, token, change).key
    if as_json:
        print_json(_key_dict(key))
    else:
        say(f"{key.key_id} was destroyed: what it sealed is erased")


def _confirm(key_id: str) -> None:
    """Ask whoever sits at the terminal. Raises CommandFailed when nobody does, or does not want it."""
    from service.cli.output import note

    if not sys.stdin.isatty():
        raise CommandFailed(
            "a data key is destroyed for good: confirm it with --yes", ExitCode.BAD_INPUT, "NOT_CONFIRMED"
        )
    # Asked on standard error: standard output is for what the command answers.
    note(f"everything that {key_id} sealed will be erased for good; destroy it? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed("nothing was destroyed", ExitCode.FAILED, "NOT_CONFIRMED")


def _state(key: admin_service_pb2.DataKeyInfo) -> str:
    if key.destroyed_at_us:
        return "destroyed"
    return "current" if key.current else "opens only"


def _key_dict(key: admin_service_pb2.DataKeyInfo) -> dict[str, Any]:
    from service.cli.output import moment

    return {
        "key_id": key.key_id,
        "made_at": moment(key.made_at_us),
        "destroyed_at": moment(key.destroyed_at_us) or None,
        "current": key.current,
    }
