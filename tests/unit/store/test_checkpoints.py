"""Signed checkpoints: the published formats to the byte, and every change to one is refused."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from store.checkpoints import (
    Checkpoint,
    NoteError,
    Signer,
    UnknownSignerError,
    Verifier,
    open_checkpoint,
    read_checkpoint,
    split_notes,
)
from store.merkle import leaf_hash

NAME = "example.com/log"
SIGNER = Signer(NAME, bytes(range(32)))
ROOT = leaf_hash(b"a record")


def test_a_note_has_the_form_of_c2sp():
    note = SIGNER.sign(20_852_163, ROOT).note
    *body, empty, signature, end = note.split("\n")
    assert body == [NAME, "20852163", base64.b64encode(ROOT).decode()]
    assert (empty, end) == ("", "")
    mark, name, value = signature.split(" ")
    public_key = base64.b64decode(SIGNER.verifier.text().split("+", 2)[2])
    key_id = hashlib.sha256(NAME.encode() + b"\n" + public_key).digest()[:4]
    assert (mark, name, base64.b64decode(value)[:4]) == ("\u2014", NAME, key_id)
    assert public_key[:1] == b"\x01"
    assert len(base64.b64decode(value)) == 4 + 64


def test_the_published_example_of_a_verifier_key_is_read():
    """From the documentation of the note format (golang.org/x/mod/sumdb/note)."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    verifier = Verifier.from_text(text)
    assert (verifier.name, verifier.key_id.hex(), verifier.text()) == ("PeterNeumann", "c74f20a3", text)
    body = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signature = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert signature[:4] == verifier.key_id
    assert verifier.accepts(body, signature[4:])
    assert not verifier.accepts(body + "\n", signature[4:])


def test_what_was_signed_is_opened_with_the_published_key():
    signed = SIGNER.sign(7, ROOT)
    verifier = Verifier.from_text(SIGNER.verifier.text())
    assert open_checkpoint(signed.note, [verifier]) == Checkpoint(NAME, 7, ROOT) == read_checkpoint(signed.note)


@settings(max_examples=300)
@given(st.data())
def test_a_note_that_was_changed_anywhere_is_not_opened(data):
    note = SIGNER.sign(1234, ROOT).note
    place = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != note[place]))
    with pytest.raises(NoteError):
        open_checkpoint(note[:place] + other + note[place + 1 :], [SIGNER.verifier])


def test_another_signature_beside_the_log_s_own_is_no_harm():
    note = SIGNER.sign(5, ROOT).note
    witness = Signer("witness.example", bytes(32)).sign(5, ROOT).note.rpartition("\n\n")[2]
    assert open_checkpoint(note + witness, [SIGNER.verifier]).size == 5


def test_the_key_of_another_log_opens_nothing():
    note = SIGNER.sign(5, ROOT).note
    with pytest.raises(UnknownSignerError, match="no key that is known here"):
        open_checkpoint(note, [Signer(NAME, bytes(32)).verifier])
    other = Signer("other.example/log", bytes(32))
    body, _, _ = note.partition("\n\n")
    false = other.sign(5, ROOT).note.replace("other.example/log", NAME, 1)
    assert false.startswith(body)
    with pytest.raises(NoteError, match="false"):
        open_checkpoint(false, [other.verifier])


def test_a_key_vouches_for_its_own_log_alone():
    other = Signer("other.example/log", bytes(32))
    body = Checkpoint(NAME, 5, ROOT).text()
    signature = base64.b64encode(
        other.verifier.key_id + Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(body.encode())
    ).decode()
    with pytest.raises(NoteError, match="about the log example"):
        open_checkpoint(f"{body}\n\u2014 other.example/log {signature}\n", [other.verifier, SIGNER.verifier])


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+0011aabb", "a name+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "name+c74f20a3+AAAA"],
)
def test_a_text_that_is_no_verifier_key_is_refused(text):
    with pytest.raises(ValueError, match="is no verifier key: NAME"):
        Verifier.from_text(text)


def test_a_verifier_key_with_the_id_of_another_is_refused():
    with pytest.raises(ValueError, match="which is c74f20a3"):
        Verifier.from_text("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\nbreak"])
def test_a_log_whose_name_would_break_the_format_gets_no_key(name):
    with pytest.raises(ValueError, match="no name for a log"):
        Signer(name, bytes(32))


@pytest.mark.parametrize("note", ["", "\n", "text\n", "a\n1\nroot\n\nno signature\n", "a\n\n\u2014 a AAAAAAAA\n"])
def test_a_text_that_is_no_note_is_refused(note):
    with pytest.raises(NoteError):
        read_checkpoint(note)


def test_notes_are_told_apart_and_cut_off_ones_passed_over():
    notes = [SIGNER.sign(size, ROOT).note for size in (1, 2, 3)]
    assert split_notes("\n".join(notes)) == (notes, 0)
    assert split_notes("") == ([], 0)
    cut = notes[1][:30]
    assert split_notes(f"{notes[0]}\n{cut}\n\n{notes[2]}") == ([notes[0], notes[2]], 1)
    assert split_notes(f"{notes[0]}\n{cut}") == ([notes[0]], 1)
