"""The services that are served, by their full names, for health and reflection."""

from __future__ import annotations

from podium.v1 import (
    access_service_pb2,
    admin_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    executor_service_pb2,
    monitoring_service_pb2,
    replay_service_pb2,
    resilience_service_pb2,
    tool_service_pb2,
    workflow_service_pb2,
)

SERVICE_NAMES = tuple(
    descriptor.full_name
    for module in (
        workflow_service_pb2,
        tool_service_pb2,
        executor_service_pb2,
        event_service_pb2,
        replay_service_pb2,
        audit_service_pb2,
        admin_service_pb2,
        access_service_pb2,
        resilience_service_pb2,
        monitoring_service_pb2,
    )
    for descriptor in module.DESCRIPTOR.services_by_name.values()
)
