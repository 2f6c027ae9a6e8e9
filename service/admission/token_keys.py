"""The keys that tokens are signed and checked with, each pinned to one algorithm.

A private key never lies in a file that others may read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

KEY_BYTES = 32
_PRIVATE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 8192

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class KeyRefused(ValueError):
    """A key that must not be used. The message names the file and the remedy."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenKey:
    """A key with its id, which tokens name as `kid`, and the one algorithm it is used with."""

    id: str
    algorithm: str
    material: bytes | PublicKey
    """A secret, which also makes tokens, or a public key, which only checks them."""


def load_or_make_key(path: Path, random_bytes: Callable[[int], bytes]) -> TokenKey:
    """Read the service's own key for HS256; make it, readable by its owner alone, when there is none.

    Raises KeyRefused.
    """
    return TokenKey("podium", "HS256", load_or_make_secret(path, random_bytes))


def load_or_make_secret(path: Path, random_bytes: Callable[[int], bytes]) -> bytes:
    """Read the KEY_BYTES of a secret; make them, readable by their owner alone, when there are none.

    Raises KeyRefused.
    """
    if not path.exists():
        _make(path, random_bytes)
    return load_secret(path)


def load_secret(path: Path) -> bytes:
    """Read the KEY_BYTES of a secret. Raises KeyRefused, also when others than its owner may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise KeyRefused(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & _OTHERS:
            raise KeyRefused(f"others than its owner may use the key file {path}: chmod 600 it, or replace the key")
        if status.st_uid != os.geteuid():
            raise KeyRefused(f"the key file {path} belongs to another user")
        text = os.read(descriptor, 4 * KEY_BYTES).strip()
    finally:
        os.close(descriptor)
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyRefused(f"the key file {path} does not hold {KEY_BYTES} bytes in hexadecimal")
    return key


def load_public_key(key_id: str, algorithm: str, path: Path) -> TokenKey:
    """Read a public key in PEM for RS256, ES256 or EdDSA. Raises KeyRefused."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyRefused(f"the public key {path} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(f"{path} holds no public key in PEM") from None
    if isinstance(key, PublicKey) and algorithm_of(key) == algorithm:
        return TokenKey(key_id, algorithm, key)
    raise KeyRefused(
        f"the public key {path} is not for {algorithm}: use RS256 with RSA of {_RSA_BITS_MIN} bits or more, "
        "ES256 with P-256 or EdDSA with Ed25519"
    )


def algorithm_of(key: PublicKey) -> str | None:
    """The one algorithm that a public key is used with; None: it is too weak, or larger than is worth a check."""
    match key:
        case rsa.RSAPublicKey() if _RSA_BITS_MIN <= key.key_size <= _RSA_BITS_MAX:
            return "RS256"
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return "ES256"
        case ed25519.Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None


def _make(path: Path, random_bytes: Callable[[int], bytes]) -> None:
    """Write a new key so that a reader sees all of it or none, and the first of two writers wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{random_bytes(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(random_bytes(KEY_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        # Another process made it first; its key is the one.
        pass
    finally:
        draft.unlink()
