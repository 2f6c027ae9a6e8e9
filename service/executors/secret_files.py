"""Secrets in files: TENANT/NAME below a directory that only the service's user can read.

A file that others may read, that is no plain file, or that is reached through a symbolic link is not given out. The
content is read when an attempt needs it and kept for a few seconds, so that a file that is replaced is the new secret.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import value_pb2
from service.admission.redaction import HELD_BYTES_MAX
from service.admission.schema import SECRET_NAME
from service.domain import permissions
from service.domain.permissions import Policy
from service.engine.dispatch import Session
from service.engine.secrets import SecretWithheld, missing

logger = logging.getLogger(__name__)

SECRET_LIMIT_BYTES = HELD_BYTES_MAX
"""A longer one could not be found in a stream, of which no more is held back."""
KEPT_US = 5_000_000
"""How long a value is given out before its file is read again."""
_KEPT_MAX = 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class SecretRefused(Exception):
    """A file that is not given out. The message says why, for the operator."""


class SecretFiles:
    """Gives secrets to executors whose authority has the permission for them."""

    def __init__(self, directory: Path | None, policy_of: Callable[[str], Policy], now_us: Callable[[], int]) -> None:
        """Without a directory there are no secrets."""
        self._directory = directory
        self._policy_of = policy_of
        self._now_us = now_us
        self._kept: dict[tuple[str, str], tuple[int, bytes]] = {}

    def give(self, tenant: str, names: Sequence[str], session: Session) -> list[wire.Secret]:
        """The secrets of these names; see service.engine.secrets.SecretSource."""
        policy = self._policy_of(tenant)
        secrets = []
        for name in names:
            # The policy may have changed since the executor said hello.
            decision = permissions.decide(
                policy, session.authority, [permissions.USE_SECRET], name, now_us=self._now_us()
            )
            if not decision.allowed:
                message = f"the executor may not be given the secret {name}"
                raise SecretWithheld(value_pb2.Failure(reason="SECRET_DENIED", message=message))
            secrets.append(wire.Secret(name=name, value=self._value(tenant, name)))
        return secrets

    def _value(self, tenant: str, name: str) -> bytes:
        now_us = self._now_us()
        kept = self._kept.get((tenant, name))
        if kept is not None and now_us < kept[0] + KEPT_US:
            return kept[1]
        try:
            value = self._read(tenant, name)
        except (SecretRefused, OSError) as error:
            # What is wrong with a file is the operator's business, and no caller's.
            reason = error.strerror if isinstance(error, OSError) else error
            logger.error("the secret %s of tenant %s cannot be given: %s", name, tenant, reason)  # noqa: TRY400 - no trace
            self._kept.pop((tenant, name), None)
            raise SecretWithheld(missing(name)) from None
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[tenant, name] = now_us, value
        return value

    def _read(self, tenant: str, name: str) -> bytes:
        if self._directory is None:
            raise SecretRefused("PODIUM_SECRETS_DIRECTORY is not set")
        if not SECRET_NAME.fullmatch(tenant) or not SECRET_NAME.fullmatch(name):
            raise SecretRefused("tenant or name is no file's name of letters, digits and . _ -")
        # One step at a time from the directory, so that no link leads out of it.
        top = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder = os.open(tenant, _FLAGS | os.O_DIRECTORY, dir_fd=top)
        finally:
            os.close(top)
        try:
            file = os.open(name, _FLAGS | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            return _content(file)
        finally:
            os.close(file)


def _content(file: int) -> bytes:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise SecretRefused("it is no plain file")
    if status.st_mode & _OTHERS:
        raise SecretRefused("others than its owner may use the file: chmod 600 it, and replace the secret")
    if status.st_uid != os.geteuid():
        raise SecretRefused("the file belongs to another user")
    value = os.read(file, SECRET_LIMIT_BYTES + 1)
    if len(value) > SECRET_LIMIT_BYTES:
        raise SecretRefused(f"it is larger than {SECRET_LIMIT_BYTES} bytes")
    # Editors and echo end a file with a line break that is no part of the secret.
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise SecretRefused("it is empty")
    return value
