"""What AccessService says and takes about revoked credentials."""

from __future__ import annotations

from podium.v1 import access_service_pb2 as pb
from podium.v1 import events_pb2
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins_at, page_token
from service.domain.errors import InvalidInput
from service.domain.revocations import KINDS, Revocation

NAME_LENGTH_MAX = 256
"""As long as tokens may name anything."""
REASON_LENGTH_MAX = 1000
_FIELDS = {kind: field for field, kind in KINDS.items()}


async def revoke(parts: p.ApiParts, request: pb.RevokeCredentialsRequest) -> pb.RevokeCredentialsResponse:
    """Revoke credentials of the caller's tenant. Raises InvalidInput when none is named."""
    field = request.WhichOneof("credential")
    name = getattr(request, field) if field is not None else ""
    if field is None or not 0 < len(name) <= NAME_LENGTH_MAX:
        path: str = field or "credential"
        problem = f"is missing, or longer than {NAME_LENGTH_MAX} characters"
        raise InvalidInput("INVALID_CREDENTIAL", f"{path} {problem}", violations=[(path, problem)])
    event = events_pb2.CredentialsRevoked(reason=request.reason[:REASON_LENGTH_MAX])
    setattr(event, field, name)
    done = await parts.revoker.revoke(current_caller().tenant, event, p.cause_of_request())
    return pb.RevokeCredentialsResponse(
        canceled_workflows=done.canceled_workflows,
        ended_streams=done.ended_streams,
        event=p.event_name(done.position),
    )


def list_revocations(parts: p.ApiParts, request: pb.ListRevocationsRequest) -> pb.ListRevocationsResponse:
    """A page of what was revoked in the caller's tenant, the newest first. Raises InvalidInput."""
    size = p.page_size(request.page_size)
    found = parts.revocations.of_tenant(current_caller().tenant)
    # Counted from the oldest, so that what is revoked meanwhile does not move the pages.
    end = page_begins_at("revocations", request.page_token, first=len(found), last=len(found))
    first = max(0, end - size)
    page = [_message(each) for each in reversed(found[first:end])]
    return pb.ListRevocationsResponse(
        revocations=page, next_page_token=page_token("revocations", first) if first else ""
    )


def _message(revocation: Revocation) -> pb.Revocation:
    message = pb.Revocation(
        reason=revocation.reason, revoked_at_us=revocation.revoked_at_us, revoked_by=revocation.revoked_by
    )
    setattr(message, _FIELDS[revocation.kind], revocation.name)
    return message
