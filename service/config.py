"""The service's settings: frozen, checked, and found in the environment or in a file from here and from nowhere else.

What they are called there is in service.settings.reading. Settings that would be unsafe or contradict each other are
refused before anything starts.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple, get_type_hints

from service.domain import validation
from service.domain.addresses import Network
from service.domain.retry import MULTIPLIER_MAX, RetryDefaults
from service.domain.templates import PARTS_LIMIT
from service.settings.cache import CacheSettings, cache_problems
from service.settings.file import ConfigFile
from service.settings.listening import Listening, listening_problems
from service.settings.reading import CONFIG_NAME, PREFIX, Option, Source, all_settings, as_violation, read_settings
from service.settings.storage import Storage, storage_problems
from service.settings.telemetry import TelemetrySettings, telemetry_problems, with_standard_names
from service.settings.times import time_problems
from service.settings.tokens import TokenSettings, token_problems

_KIB = 1024
_CHECKPOINT_EVENTS_MAX = 100_000
_PAYLOAD_BYTES_MAX = 1024 * _KIB * _KIB
"""A message of gRPC is counted in 31 bits, and a payload is not all of it."""


class ConfigurationError(ValueError):
    """Settings that the service does not start with. `problems` has one line for each."""

    def __init__(self, problems: list[str], file: Path | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self._file = file

    @property
    def violations(self) -> list[tuple[str, str]]:
        """Each problem as the setting, empty where there is none that could be named, and what is wrong and where."""
        return [as_violation(problem, self._file) for problem in self.problems]


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Whose callers may do what, and who is believed to say where they are."""

    operator_tenant: str = "default"
    """The tenant whose policy guards the door (blocks and lockouts that hold before a caller is known), and the only
    one in which permissions over what all tenants share count."""
    tenants_must_exist: bool = False
    """Refuse tokens for tenants that nobody made with `podium tenants create`."""
    run_authority_max_s: int = 30 * 24 * 3_600
    """How long what was submitted may start attempts: later its authority is too old, whatever the policy grants."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of proxies, in the environment joined by commas: what they say in x-forwarded-for is believed, and
    nobody else is."""


@dataclass(frozen=True, slots=True)
class SealingSettings:
    """What is sealed in the log beyond what the tools' schemas mark, and with what."""

    master_key_file: Path | None = None
    """The key that wraps the data keys, made when it is missing; unset: master.key in the state directory."""
    previous_master_key_file: Path | None = None
    """The master key before this one, while it is replaced: at the next start all data keys are wrapped by the new."""
    seal_everything: bool = False
    """Seal every input, argument, output and chunk. Conditions can then read the states of steps only."""


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """What tools are given beside their arguments, and what they must not give away."""

    secrets_directory: Path | None = None
    """Holds the secrets of tools as files TENANT/NAME, which only the service's user may read."""
    redact_outputs: bool = True
    """Take what looks like a well-known secret out of outputs, chunks, failures and progress."""


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """How the log is signed for, and where the checkpoints are copied to."""

    checkpoint_every_events: int = 1_000
    """A checkpoint is due after so many events, at most 100,000."""
    checkpoint_interval_ms: int = 10_000
    """A checkpoint is due after this time when the log has grown at all."""
    checkpoint_file: Path | None = None
    """Each checkpoint is appended to it. Of use where whoever can change the database cannot change the file."""
    checkpoint_command: str = field(default="", repr=False)
    """A program and its arguments, run without a shell, with each checkpoint on its standard input."""
    checkpoint_key_file: Path | None = None
    """The key that signs, made when it is missing; unset: checkpoint.key in the state directory."""
    log_origin: str = "podium"
    """The name of the log in its checkpoints, best a host and path of yours: example.com/podium."""

    @property
    def command_words(self) -> list[str]:
        """The command as a program and its arguments; empty: none is set. Raises ValueError."""
        return shlex.split(self.checkpoint_command)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what callers may ask for. Over a limit is a clear error, never a retry."""

    inline_bytes: int = 64 * _KIB
    """A value up to this size stands in its event; a larger one is stored beside the log."""
    payload_bytes: int = 8 * _KIB * _KIB
    """The largest argument, input or output."""
    chunk_bytes: int = 64 * _KIB
    """The largest piece of streamed output."""
    workflow_steps: int = 100_000
    """Steps of one workflow."""
    request_steps: int = 10_000
    """Steps of one request, which all begin at once; what an open workflow has is added by several."""
    batch_calls: int = 1_000
    """Calls in one batch."""
    json_depth: int = 64
    """Levels of lists and objects in one argument, input or output."""
    json_elements: int = 250_000
    """Members and elements in one argument, input or output, all levels together: each takes its time, for all."""
    json_string_length: int = 8 * _KIB * _KIB
    """Characters of one string in it."""
    condition_bytes: int = 4 * _KIB
    """The longest condition of a step or of a policy."""
    template_parts: int = PARTS_LIMIT
    """Parts of a step's template around its references: of its arguments, and of what it runs over."""
    request_dependencies: int = 200_000
    """Steps that the steps of one request depend on, all together."""
    mailbox_commands: int = 1_000
    """Commands that wait for one workflow."""
    resident_workflows: int = 50_000
    """Open workflows in memory; of more, those without work are parked before their time."""
    waiting_appends: int = 10_000
    """Appends that wait for the writer of the log."""
    watcher_items: int = 1_000
    """Items that wait for one reader of a stream before it reads from the log again."""
    memory_bytes: int = 0
    """The memory the process may have: less work is taken as it nears that. 0: what its cgroup may have."""

    @property
    def json_bounds(self) -> tuple[int, int, int, int]:
        """Of an argument, input or output: its bytes, its depth, its elements, the length of a string in it."""
        return self.payload_bytes, self.json_depth, self.json_elements, self.json_string_length

    @property
    def of_workflows(self) -> validation.Limits:
        """Those that submitted steps are held to."""
        return validation.Limits(
            steps=self.workflow_steps,
            request_steps=self.request_steps,
            json_depth=self.json_depth,
            condition_bytes=self.condition_bytes,
            arguments_bytes=self.payload_bytes,
            value_bytes=self.inline_bytes,
            template_parts=self.template_parts,
            request_dependencies=self.request_dependencies,
        )

    @property
    def message_bytes(self) -> int:
        """The largest gRPC message: a payload with what surrounds it."""
        return self.payload_bytes + 256 * _KIB


@dataclass(frozen=True, slots=True)
class Timings:
    """How long things take or wait, in milliseconds."""

    reconnect_grace_ms: int = 5_000
    """How long an executor's attempts are kept for it after its connection broke."""
    heartbeat_interval_ms: int = 2_000
    """How often an executor shows that it is alive."""
    park_after_ms: int = 60_000
    """How long a workflow without work stays in memory."""
    reconcile_interval_ms: int = 15_000
    """How often open work is looked at again, in case a wake-up was missed."""
    start_to_close_ms: int = 300_000
    """How long an attempt may take when neither the step nor the tool says."""
    schedule_to_start_ms: int = 600_000
    """How long a step may wait for an executor when it does not say."""
    cancel_grace_ms: int = 10_000
    """How long attempts may take to end after a cancel."""
    drain_ms: int = 10_000
    """How long the service waits for calls to end when it stops."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    listening: Listening = field(default_factory=Listening)
    storage: Storage = field(default_factory=Storage)
    tokens: TokenSettings = field(default_factory=TokenSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    sealing: SealingSettings = field(default_factory=SealingSettings)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    limits: Limits = field(default_factory=Limits)
    timings: Timings = field(default_factory=Timings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    retry: RetryDefaults = field(default_factory=RetryDefaults)
    cache: CacheSettings = field(default_factory=CacheSettings)

    @property
    def key_file(self) -> Path:
        """The file of the service's own token key."""
        return self.tokens.token_key_file or self.storage.state_directory / "token.key"

    @property
    def master_key_file(self) -> Path:
        """The file of the key that wraps the data keys."""
        return self.sealing.master_key_file or self.storage.state_directory / "master.key"

    @property
    def checkpoint_key_file(self) -> Path:
        """The file of the key that signs checkpoints."""
        return self.checkpoints.checkpoint_key_file or self.storage.state_directory / "checkpoint.key"

    def checked(self) -> Settings:
        """Return the settings themselves. Raises ConfigurationError with everything that is wrong."""
        if problems := list(_problems(self)):
            raise ConfigurationError(problems)
        return self


class FoundSettings(NamedTuple):
    """Settings, and where they come from."""

    settings: Settings
    sources: Mapping[str, Source]
    """Of those that are set anywhere, by their keys and by their names in the environment."""


def load_settings(
    environment: Mapping[str, str] | None = None, file: Path | None = None, options: Mapping[str, Option] | None = None
) -> Settings:
    """Read the settings; see find_settings."""
    return find_settings(environment, file, options).settings


def find_settings(
    environment: Mapping[str, str] | None = None, file: Path | None = None, options: Mapping[str, Option] | None = None
) -> FoundSettings:
    """Find the settings in the environment, else in a file, `file` or the one that PODIUM_CONFIG names.

    Options of a command, by the variables of what they set, win over all others. Raises ConfigurationError with
    everything that is wrong.
    """
    environment = with_standard_names(_environment(environment))
    if file is None and (name := environment.get(CONFIG_NAME, "")):
        file = Path(name)
    try:
        config = None if file is None else ConfigFile.read(file)
    except ValueError as error:
        raise ConfigurationError([str(error)], file) from None
    reading = read_settings(all_settings(Settings), environment, config, options or {})
    sections = {name: kind(**reading.values.get(name, {})) for name, kind in get_type_hints(Settings).items()}
    settings = Settings(**sections)
    settings = replace(settings, storage=settings.storage.at(settings.storage.database_url))
    if problems := [*reading.problems, *reading.located(_problems(settings))]:
        raise ConfigurationError(problems, file)
    return FoundSettings(settings, reading.sources)


def _environment(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    """The one that is given, or that of this process."""
    return os.environ if environment is None else environment  # noqa: TID251 - this module is its owner


def _problems(settings: Settings) -> Iterator[str]:
    """What is wrong with settings that were read, a line each. Settings are called as in the environment."""
    yield from listening_problems(settings.listening)
    yield from storage_problems(settings.storage)
    yield from _numbers(settings)
    yield from _retry(settings.retry)
    yield from _checkpoints(settings.checkpoints)
    yield from token_problems(settings.tokens)
    yield from cache_problems(settings.cache)
    yield from telemetry_problems(settings.telemetry, settings.listening)
    values = ((each, getattr(getattr(settings, each.section), each.name)) for each in all_settings(Settings))
    yield from time_problems({setting.name: (setting.variable, value) for setting, value in values})


def _checkpoints(checkpoints: CheckpointSettings) -> Iterator[str]:
    if not 1 <= checkpoints.checkpoint_every_events <= _CHECKPOINT_EVENTS_MAX:
        # What no checkpoint covers waits in memory.
        yield f"PODIUM_CHECKPOINT_EVERY_EVENTS must be from 1 to {_CHECKPOINT_EVENTS_MAX}"
    if checkpoints.checkpoint_interval_ms < 1:
        yield "PODIUM_CHECKPOINT_INTERVAL_MS must be at least 1"
    try:
        words = checkpoints.command_words
    except ValueError as error:
        yield f"PODIUM_CHECKPOINT_COMMAND is no program with its arguments: {error}"
    else:
        if checkpoints.checkpoint_command and not words:
            yield "PODIUM_CHECKPOINT_COMMAND is blank: name a program, or leave it empty"
    if re.fullmatch(r"[^\s+]+", checkpoints.log_origin) is None:
        yield f"PODIUM_LOG_ORIGIN is {checkpoints.log_origin!r}: a name of at least a character, no space and no plus"


def _numbers(settings: Settings) -> Iterator[str]:
    for prefix, section in (("LIMIT_", settings.limits), ("", settings.timings)):
        for setting in fields(section):
            if getattr(section, setting.name) < (setting.name != "memory_bytes"):
                yield f"{PREFIX}{prefix}{setting.name.upper()} must be at least 1"
    if settings.access.run_authority_max_s < 1:
        yield "PODIUM_RUN_AUTHORITY_MAX_S must be at least 1"
    if settings.limits.payload_bytes > _PAYLOAD_BYTES_MAX:
        yield f"PODIUM_LIMIT_PAYLOAD_BYTES must be at most {_PAYLOAD_BYTES_MAX:_}, 1 GiB"
    if settings.limits.inline_bytes > settings.limits.payload_bytes:
        yield "PODIUM_LIMIT_INLINE_BYTES must not be more than PODIUM_LIMIT_PAYLOAD_BYTES"
    if settings.limits.chunk_bytes > settings.limits.payload_bytes:
        # One that fits no message would end its executor's session, again and again.
        yield "PODIUM_LIMIT_CHUNK_BYTES must not be more than PODIUM_LIMIT_PAYLOAD_BYTES"
    if settings.limits.json_depth > 200:  # noqa: PLR2004 - explained
        yield "PODIUM_LIMIT_JSON_DEPTH must be at most 200: parsers recurse"
    if settings.timings.heartbeat_interval_ms >= settings.timings.reconnect_grace_ms:
        yield "PODIUM_HEARTBEAT_INTERVAL_MS must be less than PODIUM_RECONNECT_GRACE_MS"


def _retry(retry: RetryDefaults) -> Iterator[str]:
    if retry.max_attempts < 1:
        yield "PODIUM_RETRY_MAX_ATTEMPTS must be at least 1"
    if not 0 < retry.initial_backoff_ms <= retry.max_backoff_ms:
        yield "PODIUM_RETRY_INITIAL_BACKOFF_MS must be more than 0 and at most PODIUM_RETRY_MAX_BACKOFF_MS"
    if not 1 <= retry.multiplier <= MULTIPLIER_MAX:
        yield f"PODIUM_RETRY_MULTIPLIER must be from 1 to {MULTIPLIER_MAX}"
    if not 0 <= retry.jitter <= 1:
        yield "PODIUM_RETRY_JITTER must be from 0 to 1"
