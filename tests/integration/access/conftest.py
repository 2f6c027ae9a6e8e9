"""Services with a policy of their own, on both databases."""

import asyncio

import pytest
from google.protobuf import json_format

from tests.integration.rig import policies
from tests.integration.rig.caller import Caller

OPERATOR = "default"


async def add_to_policy(service, tenant, address, more):
    """Puts limits and addresses, in the form of JSON, beside what the policy in force has."""
    token = service.token(tenant=tenant)
    metadata = (("authorization", f"Bearer {token}"), ("x-forwarded-for", address))
    operator = Caller(service.address, token, metadata=metadata)
    changed = (await policies.in_force(operator)).policy
    json_format.ParseDict(more, changed)
    await policies.apply(operator, changed)
    await operator.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def served(request, own_service, postgres, tenant):
    """Starts a service with a policy: `service = await served(limits=[...], addresses={...}, setting=value)`."""
    urls = []

    async def make(*, limits=(), addresses=None, applied_from="127.0.0.1", **settings):
        if request.param == "postgres":
            urls.append(await postgres.create_database())
            settings["database"] = urls[-1]
        service = own_service(**settings)
        services.append(service)
        await asyncio.to_thread(service.start)
        if limits or addresses:
            for whose in {tenant, "acme", OPERATOR}:
                more = {"limits": list(limits), "addresses": addresses or {}}
                await add_to_policy(service, whose, applied_from, more)
        return service

    services = []
    yield make
    for service in services:
        await asyncio.to_thread(service.stop)
    for url in urls:
        await postgres.drop_database(url)
