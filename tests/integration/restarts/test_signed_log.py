"""The service is killed while it signs its log: what it signed holds, and a log that was rewritten is not signed."""

import asyncio
import contextlib
import sqlite3

import pytest

import podium
from service.config import Settings
from service.main import verifier_key, verify_log
from service.settings.storage import Storage
from store.checkpoints import read_checkpoint, split_notes
from tests.integration.rig.toolbox import toolbox

KILLS = 3


@pytest.fixture
def signing_service(own_service, tmp_path):
    """Signs after every event, into a file beside its folder."""
    return own_service(
        checkpoint_every_events=1, checkpoint_interval_ms=20, checkpoint_file=tmp_path / "outside.txt"
    ).start()


@pytest.fixture
def verify(signing_service, tmp_path):
    """Verifies the service's log against what it signed."""
    key = verifier_key(Settings(storage=Storage(state_directory=signing_service.directory / "state")))

    def run():
        return verify_log(str(signing_service.database), [key], outside=(tmp_path / "outside.txt").read_text())

    return run


def sizes(tmp_path):
    notes, _ = split_notes((tmp_path / "outside.txt").read_text())
    return [read_checkpoint(note).size for note in notes]


async def record_events(service, count=8):
    async with podium.connect(service.address, service.token(), serve=toolbox()) as client:
        for number in range(count):
            await client.call("echo", value=number)


async def test_what_was_signed_before_a_kill_holds_after_it(signing_service, verify, tmp_path):
    for _ in range(KILLS):
        await record_events(signing_service)
        while not (tmp_path / "outside.txt").exists():
            await record_events(signing_service, 1)
        await asyncio.to_thread(signing_service.kill)
        await asyncio.to_thread(signing_service.start)
        verified = await asyncio.to_thread(verify)
        assert verified.is_clean, verified.findings
    signed = sizes(tmp_path)
    assert signed == sorted(signed)
    assert signed[-1] <= verified.head
    assert signing_service.complaints() == []


async def test_a_service_goes_on_over_a_rewritten_log_and_signs_no_more(signing_service, verify, tmp_path):
    await record_events(signing_service)
    await asyncio.to_thread(signing_service.stop)
    signed = sizes(tmp_path)
    with contextlib.closing(sqlite3.connect(signing_service.database)) as file, file:
        file.execute("DROP TRIGGER events_refuse_update")
        file.execute("UPDATE events SET record = CAST(record || 'z' AS BLOB) WHERE position = ?", (signed[-1],))
        file.execute("DELETE FROM checkpoints")
    await asyncio.to_thread(signing_service.start)
    await record_events(signing_service)
    await asyncio.to_thread(signing_service.stop)
    assert sizes(tmp_path) == signed
    (complaint,) = [line for line in signing_service.complaints() if line.startswith("CRITICAL")]
    assert "no checkpoint is signed any more" in complaint
    assert "ROOT_DIFFERS" in {finding.reason for finding in (await asyncio.to_thread(verify)).findings}
