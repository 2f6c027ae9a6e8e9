"""Reads the google.rpc.Status that a refusal carries in its trailing metadata.

The client depends on grpcio and protobuf alone, so the few messages it needs are described here, in a descriptor pool
of their own: a program that also has googleapis-common-protos never sees two definitions of one file. Field numbers
are those of google/rpc/status.proto and google/rpc/error_details.proto; the package's name does not reach the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

METADATA_KEY = "grpc-status-details-bin"
DOMAIN = "podium"

_PACKAGE = "podium.status"
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "int64": _Field.TYPE_INT64}
# Message: {field: (number, type, repeated)}.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Any": {"type_url": (1, "string", False), "value": (2, "bytes", False)},
    "Status": {"code": (1, "int64", False), "message": (2, "string", False), "details": (3, "Any", True)},
    "Entry": {"key": (1, "string", False), "value": (2, "string", False)},
    "ErrorInfo": {
        "reason": (1, "string", False),
        "domain": (2, "string", False),
        "metadata": (3, "Entry", True),
    },
    "FieldViolation": {"field": (1, "string", False), "description": (2, "string", False)},
    "BadRequest": {"field_violations": (1, "FieldViolation", True)},
    "Duration": {"seconds": (1, "int64", False), "nanos": (2, "int64", False)},
    "RetryInfo": {"retry_delay": (1, "Duration", False)},
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="podium/status.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            added = described.field.add(name=field_name, number=number)
            added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type = _Field.TYPE_MESSAGE
                added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_classes = _message_classes()


@dataclass(frozen=True, slots=True)
class StatusDetails:
    """What a refusal says beside its code and message; empty where it says nothing."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    """The fields of the request that are at fault, each with what is wrong with it."""
    retry_after_s: float | None = None


def read_details(status: bytes) -> StatusDetails:
    """Reads a serialised google.rpc.Status. Bytes that are none say nothing."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: tuple[tuple[str, str], ...] = ()
    retry_after_s: float | None = None
    try:
        details = _classes["Status"].FromString(status).details
        for packed in details:
            kind = packed.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = _classes["ErrorInfo"].FromString(packed.value)
                if info.domain == DOMAIN:
                    reason = info.reason
                    metadata = {entry.key: entry.value for entry in info.metadata}
            elif kind == "google.rpc.BadRequest":
                request = _classes["BadRequest"].FromString(packed.value)
                violations = tuple((each.field, each.description) for each in request.field_violations)
            elif kind == "google.rpc.RetryInfo":
                delay = _classes["RetryInfo"].FromString(packed.value).retry_delay
                retry_after_s = delay.seconds + delay.nanos / 1e9
    except message.DecodeError:
        return StatusDetails()
    return StatusDetails(reason, metadata, violations, retry_after_s)
