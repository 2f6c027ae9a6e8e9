"""The policies of tenants: one stream `policy` a tenant, folded at start, read from memory.

A policy decides only once it is durable. One change of a tenant's policy is decided at a time, over the state that the
log has, so that two that meant to replace the same revision cannot both be applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf.message import Message

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.admission.rate_limit import InForce
from service.domain.errors import AlreadyExists, Basis, Conflict, Denied, IllegalState, LimitExceeded, NotFound
from service.domain.permissions import DEFAULT_POLICY, Policy
from service.domain.policy_compiling import compile_policy
from service.domain.policy_conditions import Conditions
from service.engine.policy_book import Book, Change, Outcome, Proposal, fold
from service.engine.resident import Cause
from store.contract import SHARD, Append, Committed, EventStore, NewEvent, RecordedEvent, StoreError, StreamAppend
from store.records import decode_record, encode_envelope

STREAM_ID = "policy"
PROPOSALS_MAX = 20
"""Proposals of a tenant that may wait."""
_PAGE = 100
"""Events that are read at once."""


class Policies:
    """The policies of all tenants."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self._books: dict[str, Book] = {}
        self._store: EventStore | None = None
        self._watchers: list[Callable[[str], None]] = []

    async def load(self, store: EventStore) -> None:
        """Fold the streams of all tenants."""
        self._store = store
        for tenant, stream_id in await store.list_streams(STREAM_ID):
            if stream_id == STREAM_ID:
                book = self._books[tenant] = Book()
                while page := await store.read_stream(tenant, STREAM_ID, book.version, limit=_PAGE):
                    for recorded in page:
                        fold(book, recorded)
                self._make_ready(book)

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Have a function called with a tenant whose policy has changed, once that is durable. It must not raise."""
        self._watchers.append(watcher)

    # Reading

    def policy_of(self, tenant: str) -> Policy:
        """The policy in force."""
        book = self._books.get(tenant)
        return DEFAULT_POLICY if book is None else book.policy

    def limits_of(self, tenant: str) -> Sequence[InForce]:
        """The rate limits of the policy in force, and since when they are."""
        return self._read(tenant).limits

    def message_of(self, tenant: str) -> policy_pb2.Policy:
        """The policy in force, as it was applied."""
        return self._read(tenant).message

    def proposals(self, tenant: str) -> list[Proposal]:
        """What waits for a second person, the oldest first."""
        return list(self._read(tenant).proposals.values())

    async def revision(self, tenant: str, revision: int) -> RecordedEvent:
        """The event that applied a revision. Raises NotFound."""
        applied = self._read(tenant).applied
        if not 1 <= revision <= len(applied):
            raise NotFound("REVISION_NOT_FOUND", f"there is no revision {revision} of the policy")
        [event] = await self._opened.read_stream(tenant, STREAM_ID, applied[revision - 1] - 1, limit=1)
        return event

    def newest(self, tenant: str) -> int:
        """The number of the newest revision; 0: the built-in policy is in force."""
        return len(self._read(tenant).applied)

    # Changing

    async def apply(self, tenant: str, change: Change, cause: Cause, proposal_id: str) -> Outcome:
        """Apply a policy, or propose it under that id where the policy in force wants a second person.

        Raises Conflict when another revision is in force than expected, AlreadyExists for the id of a request that was
        another, and LimitExceeded.
        """
        book = self._books.setdefault(tenant, Book())
        async with book.changing:
            repeated = self._repeated(book, change, cause)
            if repeated is not None:
                return repeated
            revision = book.policy.revision
            if change.expected_revision not in (None, revision):
                raise Conflict(
                    "POLICY_CHANGED",
                    f"revision {revision} is in force, not {change.expected_revision}: look at it and decide again",
                    violations=[("expected_revision", f"is {change.expected_revision}, in force is {revision}")],
                )
            if book.policy.changes_need_approval:
                return await self._propose(tenant, book, change, cause, proposal_id)
            applied = events_pb2.PolicyApplied(
                revision=len(book.applied) + 1,
                policy=change.policy,
                note=change.note,
                rolled_back_to=change.rolled_back_to,
            )
            position = await self._record(tenant, book, applied, cause)
            return Outcome(applied.revision, "", position)

    async def approve(self, tenant: str, proposal_id: str, cause: Cause) -> Outcome:
        """Apply a proposal of somebody else. Raises NotFound, Denied for one's own, IllegalState for one that ended."""
        book = self._books.setdefault(tenant, Book())
        async with book.changing:
            proposal = self._waiting(book, proposal_id)
            if _people(proposal.proposer) & _people(cause.principal):
                basis = Basis("policies.approve", proposal_id, "own-proposal", book.policy.name, book.policy.revision)
                problem = "somebody else than the proposer, for nobody of theirs, must approve a change of the policy"
                raise Denied("OWN_PROPOSAL", problem, basis=basis)
            applied = events_pb2.PolicyApplied(
                revision=len(book.applied) + 1,
                policy=proposal.event.policy,
                note=proposal.event.note,
                proposal_id=proposal_id,
                proposer=proposal.proposer,
                rolled_back_to=proposal.event.rolled_back_to,
            )
            position = await self._record(tenant, book, applied, cause)
            return Outcome(applied.revision, proposal_id, position)

    async def reject(self, tenant: str, proposal_id: str, reason: str, cause: Cause) -> Outcome:
        """End a proposal. Raises NotFound and IllegalState, as `approve` does."""
        book = self._books.setdefault(tenant, Book())
        async with book.changing:
            self._waiting(book, proposal_id)
            rejected = events_pb2.PolicyRejected(proposal_id=proposal_id, reason=reason)
            return Outcome(0, proposal_id, await self._record(tenant, book, rejected, cause))

    def proposal(self, tenant: str, proposal_id: str) -> Proposal:
        """A proposal that waits. Raises NotFound and IllegalState."""
        return self._waiting(self._read(tenant), proposal_id)

    async def _propose(self, tenant: str, book: Book, change: Change, cause: Cause, proposal_id: str) -> Outcome:
        if len(book.proposals) >= PROPOSALS_MAX:
            raise LimitExceeded("TOO_MANY_PROPOSALS", f"{PROPOSALS_MAX} proposals wait: approve or reject some first")
        proposed = events_pb2.PolicyProposed(
            proposal_id=proposal_id,
            policy=change.policy,
            base_revision=book.policy.revision,
            note=change.note,
            rolled_back_to=change.rolled_back_to,
        )
        return Outcome(0, proposal_id, await self._record(tenant, book, proposed, cause))

    @staticmethod
    def _repeated(book: Book, change: Change, cause: Cause) -> Outcome | None:
        """What became of the same request before."""
        known = book.requests.get((cause.principal.subject, cause.request_id)) if cause.request_id else None
        if known is None:
            return None
        digest, outcome = known
        if digest != change.digest:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                "the request_id was used before for another request: use a new one",
                violations=[("request_id", "was used before with another body")],
            )
        return outcome

    @staticmethod
    def _waiting(book: Book, proposal_id: str) -> Proposal:
        proposal = book.proposals.get(proposal_id)
        if proposal is not None:
            return proposal
        if proposal_id in book.ended:
            raise IllegalState(
                "PROPOSAL_ENDED", f"the proposal {book.ended[proposal_id]}", violations=[("proposal_id", "has ended")]
            )
        raise NotFound("PROPOSAL_NOT_FOUND", f"there is no proposal {proposal_id[:100]!r}")

    # The stream

    @property
    def _opened(self) -> EventStore:
        if self._store is None:
            raise RuntimeError("the policies were not loaded")
        return self._store

    def _read(self, tenant: str) -> Book:
        # One that is not there is not kept, so that asking costs no memory.
        return self._books.get(tenant) or Book()

    def _make_ready(self, book: Book) -> None:
        if book.applied:
            book.policy = compile_policy(book.message, len(book.applied), self.conditions)

    async def _record(self, tenant: str, book: Book, payload: Message, cause: Cause) -> int:
        """Make an event durable, then let it count. Returns its position."""
        envelope = encode_envelope(
            shard=SHARD, tenant=tenant, stream_id=STREAM_ID, principal=cause.principal, request_id=cause.request_id
        )
        append = Append((StreamAppend(tenant, STREAM_ID, book.version, [NewEvent(payload, envelope)]),))
        position: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def recorded(outcome: Committed | StoreError) -> None:
            if isinstance(outcome, StoreError):
                position.set_exception(outcome)
                return
            fold(book, outcome.events[0])
            position.set_result(outcome.events[0].position)
            if isinstance(payload, events_pb2.PolicyApplied):
                self._make_ready(book)
                for watcher in self._watchers:
                    watcher(tenant)

        self._opened.submit(append, recorded)
        try:
            return await asyncio.shield(position)
        except asyncio.CancelledError:
            # Nobody decides the next change before it is known whether this one counts.
            await asyncio.wait([position])
            position.exception()
            raise


def _people(principal: value_pb2.Principal) -> set[str]:
    """Who acts, and for whom: neither may be on both sides of a change."""
    return {principal.subject, principal.on_behalf_of} - {""}


def applied_in(recorded: RecordedEvent) -> tuple[events_pb2.Event, events_pb2.PolicyApplied]:
    """The event that applied a revision, with its envelope."""
    event = decode_record(recorded.record)
    return event, event.policy_applied
