"""Page tokens: they continue the query they came from and no other."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1.audit_service_pb2 import AuditEntry
from service.projections.paging import (
    PAGE_BYTES,
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    PageSizeError,
    PageTokenError,
    Paging,
)

ENTRIES = [AuditEntry(summary=summary) for summary in "abc"]


def paging(query="audit", tenant="acme", filter_bytes=b"filter", page_size=2, page_token=""):
    return Paging.of(query, tenant, filter_bytes, page_size=page_size, page_token=page_token)


def token_after(key, **asked):
    return paging(**asked).page(ENTRIES, [1, key, 3]).next_page_token


def test_a_full_page_names_the_key_it_ended_with():
    assert paging(page_token=token_after(41)).after == 41


def test_the_first_page_is_after_nothing():
    assert paging().after is None


def test_a_page_holds_one_less_than_was_read_to_know_of_more():
    page = paging().page(ENTRIES, [1, 2, 3])
    assert page.items == ENTRIES[:2]
    assert page.next_page_token


def test_a_page_ends_before_it_is_too_large_for_a_message_and_has_one_result_at_least():
    large = [AuditEntry(summary="x" * (PAGE_BYTES // 2 - 100)), AuditEntry(summary="x" * PAGE_BYTES)]
    asked = paging(page_size=100)
    first = asked.page([*large, *large], [1, 2, 3, 4])
    assert first.items == large[:1]
    assert paging(page_size=100, page_token=first.next_page_token).after == 1
    assert asked.page(large[1:], [2]).items == large[1:]
    assert asked.page(ENTRIES, [1, 2, 3]).items == ENTRIES, "small results are not cut"


def test_the_last_page_has_no_token():
    page = paging().page(ENTRIES[:2], [1, 2])
    assert page.items == ENTRIES[:2]
    assert page.next_page_token == ""


@pytest.mark.parametrize("other", [{"query": "workflows"}, {"tenant": "zenith"}, {"filter_bytes": b"wider"}])
def test_a_token_of_another_question_is_refused(other):
    with pytest.raises(PageTokenError, match="belongs to another query"):
        paging(**other, page_token=token_after(41))


def test_the_parts_of_a_question_cannot_run_together():
    token = token_after(41, tenant="acme", filter_bytes=b"x")
    with pytest.raises(PageTokenError):
        paging(tenant="acm", filter_bytes=b"ex", page_token=token)


def test_another_page_size_goes_on_with_the_same_token():
    assert paging(page_size=100, page_token=token_after(41)).after == 41


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_a_damaged_token_is_refused(token):
    if token:
        with pytest.raises(PageTokenError):
            paging(page_token=token)


def test_a_key_beyond_the_database_is_refused():
    with pytest.raises(PageTokenError):
        paging(page_token=token_after(2**63))


@pytest.mark.parametrize(("asked", "limit"), [(0, PAGE_SIZE_DEFAULT), (1, 1), (PAGE_SIZE_MAX, PAGE_SIZE_MAX)])
def test_the_page_size_has_a_default(asked, limit):
    assert paging(page_size=asked).limit == limit


@pytest.mark.parametrize("asked", [-1, PAGE_SIZE_MAX + 1])
def test_a_page_size_out_of_bounds_is_refused(asked):
    with pytest.raises(PageSizeError) as raised:
        paging(page_size=asked)
    assert raised.value.field == "page_size"
