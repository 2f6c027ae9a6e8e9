"""`podium addresses`: networks that may not call, blocked by hand or after too many failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(
    help="Block networks, and take blocks back. Of the operator's tenant they hold for everyone.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Network = Annotated[str, typer.Argument(metavar="NETWORK", help="An address, or a network such as 203.0.113.0/24.")]


@app.command(
    "block",
    epilog=example(
        "podium addresses block 203.0.113.7 --for 1h --reason 'tries passwords'",
        "podium addresses block 2001:db8:77::/48",
    ),
)
def block(
    network: Network,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="30m, 1h, 7d; without it: for good.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the log.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Refuse whoever calls from a network, and what steps submitted from there would still attempt."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    request = access_service_pb2.BlockAddressRequest(
        network=network, reason=reason, duration_ms=_duration_ms(lasting) if lasting else 0
    )

    async def change(service: Service) -> access_service_pb2.BlockAddressResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        return await service.connection.call(stub.BlockAddress, request)

    event = with_service(address, token, change).event
    if as_json:
        print_json({"network": network, "event": event})
    else:
        say(f"{network} is blocked{f' for {lasting}' if lasting else ''} (event {event})")


@app.command("unblock", epilog=example("podium addresses unblock 203.0.113.7"))
def unblock(network: Network, address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Take a block back, named as the list names it."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def change(service: Service) -> access_service_pb2.UnblockAddressResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = access_service_pb2.UnblockAddressRequest(network=network)
        return await service.connection.call(stub.UnblockAddress, request)

    event = with_service(address, token, change).event
    if as_json:
        print_json({"network": network, "event": event})
    else:
        say(f"{network} may call again (event {event})")


@app.command(
    "list",
    epilog=example(
        "podium addresses list",
        "podium addresses list --json | jq -r 'select(.failures > 0) | .network'",
    ),
)
def list_blocked(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List the blocks in force. Those that the policy holds are in the policy."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, note, print_json, table

    async def read(service: Service) -> list[access_service_pb2.BlockedAddress]:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = access_service_pb2.ListBlockedAddressesRequest(page_size=1000)
        found: list[access_service_pb2.BlockedAddress] = []
        while True:
            page = await service.connection.call(stub.ListBlockedAddresses, request)
            found += page.addresses
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    blocks = with_service(address, token, read)
    if as_json:
        for each in blocks:
            print_json(_block_dict(each))
    elif not blocks:
        note("no address is blocked")
    else:
        rows = [(b.network, moment(b.blocked_at_us), moment(b.expires_at_us) or "never", b.reason) for b in blocks]
        table(("network", "blocked", "until", "why"), rows)


def _duration_ms(text: str) -> int:
    from podium.durations import milliseconds
    from service.cli.failures import CommandFailed, ExitCode

    try:
        return max(1, milliseconds(text))
    except ValueError as error:
        raise CommandFailed(str(error), ExitCode.BAD_INPUT, "INVALID_DURATION") from None


def _block_dict(block: access_service_pb2.BlockedAddress) -> dict[str, Any]:
    from service.cli.output import moment

    return {
        "network": block.network,
        "reason": block.reason,
        "blocked_at": moment(block.blocked_at_us),
        "expires_at": moment(block.expires_at_us) or None,
        "failures": block.failures,
    }
