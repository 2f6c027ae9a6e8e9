"""How long a recorded text and how large an answer may be.

What is recorded is read by everyone who reads the log, and an answer over what a message may hold is no answer: so
texts are bounded before they are recorded, and answers end early, whatever the log already holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podium.v1 import definition_pb2
from service.domain.errors import InvalidInput
from store.contract import RecordedEvent

NAME_LENGTH_MAX = 256
GRANTS_MAX = 100
ANSWER_BYTES = 4 * 1024 * 1024
"""An answer with several parts ends early before it is larger than this."""
_BESIDE_ARGUMENTS_BYTES = 128 * 1024
"""What steps may take in the log beside arguments of the largest size."""


def check_text(field: str, text: str, length_max: int = NAME_LENGTH_MAX) -> None:
    """Raise InvalidInput for a text that is too long to be recorded."""
    if len(text) > length_max:
        problem = f"is longer than {length_max} characters"
        raise InvalidInput("TEXT_TOO_LONG", f"{field} {problem}", violations=[(field, problem)])


def check_grants(field: str, grants: Sequence[str]) -> None:
    """Raise InvalidInput for more, or longer, permissions than are recorded with every workflow."""
    if len(grants) > GRANTS_MAX:
        problem = f"are more than {GRANTS_MAX}"
        raise InvalidInput("TOO_MANY_PERMISSIONS", f"{field} {problem}", violations=[(field, problem)])
    for index, grant in enumerate(grants):
        check_text(f"{field}[{index}]", grant)


def check_steps(field: str, steps: Sequence[definition_pb2.StepDefinition], arguments_bytes: int) -> None:
    """Raise InvalidInput for steps that are too large for one event, which has to fit a message, once normalised."""
    limit = arguments_bytes + _BESIDE_ARGUMENTS_BYTES
    if sum(step.ByteSize() for step in steps) > limit:
        problem = f"take more than {limit} bytes in the log: submit fewer at once, or smaller arguments"
        raise InvalidInput("STEPS_TOO_LARGE", f"{field} {problem}", violations=[(field, problem)])


def frames_of(events: Sequence[RecordedEvent]) -> Iterator[Sequence[RecordedEvent]]:
    """Cut events into frames of at most ANSWER_BYTES; an event that is larger has one to itself."""
    first = size = 0
    for index, event in enumerate(events):
        if size + len(event.record) > ANSWER_BYTES and index > first:
            yield events[first:index]
            first, size = index, 0
        size += len(event.record)
    if first < len(events):
        yield events[first:]
