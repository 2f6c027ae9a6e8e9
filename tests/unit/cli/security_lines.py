"""Lines of an audit trail as its export has them, made by what makes the export."""

import json

from podium.v1 import events_pb2
from podium.v1.value_pb2 import Principal
from service.projections.audit_lines import line_of
from service.projections.audit_query import _json_line
from store.records import TYPE_NUMBERS

DAY_US = 86_400_000_000
NOW_US = 1_800_000_000_000_000


def line(payload, *, at_us=NOW_US, position=1, subject="ana", token_id="t1", session_id="", tool=""):
    """The line of an event."""
    kind = next(f.name for f in events_pb2.Event.DESCRIPTOR.oneofs[0].fields if f.message_type is payload.DESCRIPTOR)
    event = events_pb2.Event(position=position, recorded_at_us=at_us, tenant="acme", type=TYPE_NUMBERS[kind])
    event.principal.CopyFrom(Principal(subject=subject, token_id=token_id, session_id=session_id))
    getattr(event, kind).CopyFrom(payload)
    told = line_of(event)
    return json.loads(_json_line(event, told, told.tool or tool))


def checked(decision, *, tool="mail", rule="role:agent", required=("email_send",), subject="bob"):
    """A decision over a call."""
    return events_pb2.PermissionChecked(
        step_id="s", attempt=1, tool=tool, decision=decision, rule=rule, required=required,
        principal=Principal(subject=subject, token_id="t1"),
    )  # fmt: skip
