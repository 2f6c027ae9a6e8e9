"""Tokens of an issuer that publishes its keys, at the running service: rotation, outages, what is never accepted."""

import asyncio
import datetime as dt

import jwt
import pytest

from podium.v1 import workflow_service_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.history import payload
from tests.integration.rig.key_server import key_server
from tests.integration.rig.refusal import refusal_if_any, refusal_of
from tests.integration.rig.requests import invoke
from tests.unit.admission.jwk_forms import GENERATE, published

LIST = "/podium.v1.WorkflowService/ListWorkflows"
WITHIN_S = 20


@pytest.fixture
async def issuer():
    async with key_server() as served:
        served.private = GENERATE["ES256"]()
        served.keys = [published(served.private, "ES256", "first")]
        yield served


@pytest.fixture
async def start(own_service, issuer):
    """Starts a service that asks the issuer, and returns it."""

    async def make(**settings):
        told = {"token_jwks_url": issuer.url, "token_jwks_cooldown_s": 1, "token_jwks_refresh_s": 1}
        process = own_service(**{**told, "token_jwks_grace_s": 0, "token_issuer": "https://idp,podium", **settings})
        await asyncio.to_thread(process.start)
        return process

    return make


def token(key, key_id="first", algorithm="ES256", **changed):
    now = int(dt.datetime.now(dt.UTC).timestamp())
    claims = {
        "iss": "https://idp",
        "aud": "podium",
        "sub": "eve",
        "tenant": "default",
        "roles": ["admin"],
        "iat": now,
        "exp": now + 600,
    }
    return jwt.encode({**claims, **changed}, key, algorithm=algorithm, headers={"kid": key_id})


async def knock(service, held):
    caller = Caller(service.address, held)
    try:
        return await refusal_if_any(invoke(caller, LIST))
    finally:
        await caller.close()


async def until(service, held, *, accepted):
    """Asks until the token is accepted, or refused."""
    async with asyncio.timeout(WITHIN_S):
        while ((refusal := await knock(service, held)) is None) != accepted:
            assert refusal is None or refusal.reason == "TOKEN_INVALID"


async def test_tokens_of_its_keys_are_accepted_from_the_first_request_on(start, issuer):
    service = await start()
    assert await knock(service, token(issuer.private)) is None
    assert await knock(service, token(issuer.private, iss="podium")) is None
    for forged in (
        token(issuer.private, iss="https://other"),
        token(GENERATE["ES256"]()),
        token(b"x" * 32, algorithm="HS256"),
        token(issuer.private, key_id="other"),
    ):
        assert (await knock(service, forged)).reason == "TOKEN_INVALID"


async def test_the_services_own_key_opens_nothing_then(start, issuer):
    service = await start()
    assert not (service.directory / "state" / "token.key").exists()


async def test_a_rotation_needs_no_restart_and_the_old_key_ends(start, issuer):
    service = await start()
    old, following = token(issuer.private), GENERATE["EdDSA"]()
    assert await knock(service, old) is None
    issuer.keys = [*issuer.keys, published(following, "EdDSA", "second")]
    await until(service, token(following, "second", "EdDSA"), accepted=True)
    assert await knock(service, old) is None
    issuer.keys = issuer.keys[1:]
    # A token that was accepted before, and is remembered, is refused with its key.
    await until(service, old, accepted=False)
    assert await knock(service, token(following, "second", "EdDSA")) is None


@pytest.mark.parametrize("broken", ["failing", "huge", "slow", "elsewhere"])
async def test_an_outage_changes_nothing_for_keys_that_are_known(start, issuer, broken):
    service = await start()
    issuer.broken = getattr(issuer, broken)
    asked = issuer.asked
    async with asyncio.timeout(WITHIN_S):
        while issuer.asked == asked:
            assert await knock(service, token(issuer.private)) is None
    assert await knock(service, token(issuer.private)) is None


async def test_an_issuer_that_was_never_there_lets_nobody_in_until_it_comes(start, issuer):
    issuer.broken = issuer.failing
    service = await start()
    assert (await knock(service, token(issuer.private))).reason == "TOKEN_INVALID"
    assert "no token is accepted" in service.log.read_text()
    issuer.broken = None
    await until(service, token(issuer.private), accepted=True)


async def test_what_the_operator_wants_of_a_token_is_recorded_with_the_work(start, issuer):
    service = await start(token_claims="department,team", token_roles_claim="realm.roles")
    claims = {"department": "finance", "team": ["a", 1], "other": "x", "roles": [], "realm": {"roles": ["admin"]}}
    held = token(issuer.private, **claims)
    caller = Caller(service.address, held)
    await caller.register("tool")
    workflow_id = await caller.start(step("tool"), open=True)
    authority = payload(await caller.history(workflow_id), "steps_added").authority
    kept = [(claim.name, claim.value_json) for claim in authority.claims]
    assert kept == [("department", '"finance"'), ("team", '["a",1]')]
    assert list(authority.roles) == ["admin"]
    assert authority.issued_at_us == jwt.decode(held, options={"verify_signature": False})["iat"] * 1_000_000
    await caller.close()


async def test_a_session_that_is_too_old_is_refused_and_ends_its_streams(start, issuer):
    service = await start(session_max_age_s=3, token_leeway_s=0)
    now = int(dt.datetime.now(dt.UTC).timestamp())
    old = token(issuer.private, sid="s1", auth_time=now - 100)
    assert (await knock(service, old)).reason == "SESSION_TOO_OLD"
    assert await knock(service, token(issuer.private)) is None
    caller = Caller(service.address, token(issuer.private, sid="s2", auth_time=now))
    workflow_id = (
        await caller.workflows.StartWorkflow(workflow_service_pb2.StartWorkflowRequest(open=True))
    ).workflow_id
    refusal = await refusal_of(_to_its_end(caller.watch(workflow_id)))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "SESSION_TOO_OLD")
    await caller.close()


async def test_a_stream_ends_with_its_token(start, issuer):
    service = await start(token_leeway_s=0)
    now = int(dt.datetime.now(dt.UTC).timestamp())
    caller = Caller(service.address, token(issuer.private, exp=now + 3))
    workflow_id = await caller.start(open=True)
    refusal = await refusal_of(_to_its_end(caller.watch(workflow_id)))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")
    await caller.close()


async def _to_its_end(stream):
    async for _ in stream:
        pass
