"""A log that was made in bulk is one that the service could have written."""

import asyncio

import pytest

import podium
from service.domain.rebuild import rebuild
from service.main import open_reader, open_signer, verify_log
from store.records import decode_record
from tests.benchmarks.bulk_log import History
from tests.benchmarks.histories import open_history, read_histories
from tests.benchmarks.many_open import write_mostly_parked
from tests.benchmarks.rig import database, deployed
from tests.benchmarks.served import settings_of

WORKFLOWS = 100


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def on(request):
    with database(request.param) as empty:
        yield empty


@pytest.fixture(scope="module")
def written(on):
    return write_mostly_parked(on, WORKFLOWS)


def test_every_event_is_in_it_and_the_whole_of_it_verifies(on, written):
    signer = open_signer(settings_of(on.url, on.folder))
    verified = verify_log(on.url, [signer.verifier.text()])
    assert (verified.findings, verified.events) == ([], written.head)
    assert verified.checkpoints > 0


def test_its_workflows_are_the_one_that_was_real(on, written):
    real = rebuild([event.record for event in open_history()], decode_record)
    histories = asyncio.run(read_histories(on.url))
    states = [rebuild([event.record for event in history], decode_record) for history in histories]
    ended = [[step.state for step in state.steps.values()] for state in states]
    assert len(states) == WORKFLOWS
    assert ended.count([step.state for step in real.steps.values()]) == 99
    assert sum(len(event.record) for history in histories for event in history) == written.record_bytes


def test_a_hundredth_of_them_is_not_parked(on, written):
    async def entries():
        async with open_reader(on.url) as log:
            return await log.open_workflows()

    waking = [entry.wake_at_us for entry in asyncio.run(entries())]
    assert len(waking) == WORKFLOWS
    assert waking.count(None) == 1


def test_a_service_goes_on_with_it_and_its_read_models_have_nothing_to_catch_up(on, written):
    async def ask(rig):
        async with podium.connect(rig.address, rig.token) as client:
            return await client.get(written.last.stream_id), [each async for each in client.list()]

    with deployed(on) as rig:
        status, listed = asyncio.run(ask(rig))
        ran = rig.load("a", workflows=2, lanes=1)
    assert status.open
    assert listed == []
    assert ran.steps == 20


def test_a_history_is_written_under_its_own_id_each_time():
    recorded = open_history()
    history = History(recorded)
    one, other = history.under(1), history.under(2)
    assert one.stream_id != other.stream_id
    assert len(one.stream_id) == len(other.stream_id) == len(recorded[0].stream_id)
    assert all(one.stream_id.encode() in envelope for _, envelope in one.events)
