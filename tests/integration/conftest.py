"""One real service for all tests of a process; each test is a tenant of its own, and so sees nothing of the others."""

import asyncio
import contextlib
import itertools

import pytest

import podium
from tests.integration.rig.caller import Caller
from tests.integration.rig.service_process import ServiceProcess
from tests.integration.rig.toolbox import toolbox

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc):
    """A file marked with `both_databases` asks the shared service of each; services of a test's own are its choice."""
    asks_the_shared_one = "database" in metafunc.fixturenames and "own_service" not in metafunc.fixturenames
    if asks_the_shared_one and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database", ["sqlite", "postgres"])


@contextlib.contextmanager
def _serving(directory, database=None):
    process = ServiceProcess(directory, database, heartbeat_interval_ms=1000, reconnect_grace_ms=3000)
    process.start(points=True)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def shared_service_on_sqlite(tmp_path_factory):
    with _serving(tmp_path_factory.mktemp("service")) as process:
        yield process


@pytest.fixture(scope="session")
def shared_service_on_postgres(tmp_path_factory, postgres):
    url = asyncio.run(postgres.create_database())
    with _serving(tmp_path_factory.mktemp("service-on-postgres"), url) as process:
        yield process


@pytest.fixture
def database():
    """What the service keeps its log in."""
    return "sqlite"


@pytest.fixture
def service(request, database):
    """The service, of which nothing but an answer to the caller is heard: no error in its log."""
    shared = request.getfixturevalue(f"shared_service_on_{database}")
    before = len(shared.complaints())
    yield shared
    assert shared.complaints()[before:] == []


@pytest.fixture
def own_service(tmp_path):
    """Makes services for this test alone, to stop or to kill: `own_service(setting=value)`."""
    processes = []

    def make(**settings):
        directory = tmp_path / f"service-{len(processes)}"
        directory.mkdir()
        processes.append(ServiceProcess(directory, **settings))
        return processes[-1]

    yield make
    for process in processes:
        process.stop()


@pytest.fixture
def tenant():
    return f"tenant-{next(_numbers)}"


@pytest.fixture
def secrets(tmp_path, tenant):
    """Writes a secret of the test's tenant: `secrets(name, value)`. `secrets.directory` is the setting."""

    def write(name, value, mode=0o600):
        folder = write.directory / tenant
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(value)
        (folder / name).chmod(mode)

    # Beside what a service keeps, which tests search for them.
    write.directory = tmp_path / "secrets-of-tenants"
    write.directory.mkdir()
    return write


@pytest.fixture
async def admit(service, tenant):
    """Makes callers: `admit("bob", roles=["viewer"])`. With `to`, at another service than the shared one."""
    async with contextlib.AsyncExitStack() as stack:

        def make(subject="ana", *, to=None, **claims):
            at = to or service
            caller = Caller(at.address, at.token(subject, **{"tenant": tenant, **claims}))
            stack.push_async_callback(caller.close)
            return caller

        yield make


@pytest.fixture
def caller(admit):
    """Ana, who may do everything in the test's tenant."""
    return admit()


@pytest.fixture
async def connect(service, tenant):
    """Connects the SDK: `client = await connect(app)` serves the executor's tools until the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(app=None, *, to=None, address=None, **claims):
            at = to or service
            token = at.token(**{"tenant": tenant, **claims})
            return await stack.enter_async_context(podium.connect(address or at.address, token, serve=app))

        yield make


@pytest.fixture
async def tools(connect):
    """An executor with plain tools, connected."""
    app = toolbox()
    await connect(app)
    return app
