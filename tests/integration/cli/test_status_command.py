"""`podium status`, against a running service."""

import asyncio
import signal

from service.cli.operation.status_command import duration
from tests.integration.rig.caller import Caller, step
from tests.integration.rig.raw_executor import raw_executor


def test_it_is_drawn_and_told_to_programs(service, podium_command):
    def ask(*words, tenant="default"):
        token = service.token("ana", tenant=tenant)
        return podium_command("status", *words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    drawn = ask()
    assert drawn.code == 0
    lines = dict(line.split(maxsplit=1) for line in drawn.out.splitlines() if line.strip())
    assert lines["service"].startswith("takes work")
    assert "epoch" in lines["owner"]
    assert lines["log"].startswith("well")
    told = ask("--json").json
    assert (told["serving"], told["running_attempts"], told["stuck"]) == (True, 0, [])
    assert isinstance(told["head"], int)
    assert "owner " not in ask(tenant="elsewhere").out


def test_it_fails_when_no_service_answers(podium_command):
    assert podium_command("status", PODIUM_ADDRESS="127.0.0.1:1", PODIUM_TOKEN="x").code == 5


async def test_it_fails_while_the_service_stops(own_service, podium_command):
    service = own_service(drain_ms=20_000).start()
    token = service.token()
    ana = Caller(service.address, token)
    async with raw_executor(ana, "work") as executor:
        await ana.start(step("work"))
        given = await executor.work()
        service.signal(signal.SIGTERM)
        await executor.expect("drain")
        told = await asyncio.to_thread(podium_command, "status", PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)
        assert told.code == 1
        assert "TAKES NO WORK" in told.out
        await executor.succeed(given.attempt)
    await ana.close()


def test_durations_are_told_in_a_unit_that_fits():
    assert [duration(round(seconds * 1e6)) for seconds in (-1, 1.5, 600, 7200, 86_400 * 4)] == [
        "0.0 s",
        "1.5 s",
        "10.0 min",
        "2.0 h",
        "4.0 d",
    ]
