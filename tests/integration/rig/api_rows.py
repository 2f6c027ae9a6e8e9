"""One row for every method of the contract: what its owner asks, and what a stranger is answered who asks the same.

Tests of access walk the contract's descriptors and look their rows up here, so that a method without a row fails them.
"""

import json
from dataclasses import dataclass

from google.protobuf.message import Message

from podium.v1 import (
    access_service_pb2,
    admin_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    executor_service_pb2,
    monitoring_service_pb2,
    policy_pb2,
    replay_service_pb2,
    resilience_service_pb2,
    tool_service_pb2,
    workflow_service_pb2,
)
from tests.integration.rig.caller import step

NOT_FOUND, UNKNOWN_TOOL, NOTHING = "is not there", "names an unknown tool", "sees nothing"
"""What becomes of a stranger's request: the thing is not there, or the answer holds nothing of it."""
OPERATORS = "may not"
"""The method is the operator's; every other tenant is refused."""
OPERATOR_TENANT = "default"
SECRET_STEP = "secret_step"


@dataclass(frozen=True)
class Planted:
    """What a tenant has that requests can name."""

    workflow_id: str
    tool: str
    text: str
    """What no other tenant may read."""
    network: str = "198.51.100.0/24"
    proposal_id: str = "no-proposal"
    token_id: str = "a-token-of-theirs"


async def plant(caller, text):
    """Put a text wherever a tenant can put one."""
    a = access_service_pb2
    await caller.register("vault", description=text)
    workflow_id = await caller.start(
        step("vault", {"what": text}, id=SECRET_STEP), name=text, input_json=json.dumps(text), open=True
    )
    await caller.access.BlockAddress(a.BlockAddressRequest(network=Planted.network, reason=text))
    await caller.access.RevokeCredentials(a.RevokeCredentialsRequest(token_id=Planted.token_id, reason=text))
    policy = policy_pb2.Policy(
        name=text, roles=[policy_pb2.Role(name="admin", grants=["*"])], changes_need_approval=True
    )
    await caller.access.ApplyPolicy(a.ApplyPolicyRequest(policy=policy, note=text))
    proposed = await caller.access.ApplyPolicy(a.ApplyPolicyRequest(policy=policy, note=text))
    return Planted(workflow_id, "vault", text, proposal_id=proposed.proposal_id)


@dataclass(frozen=True)
class Row:
    """A method's request, made of what was planted (None: an empty stream), and what a stranger is answered."""

    request: Message | None
    stranger: str = NOTHING
    also: tuple[str, ...] = ()
    """What the request needs beside the method's own permission."""


def rows(planted):
    """By the method's full name."""
    return {
        f"/podium.v1.{service}/{method}": row
        for service, methods in {
            "WorkflowService": _workflows(planted),
            "ToolService": _tools(planted),
            "ExecutorService": _executors(planted),
            "EventService": _events(planted),
            "ReplayService": {
                "Replay": Row(replay_service_pb2.ReplayRequest(workflow_id=planted.workflow_id), NOT_FOUND)
            },
            "AuditService": _audit(planted),
            "AccessService": _access(planted),
            "AdminService": _admin(planted),
            "MonitoringService": _monitoring(),
            "ResilienceService": _resilience(planted),
        }.items()
        for method, row in methods.items()
    }


def _workflows(planted):
    w, named = workflow_service_pb2, {"workflow_id": planted.workflow_id}
    start = w.StartWorkflowRequest(steps=[step(planted.tool)])
    return {
        "StartWorkflow": Row(start, UNKNOWN_TOOL),
        "RunWorkflow": Row(w.RunWorkflowRequest(workflow=start), UNKNOWN_TOOL, also=("workflows.read",)),
        "AwaitWorkflow": Row(w.AwaitWorkflowRequest(**named), NOT_FOUND),
        "GetWorkflow": Row(w.GetWorkflowRequest(**named), NOT_FOUND),
        "ListWorkflows": Row(w.ListWorkflowsRequest(name=planted.text)),
        "ListSteps": Row(w.ListStepsRequest(**named), NOT_FOUND),
        "WatchWorkflow": Row(w.WatchWorkflowRequest(**named), NOT_FOUND),
        "AddSteps": Row(w.AddStepsRequest(**named, steps=[step(planted.tool)]), NOT_FOUND),
        "FinishWorkflow": Row(w.FinishWorkflowRequest(**named), NOT_FOUND),
        "CancelWorkflow": Row(w.CancelWorkflowRequest(**named), NOT_FOUND),
    }


def _tools(planted):
    t = tool_service_pb2
    call = t.ToolCall(tool=planted.tool)
    return {
        "RegisterTool": Row(
            t.RegisterToolRequest(definition={"name": "mine", "input_schema_json": '{"type": "object"}'})
        ),
        "GetTool": Row(t.GetToolRequest(name=planted.tool), NOT_FOUND),
        "ListTools": Row(t.ListToolsRequest(include_denied=True), also=("tools.administer",)),
        "CallTool": Row(t.CallToolRequest(call=call), UNKNOWN_TOOL),
        "CallToolBatch": Row(t.CallToolBatchRequest(calls=[call]), UNKNOWN_TOOL),
    }


def _executors(planted):
    attempt = executor_service_pb2.AttemptReference(
        workflow_id=planted.workflow_id, step_id=SECRET_STEP, attempt=1, fence=1
    )
    return {
        "Session": Row(None),
        "Upload": Row(None),
        "GetArguments": Row(executor_service_pb2.GetArgumentsRequest(attempt=attempt), NOT_FOUND),
    }


def _events(planted):
    e = event_service_pb2
    return {
        "ReadStream": Row(e.ReadStreamRequest(stream_id=planted.workflow_id)),
        "ReadAll": Row(e.ReadAllRequest()),
        "Subscribe": Row(e.SubscribeRequest()),
    }


def _audit(planted):
    a = audit_service_pb2
    return {
        "QueryAudit": Row(a.QueryAuditRequest(filter=a.AuditFilter(stream_id=planted.workflow_id))),
        "ExportAudit": Row(a.ExportAuditRequest()),
    }


def _access(planted):
    a = access_service_pb2
    policy = policy_pb2.Policy(name="another", roles=[policy_pb2.Role(name="admin", grants=["*"])])
    return {
        "GetPolicy": Row(a.GetPolicyRequest()),
        "ListPolicyRevisions": Row(a.ListPolicyRevisionsRequest()),
        "ListPolicyProposals": Row(a.ListPolicyProposalsRequest()),
        "PreviewPolicy": Row(a.PreviewPolicyRequest(policy=policy), also=("events.read",)),
        "ApplyPolicy": Row(a.ApplyPolicyRequest(policy=policy)),
        "RollBackPolicy": Row(a.RollBackPolicyRequest(revision=1), NOT_FOUND),
        "RejectPolicy": Row(a.RejectPolicyRequest(proposal_id=planted.proposal_id), NOT_FOUND),
        "ApprovePolicy": Row(a.ApprovePolicyRequest(proposal_id=planted.proposal_id), NOT_FOUND),
        "RevokeCredentials": Row(a.RevokeCredentialsRequest(token_id=planted.token_id)),
        "ListRevocations": Row(a.ListRevocationsRequest()),
        "BlockAddress": Row(a.BlockAddressRequest(network="203.0.113.7", reason="seen there")),
        "UnblockAddress": Row(a.UnblockAddressRequest(network=planted.network), NOT_FOUND),
        "ListBlockedAddresses": Row(a.ListBlockedAddressesRequest()),
        "ConfigureTenant": Row(a.ConfigureTenantRequest(name="made-for-the-table"), OPERATORS),
        "ListTenants": Row(a.ListTenantsRequest(), OPERATORS),
        "GetTenant": Row(a.GetTenantRequest(name="default"), OPERATORS),
    }


def _admin(planted):
    a = admin_service_pb2
    return {
        "ListProjections": Row(a.ListProjectionsRequest(), OPERATORS),
        "RebuildProjection": Row(a.RebuildProjectionRequest(name="none"), OPERATORS),
        "ListQuarantined": Row(a.ListQuarantinedRequest()),
        "ReleaseQuarantined": Row(a.ReleaseQuarantinedRequest(workflow_id=planted.workflow_id), NOT_FOUND),
        "ListDataKeys": Row(a.ListDataKeysRequest()),
        "RotateDataKey": Row(a.RotateDataKeyRequest()),
        "DestroyDataKey": Row(a.DestroyDataKeyRequest(key_id="of another"), NOT_FOUND),
    }


def _monitoring():
    m = monitoring_service_pb2
    return {
        "GetToolStatistics": Row(m.GetToolStatisticsRequest()),
        "ListExecutors": Row(m.ListExecutorsRequest()),
        "GetStatus": Row(m.GetStatusRequest()),
    }


def _resilience(planted):
    r = resilience_service_pb2
    return {
        "ListBreakers": Row(r.ListBreakersRequest()),
        "GetBreaker": Row(r.GetBreakerRequest(tool=planted.tool), NOT_FOUND),
        "SetBreaker": Row(r.SetBreakerRequest(tool=planted.tool, action=r.BREAKER_ACTION_RESET), NOT_FOUND),
        "GetCacheStatistics": Row(r.GetCacheStatisticsRequest()),
        "ListCacheEntries": Row(r.ListCacheEntriesRequest()),
        "InvalidateCache": Row(r.InvalidateCacheRequest(tool=planted.tool)),
    }
