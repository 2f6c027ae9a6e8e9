"""One service that tells of itself, for all tests of this folder; each test is a tenant of its own."""

import contextlib

import pytest

import podium
from tests.integration.rig.observed import Observed
from tests.integration.rig.otlp_receiver import otlp_receiver
from tests.integration.rig.service_process import ServiceProcess
from tests.integration.rig.toolbox import toolbox
from tests.ports import free_port


@pytest.fixture(scope="package")
def observed(tmp_path_factory):
    port = free_port()
    with otlp_receiver() as receiver:
        service = ServiceProcess(
            tmp_path_factory.mktemp("observed"),
            metrics_address=f"127.0.0.1:{port}",
            otlp_endpoint=receiver.url,
            otlp_headers="x-key=of-the-collector",
            otlp_metrics_interval_ms=300,
        )
        service.start()
        try:
            yield Observed(service, receiver, port)
        finally:
            service.stop()


@pytest.fixture
async def serve(observed, tenant):
    """Connects executors with plain tools, or with those of an app, and gives the app."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(app=None):
            app = app or toolbox()
            token = observed.service.token(tenant=tenant)
            await stack.enter_async_context(podium.connect(observed.service.address, token, serve=app))
            return app

        yield make


@pytest.fixture
async def calls(observed, tenant):
    """Makes callers of the test's tenant: `calls(traceparent=...)`."""
    async with contextlib.AsyncExitStack() as stack:

        def make(**claims):
            caller = observed.caller(tenant, **claims)
            stack.push_async_callback(caller.close)
            return caller

        yield make
