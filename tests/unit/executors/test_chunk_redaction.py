"""A secret in streamed output is found however the stream is cut, and nothing else of the stream changes."""

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podium.v1 import executor_service_pb2 as wire
from podium.v1 import policy_pb2
from service.admission.redaction import HELD_BYTES_MAX, Redactor
from service.executors.chunk_redaction import ChunkRedactor
from service.executors.secret_files import SECRET_LIMIT_BYTES
from tests.unit.admission.test_redaction import BEFORE, EACH, SECRETS

ALL = Redactor.of()
VALUES = Redactor().with_values({"key": b"correct horse"})


def streamed(pieces, redactor=ALL):
    """What is recorded of the pieces: when each was let go, and the chunks."""
    names = {}
    stream = ChunkRedactor(redactor, names)
    released = [
        stream.take(wire.AttemptChunk(sequence=number, data=piece)) for number, piece in enumerate(pieces, start=1)
    ]
    released.append(stream.end())
    chunks = [chunk for each in released for chunk in each]
    assert [chunk.sequence for chunk in chunks] == list(range(1, len(pieces) + 1)), "in order, none more, none less"
    return chunks, [len(each) for each in released], names


def cut(data, places):
    ends = sorted({min(place, len(data)) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


TEXT = "\n".join(f"line {name}: {secret.rstrip()} end" for name, secret in EACH).encode()


@given(st.lists(st.integers(0, len(TEXT)), max_size=40))
@example(range(0, len(TEXT), 3))
@settings(deadline=None)
def test_every_secret_is_found_however_the_stream_is_cut(places):
    chunks, _, names = streamed(cut(TEXT, places))
    told = b"".join(chunk.data for chunk in chunks).decode()
    assert told == "\n".join(f"line {name}: [redacted:{name}] end" for name, _ in EACH)
    assert list(names) == [f"redacted:{name}" for name in SECRETS]


AFTER_AN_ESCAPE = ("github-token", "aws-key", "bearer-token")
ESCAPED = "\n".join(before + SECRETS[name][0] for before in BEFORE for name in AFTER_AN_ESCAPE).encode()
ESCAPED_TOLD = "\n".join(f"{before}[redacted:{name}]" for before in BEFORE for name in AFTER_AN_ESCAPE)


@given(st.lists(st.integers(0, len(ESCAPED)), max_size=40))
@example(range(len(ESCAPED)))
@example(range(0, len(ESCAPED), 2))
@example(range(1, len(ESCAPED), 2))
@example(range(0, len(ESCAPED), 3))
@settings(deadline=None)
def test_a_secret_after_an_escape_is_found_however_the_stream_is_cut(places):
    chunks, _, _ = streamed(cut(ESCAPED, places))
    assert b"".join(chunk.data for chunk in chunks).decode() == ESCAPED_TOLD


@pytest.mark.parametrize("before", [r"\t", r"\u001b[0m", r"\033", "\x1b[01;31m", "%20", "%2520", "TOKEN_"])
def test_what_stands_before_a_secret_is_not_held_back(before):
    """It is let go at once, wherever it is cut, and known when the secret comes."""
    data = before.encode()
    key = SECRETS["aws-key"][0].encode()
    for at in range(1, len(data)):
        chunks, released, _ = streamed([b"see ", data[:at], data[at:], key[:9], key[9:], b" end"])
        assert b"".join(chunk.data for chunk in chunks) == b"see " + data + b"[redacted:aws-key] end"
        assert released == [1, 1, 1, 0, 0, 3, 0], at
        chunks, released, _ = streamed([b"see ", data[:at], data[at:] + key[:9], key[9:], b" end"])
        assert b"".join(chunk.data for chunk in chunks) == b"see " + data + b"[redacted:aws-key] end"
        assert released == [1, 1, 0, 0, 3, 0], at


def test_what_an_escape_begins_with_is_forgotten_when_another_character_comes():
    key = SECRETS["aws-key"][0].encode()
    assert not streamed([b"\\", b"qz" + key])[2]
    assert not streamed([b"%", b"2" + key])[2]


def test_an_operators_pattern_that_begins_in_an_escape_let_go_is_told_by_its_name():
    own = policy_pb2.ContentPattern(id="own", expression=r"\\n+ end", redact_output=True)
    redactor = ALL.with_patterns([own])
    chunks, _, names = streamed([b"a\\", b"n" * 2000, b" end"], redactor)
    assert b"".join(chunk.data for chunk in chunks) == b"a\\[redacted:own]"
    assert list(names) == ["redacted:own"]


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_a_stream_without_secrets_is_recorded_as_it_is(pieces):
    chunks, _, names = streamed(pieces)
    assert [chunk.data for chunk in chunks] == pieces
    assert not names


def test_text_that_begins_no_secret_is_not_held_back():
    _, released, _ = streamed([b"hello", b" world, ", "ä".encode()[:1], "ä".encode()[1:], b"\x00\xff"])
    assert released == [1, 1, 1, 1, 1, 0]


def test_a_beginning_is_held_back_until_it_is_none():
    _, released, _ = streamed([b"key AKIA", b"BC", b" no key", b" AK"])
    assert released == [0, 0, 3, 0, 1]


@given(st.lists(st.integers(0, 40), max_size=10))
def test_a_given_value_is_found_however_the_stream_is_cut(places):
    data = b"it is correct horse, correct horse" + b"correct horse!"
    chunks, _, _ = streamed(cut(data, places), VALUES)
    assert b"".join(chunk.data for chunk in chunks) == b"it is [redacted:key], [redacted:key][redacted:key]!"


def test_the_parts_of_a_secret_in_later_chunks_are_missing_there():
    chunks, _, _ = streamed([b"a correct", b" ", b"horse b"], VALUES)
    assert [chunk.data for chunk in chunks] == [b"a [redacted:key]", b"", b" b"]


def test_an_operators_pattern_is_found_across_chunks_within_what_is_held_back():
    own = policy_pb2.ContentPattern(id="own", expression="secret [0-9]+ end", redact_output=True)
    redactor = ALL.with_patterns([own])
    data = b"x" * 2000 + b" secret 12345 end " + b"y" * 2000
    for size in (1, 7, 500, 5000):
        chunks, _, _ = streamed([data[at : at + size] for at in range(0, len(data), size)], redactor)
        assert b"".join(c.data for c in chunks) == b"x" * 2000 + b" [redacted:own] " + b"y" * 2000


def test_no_more_than_the_bound_is_held_back():
    stream = ChunkRedactor(ALL, {})
    piece = b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 972
    held = 0
    for number in range(1, 100):
        released = stream.take(wire.AttemptChunk(sequence=number, data=piece if number == 1 else b"A" * 1000))
        held += 1 - len(released)
        assert held * 1000 <= HELD_BYTES_MAX + 1000


@pytest.mark.parametrize("broken", [dataclasses.replace(ALL, beginnings=None)])
def test_a_redactor_that_holds_nothing_back_is_found_out(broken):
    secret = SECRETS["aws-key"][0].encode()
    chunks, _, _ = streamed([secret[:7], secret[7:]], broken)
    assert b"".join(chunk.data for chunk in chunks) == secret


def test_the_longest_secret_that_is_given_out_is_found_over_chunks():
    secret = b"".join(b"%04x" % number for number in range(SECRET_LIMIT_BYTES // 4))
    redactor = Redactor().with_values({"key": secret})
    pieces = cut(b"before " + secret + b" after", range(0, SECRET_LIMIT_BYTES + 20, 1000))
    chunks, _, names = streamed(pieces, redactor)
    assert b"".join(chunk.data for chunk in chunks) == b"before [redacted:key] after"
    assert list(names) == ["redacted:key"]
