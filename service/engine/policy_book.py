"""What the stream of a policy says: the policy in force, what waits for a second person, what was asked before.

It is folded from the stream alone, so that a restart finds it as it was.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.rate_limit import InForce
from service.domain.permissions import DEFAULT_POLICY, Policy
from service.domain.policy_compiling import built_in_policy
from store.contract import RecordedEvent
from store.records import decode_record, known_payload

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED = 1_000
"""Requests, and ended proposals, of a tenant that are remembered."""


class Proposal(NamedTuple):
    """A policy that waits for a second person."""

    event: events_pb2.PolicyProposed
    proposer: value_pb2.Principal
    proposed_at_us: int


class Outcome(NamedTuple):
    """What became of a request: a new revision, or a proposal."""

    revision: int
    proposal_id: str
    position: int


class Change(NamedTuple):
    """A policy that shall take the place of the one in force."""

    policy: policy_pb2.Policy
    note: str = ""
    rolled_back_to: int = 0
    expected_revision: int | None = None
    """None: whatever is in force may be replaced."""

    @property
    def digest(self) -> bytes:
        """Tells a repeated request from another one."""
        return _digest(self.policy, self.note, self.rolled_back_to)


class Book:
    """What the stream of a tenant says."""

    __slots__ = ("applied", "changing", "ended", "limits", "message", "policy", "proposals", "requests", "version")

    def __init__(self) -> None:
        self.policy: Policy = DEFAULT_POLICY
        self.message: policy_pb2.Policy = built_in_policy()
        self.limits: Sequence[InForce] = ()
        """Those of the policy in force."""
        self.version = 0
        self.applied: list[int] = []
        """The stream's version at each revision, from the first."""
        self.proposals: dict[str, Proposal] = {}
        self.ended: OrderedDict[str, str] = OrderedDict()
        """What became of proposals."""
        self.requests: OrderedDict[tuple[str, str], tuple[bytes, Outcome]] = OrderedDict()
        """The digest of each request by subject and request id, and what became of it."""
        self.changing = asyncio.Lock()


def _digest(policy: policy_pb2.Policy, note: str, rolled_back_to: int) -> bytes:
    content = f"{rolled_back_to}\0{note}\0".encode() + policy.SerializeToString(deterministic=True)
    return hashlib.sha256(content).digest()


def fold(book: Book, recorded: RecordedEvent) -> None:
    """Take in the next event of the stream. The policy is made ready apart: only the newest is needed."""
    event = decode_record(recorded.record)
    payload = known_payload(event)
    book.version = recorded.stream_version
    outcome: Outcome | None = None
    if isinstance(payload, events_pb2.PolicyApplied):
        book.message = payload.policy
        book.applied.append(recorded.stream_version)
        book.limits = _in_force(book.limits, payload, recorded.position)
        _end(book, payload.proposal_id, f"was applied as revision {payload.revision}")
        for stale in list(book.proposals):
            _end(book, stale, f"is stale: revision {payload.revision} was applied after it was made")
        outcome = Outcome(payload.revision, "", recorded.position)
    elif isinstance(payload, events_pb2.PolicyProposed):
        book.proposals[payload.proposal_id] = Proposal(payload, event.principal, recorded.recorded_at_us)
        outcome = Outcome(0, payload.proposal_id, recorded.position)
    elif isinstance(payload, events_pb2.PolicyRejected):
        _end(book, payload.proposal_id, "was rejected")
    if event.request_id and isinstance(payload, events_pb2.PolicyApplied | events_pb2.PolicyProposed) and outcome:
        digest = _digest(payload.policy, payload.note, payload.rolled_back_to)
        _remember(book.requests, (event.principal.subject, event.request_id), (digest, outcome))


def _in_force(before: Sequence[InForce], applied: events_pb2.PolicyApplied, position: int) -> Sequence[InForce]:
    """The limits of a policy that takes the place of another: one that is the same goes on."""
    return [
        next((each for each in before if each.limit == limit), None) or InForce(limit, applied.revision, position)
        for limit in applied.policy.limits
    ]


def _end(book: Book, proposal_id: str, what: str) -> None:
    if book.proposals.pop(proposal_id, None) is not None:
        _remember(book.ended, proposal_id, what)


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
