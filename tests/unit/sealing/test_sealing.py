"""Sealed values: opened by whoever has the key, as what they were, or not at all."""

import pytest

from podium.v1 import definition_pb2, value_pb2
from service.domain.values import PayloadNotLoadedError, SealBrokenError
from service.engine.payloads import SEALED_MARK, PayloadCache
from service.engine.sealing import Sealing, is_sealed

SECRET = '{"secret":"canary"}'
LARGE = f'"{"canary" * 1000}"'


def test_a_value_is_opened_as_it_was(seals):
    value = seals.seal_inline(SECRET)
    assert b"canary" not in value.SerializeToString()
    assert seals.text(value.sealed) == SECRET


def test_equal_values_are_recognised_and_not_equal_otherwise(seals):
    first, second = seals.seal_inline(SECRET).sealed, seals.seal_inline(SECRET).sealed
    assert first.keyed_digest == second.keyed_digest
    assert first.nonce != second.nonce
    assert first.ciphertext != second.ciphertext


async def test_a_large_value_becomes_a_payload_of_sealed_bytes(seals, store):
    value = await seals.seal(LARGE.encode())
    assert not value.sealed.ciphertext
    [stored] = store.payloads.values()
    assert stored.startswith(SEALED_MARK)
    assert b"canary" not in stored
    assert seals.text(value.sealed) == await seals.read(value.sealed) == LARGE


async def test_a_payload_that_is_not_in_memory_is_asked_for(seals, sealing, store):
    value = await seals.seal(LARGE.encode())
    elsewhere = Sealing(sealing.keyring, PayloadCache(store), None, inline_limit_bytes=1000).of("a")
    with pytest.raises(PayloadNotLoadedError):
        elsewhere.text(value.sealed)
    assert await elsewhere.read(value.sealed) == LARGE


async def test_a_megabyte_is_sealed_as_everything_is(seals):
    text = f'"{"m" * 2**20}"'
    assert seals.text((await seals.seal(text.encode())).sealed) == text


@pytest.mark.parametrize("field", ["key_id", "nonce", "ciphertext", "keyed_digest"])
def test_an_altered_value_does_not_open(seals, field):
    sealed = seals.seal_inline(SECRET).sealed
    told = getattr(sealed, field)
    setattr(sealed, field, told[:-1] + ("x" if isinstance(told, str) else bytes([told[-1] ^ 1])))
    with pytest.raises(SealBrokenError) as broken:
        seals.text(sealed)
    assert "canary" not in str(broken.value)


def test_an_empty_value_does_not_open(seals):
    key_id = seals.seal_inline(SECRET).sealed.key_id
    with pytest.raises(SealBrokenError):
        seals.text(value_pb2.SealedValue(key_id=key_id))


def test_another_tenant_does_not_open_it(sealing, seals):
    with pytest.raises(SealBrokenError):
        sealing.of("b").text(seals.seal_inline(SECRET).sealed)


def test_what_is_sealed_for_one_purpose_does_not_open_for_another(seals):
    template = seals.seal_template(definition_pb2.Template(literal_json=SECRET)).sealed
    assert seals.template(template).literal_json == SECRET
    with pytest.raises(SealBrokenError):
        seals.text(template)
    with pytest.raises(SealBrokenError):
        seals.template(seals.seal_inline(SECRET).sealed)
    with pytest.raises(SealBrokenError):
        seals.chunk(SEALED_MARK + template.SerializeToString())


async def test_a_payload_in_the_place_of_another_does_not_open(seals):
    first, second = await seals.seal(LARGE.encode()), await seals.seal(LARGE.replace("canary", "finch!").encode())
    first.sealed.payload.CopyFrom(second.sealed.payload)
    with pytest.raises(SealBrokenError, match="not the one"):
        seals.text(first.sealed)


async def test_an_upload_is_adopted_as_a_value(seals):
    reference = await seals.seal_upload(SECRET.encode())
    value = await seals.adopt(reference)
    assert value.sealed.payload == reference
    assert seals.text(value.sealed) == SECRET


@pytest.mark.parametrize("data", [SECRET.encode(), SEALED_MARK, SEALED_MARK + b"\xff", SEALED_MARK + b"\x0a\x01k"])
async def test_a_payload_that_nobody_sealed_is_not_adopted(seals, sealing, data):
    reference = await sealing.payloads.write("a", data)
    with pytest.raises(SealBrokenError):
        await seals.adopt(reference)


async def test_a_sealed_payload_is_not_read_as_text(seals, sealing):
    reference = await seals.seal_upload(SECRET.encode())
    with pytest.raises(ValueError, match="sealed"):
        await sealing.payloads.load("a", reference.digest)
    with pytest.raises(ValueError, match="sealed"):
        sealing.payloads.of("a").text(reference)


def test_a_chunk_is_any_bytes(seals):
    for data in (b"", b"canary", b"\xff\x00", SEALED_MARK):
        sealed = seals.seal_chunk(data)
        assert is_sealed(sealed)
        assert seals.chunk(sealed) == data
    assert not is_sealed(b"canary")


async def test_a_named_digest_is_compared_under_its_own_key(seals, sealing):
    digest, other = b"d" * 32, b"e" * 32
    recorded = seals.named_digest(digest)
    await sealing.keyring.rotate("a")
    assert digest not in recorded
    assert seals.same_digest(recorded, digest)
    assert not seals.same_digest(recorded, other)
    assert not sealing.of("b").same_digest(recorded, digest)
    assert not seals.same_digest(digest, digest), "it names no key"


async def test_what_an_earlier_key_sealed_opens_after_a_rotation(seals, sealing):
    value = seals.seal_inline(SECRET)
    await sealing.keyring.rotate("a")
    assert seals.text(value.sealed) == SECRET
    assert seals.seal_inline(SECRET).sealed.key_id != value.sealed.key_id
