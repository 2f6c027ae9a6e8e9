"""The composition root: builds the service, serves, drains. The only module that picks a backend."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from service.admission.key_endpoint import KeyEndpoint
from service.admission.published_keys import PublishedKeys
from service.admission.token_claims import TokenRules
from service.admission.token_keys import (
    KeyRefused,
    load_or_make_key,
    load_or_make_secret,
    load_public_key,
    load_secret,
)
from service.admission.tokens import Tokens
from service.assembly import Service
from service.clock import SystemClock, SystemRandomness
from service.config import Settings
from service.domain.canonical import state_digest
from service.domain.errors import Unauthenticated
from service.domain.rebuild import RebuildError, rebuild
from service.engine.data_keys import MasterKeyError, require_master_key
from service.listening import ListenError
from service.projections.database import DatabaseError, ProjectionsDatabase
from service.projections.postgres_database import PostgresProjections
from service.projections.sqlite_database import SqliteProjections, beside
from service.stop_signals import GivenUp, StopSignals
from service.telemetry.switch import MetricsUnavailable
from store.backend import OnPoint
from store.checkpoints import NotAVerifierKey, Signer, Verifier
from store.contract import StoreError
from store.description import describe, grants_for
from store.event_log import EventLog
from store.limits import StoreLimits
from store.log_verifier import CheckpointsUnreadableError, LogVerifier, OnProgress, VerifiedLog
from store.migrate import check, migrate
from store.postgres import postgres_log
from store.postgres_engine import address_of, is_postgres
from store.postgres_reader import PostgresReader
from store.reader import LogReader
from store.records import decode_record
from store.sqlite import sqlite_log
from store.sqlite_engine import path_of
from store.sqlite_reader import SqliteReader

logger = logging.getLogger(__name__)


class ServeError(Exception):
    """The service cannot be started, or had to stop. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that serves."""

    address: str
    database: str
    pid: int


@dataclass(frozen=True, slots=True)
class OfflineReplay:
    """A workflow folded from a file, without a service."""

    stream_version: int
    state_digest: bytes
    record_digests: list[bytes]
    failed_version: int | None = None
    problem: str = ""


OpenLog = Callable[[Settings, SystemClock], EventLog]
"""Makes the event store of the settings, not opened yet."""


def open_log(settings: Settings, clock: SystemClock, on_point: OnPoint | None = None) -> EventLog:
    """Migrate the database when that is needed, and make the store on it."""
    url = settings.storage.database_url
    limits = StoreLimits(queue_length=settings.limits.waiting_appends)
    _migrate(url)
    if is_postgres(url):
        return postgres_log(url, clock=clock, limits=limits, on_point=on_point)
    return sqlite_log(path_of(url), clock=clock, limits=limits, on_point=on_point)


def projections_database(settings: Settings) -> ProjectionsDatabase:
    """The database of the read models, not opened yet: a file beside the log's, or a schema in its Postgres."""
    url = settings.storage.database_url
    return PostgresProjections(url) if is_postgres(url) else SqliteProjections(beside(path_of(url)))


def database_name(settings: Settings) -> str:
    """What the database is called where everybody may read it."""
    url = settings.storage.database_url
    return address_of(url) if is_postgres(url) else str(path_of(url))


def migrate_database(settings: Settings) -> dict[str, Any]:
    """Bring the database of the settings up to this version, making it when there is none. Raises ServeError."""
    url = settings.storage.database_url
    try:
        _migrate(url)
        return asdict(describe(url))
    except StoreError as error:
        raise ServeError(str(error)) from None


def check_database(settings: Settings) -> list[str]:
    """How the tables differ from this version's, one sentence a difference. Raises ServeError."""
    try:
        return check(_existing(settings))
    except StoreError as error:
        raise ServeError(str(error)) from None


def describe_database(settings: Settings) -> dict[str, Any]:
    """What the database holds. Raises ServeError."""
    try:
        return asdict(describe(_existing(settings)))
    except StoreError as error:
        raise ServeError(str(error)) from None


def database_grants(role: str) -> list[str]:
    """The SQL that lets a Postgres role run the service and change no event."""
    return grants_for(role)


def _migrate(url: str) -> None:
    if not is_postgres(url):
        path_of(url).parent.mkdir(parents=True, exist_ok=True)
    migrate(url)


def _existing(settings: Settings) -> str:
    url = settings.storage.database_url
    if not is_postgres(url) and not path_of(url).is_file():
        raise ServeError(f"there is no database at {path_of(url)}: make one with `podium database migrate`")
    return url


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Running], None] | None = None,
    make_log: OpenLog = open_log,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServeError. After it the process has a few seconds to end."""
    try:
        uvloop.run(_serve(settings, on_ready, make_log))
    except (StoreError, DatabaseError, ListenError, MasterKeyError, MetricsUnavailable) as error:
        raise ServeError(str(error)) from None


async def _serve(settings: Settings, on_ready: Callable[[Running], None] | None, make_log: OpenLog) -> None:
    signals = StopSignals()
    clock = SystemClock()
    master_key, previous_master_key = open_master_key(settings), open_previous_master_key(settings)
    published = published_keys(settings)
    service = Service(
        settings,
        clock=clock,
        randomness=SystemRandomness(),
        tokens=open_tokens(settings, published),
        published_keys=published,
        master_key=master_key,
        previous_master_key=previous_master_key,
        signer=open_signer(settings),
        stop=signals.stop.set,
        database_name=database_name(settings),
    )
    async with AsyncExitStack() as stack:
        stack.enter_context(suppress(GivenUp))
        with signals.giving_up():
            # Whatever can keep this process from serving does so before it takes the log from one that serves.
            service.bind()
            store, database = await asyncio.to_thread(make_log, settings, clock), projections_database(settings)
            stack.push_async_callback(database.close)
            await database.prepare()
            async with open_reader(settings.storage.database_url) as log:
                require_master_key(await log.read_data_keys(), master_key, previous_master_key)
            await store.open()
            stack.push_async_callback(store.close)
            await database.open(store.epoch)
            await service.start(stack, store, database)
        if on_ready is not None:
            on_ready(Running(service.address, database_name(settings), os.getpid()))
        await signals.stop.wait()
        drain_s = settings.timings.drain_ms / 1000
        signals.end_within(drain_s)
        await service.drain(drain_s, signals.hurry)
    if service.failure is not None:
        raise ServeError(f"the log cannot be written any more: {service.failure}")


def replay_offline(database: str | Path, workflow_id: str, tenant: str = "default") -> OfflineReplay:
    """Fold a workflow from a database, without writing to it. Raises ServeError when there is no such log."""

    async def read() -> list[bytes]:
        async with open_reader(database) as log:
            return [event.record for event in await log.stream_as_stored(tenant, workflow_id)]

    try:
        records = asyncio.run(read())
    except StoreError as error:
        raise ServeError(str(error)) from None
    digests = [hashlib.sha256(record).digest() for record in records]
    try:
        return OfflineReplay(len(records), state_digest(rebuild(records, decode_record)), digests)
    except RebuildError as error:
        return OfflineReplay(len(records), b"", digests, error.version, str(error))


def open_tokens(settings: Settings, published: PublishedKeys | None = None) -> Tokens:
    """The keys of the settings; on first start a key is made. Raises ServeError for keys that are not safe to use."""
    chosen = settings.tokens
    try:
        keys = [load_public_key(key.id, key.algorithm, key.path) for key in chosen.token_public_keys]
        if chosen.made_here:
            keys = [load_or_make_key(settings.key_file, SystemRandomness().bytes)]
    except (KeyRefused, OSError) as error:
        raise ServeError(str(error)) from None
    rules = TokenRules(
        issuers=chosen.token_issuer,
        audience=chosen.token_audience,
        leeway_s=chosen.token_leeway_s,
        kept_claims=chosen.token_claims,
        roles_claim=chosen.token_roles_claim,
        session_max_age_s=chosen.session_max_age_s,
    )
    return Tokens(keys, rules, remote=published or published_keys(settings))


def check_token(settings: Settings, token: str) -> str | None:
    """Why the keys of the settings refuse a token; empty: they accept it; None: there is no key to check it with.

    Nothing is made, and no service is asked. Raises ServeError for keys that are not safe to use.
    """
    if settings.tokens.made_here and not settings.key_file.exists():
        return None
    published = published_keys(settings)
    if published is not None and not asyncio.run(published.refresh()):
        return None
    try:
        open_tokens(settings, published).verify(token, SystemClock().now_us())
    except Unauthenticated as refused:
        return refused.reason
    return ""


def published_keys(settings: Settings) -> PublishedKeys | None:
    """The keys that an issuer publishes, not fetched yet; None: the settings name no address."""
    chosen = settings.tokens
    if not chosen.token_jwks_url:
        return None
    return PublishedKeys(
        KeyEndpoint(chosen.token_jwks_url).fetch,
        SystemClock().monotonic,
        refresh_s=chosen.token_jwks_refresh_s,
        cooldown_s=chosen.token_jwks_cooldown_s,
        grace_s=chosen.token_jwks_grace_s,
    )


def open_master_key(settings: Settings) -> bytes:
    """The key that wraps the data keys; on first start it is made. Raises ServeError when it is not safe to use."""
    try:
        settings.master_key_file.parent.mkdir(parents=True, exist_ok=True)
        return load_or_make_secret(settings.master_key_file, SystemRandomness().bytes)
    except (KeyRefused, OSError) as error:
        raise ServeError(str(error)) from None


def open_previous_master_key(settings: Settings) -> bytes | None:
    """The master key that is being replaced; None: none is. Raises ServeError when it is not safe to use."""
    path = settings.sealing.previous_master_key_file
    try:
        return None if path is None else load_secret(path)
    except KeyRefused as error:
        raise ServeError(str(error)) from None


def open_signer(settings: Settings) -> Signer:
    """The key that signs checkpoints; on first start it is made. Raises ServeError when it is not safe to use."""
    try:
        seed = load_or_make_secret(settings.checkpoint_key_file, SystemRandomness().bytes)
    except (KeyRefused, OSError) as error:
        raise ServeError(str(error)) from None
    return Signer(settings.checkpoints.log_origin, seed)


def verifier_key(settings: Settings) -> str:
    """The public half of the key that signs checkpoints, as it is published. Raises ServeError when there is none."""
    if not settings.checkpoint_key_file.exists():
        raise ServeError(f"there is no key {settings.checkpoint_key_file}: the service makes it on its first start")
    return open_signer(settings).verifier.text()


def open_reader(database: str | Path) -> LogReader:
    """The reader, to be opened, of a database that a URL or the path of a SQLite file names. Raises ServeError."""
    url = str(database)
    if is_postgres(url):
        return PostgresReader(url)
    return SqliteReader(path_of(url) if "://" in url else Path(url))


def verify_log(
    database: str, keys: Sequence[str], *, outside: str = "", on_progress: OnProgress | None = None
) -> VerifiedLog:
    """Verify a whole log, also against the checkpoints in a text that was kept outside of the database.

    Args:
        database: A URL, or the path of a SQLite file.
        keys: The verifier keys of those who may have signed. With none, there must be no checkpoint.
        outside: Signed notes, one after another.
        on_progress: Told how many events are verified, of how many.

    Raises ServeError when that cannot be done: there is no such log, it has checkpoints and there is no key, a key is
    none, or the text holds something else than checkpoints.
    """

    async def verify() -> VerifiedLog:
        async with open_reader(database) as log:
            if not verifiers and (outside or await log.last_checkpoint() is not None):
                raise ServeError("there are checkpoints, and no key to verify them with: name --key or its --state-dir")
            return await LogVerifier(log, verifiers, on_progress).verify(outside)

    try:
        verifiers = [Verifier.from_text(key) for key in keys]
        return asyncio.run(verify())
    except (StoreError, NotAVerifierKey, CheckpointsUnreadableError) as error:
        raise ServeError(str(error)) from None


def newest_checkpoint(database: str) -> str | None:
    """The newest signed note of a log. Raises ServeError when there is no such log."""

    async def read() -> str | None:
        async with open_reader(database) as log:
            checkpoint = await log.last_checkpoint()
            return None if checkpoint is None else checkpoint.note

    try:
        return asyncio.run(read())
    except StoreError as error:
        raise ServeError(str(error)) from None


def mint_token(  # noqa: PLR0913 - the claims of a token
    settings: Settings,
    *,
    subject: str,
    tenant: str = "default",
    roles: tuple[str, ...] = (),
    scopes: tuple[str, ...] | None = None,
    ttl_s: int = 86_400,
    agent: str = "",
    session_id: str = "",
    on_behalf_of: str = "",
) -> str:
    """Make a token with the settings' key. Raises ValueError for claims that no token may have."""
    return open_tokens(settings).mint(
        now_us=SystemClock().now_us(),
        lifetime_s=ttl_s,
        subject=subject,
        token_id=SystemRandomness().token(),
        tenant=tenant,
        roles=roles,
        scopes=scopes,
        agent=agent,
        session_id=session_id,
        on_behalf_of=on_behalf_of,
    )
