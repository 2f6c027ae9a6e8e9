"""AccessService about addresses: what is blocked in the caller's tenant, and by whom."""

from __future__ import annotations

from podium.v1 import access_service_pb2 as pb
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins, page_token
from service.domain.addresses import first_holding, parse_address
from service.domain.errors import InvalidInput
from service.engine.address_blocks import network_named, network_order

_REASON_LENGTH = 1000


async def block(parts: p.ApiParts, request: pb.BlockAddressRequest) -> pb.BlockAddressResponse:
    """Block a network. In the operator's tenant it is blocked for everyone.

    Raises InvalidInput for one that its caller calls from: who blocks it could not take that back.
    """
    caller, network = current_caller(), network_named(request.network, "network")
    address = parse_address(caller.authority.principal.address)
    if address is not None and first_holding([network], address) is not None:
        problem = f"would shut out {address}, where you call from"
        raise InvalidInput("BLOCK_LOCKS_OUT", f"network {problem}", violations=[("network", problem)])
    position = await parts.blocks.block(
        caller.tenant,
        network,
        reason=request.reason[:_REASON_LENGTH],
        duration_ms=request.duration_ms,
        cause=p.cause_of_request(),
    )
    return pb.BlockAddressResponse(event=p.event_name(position))


async def unblock(parts: p.ApiParts, request: pb.UnblockAddressRequest) -> pb.UnblockAddressResponse:
    """Take a block back."""
    network = network_named(request.network, "network")
    position = await parts.blocks.unblock(current_caller().tenant, network, p.cause_of_request())
    return pb.UnblockAddressResponse(event=p.event_name(position))


def listed(parts: p.ApiParts, request: pb.ListBlockedAddressesRequest) -> pb.ListBlockedAddressesResponse:
    """A page of the blocks in force, by network. Those of a policy are in the policy. Raises InvalidInput."""
    size, last = p.page_size(request.page_size), page_begins("addresses", request.page_token)
    found = parts.blocks.listed(current_caller().tenant)
    if last:
        # Named by the last before it, so that what is blocked or taken back meanwhile does not move the pages.
        after = network_order(network_named(last, "page_token"))
        found = [block for block in found if network_order(block.network) > after]
    page = found[:size]
    return pb.ListBlockedAddressesResponse(
        addresses=[
            pb.BlockedAddress(
                network=str(block.network),
                reason=block.reason,
                blocked_at_us=block.blocked_at_us,
                expires_at_us=block.expires_at_us,
                failures=block.failures,
            )
            for block in page
        ],
        next_page_token=page_token("addresses", page[-1].network) if len(found) > size else "",
    )
