"""ExecutorService: the connections of executors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from podium.v1 import executor_service_pb2 as pb
from podium.v1 import executor_service_pb2_grpc as grpc_stubs
from service.admission.sanitizing import clean_arguments
from service.admission.tokens import Caller
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.api.sizes import check_text
from service.api.tool_servicer import register, require_secrets
from service.api.uploads import Uploads
from service.domain.errors import IllegalState, InvalidInput, NotFound, Unavailable
from service.domain.permissions import decide
from service.domain.values import PayloadNotLoadedError, SealBrokenError, arguments_text
from service.engine.keys import WorkflowKey
from service.engine.resident import Resident
from service.engine.tenants import check_quota
from service.executors.session import ExecutorSession
from service.executors.session_parts import SessionParts
from service.tasks import Tasks

MAX_ATTEMPTS = 10_000
"""Attempts an executor may ask for at once."""
_EXECUTOR_LENGTH_MAX = 128
"""Characters of what an executor calls itself, which is recorded with each of its attempts."""
SILENT_INTERVALS = 4
"""A session that was silent for so many heartbeat intervals is dead."""


class ExecutorServicer(grpc_stubs.ExecutorServiceServicer):
    """Serves ExecutorService. Method names are those of the contract."""

    def __init__(self, parts: p.ApiParts, session_parts: SessionParts, *, heartbeat_interval_ms: int) -> None:
        self._parts = parts
        self._session_parts = session_parts
        self._heartbeat_interval_ms = heartbeat_interval_ms
        self._sessions: dict[ExecutorSession, Caller] = {}
        self._uploads = Uploads(parts, session_parts)

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions_of(self, tenant: str) -> int:
        """How many sessions a tenant has."""
        return sum(session.tenant == tenant for session in self._sessions)

    @property
    def promised(self) -> int:
        """Places that were given to attempts whose executors do not have them yet."""
        places = [session.place for session in self._sessions if session.place is not None]
        return sum(place.taken - len(place.holding) for place in places)

    @property
    def holding(self) -> int:
        """Attempts that executors have."""
        return sum(len(session.place.holding) for session in self._sessions if session.place is not None)

    def drain(self) -> None:
        """Tell every executor that the service is about to stop."""
        for session in self._sessions:
            session.send(pb.ServiceItem(drain=pb.Drain()))

    def finish(self) -> None:
        """End every session once it has said what it has to say."""
        for session in self._sessions:
            session.finish()

    def recheck(self, tenant: str) -> None:
        """End the sessions of a tenant whose policy has changed and does not let them serve their tools any more."""
        for session, caller in list(self._sessions.items()):
            if caller.tenant == tenant:
                self._end_unless_allowed(session, caller)

    def _end_unless_allowed(self, session: ExecutorSession, caller: Caller) -> None:
        policy, now_us = self._parts.policy_of(caller.tenant), self._parts.clock.now_us()
        for tool in session.place.serves if session.place is not None else ():
            decision = decide(policy, caller.authority, ["tools.serve"], tool, now_us=now_us)
            if not decision.allowed:
                session.end()

    async def Session(
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Context
    ) -> AsyncIterator[pb.SessionResponse]:
        """One session: Hello first, then frames both ways until either side ends it."""
        frames = aiter(request_iterator)
        first = await anext(frames, None)
        if first is None or not first.items or first.items[0].WhichOneof("item") != "hello":
            raise InvalidInput("HELLO_EXPECTED", "the first item of a session must be hello")
        session = await self._open(first.items[0].hello)
        refused: list[InvalidInput] = []
        # The policy may have changed while the session was opened.
        self._end_unless_allowed(session, current_caller())
        try:
            async with Tasks() as tasks:
                tasks.spawn(self._read(session, frames, first, refused))
                tasks.spawn(self._watch_silence(session))
                while (frame := await session.next_frame()) is not None:
                    yield frame
            if refused:
                raise refused[0]
        finally:
            self._close(session)

    async def _open(self, hello: pb.Hello) -> ExecutorSession:
        names = {definition.name for definition in hello.tools}
        if not hello.executor or not names or not 1 <= hello.max_attempts <= MAX_ATTEMPTS:
            raise InvalidInput(
                "INVALID_HELLO",
                f"an executor needs a name, at least one tool, and max_attempts between 1 and {MAX_ATTEMPTS}",
                violations=[("hello", "executor, tools or max_attempts is missing or out of bounds")],
            )
        for field, text in (("executor", hello.executor), ("instance_id", hello.instance_id)):
            check_text(f"hello.{field}", text, _EXECUTOR_LENGTH_MAX)
        if len(names) < len(hello.tools):
            raise InvalidInput(
                "INVALID_HELLO", "a tool is named twice", violations=[("hello.tools", "has two tools of one name")]
            )
        for definition in hello.tools:
            p.require(self._parts, "tools.serve", definition.name)
            current = self._parts.catalog.newest(current_caller().tenant, definition.name)
            if current is None or current.definition != definition:
                p.require(self._parts, "tools.register", definition.name)
            require_secrets(self._parts, definition)
        session = ExecutorSession(
            self._parts.tokens.token(),
            hello,
            p.cause_of_request(),
            current_caller().tenant,
            self._session_parts,
            current_caller().authority,
        )
        self._check_quota(session)
        # Only when all of them may be served: a refused executor leaves nothing behind.
        serves = {definition.name: await register(self._parts, definition) for definition in hello.tools}
        # Others may have come meanwhile.
        self._check_quota(session)
        for earlier in self._earlier(session):
            # The same process is back before its old connection was seen to be dead.
            self._close(earlier)
            earlier.end()
        self._sessions[session] = current_caller()
        session.connect(serves, hello.max_attempts)
        try:
            verdicts = [await session.claim(held) for held in hello.holding]
        except BaseException:
            # The connection broke in between: what was claimed on it belongs to nobody.
            self._close(session)
            raise
        if session not in self._sessions:
            raise Unavailable("SESSION_REPLACED", "the same process has connected once more")
        welcome = pb.Welcome(
            session_id=session.session_id,
            heartbeat_interval_ms=self._heartbeat_interval_ms,
            inline_limit_bytes=self._session_parts.limits.inline_bytes,
            chunk_limit_bytes=self._session_parts.limits.chunk_bytes,
            tool_versions=serves.values(),
            held=verdicts,
        )
        session.begin(welcome)
        return session

    def _earlier(self, session: ExecutorSession) -> list[ExecutorSession]:
        """The sessions of the same process."""
        return [other for other in self._sessions if other.is_of(session)]

    def _check_quota(self, session: ExecutorSession) -> None:
        """Raise LimitExceeded when the tenant has as many sessions as it may, those of the same process aside."""
        used = self.sessions_of(session.tenant) - len(self._earlier(session))
        check_quota("executors", used, self._parts.tenants.quotas_of(session.tenant).executors)

    def _close(self, session: ExecutorSession) -> None:
        """A session takes no more work and counts no more. Closing it twice changes nothing."""
        self._sessions.pop(session, None)
        session.disconnect()

    async def _read(
        self,
        session: ExecutorSession,
        frames: AsyncIterator[pb.SessionRequest],
        first: pb.SessionRequest,
        refused: list[InvalidInput],
    ) -> None:
        try:
            del first.items[0]
            session.receive(first)
            async for frame in frames:
                session.receive(frame)
                await session.may_read()
        except InvalidInput as malformed:
            # Told as the status of the whole session, which ends with it.
            refused.append(malformed)
        finally:
            session.end()

    async def _watch_silence(self, session: ExecutorSession) -> None:
        interval_s = self._heartbeat_interval_ms / 1000
        while True:
            await asyncio.sleep(interval_s)
            silent_us = self._parts.clock.now_us() - session.heard_us
            if silent_us > SILENT_INTERVALS * self._heartbeat_interval_ms * 1000:
                session.end()
                return

    async def Upload(self, request_iterator: AsyncIterator[pb.UploadRequest], context: Context) -> pb.UploadResponse:
        """Store a value over the inline limit, sealed when it is the output of a tool whose output is."""
        data = bytearray()
        attempt: pb.AttemptReference | None = None
        async for piece in request_iterator:
            if piece.HasField("attempt"):
                attempt = piece.attempt
            data += piece.data
            if len(data) > self._parts.bounds.size_bytes:
                problem = f"is larger than {self._parts.bounds.size_bytes} bytes"
                raise InvalidInput("PAYLOAD_TOO_LARGE", f"the value {problem}", violations=[("data", problem)])
        return pb.UploadResponse(payload=await self._uploads.store(bytes(data), attempt))

    async def GetArguments(self, request: pb.GetArgumentsRequest, context: Context) -> pb.GetArgumentsResponse:
        """Make the arguments of a running attempt again, for an executor that got none inline."""
        caller = current_caller()
        reference = request.attempt
        live = self._parts.engine.attempts.find(caller.tenant, reference)
        if live is None or live.holder != caller.authority.principal.subject:
            # That another executor runs it is told in the same words.
            raise NotFound("ATTEMPT_NOT_RUNNING", "the attempt has ended or its fence is stale")
        p.require(self._parts, "tools.serve", live.tool.tool)
        key = WorkflowKey(caller.tenant, reference.workflow_id)
        payloads, seals = self._parts.payloads.of(caller.tenant), self._parts.sealing.of(caller.tenant)

        def make(resident: Resident) -> str | PayloadNotLoadedError:
            try:
                return arguments_text(resident.state, resident.state.steps[reference.step_id], payloads, seals)
            except PayloadNotLoadedError as missing:
                return missing
            except SealBrokenError as broken:
                raise IllegalState("SEAL_BROKEN", str(broken)) from None

        while not isinstance(made := await self._parts.engine.read(key, make), str):
            await self._parts.payloads.fetch(caller.tenant, made.reference.digest)
        definition = self._parts.catalog.definition(*live.tool)
        assert definition is not None, "an attempt runs of a tool that is known"
        return pb.GetArgumentsResponse(arguments_json=clean_arguments(definition, made))
