"""Nobody gets past the door without a token that is good, and a refusal helps no attacker."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podium.v1 import workflow_service_pb2
from service.api.methods import METHOD_PERMISSIONS
from tests.integration.rig.caller import Caller
from tests.integration.rig.forged_tokens import claims, secret_of, signed, unsigned
from tests.integration.rig.refusal import refusal_if_any, refusal_of
from tests.integration.rig.requests import METHODS, invoke

LEEWAY_S = 10
LIST = "/podium.v1.WorkflowService/ListWorkflows"


@pytest.fixture
async def knock(service):
    """Asks for the list of workflows with some metadata and returns how it is refused; None: it is not."""
    callers = []

    async def ask(token=None, metadata=None):
        callers.append(Caller(service.address, token, metadata=metadata))
        return await refusal_of(invoke(callers[-1], LIST))

    yield ask
    for each in callers:
        await each.close()


async def test_a_token_made_with_the_key_itself_opens(service):
    ana = Caller(service.address, signed(secret_of(service)))
    await invoke(ana, LIST)
    await ana.close()


async def test_no_token_is_unauthenticated_and_says_what_to_send(knock):
    refusal = await knock()
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert "authorization: Bearer" in refusal.message


async def test_an_expired_token_is_unauthenticated(service, knock):
    refusal = await knock(signed(secret_of(service), claims(exp=1_700_000_000)))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


def _public_key_as_secret():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


FORGED = {
    "another key": lambda _: signed(b"another key of thirty-two bytes!"),
    "no signature": lambda _: unsigned(claims()),
    "no signature, in other words": lambda _: unsigned(claims(), alg="NONE"),
    "a signature cut off": lambda secret: signed(secret).rpartition(".")[0] + ".",
    "another algorithm": lambda secret: signed(secret * 2, algorithm="HS512"),
    "another kind of key": lambda _: signed(_public_key_as_secret()),
    "a key of its own choosing": lambda _: signed(b"x" * 32, jwk={"kty": "oct", "k": "eHh4"}, kid="mine"),
    "a key from a path": lambda _: signed(b"x" * 32, kid="../../../../dev/null"),
    "another audience": lambda secret: signed(secret, claims(aud="elsewhere")),
    "no audience": lambda secret: signed(secret, claims(aud=None)),
    "another issuer": lambda secret: signed(secret, claims(iss="elsewhere")),
    "no expiry": lambda secret: signed(secret, claims(exp=None)),
    "not yet": lambda secret: signed(secret, claims(nbf=claims()["iat"] + 3600)),
    "no subject": lambda secret: signed(secret, claims(sub=None)),
    "a tenant with a slash": lambda secret: signed(secret, claims(tenant="a/b")),
    "roles that are no list": lambda secret: signed(secret, claims(roles="admin")),
    "an expiry that is no number": lambda secret: signed(secret, claims(exp="soon")),
    "a token without end": lambda _: "a" * 7000,
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_unauthenticated_and_nothing_tells_why(service, knock, forge):
    refusal = await knock(forge(secret_of(service)))
    assert refusal.code == "UNAUTHENTICATED"
    assert refusal.reason in ("TOKEN_INVALID", "TOKEN_MISSING")
    assert refusal.message in ("the token is not valid", "send a token as metadata: authorization: Bearer TOKEN")
    assert refusal.metadata == refusal.violations == {}


async def test_a_changed_claim_breaks_the_signature(service, knock):
    header, payload, signature = service.token("bob", roles=["viewer"]).split(".")
    content = json.loads(base64.urlsafe_b64decode(payload + "=="))
    content["roles"] = ["admin"]
    changed = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    assert (await knock(f"{header}.{changed}.{signature}")).reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "values", [["Basic dXNlcjpwYXNz"], ["{token}"], ["Bearer {token}", "Bearer {token}"], ["Bearer {token} extra"]]
)
async def test_a_good_token_sent_in_a_wrong_way_is_refused(service, knock, values):
    token = service.token()
    metadata = tuple(("authorization", value.format(token=token)) for value in values)
    refusal = await knock(metadata=metadata)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_method_that_does_not_exist_is_not_there_for_anybody(service, caller):
    for each in (caller, Caller(service.address)):
        method = each.channel.unary_unary("/podium.v1.WorkflowService/DropAllTables")
        assert (await refusal_of(method(b"", metadata=each.metadata))).code == "UNIMPLEMENTED"
        if each is not caller:
            await each.close()


ROLES = {
    "viewer": {
        "workflows.read",
        "tools.read",
        "statistics.read",
        "status.read",
        "executors.read",
        "breakers.read",
        "cache.read",
        "quarantine.read",
    },
    "auditor": {"workflows.read", "tools.read", "events.read", "audit.read", "replay"},
    "executor": {"tools.serve", "tools.register"},
    "agent": {"workflows.start", "workflows.read", "workflows.change", "tools.read", "tools.call", "replay"},
}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_may_call_what_it_is_for_and_nothing_else(admit, role):
    someone = admit("bob", roles=[role])
    refusals = {path: await refusal_if_any(invoke(someone, path)) for path in METHODS}
    refused = {path for path, refusal in refusals.items() if refusal and refusal.code == "PERMISSION_DENIED"}
    assert refused == {path for path, needed in METHOD_PERMISSIONS.items() if needed not in ROLES[role]}


async def test_a_scope_narrows_what_the_roles_grant(admit):
    limited = admit("bob", roles=["admin"], scopes=("workflows.read",))
    await invoke(limited, LIST)
    start = workflow_service_pb2.StartWorkflowRequest(open=True)
    refusal = await refusal_of(limited.workflows.StartWorkflow(start))
    assert refusal.message == "bob needs workflows.start (rule default-deny)"


async def test_a_scope_that_the_roles_do_not_grant_gives_nothing(admit):
    limited = admit("bob", roles=["viewer"], scopes=("*",))
    assert (await refusal_of(invoke(limited, "/podium.v1.EventService/ReadAll"))).code == "PERMISSION_DENIED"


async def test_an_unknown_role_grants_nothing(admit):
    stranger = admit("bob", roles=["root", "Admin", "admin "])
    assert (await refusal_of(invoke(stranger, LIST))).code == "PERMISSION_DENIED"


async def test_a_token_that_expires_is_refused_on_a_connection_that_it_opened(service):
    # Expired by the clock, and for one second more within the leeway between two clocks.
    short = Caller(service.address, signed(secret_of(service), claims(exp=claims()["iat"] - LEEWAY_S + 1)))
    assert await refusal_if_any(invoke(short, LIST)) is None
    while (refusal := await refusal_if_any(invoke(short, LIST))) is None:
        pass
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    await short.close()
