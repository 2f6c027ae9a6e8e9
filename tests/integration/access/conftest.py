"""Services with a policy of their own, on both databases."""

import asyncio

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
async def served(request, own_service, postgres):
    """Starts a service with a policy: `service = await served(limits=[...], addresses={...}, setting=value)`."""
    urls = []

    async def make(*, limits=(), addresses=None, **settings):
        policy = {"limits": list(limits), "addresses": addresses or {}}
        if request.param == "postgres":
            urls.append(await postgres.create_database())
            settings["database"] = urls[-1]
        service = own_service(policy=policy, **settings)
        services.append(service)
        return await asyncio.to_thread(service.start)

    services = []
    yield make
    for service in services:
        await asyncio.to_thread(service.stop)
    for url in urls:
        await postgres.drop_database(url)
