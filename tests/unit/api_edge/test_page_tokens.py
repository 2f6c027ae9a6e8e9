"""A page's token leads to its own list alone."""

import base64

import pytest

from service.api.page_tokens import page_begins, page_begins_at, page_token
from service.domain.errors import InvalidInput


def encoded(text):
    return base64.urlsafe_b64encode(text).decode()


def test_a_page_begins_where_its_token_says_and_the_first_where_the_list_does():
    assert page_begins("tools", page_token("tools", "a:b ü")) == "a:b ü"
    assert page_begins("tools", "") == ""
    assert page_begins_at("steps", page_token("steps", 7), first=0) == 7
    assert page_begins_at("steps", page_token("steps", 7), first=0, last=7) == 7
    assert page_begins_at("steps", "", first=3) == 3


OTHERS = ["x", "%", "ü", encoded(b"\xff\xfe"), encoded(b"tools"), page_token("tools", 5), page_token("steps", "x")]
OTHERS += [page_token("steps", "-1"), page_token("steps", ""), page_token("steps", 8), page_token("steps", 10**30)]


@pytest.mark.parametrize("token", OTHERS)
def test_what_is_no_token_of_the_list_is_refused(token):
    with pytest.raises(InvalidInput) as refused:
        page_begins_at("steps", token, first=0, last=7)
    assert (refused.value.reason, refused.value.violations[0][0]) == ("INVALID_PAGE_TOKEN", "page_token")
