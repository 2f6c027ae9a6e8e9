"""What the executor sends for whatever a tool raises: a failure, with a reason that the service takes as one."""

import asyncio
import re

import pytest

import podium
from podium.errors import PodiumError
from podium.failures import failure_of

# As the contract has it, in value.proto.
REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


def family(kind):
    return [kind, *(each for below in kind.__subclasses__() for each in family(below))]


@pytest.mark.parametrize("kind", family(PodiumError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_client_has_a_reason_by_itself(kind):
    assert REASON.fullmatch(failure_of(kind("no")).reason)


@pytest.mark.parametrize(
    "error", [ValueError("db.down"), KeyError(), OSError(2, "gone"), asyncio.CancelledError(), SystemExit(1)], ids=repr
)
def test_an_exception_that_nobody_foresaw_is_a_tool_error(error):
    failure = failure_of(error)
    assert failure.reason == "TOOL_ERROR"
    assert failure.message.startswith(type(error).__name__)


def test_what_a_tool_calls_its_failure_is_sent_as_it_is():
    """The service tells whoever reads the log that it is no reason; here nothing of it would be left."""
    assert failure_of(podium.ToolFailed("no", reason="db.down")).reason == "db.down"
