"""Signed checkpoints: what the log's owner says about it, as a note that anybody can keep and check.

The formats are those of C2SP: a tlog-checkpoint (origin, size, root) in a signed-note with an Ed25519 signature. The
origin is the name of the log and of the key that signs for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from store.contract import SignedCheckpoint
from store.merkle import HASH_BYTES

SEED_BYTES = 32
"""The length of the secret from which a signing key follows."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_PUBLIC_KEY_BYTES = 32
_SIGNATURE_MARK = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_BODY_LINES = 3


class NoteError(ValueError):
    """A text is no checkpoint, or none that a known key has signed. The message says what is wrong with it."""


class NotAVerifierKey(ValueError):
    """A text is no verifier key. The message says what is wrong with it."""


class UnknownSignerError(NoteError):
    """No known key has signed the note, and none of its signatures claims to be of one."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """So many records, with this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def is_log_name(name: str) -> bool:
    """Whether a log and its key may be called so: not empty, no white space, no plus."""
    return _NAME.fullmatch(name) is not None


class Verifier:
    """The public half of a log's key."""

    def __init__(self, name: str, public_key: bytes) -> None:
        self.name = name
        self._public_key = public_key
        self.key_id = hashlib.sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:_KEY_ID_BYTES]

    @classmethod
    def from_text(cls, text: str) -> Verifier:
        """Read the form in which a key is published, name+id+key. Raises NotAVerifierKey."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        key = _decoded(encoded)
        if not is_log_name(name) or key[:1] != _ED25519 or len(key) != 1 + _PUBLIC_KEY_BYTES:
            raise NotAVerifierKey(f"{text!r} is no verifier key: NAME+ID+KEY, as `podium log key` prints it")
        verifier = cls(name, key[1:])
        if verifier.key_id.hex() != key_id:
            raise NotAVerifierKey(f"{text!r} has an id that is not that of its key, which is {verifier.key_id.hex()}")
        return verifier

    def text(self) -> str:
        """The form in which the key is published."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self._public_key).decode()}"

    def accepts(self, body: str, signature: bytes) -> bool:
        """Whether this is the key's signature of a text."""
        try:
            Ed25519PublicKey.from_public_bytes(self._public_key).verify(signature, body.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A log's key. The secret is in no text that it makes."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` is SEED_BYTES of secret. Raises ValueError for a name that no log may have."""
        if not is_log_name(name):
            raise ValueError(f"{name!r} is no name for a log: no white space, no plus, not empty")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    def sign(self, size: int, root: bytes) -> SignedCheckpoint:
        """Say that the log has so many records, with this root."""
        body = Checkpoint(self.verifier.name, size, root).text()
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(body.encode())).decode()
        return SignedCheckpoint(size, root, f"{body}\n{_SIGNATURE_MARK}{self.verifier.name} {signature}\n")


def read_checkpoint(note: str) -> Checkpoint:
    """What a note says, whoever signed it. Raises NoteError."""
    body, _ = _parts(note)
    return _checkpoint(body)


def open_checkpoint(note: str, verifiers: list[Verifier]) -> Checkpoint:
    """What a note says that one of these keys has signed.

    Raises:
        UnknownSignerError: it is signed, if at all, by others.
        NoteError: it is no checkpoint, or a signature in the name of one of the keys is false.
    """
    body, signatures = _parts(note)
    checkpoint = _checkpoint(body)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signers = []
    for name, key_id, signature in signatures:
        verifier = known.get((name, key_id))
        if verifier is None:
            continue
        if not verifier.accepts(body, signature):
            raise NoteError(f"its signature in the name of {name} is false")
        signers.append(name)
    if not signers:
        named = ", ".join(f"{name}+{key_id.hex()}" for name, key_id, _ in signatures)
        raise UnknownSignerError(f"it is signed by {named}, which is no key that is known here")
    if checkpoint.origin not in signers:
        raise NoteError(f"it is about the log {checkpoint.origin}, and {signers[0]} has signed it")
    return checkpoint


def split_notes(text: str) -> tuple[list[str], int]:
    """The notes in a file that holds one after another, and how many are incomplete, as after a crash."""
    blocks = [block for block in re.split(r"\n{2,}", text.strip("\n")) if block]
    notes: list[str] = []
    incomplete = 0
    body = ""
    for block in blocks:
        if not block.startswith(_SIGNATURE_MARK):
            incomplete += bool(body)
            body = block
        elif body:
            notes.append(f"{body}\n\n{block}\n")
            body = ""
        else:
            incomplete += 1
    return notes, incomplete + bool(body)


def _parts(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The signed text, and (name, key id, signature) of each signature."""
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise NoteError("it is no signed note: a text, an empty line, and signatures")
    signatures = []
    for line in tail[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
        value = _decoded(encoded)
        if not line.startswith(_SIGNATURE_MARK) or not is_log_name(name) or len(value) <= _KEY_ID_BYTES:
            raise NoteError(f"{line!r} is no signature")
        signatures.append((name, value[:_KEY_ID_BYTES], value[_KEY_ID_BYTES:]))
    return text + "\n", signatures


def _checkpoint(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != _BODY_LINES + 1 or lines[-1]:
        raise NoteError("it is no checkpoint: a line each for origin, size and root")
    origin, size, encoded = lines[:_BODY_LINES]
    root = _decoded(encoded)
    if not is_log_name(origin) or not _SIZE.fullmatch(size) or len(root) != HASH_BYTES:
        raise NoteError("its origin, size or root cannot be read")
    return Checkpoint(origin, int(size), root)


def _decoded(encoded: str) -> bytes:
    """The bytes of a base64 text; empty for one that is none, or not the only one of its bytes."""
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return value if base64.b64encode(value).decode() == encoded else b""
