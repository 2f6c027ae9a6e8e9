"""Reads the audit trail through the API, in one pass."""

from __future__ import annotations

import json
from collections.abc import Callable

from service.cli.connecting import Service, told
from service.cli.security.trail import TYPES, Trail

PROGRESS_LINES = 50_000


async def read_trail(service: Service, since_us: int, on_lines: Callable[[int], None]) -> Trail:
    """Count the lines of the trail since a time. `on_lines` is told from time to time how many there were."""
    from podium.v1 import audit_service_pb2, audit_service_pb2_grpc

    stub = audit_service_pb2_grpc.AuditServiceStub(service.connection.channel)
    wanted = audit_service_pb2.AuditFilter(from_us=since_us, types=TYPES)
    request = audit_service_pb2.ExportAuditRequest(filter=wanted)
    trail, due = Trail(), PROGRESS_LINES
    async for answer in told(stub.ExportAudit(request, metadata=service.connection.metadata())):
        for line in answer.data.splitlines():
            trail.add(json.loads(line))
        if trail.lines >= due:
            due += PROGRESS_LINES
            on_lines(trail.lines)
    return trail
