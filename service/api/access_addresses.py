"""AccessService about addresses: what is blocked in the caller's tenant, and by whom."""

from __future__ import annotations

from podium.v1 import access_service_pb2 as pb
from service.api import parts as p
from service.api.authentication import current_caller
from service.engine.address_blocks import network_named

_REASON_LENGTH = 1000


async def block(parts: p.ApiParts, request: pb.BlockAddressRequest) -> pb.BlockAddressResponse:
    """Block a network. In the operator's tenant it is blocked for everyone."""
    position = await parts.blocks.block(
        current_caller().tenant,
        network_named(request.network, "network"),
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


def listed(parts: p.ApiParts) -> pb.ListBlockedAddressesResponse:
    """The blocks in force, by network. Those of a policy are in the policy."""
    return pb.ListBlockedAddressesResponse(
        addresses=[
            pb.BlockedAddress(
                network=str(block.network),
                reason=block.reason,
                blocked_at_us=block.blocked_at_us,
                expires_at_us=block.expires_at_us,
                failures=block.failures,
            )
            for block in parts.blocks.listed(current_caller().tenant)
        ]
    )
