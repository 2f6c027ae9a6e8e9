"""What reads promise: order, limits, tenants."""

import pytest

from store.contract import Append, PayloadMissingError
from tests.contract.events import TENANT, append_to, closing, opening, to_stream


async def test_an_unknown_stream_is_empty(store):
    assert await store.read_stream(TENANT, "nothing") == []
    await store.append(append_to("a"))
    assert await store.read_stream("nobody", "a") == []


async def test_a_stream_is_read_from_any_version_with_any_limit(store):
    for version in range(0, 6, 2):
        await store.append(Append([to_stream("a", 2, at=version), to_stream(f"other {version}")]))
    versions = [event.stream_version for event in await store.read_stream(TENANT, "a")]
    assert versions == [1, 2, 3, 4, 5, 6]
    assert [event.stream_version for event in await store.read_stream(TENANT, "a", 2, 3)] == [3, 4, 5]
    for beyond in (6, 2**31, 2**63 - 1):
        assert await store.read_stream(TENANT, "a", after_version=beyond) == []


async def test_the_log_is_read_in_pages(store):
    await store.append(append_to("a", 7))
    pages = []
    position = 0
    while page := await store.read_all(position, limit=3):
        pages.append([event.position for event in page])
        position = page[-1].position
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]


async def test_the_log_of_one_tenant_leaves_out_the_others(store):
    for number in range(4):
        await store.append(append_to(f"a {number}", tenant="one"))
        await store.append(append_to(f"a {number}", tenant="two"))
    assert [event.position for event in await store.read_all(tenant="two")] == [2, 4, 6, 8]
    assert [event.position for event in await store.read_all(3, 2, tenant="two")] == [4, 6]
    assert await store.read_all(tenant="nobody") == []


async def test_streams_are_listed_by_prefix(store):
    for stream_id in ("tool:b", "tool:a", "tools", "toolbox", "wf_1"):
        await store.append(append_to(stream_id))
    await store.append(append_to("tool:a", tenant="another"))
    assert await store.list_streams("tool:") == [("acme", "tool:a"), ("acme", "tool:b"), ("another", "tool:a")]
    assert len(await store.list_streams("")) == 6


async def test_open_workflows_are_listed_in_the_order_of_opening(store):
    for workflow in ("b", "a", "c"):
        await store.append(opening(workflow))
    assert [entry.stream_id for entry in await store.open_workflows()] == ["b", "a", "c"]


async def test_parking_and_waking_keep_a_workflow_in_its_place(store):
    await store.append(opening("b"))
    await store.append(opening("a"))
    await store.append(opening("b", at=1, wake_at_us=77))
    assert [(entry.stream_id, entry.wake_at_us) for entry in await store.open_workflows()] == [("b", 77), ("a", None)]
    await store.append(opening("b", at=2))
    assert [(entry.stream_id, entry.wake_at_us) for entry in await store.open_workflows()] == [("b", None), ("a", None)]


async def test_those_that_are_due_by_a_time_are_listed_alone(store):
    await store.append(opening("later", wake_at_us=2**63 - 1))
    await store.append(opening("soon", wake_at_us=77))
    await store.append(opening("running"))
    due = {at: [entry.stream_id for entry in await store.open_workflows(at)] for at in (76, 77, 2**62)}
    assert due == {76: ["running"], 77: ["soon", "running"], 2**62: ["soon", "running"]}
    assert [entry.stream_id for entry in await store.open_workflows()] == ["later", "soon", "running"]


async def test_a_closed_workflow_is_listed_no_more_and_a_reopened_one_at_the_end(store):
    await store.append(opening("a"))
    await store.append(opening("b"))
    await store.append(closing("a", at=1))
    assert [entry.stream_id for entry in await store.open_workflows()] == ["b"]
    await store.append(opening("a", at=2))
    assert [entry.stream_id for entry in await store.open_workflows()] == ["b", "a"]


async def test_a_workflow_that_opens_and_closes_in_one_group_is_not_listed(store):
    outcomes = []
    for append in (opening("a"), opening("b"), closing("a", at=1), closing("b", at=1), opening("b", at=2)):
        store.submit(append, outcomes.append)
    await store.append(append_to("c"))
    assert len(outcomes) == 5
    assert [entry.stream_id for entry in await store.open_workflows()] == ["b"]


async def test_closing_what_is_not_open_changes_nothing(store):
    await store.append(Append([], closed=[(TENANT, "nothing")]))
    assert await store.open_workflows() == []


async def test_a_payload_is_stored_once_a_tenant(store):
    first = await store.write_payload("one", b"x" * 300_000)
    assert await store.write_payload("one", b"x" * 300_000) == first
    assert await store.read_payload("one", first) == b"x" * 300_000
    with pytest.raises(PayloadMissingError):
        await store.read_payload("two", first)
    assert await store.write_payload("two", b"x" * 300_000) == first


async def test_payloads_and_the_events_that_name_them_are_ordered(store):
    outcomes = []
    store.submit(append_to("a"), outcomes.append)
    digest = await store.write_payload(TENANT, b"")
    assert len(outcomes) == 1
    assert await store.read_payload(TENANT, digest) == b""
