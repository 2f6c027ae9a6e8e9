"""Every method of the contract against every kind of caller: nobody, the expired, a stranger, and the right one.

A method that has no row, or no permission, fails the test that walks the contract.
"""

import pytest

from podium.v1 import tool_service_pb2
from service.api.methods import ASKED_AGAIN, METHOD_PERMISSIONS
from service.domain.permissions import API_PERMISSIONS
from tests.integration.rig.api_rows import NOT_FOUND, OPERATOR_TENANT, OPERATORS, UNKNOWN_TOOL, Planted, plant, rows
from tests.integration.rig.caller import Caller
from tests.integration.rig.forged_tokens import claims, secret_of, signed
from tests.integration.rig.refusal import refusal_if_any, refusal_of
from tests.integration.rig.requests import METHODS, invoke

pytestmark = pytest.mark.both_databases

TEXT = "the text of tenant one"
ABOUT_ACCESS = ("UNAUTHENTICATED", "PERMISSION_DENIED")
FAULTS = ("INTERNAL", "UNKNOWN", "UNIMPLEMENTED")
NOWHERE = Planted("wf_nowhere", "nothing", TEXT)
SHORT_S = 1.0
"""What waits for something to happen is refused before it waits, or not at all."""


def without_rows(methods, table):
    """The methods that the table forgets, and those that it invents."""
    return set(methods) ^ set(table)


def test_every_method_of_the_contract_has_its_row():
    assert without_rows(METHODS, rows(NOWHERE)) == set()
    assert without_rows(METHODS, METHOD_PERMISSIONS) == set()


def test_a_method_that_is_added_without_its_row_is_found():
    added = {**METHODS, "/podium.v1.WorkflowService/DropAll": None}
    assert without_rows(added, rows(NOWHERE)) == {"/podium.v1.WorkflowService/DropAll"}


@pytest.fixture
async def one(caller, tenant):
    """A tenant that has something, and the request of each method about it."""
    caller.tenant = tenant
    caller.planted = await plant(caller, TEXT)
    return caller


@pytest.fixture
async def knock(service):
    """Asks a method with a token, and returns how it is refused; None: it is not."""
    callers = []

    async def ask(path, token):
        callers.append(Caller(service.address, token))
        return await refusal_if_any(invoke(callers[-1], path, rows(NOWHERE)[path].request))

    yield ask
    for each in callers:
        await each.close()


@pytest.mark.parametrize("path", METHODS)
async def test_nobody_is_refused_by(knock, path):
    refusal = await knock(path, None)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


@pytest.mark.parametrize("path", METHODS)
async def test_an_expired_token_is_refused_by(service, knock, path):
    refusal = await knock(path, signed(secret_of(service), claims(exp=claims()["iat"] - 3600)))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


@pytest.mark.parametrize("path", METHODS)
async def test_a_token_for_another_audience_is_refused_by(service, knock, path):
    refusal = await knock(path, signed(secret_of(service), claims(aud="another-service")))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


@pytest.mark.parametrize("path", METHODS)
async def test_every_permission_but_the_one_it_needs_is_not_enough_for(admit, path):
    row = rows(NOWHERE)[path]
    for needed in (METHOD_PERMISSIONS[path], *row.also):
        almost = admit("bob", scopes=[each for each in API_PERMISSIONS if each != needed], tenant=OPERATOR_TENANT)
        refusal = await refusal_of(invoke(almost, path, row.request))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert needed in refusal.message


@pytest.mark.parametrize("path", METHODS)
async def test_the_permission_it_needs_is_enough_for(admit, one, path):
    row = rows(one.planted)[path]
    where = OPERATOR_TENANT if row.stranger == OPERATORS else one.tenant
    right = admit("ben", scopes=[METHOD_PERMISSIONS[path], *row.also], tenant=where)
    refusal = await refusal_if_any(invoke(right, path, row.request, timeout=SHORT_S))
    assert refusal is None or refusal.code not in (*ABOUT_ACCESS, *FAULTS), refusal


@pytest.mark.parametrize("path", [path for path in METHODS if path not in ASKED_AGAIN])
async def test_a_grant_that_is_limited_to_names_does_not_open(admit, one, path):
    """The negative control is the same grant for every name."""
    row = rows(one.planted)[path]
    where = OPERATOR_TENANT if row.stranger == OPERATORS else one.tenant
    needed = (METHOD_PERMISSIONS[path], *row.also)
    for limited in ("*:billing-*", *(f"{each}:billing-*" for each in needed), f"{needed[0]}:{one.planted.workflow_id}"):
        refusal = await refusal_of(invoke(admit("bob", scopes=[limited], tenant=where), path, row.request))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED"), limited
    for also in row.also:
        almost = admit("bob", scopes=[METHOD_PERMISSIONS[path], f"{also}:billing-*"], tenant=where)
        assert (await refusal_of(invoke(almost, path, row.request))).code == "PERMISSION_DENIED", also
    every = admit("ben", scopes=["*:*"], tenant=where)
    refusal = await refusal_if_any(invoke(every, path, row.request, timeout=SHORT_S))
    assert refusal is None or refusal.code not in (*ABOUT_ACCESS, *FAULTS), refusal


@pytest.mark.parametrize("name", ["CallTool", "CallToolBatch", "RegisterTool"])
async def test_a_grant_for_other_tools_does_not_open(admit, one, name):
    """The negative control is the grant for the tool itself."""
    path = f"/podium.v1.ToolService/{name}"
    request, tool = rows(one.planted)[path].request, "mine" if name == "RegisterTool" else one.planted.tool
    for limited, is_denied in (("billing-*", True), (tool, False)):
        bob = admit("bob", scopes=[f"{METHOD_PERMISSIONS[path]}:{limited}"], tenant=one.tenant)
        refusal = await refusal_if_any(invoke(bob, path, request, timeout=SHORT_S))
        assert (refusal is not None and refusal.code == "PERMISSION_DENIED") == is_denied, refusal


async def test_a_grant_to_read_some_tools_shows_no_others(admit, one):
    tool = one.planted.tool
    for limited, seen in (("billing-*", []), (tool, [tool]), ("*", [tool])):
        bob = admit("bob", scopes=[f"tools.read:{limited}", "tools.administer"], tenant=one.tenant)
        for include_denied in (False, True):
            request = tool_service_pb2.ListToolsRequest(include_denied=include_denied)
            assert [each.definition.name for each in (await bob.tools.ListTools(request)).tools] == seen
        refusal = await refusal_if_any(bob.tools.GetTool(tool_service_pb2.GetToolRequest(name=tool)))
        assert (refusal.code if refusal else None) == (None if seen else "NOT_FOUND")


@pytest.mark.parametrize("path", METHODS)
async def test_a_stranger_is_told_nothing_by(admit, one, path):
    """An administrator of another tenant asks what the owner may ask, and is told what it would be of no tenant's."""
    eve = admit("eve", tenant=f"not-{one.tenant}")
    row, nobodys = rows(one.planted)[path], rows(NOWHERE)[path]
    async with one.recording_nothing():
        refusal = await refusal_if_any(invoke(eve, path, row.request))
        of_nobody = await refusal_if_any(invoke(eve, path, nobodys.request))
    if row.stranger == NOT_FOUND:
        assert refusal.code == "NOT_FOUND"
    elif row.stranger == UNKNOWN_TOOL:
        assert (refusal.code, "not registered" in refusal.message) == ("INVALID_ARGUMENT", True)
    elif row.stranger == OPERATORS:
        assert refusal.code == "PERMISSION_DENIED"
    assert without_names(refusal, one.planted) == without_names(of_nobody, NOWHERE)


def without_names(refusal, planted):
    """A refusal without the names that the request itself held: then a thing of another tenant's looks like none."""
    if refusal is None:
        return None
    words = f"{refusal.code} {refusal.reason} {refusal.message} {refusal.violations}"
    for name in (planted.workflow_id, planted.tool, planted.proposal_id):
        words = words.replace(name, "NAME")
    return words


async def test_the_words_of_two_refusals_are_compared(admit, one):
    """The comparison above would see a difference: the owner is answered otherwise than who asks for nothing."""
    path = "/podium.v1.WorkflowService/GetWorkflow"
    owners = await refusal_if_any(invoke(one, path, rows(one.planted)[path].request))
    nobodys = await refusal_if_any(invoke(one, path, rows(NOWHERE)[path].request))
    assert without_names(owners, one.planted) != without_names(nobodys, NOWHERE)
