"""A published key set: which keys are taken from it, with which algorithm, and what is left out."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.admission.jwks import KEYS_MAX, KeySetRefused, read_key_set
from tests.unit.admission.jwk_forms import GENERATE, in_base64, key_set, published


@pytest.fixture(scope="module")
def keys():
    return {algorithm: generate() for algorithm, generate in GENERATE.items()}


@pytest.mark.parametrize("algorithm", GENERATE)
@pytest.mark.parametrize(
    "told", [{}, {"use": "sig"}, {"key_ops": ["verify"]}, {"x5u": "http://evil", "jku": "x"}], ids=str
)
def test_a_key_is_pinned_to_the_algorithm_of_its_kind(keys, algorithm, told):
    for fields in (told, {**told, "alg": algorithm}):
        found = read_key_set(key_set(published(keys[algorithm], algorithm, "one", **fields)))
        assert found.problems == []
        key = found.keys["one"]
        assert (key.id, key.algorithm, key.material) == ("one", algorithm, keys[algorithm].public_key())


LEFT_OUT = {
    "a secret": ({"kty": "oct", "k": in_base64(bytes(32)), "kid": "x", "alg": "HS256"}, "secret"),
    "a secret that claims to be RSA": ({"kty": "RSA", "k": in_base64(bytes(32)), "kid": "x"}, "secret"),
    "no id": ({"kty": "RSA"}, "no id"),
    "an id that is no text": ({"kty": "RSA", "kid": 7}, "no id"),
    "an id that is too long": ({"kty": "RSA", "kid": "x" * 300}, "no id"),
    "no object": ("key", "no object"),
    "no kind": ({"kid": "x"}, "none of RSA"),
    "another curve": ({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "x"}, "none of RSA"),
    "an exchange key": ({"kty": "OKP", "crv": "X25519", "x": in_base64(bytes(32)), "kid": "x"}, "none of RSA"),
    "numbers that are no text": ({"kty": "RSA", "n": 5, "e": 3, "kid": "x"}, "has no"),
    "a point on no curve": ({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "kid": "x"}, ""),
    "too short a key": ({"kty": "OKP", "crv": "Ed25519", "x": "AQ", "kid": "x"}, ""),
    "an even exponent": ({"kty": "RSA", "n": in_base64(b"\xff" * 256), "e": "Ag", "kid": "x"}, ""),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_in_doubt_is_left_out_and_the_others_are_taken(keys, name):
    jwk, why = LEFT_OUT[name]
    found = read_key_set(key_set(jwk, published(keys["ES256"], "ES256", "good")))
    assert list(found.keys) == ["good"]
    [problem] = found.problems
    assert problem.startswith("keys[0] ")
    assert why in problem


@pytest.mark.parametrize(
    "fields",
    [
        {"alg": "PS256"}, {"alg": "RS512"}, {"alg": "HS256"}, {"alg": "none"}, {"alg": None}, {"alg": ["RS256"]},
        {"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": []}, {"key_ops": 5}, {"d": "AQAB"},
    ],
    ids=str,
)  # fmt: skip
def test_a_key_for_something_else_is_left_out(keys, fields):
    found = read_key_set(key_set(published(keys["RS256"], "RS256", "one", **fields)))
    assert found.keys == {}
    assert len(found.problems) == 1


@pytest.mark.parametrize("bits", [1024, 8200])
def test_a_key_that_is_weak_or_enormous_is_left_out(bits):
    if bits < 2048:
        numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
        n = numbers.n
    else:
        n = (1 << bits) - 1
    jwk = {"kty": "RSA", "n": in_base64(n.to_bytes((bits + 7) // 8, "big")), "e": "AQAB", "kid": "x"}
    found = read_key_set(key_set(jwk))
    assert found.keys == {}
    assert len(found.problems) == 1


def test_of_two_keys_with_one_id_neither_is_taken(keys):
    again = ec.generate_private_key(ec.SECP256R1())
    found = read_key_set(key_set(published(keys["ES256"], "ES256", "one"), published(again, "ES256", "one")))
    assert found.keys == {}
    assert len(found.problems) == 2


def test_no_problem_tells_a_secret():
    found = read_key_set(key_set({"kty": "oct", "k": "c2VjcmV0", "kid": "the-id"}))
    assert "c2VjcmV0" not in found.problems[0]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"{", b"[" * 100_000,
        json.dumps({"keys": [{}] * (KEYS_MAX + 1)}).encode(),
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_what_is_no_key_set_is_refused(data):
    with pytest.raises(KeySetRefused):
        read_key_set(data)
