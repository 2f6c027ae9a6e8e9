"""One secret goes through every path that may hold one, and is then nowhere in what is kept, logged or answered.

On both databases. The same search finds an argument that nobody marked.
"""

import asyncio
import json
import subprocess
import sys
import urllib.request

import asyncpg
import pytest

import podium
from podium.v1 import audit_service_pb2, event_service_pb2, executor_service_pb2
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.forked_process import environment
from tests.integration.rig.otlp_receiver import attributes, otlp_receiver
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.vault import vault
from tests.ports import free_port

CANARY = "Kanarienvogel-5up3r-s3cr3t-9f2c"
CONTROL = "Spatz-is-no-secret-77a1"
LARGE = "y" * 100_000

MARKED = json.dumps({"type": "object", "properties": {"secret": {"x-podium-sensitive": True}}})
PROPERTIES = {"kept": {"type": "string"}, "left_out": {"x-podium-redact": True}, "number": {"type": "integer"}}
OUTPUT = json.dumps({"type": "object", "properties": PROPERTIES})
PATH = {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv"]}}}
OPEN = tool("open_file", input_schema_json=json.dumps({"type": "object", "properties": {"path": PATH}}))
REPORT = tool("report", output_schema_json=OUTPUT)
CLEANED = {"additionalProperties": {"type": "string", "x-podium-sanitize": {"html": {}}}}
LEAKY = tool("leaky", secrets=["canary"], output_schema_json=json.dumps(CLEANED))


class Flight:
    """Takes the canary through the service, and remembers all that was answered."""

    def __init__(self, ana):
        self.ana = ana
        self.answers = []
        self.workflows = []

    async def run(self, *steps, executor=None, play=None):
        """Runs steps to their end; `play` ends the attempt of the only one."""
        workflow_id = await self.ana.start(*steps)
        self.workflows.append(workflow_id)
        if play is not None:
            await play(await executor.work())
        await self.ana.ended(workflow_id)
        return await self.ana.steps(workflow_id)

    async def sealed_values(self):
        """As a sensitive argument and output, in chunks, refused by a schema, and asked for where it does not lie."""
        async with vault(self.ana):
            await self.run(
                step("vault", {"secret": CANARY}, id="small"),
                step("vault", {"secret": CANARY, "large": LARGE}, id="large"),
                step("stream", {"secret": CANARY}, id="streamed"),
                step("vault", {"secret": CANARY, "bad": True}, id="bad", on_failure=2),
                step("vault", {"secret": f'${{steps.small.output["{CANARY}"]}}'}, id="astray", on_failure=2),
            )

    async def refused_values(self):
        """As a value that a schema, a sanitizer or the service refuses: at submission and at the attempt."""
        async with vault(self.ana) as served, raw_executor(self.ana, OPEN, instance_id="raw-2"):
            del served
            self.answers += [
                await refusal_of(self.ana.start(step("open_file", {"path": f"/etc/{CANARY}"}))),
                await refusal_of(self.ana.start(step("open_file", {"path": {CANARY: 1}}))),
                await refusal_of(self.ana.call("open_file", {"path": f"\x00{CANARY}"})),
            ]
            steps = await self.run(
                step("vault", {"secret": CANARY}, id="first"),
                step("open_file", {"path": "/etc/${steps.first.output.secret}"}, id="refused", on_failure=2),
                step("open_file", {"path": "${steps.first.output}"}, id="wrong", on_failure=2),
            )
            assert steps["refused"].failure.reason == "INPUT_REJECTED"
            assert steps["wrong"].failure.reason == "INVALID_ARGUMENTS"

    async def given_secret(self):
        """As a secret that an executor gives away in every way there is."""
        async with raw_executor(self.ana, LEAKY) as executor:
            for output in (None, {CANARY: f"{CANARY}<script></script>"}, {CANARY: 1}):

                async def leak(work, output=output):
                    await self._leak(executor, work, output)

                await self.run(step("leaky"), executor=executor, play=leak)

    async def _leak(self, executor, work, output):
        attempt = work.attempt
        assert work.secrets[0].value.decode() == CANARY
        progress = executor_service_pb2.AttemptProgressed(attempt=attempt, fraction=0.1, message=f"uses {CANARY}")
        await executor.send(("progress", progress))
        await executor.chunk(attempt, 1, f"it is {CANARY[:11]}".encode())
        await executor.chunk(attempt, 2, f"{CANARY[11:]}\n{CANARY}".encode())
        if output is None:
            await executor.fail(attempt, CANARY, message=f"denied to {CANARY}", field=CANARY)
        else:
            await executor.succeed(attempt, output, chunk_count=2)

    async def outputs(self):
        """As a part of an output that is left out, and as one that is not of its schema."""
        async with raw_executor(self.ana, REPORT) as executor:
            for output in ({"left_out": [CANARY]}, {"number": CANARY}, CANARY):

                async def give(work, output=output):
                    await executor.succeed(work.attempt, output)

                await self.run(step("report"), executor=executor, play=give)
            workflow_id = await self.ana.start(step("report"))
            self.workflows.append(workflow_id)
            attempt = (await executor.work()).attempt
            for output in ({"left_out": CANARY, "kept": LARGE}, {"number": CANARY, "kept": LARGE}):
                await self._upload(attempt, json.dumps(output))
            await self._upload(attempt, f'{{"{CANARY}')
            await self.ana.cancel(workflow_id)

    async def _upload(self, attempt, text):
        async def pieces():
            yield executor_service_pb2.UploadRequest(data=text.encode(), attempt=attempt)

        try:
            self.answers.append(await self.ana.executors.Upload(pieces()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it was answered
            self.answers.append(repr(error))

    async def answered(self):
        """Everything that the service can be asked for afterwards that does not open what is sealed."""
        audit = self.ana.audit
        self.answers += [event async for frame in _log(self.ana) for event in frame.events]
        self.answers.append(await audit.QueryAudit(audit_service_pb2.QueryAuditRequest(page_size=1000)))
        self.answers += [each async for each in audit.ExportAudit(audit_service_pb2.ExportAuditRequest())]
        for workflow_id in self.workflows:
            self.answers += [each async for each in self.ana.watch(workflow_id)]
            self.answers += [each.failure for each in (await self.ana.steps(workflow_id)).values()]
            assert (await self.ana.replay(workflow_id)).matches
        return [raw_of(answer) for answer in self.answers]


def _log(ana):
    return ana.events.ReadAll(event_service_pb2.ReadAllRequest())


def raw_of(answer):
    return answer.SerializeToString() if hasattr(answer, "SerializeToString") else repr(answer).encode()


def commands(service, token):
    """What the command line says when it is refused."""
    said = []
    for words, given in [
        (("call", "open_file", "--arguments", json.dumps({"path": f"/etc/{CANARY}"})), token),
        (("tools", "list"), CANARY),
        (("tools", "list"), f"{token}{CANARY}"),
    ]:
        variables = environment(PODIUM_ADDRESS=service.address, PODIUM_TOKEN=given)
        command = [sys.executable, "-P", "-m", "service.cli", *words]
        ended = subprocess.run(command, capture_output=True, check=False, env=variables, timeout=60)
        assert ended.returncode != 0
        said += [ended.stdout, ended.stderr]
    return said


async def kept_in(service):
    """All bytes that are kept: every file of the service, and every row of every table of a Postgres."""
    kept = [path.read_bytes() for path in sorted(service.directory.rglob("*")) if path.is_file()]
    if isinstance(service.database, str):
        connection = await asyncpg.connect(service.database)
        try:
            tables = await connection.fetch(
                "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables "
                "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
            )
            for table in tables:
                rows = await connection.fetch(f"SELECT * FROM {table['name']}")
                kept += [value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]
        finally:
            await connection.close()
    return kept


def holding(needle, texts):
    return sum(needle in text for text in texts)


def signature_of(token):
    return token.rpartition(".")[2].encode()


class Told:
    """What the service tells of itself: spans and metrics to a collector, and metrics to whoever asks."""

    def __init__(self, receiver):
        self.receiver = receiver
        self.metrics = ""
        self._address = f"127.0.0.1:{free_port()}"
        self.settings = {
            "metrics_address": self._address,
            "otlp_endpoint": receiver.url,
            "otlp_metrics_interval_ms": 500,
        }

    def scrape(self):
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=20) as answer:
            return answer.read().decode()

    def texts(self):
        return [self.metrics.encode(), *self.receiver.bodies]


@pytest.fixture
def told():
    with otlp_receiver() as receiver:
        yield Told(receiver)


@pytest.fixture(params=["sqlite", "postgres"])
async def flown(request, own_service, admit, secrets, tenant, monkeypatch):
    """The service after the flight, stopped; and all that was answered."""
    database = None
    if request.param == "postgres":
        database = await request.getfixturevalue("postgres").create_database(migrated=False)
    monkeypatch.setenv("TEST_LOG_LEVEL", "DEBUG")
    secrets("canary", CANARY)
    told = request.getfixturevalue("told")
    service = own_service(secrets_directory=secrets.directory, **told.settings)
    # Both forms of the log: text on SQLite, JSON on Postgres.
    service.configure(log_format="json" if database else "text")
    service.database = database or service.database
    await asyncio.to_thread(service.start)
    flight = Flight(admit(to=service))
    await flight.sealed_values()
    await flight.refused_values()
    await flight.given_secret()
    await flight.outputs()
    async with raw_executor(flight.ana, "plain") as executor:
        await flight.run(
            step("plain", {"a": CONTROL}), executor=executor, play=lambda work: executor.succeed(work.attempt, "done")
        )
    for token in (CANARY, f"{flight.ana.token}{CANARY}"):
        stranger = Caller(service.address, token)
        flight.answers.append(await refusal_of(stranger.start(step("plain"))))
        await stranger.close()
    answers = await flight.answered()
    answers += await asyncio.to_thread(commands, service, service.token(tenant=tenant))
    running = await kept_in(service)
    told.metrics = await asyncio.to_thread(told.scrape)
    await asyncio.to_thread(service.stop)
    return flight.ana.token, answers, [*running, *await kept_in(service)]


async def test_the_canary_is_nowhere_and_what_is_no_secret_is_found(flown, told):
    token, answers, kept = flown
    # Each part as well: it was cut in two on its way.
    for needle in (CANARY.encode(), CANARY[:11].encode(), CANARY[11:].encode(), signature_of(token)):
        assert holding(needle, answers) == 0
        assert holding(needle, kept) == 0
        assert holding(needle, told.texts()) == 0
    assert holding(CONTROL.encode(), answers) > 0
    assert holding(CONTROL.encode(), kept) > 0
    assert holding(b"[redacted:canary]", answers) > 0
    assert holding(b"cleaned:output.*", answers) > 0
    # What was told of is what had it: the attempts of these tools, and their failures.
    tools = {attributes(span).get("gen_ai.tool.name") for span in told.receiver.spans}
    assert {"vault", "open_file", "leaky", "report", "plain"} <= tools
    assert holding(b'podium_attempts_failed_total{reason="', told.texts()) == 1
    assert holding(b"podium_attempts_failed", told.texts()) > 1


async def test_the_sdk_tells_nothing_of_it_either(own_service, admit, connect, secrets, caplog):
    secrets("canary", CANARY)
    service = own_service(secrets_directory=secrets.directory).start()
    app = podium.Executor("leaky")

    @app.tool(secrets=["canary"])
    async def leaky(ctx: podium.Context) -> str:
        raise RuntimeError(f"denied to {ctx.secret('canary')}") from ValueError(ctx.secret("canary"))

    caplog.set_level("DEBUG")
    await connect(app, to=service)
    ana = admit(to=service)
    answer = await ana.call("leaky")
    assert answer.outcome.failure.message == "RuntimeError: denied to [redacted:canary]"
    assert "denied to [redacted:canary]" in caplog.text
    assert CANARY not in caplog.text
