"""What docs/security.md claims is shown by tests that exist, and the page holds what is claimed here.

After a change of the claims, from the checkout: `.venv/bin/python -m tests.security.page`
"""

from dataclasses import replace

import pytest

from tests.security import page
from tests.security.claims import LISTS

API, AGENTIC = LISTS.values()
CLAIMS = [claim for claims in LISTS.values() for claim in claims]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_is_shown_by_tests_that_exist(claim):
    assert claim.tests
    assert page.missing(claim.tests) == []
    assert claim.done
    assert claim.ends


def test_a_test_that_is_not_there_is_missed():
    present, gone = API[0].tests[0], "tests/security/test_claims.py::test_that_nobody_wrote"
    assert page.missing([present, gone, "tests/nowhere.py::test_a", "tests/security/page.py::write"]) == [
        gone, "tests/nowhere.py::test_a", "tests/security/page.py::write"
    ]  # fmt: skip


def test_every_risk_of_both_lists_is_answered_once():
    assert [claim.id for claim in API] == [f"API{number}" for number in range(1, 11)]
    assert [claim.id for claim in AGENTIC] == [f"ASI{number:02}" for number in range(1, 11)]


def test_the_page_holds_what_is_claimed():
    assert page.on_page(page.PAGE.read_text()) == page.table(), "python -m tests.security.page writes it anew"


def test_a_page_that_claims_something_else_is_found():
    stale = page.table({"a list": (replace(API[0], done="everything"),)})
    assert stale != page.table({"a list": (API[0],)})
    with pytest.raises(ValueError, match="needs the lines"):
        page.on_page("a page without the place")
