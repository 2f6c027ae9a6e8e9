"""What each method of the contract needs. A method that is not here is refused to everyone."""

from __future__ import annotations

METHOD_PERMISSIONS: dict[str, str] = {
    "/podium.v1.WorkflowService/StartWorkflow": "workflows.start",
    "/podium.v1.WorkflowService/RunWorkflow": "workflows.start",
    "/podium.v1.WorkflowService/AwaitWorkflow": "workflows.read",
    "/podium.v1.WorkflowService/GetWorkflow": "workflows.read",
    "/podium.v1.WorkflowService/ListWorkflows": "workflows.read",
    "/podium.v1.WorkflowService/ListSteps": "workflows.read",
    "/podium.v1.WorkflowService/WatchWorkflow": "workflows.read",
    "/podium.v1.WorkflowService/AddSteps": "workflows.change",
    "/podium.v1.WorkflowService/FinishWorkflow": "workflows.change",
    "/podium.v1.WorkflowService/CancelWorkflow": "workflows.change",
    "/podium.v1.ToolService/RegisterTool": "tools.register",
    "/podium.v1.ToolService/GetTool": "tools.read",
    "/podium.v1.ToolService/ListTools": "tools.read",
    "/podium.v1.ToolService/CallTool": "tools.call",
    "/podium.v1.ToolService/CallToolBatch": "tools.call",
    "/podium.v1.ExecutorService/Session": "tools.serve",
    "/podium.v1.ExecutorService/Upload": "tools.serve",
    "/podium.v1.ExecutorService/GetArguments": "tools.serve",
    "/podium.v1.EventService/ReadStream": "events.read",
    "/podium.v1.EventService/ReadAll": "events.read",
    "/podium.v1.EventService/Subscribe": "events.read",
    "/podium.v1.ReplayService/Replay": "replay",
    "/podium.v1.AuditService/QueryAudit": "audit.read",
    "/podium.v1.AuditService/ExportAudit": "audit.read",
    "/podium.v1.AccessService/GetPolicy": "policies.read",
    "/podium.v1.AccessService/ListPolicyRevisions": "policies.read",
    "/podium.v1.AccessService/ListPolicyProposals": "policies.read",
    "/podium.v1.AccessService/PreviewPolicy": "policies.read",
    "/podium.v1.AccessService/ApplyPolicy": "policies.change",
    "/podium.v1.AccessService/RollBackPolicy": "policies.change",
    "/podium.v1.AccessService/RejectPolicy": "policies.approve",
    "/podium.v1.AccessService/ApprovePolicy": "policies.approve",
    "/podium.v1.AccessService/RevokeCredentials": "credentials.revoke",
    "/podium.v1.AccessService/ListRevocations": "credentials.read",
    "/podium.v1.AccessService/BlockAddress": "addresses.change",
    "/podium.v1.AccessService/UnblockAddress": "addresses.change",
    "/podium.v1.AccessService/ListBlockedAddresses": "addresses.read",
    "/podium.v1.AccessService/ConfigureTenant": "tenants.change",
    "/podium.v1.AccessService/ListTenants": "tenants.read",
    "/podium.v1.AccessService/GetTenant": "tenants.read",
    "/podium.v1.ResilienceService/ListBreakers": "breakers.read",
    "/podium.v1.ResilienceService/GetBreaker": "breakers.read",
    "/podium.v1.ResilienceService/SetBreaker": "breakers.change",
    "/podium.v1.ResilienceService/GetCacheStatistics": "cache.read",
    "/podium.v1.ResilienceService/ListCacheEntries": "cache.read",
    "/podium.v1.ResilienceService/InvalidateCache": "cache.invalidate",
    "/podium.v1.MonitoringService/GetToolStatistics": "statistics.read",
    "/podium.v1.MonitoringService/ListExecutors": "executors.read",
    "/podium.v1.MonitoringService/GetStatus": "status.read",
    "/podium.v1.AdminService/ListProjections": "projections.read",
    "/podium.v1.AdminService/RebuildProjection": "projections.rebuild",
    "/podium.v1.AdminService/ListQuarantined": "quarantine.read",
    "/podium.v1.AdminService/ReleaseQuarantined": "quarantine.release",
    "/podium.v1.AdminService/ListDataKeys": "keys.read",
    "/podium.v1.AdminService/RotateDataKey": "keys.rotate",
    "/podium.v1.AdminService/DestroyDataKey": "keys.destroy",
}
"""Full name to permission."""

ASKED_AGAIN = frozenset(
    {
        "/podium.v1.ToolService/RegisterTool",
        "/podium.v1.ToolService/GetTool",
        "/podium.v1.ToolService/ListTools",
        "/podium.v1.ToolService/CallTool",
        "/podium.v1.ToolService/CallToolBatch",
        "/podium.v1.ExecutorService/Session",
        "/podium.v1.ExecutorService/Upload",
        "/podium.v1.ExecutorService/GetArguments",
    }
)
"""The methods whose servicers ask again with a tool's name. A grant that is limited to names opens no others."""

OPEN_SERVICES = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
"""What answers without a token: it tells nothing of any tenant."""
