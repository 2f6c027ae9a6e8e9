"""No RPC gets through that does not say who calls and may not call the method."""

import asyncio
import importlib
import pkgutil

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import podium.v1
from podium.v1 import (
    access_service_pb2,
    admin_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    events_pb2,
    executor_service_pb2,
    monitoring_service_pb2,
    replay_service_pb2,
    resilience_service_pb2,
    tool_service_pb2,
    value_pb2,
    workflow_service_pb2,
)
from service.api.authentication import current_caller
from service.api.methods import METHOD_PERMISSIONS
from service.api.peers import address_of
from service.domain.errors import Denied
from service.domain.permissions import API_PERMISSIONS, Policy
from tests.unit.api_edge.refusals import reason, refusal

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED


async def collect(call):
    return [message async for message in call]


async def upload(edge, metadata, *, sends):
    call = edge.executors.Upload(metadata=metadata)
    if sends:
        await call.write(executor_service_pb2.UploadRequest())
        await call.done_writing()
    return await call


async def session(edge, metadata, *, sends):
    # A stream that is refused while it sends ends as INTERNAL now and then: that is grpc.aio's client, not the server.
    call = edge.executors.Session(metadata=metadata)
    if sends:
        await call.write(executor_service_pb2.SessionRequest())
        await call.read()
        await call.done_writing()
    return await call.read()


KINDS = {
    "unary-unary": lambda edge, metadata, sends: edge.get(metadata),
    "unary-stream": lambda edge, metadata, sends: collect(
        edge.events.ReadStream(event_service_pb2.ReadStreamRequest(), metadata=metadata)
    ),
    "unary-stream by writing": lambda edge, metadata, sends: collect(
        edge.workflows.WatchWorkflow(workflow_service_pb2.WatchWorkflowRequest(), metadata=metadata)
    ),
    "stream-unary": lambda edge, metadata, sends: upload(edge, metadata, sends=sends),
    "stream-stream": lambda edge, metadata, sends: session(edge, metadata, sends=sends),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_call_is_let_in_with_a_token(edge, kind):
    await KINDS[kind](edge, edge.bearer("admin"), True)
    assert {caller.authority.principal.subject for caller in edge.script.seen} == {"alice"}


@pytest.mark.parametrize("kind", KINDS)
async def test_no_kind_of_call_is_let_in_without_one(edge, kind):
    assert await reason(KINDS[kind](edge, None, False)) == (UNAUTHENTICATED, "TOKEN_MISSING")
    assert edge.script.seen == []


@pytest.mark.parametrize("kind", KINDS)
async def test_no_kind_of_call_is_let_in_without_its_permission(edge, kind):
    assert await reason(KINDS[kind](edge, edge.bearer("nobody"), False)) == (PERMISSION_DENIED, "PERMISSION_DENIED")
    assert edge.script.seen == []


async def test_a_refusal_says_what_is_needed_and_by_which_rule(edge):
    error, _ = await refusal(edge.get(edge.bearer("executor")))
    assert error.details() == "alice needs workflows.read (rule default-deny)"


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer x")],
        [("authorization", "Basic YTpi")],
        [("authorization", "Bearer")],
        [("authorization", "")],
        [("authorization", "x"), ("authorization", "y")],
    ],
)
async def test_a_wrong_token_is_refused(edge, metadata):
    assert await reason(edge.get(metadata)) == (UNAUTHENTICATED, "TOKEN_INVALID")


async def test_two_tokens_are_one_too_many(edge):
    assert await reason(edge.get(edge.bearer("admin") * 2)) == (UNAUTHENTICATED, "TOKEN_INVALID")


async def test_the_scheme_is_read_in_any_case(edge):
    ((_, value),) = edge.bearer("admin")
    for scheme in ("bearer", "BEARER"):
        await edge.get([("authorization", value.replace("Bearer", scheme))])


async def test_a_remembered_token_still_expires(edge):
    metadata = edge.bearer("admin")
    await edge.get(metadata)
    edge.clock.us += 59_000_000
    await edge.get(metadata)
    edge.clock.us += 11_000_000
    assert await reason(edge.get(metadata)) == (UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_a_remembered_token_is_not_verified_again(edge):
    metadata = edge.bearer("admin")
    await edge.get(metadata)
    # Without its keys the interceptor can verify nothing, which shows that it does not.
    edge.tokens._keys.clear()  # noqa: SLF001
    await edge.get(metadata)
    assert await reason(edge.get(edge.bearer("admin", token_id="t2"))) == (UNAUTHENTICATED, "TOKEN_INVALID")


async def test_a_remembered_token_is_refused_once_it_is_revoked(edge):
    metadata, other = edge.bearer("admin"), edge.bearer("admin", token_id="t2")
    for each in (metadata, other):
        await edge.get(each)
    event = events_pb2.CredentialsRevoked(token_id="t1")
    edge.revocations.add(
        "default", event, revoked_at_us=edge.clock.us, revoked_by=value_pb2.Principal(subject="ana"), position=1
    )
    for _ in range(2):
        assert await reason(edge.get(metadata)) == (UNAUTHENTICATED, "TOKEN_REVOKED")
    await edge.get(other)


async def test_permissions_over_what_tenants_share_count_in_the_operators_tenant_alone(edge):
    """The negative control is the operator's own admin, who is let in."""
    edge.policies["acme"] = edge.policies["default"]
    method = "/podium.v1.AccessService/ListTenants"
    ((_, mine),), ((_, theirs),) = edge.bearer("admin"), edge.bearer("admin", tenant="acme")
    edge.interceptor.admit(method, [mine], "ipv4:127.0.0.1:1")
    with pytest.raises(Denied) as denied:
        edge.interceptor.admit(method, [theirs], "ipv4:127.0.0.1:1")
    assert denied.value.message == "alice needs tenants.read (rule operator-tenant)"


async def test_few_tokens_are_remembered(edge):
    for number in range(20):
        await edge.get(edge.bearer("admin", token_id=f"t{number}"))
    assert len(edge.interceptor._known) == 8  # noqa: SLF001 - nothing else shows it


async def test_a_policy_that_changes_counts_for_remembered_tokens(edge):
    metadata = edge.bearer("admin")
    await edge.get(metadata)
    edge.policies["default"] = Policy("default", 2, {})
    assert await reason(edge.get(metadata)) == (PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_each_tenant_has_its_own_policy(edge):
    await edge.get(edge.bearer("admin"))
    assert await reason(edge.get(edge.bearer("admin", tenant="closed"))) == (PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_a_scope_limits_which_methods_may_be_called(edge):
    await edge.get(edge.bearer("admin", scopes=["workflows.read"]))
    start = edge.workflows.StartWorkflow(
        workflow_service_pb2.StartWorkflowRequest(), metadata=edge.bearer("admin", scopes=["workflows.read"])
    )
    assert await reason(start) == (PERMISSION_DENIED, "PERMISSION_DENIED")


async def test_the_caller_has_the_address_it_called_from(edge):
    await edge.get(edge.bearer("admin"))
    assert edge.script.seen[0].authority.principal.address == "127.0.0.1"


async def test_calls_at_the_same_time_do_not_see_each_others_caller(edge):
    edge.script.hold = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(edge.get(edge.bearer("admin", subject=f"s{number}", tenant="default")))
        await asyncio.sleep(0)
        edge.script.hold.set()
    subjects = [caller.authority.principal.subject for caller in edge.script.seen]
    assert sorted(subjects) == sorted(f"s{number}" for number in range(20))


def test_outside_of_a_call_there_is_no_caller():
    with pytest.raises(LookupError):
        current_caller()


async def test_health_and_reflection_need_no_token(edge):
    stub = health_pb2_grpc.HealthStub(edge.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = await collect(
        reflection_pb2_grpc.ServerReflectionStub(edge.channel).ServerReflectionInfo(iter([listing]))
    )
    assert [service.name for service in answers[0].list_services_response.service] == ["podium.v1.WorkflowService"]


async def test_a_method_that_nobody_serves_is_unimplemented(edge):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.channel.unary_unary("/podium.v1.WorkflowService/Nothing")(b"", metadata=edge.bearer("admin"))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_method_without_a_row_is_closed_to_everyone(edge, monkeypatch):
    monkeypatch.delitem(METHOD_PERMISSIONS, "/podium.v1.WorkflowService/GetWorkflow")
    assert await reason(edge.get(edge.bearer("admin"))) == (PERMISSION_DENIED, "METHOD_CLOSED")


CONTRACT = [
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
]


def methods(files):
    """The full names of the methods of every service in the files."""
    found = set()
    for file in files:
        described = descriptor_pb2.FileDescriptorProto()
        file.DESCRIPTOR.CopyToProto(described)
        for service in described.service:
            found |= {f"/{described.package}.{service.name}/{method.name}" for method in service.method}
    return found


def test_every_method_of_the_contract_has_its_permission_and_no_other_has_one():
    assert set(METHOD_PERMISSIONS) == methods(CONTRACT)
    assert set(METHOD_PERMISSIONS.values()) <= set(API_PERMISSIONS)


def test_the_comparison_would_find_a_method_without_a_permission():
    assert methods(CONTRACT) - set(METHOD_PERMISSIONS) == set()
    without = dict(list(METHOD_PERMISSIONS.items())[1:])
    assert methods(CONTRACT) - set(without) == {"/podium.v1.WorkflowService/StartWorkflow"}


def test_the_comparison_looks_at_every_service_of_the_contract():

    files = [
        importlib.import_module(f"podium.v1.{m.name}")
        for m in pkgutil.iter_modules(podium.v1.__path__)
        if m.name.endswith("_pb2")
    ]
    assert methods(files) == methods(CONTRACT)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:[2001:db8::1]:5000", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"),
        ("ipv6:[::ffff:10.0.0.1]:5000", "10.0.0.1"),
        ("ipv6:[fe80::1%25eth0]:5000", "fe80::1"),
        ("unix:/run/podium.sock", "unix"),
        ("unix:", "unix"),
        ("unix-abstract:podium", "unix"),
        ("ipv4:nonsense:1", ""),
        ("", ""),
    ],
)
def test_the_address_is_read_from_the_name_of_the_peer(peer, address):
    assert address_of(peer) == address
