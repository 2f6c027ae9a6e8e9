"""The services of the contract put on a server: one servicer each, over what they read and whom they tell."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from podium.v1 import (
    access_service_pb2_grpc,
    admin_service_pb2_grpc,
    audit_service_pb2_grpc,
    event_service_pb2_grpc,
    executor_service_pb2_grpc,
    monitoring_service_pb2_grpc,
    replay_service_pb2_grpc,
    resilience_service_pb2_grpc,
    tool_service_pb2_grpc,
    workflow_service_pb2_grpc,
)
from service.access import Access
from service.api.access_policies import PolicyAccess
from service.api.access_servicer import AccessServicer
from service.api.admin_projections import ProjectionsAdmin
from service.api.admin_servicer import AdminServicer
from service.api.audit_servicer import AuditServicer, WorkflowLister
from service.api.event_servicer import EventServicer
from service.api.executor_servicer import ExecutorServicer
from service.api.monitoring_servicer import MonitoringServicer
from service.api.parts import ApiParts
from service.api.replay_servicer import ReplayServicer
from service.api.resilience_servicer import ResilienceServicer
from service.api.service_names import SERVICE_NAMES
from service.api.status import Status
from service.api.tool_servicer import ToolServicer
from service.api.tool_statistics import ToolStatisticsReader
from service.api.workflow_servicer import WorkflowServicer
from service.projections.audit_query import AuditQuery
from service.projections.runner import ProjectionRunner
from service.projections.statistics_query import StatisticsQuery
from service.projections.workflow_query import WorkflowQuery


@dataclass(frozen=True, slots=True)
class Served:
    """What the servicers work with."""

    parts: ApiParts
    access: Access
    executors: ExecutorServicer
    runners: Sequence[ProjectionRunner]
    """Of the lists of workflows, the audit trail and the statistics, in this order."""
    status: Status
    health: health.aio.HealthServicer
    spawn: Callable[[Coroutine[Any, Any, object]], None]


def add_servicers(server: grpc.aio.Server, served: Served) -> None:
    """Put every service on a server that has not started."""
    parts = served.parts
    workflows, audit, statistics = served.runners
    lister = WorkflowLister(WorkflowQuery(workflows.model), workflows)
    trail = AuditServicer(AuditQuery(audit.model, parts.store), audit, parts.store)
    projections = ProjectionsAdmin(list(served.runners), parts.store, served.spawn)
    policies = PolicyAccess(parts, served.access.policies)
    reader = ToolStatisticsReader(StatisticsQuery(statistics.model), statistics, parts.catalog, parts.clock)
    monitoring = MonitoringServicer(parts, reader, served.status)
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowServicer(parts, lister), server)
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(ToolServicer(parts), server)
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(served.executors, server)
    event_service_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(parts.store), server)
    replay_service_pb2_grpc.add_ReplayServiceServicer_to_server(ReplayServicer(parts.engine, parts.store), server)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(trail, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(parts, projections), server)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessServicer(parts, policies), server)
    resilience_service_pb2_grpc.add_ResilienceServiceServicer_to_server(ResilienceServicer(parts), server)
    monitoring_service_pb2_grpc.add_MonitoringServiceServicer_to_server(monitoring, server)
    health_pb2_grpc.add_HealthServicer_to_server(served.health, server)
    reflection.enable_server_reflection((*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
