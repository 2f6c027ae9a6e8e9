"""Reads a JSON Web Key Set (RFC 7517): the public keys in it that tokens may be checked with, each by one algorithm.

A key that is in any doubt is left out and said so: a secret among published keys, a private key, a key for another use
or another algorithm than its kind is used with here, two keys of one id.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.admission.nesting import nested_within
from service.admission.token_keys import PublicKey, TokenKey, algorithm_of

KEYS_MAX = 100
_DEPTH_MAX = 8
_ID_LENGTH_MAX = 256


class KeySetRefused(ValueError):
    """What was published is no key set."""


class KeySet(NamedTuple):
    """The keys of a set, and what is wrong with the others, one line each."""

    keys: dict[str, TokenKey]
    problems: list[str]


def read_key_set(data: bytes) -> KeySet:
    """Read a key set. Raises KeySetRefused."""
    try:
        text = data.decode()
        found = json.loads(text) if nested_within(text, _DEPTH_MAX) else None
    except (ValueError, RecursionError):
        found = None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise KeySetRefused(f"it is no JSON object whose `keys` lists at most {KEYS_MAX} keys")
    ids = Counter(str(each.get("kid")) for each in listed if isinstance(each, dict))
    keys: dict[str, TokenKey] = {}
    problems: list[str] = []
    for number, each in enumerate(listed):
        try:
            key = _key(each, ids)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            problems.append(f"keys[{number}] {error}")
        else:
            keys[key.id] = key
    return KeySet(keys, problems)


def _key(jwk: object, ids: Counter[str]) -> TokenKey:
    """A key of the set, in which so many have each id. Raises ValueError and TypeError, which tell nothing of it."""
    if not isinstance(jwk, dict):
        raise TypeError("is no object")
    key_id = jwk.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _ID_LENGTH_MAX:
        raise ValueError("has no id")
    if ids[key_id] > 1:
        raise ValueError("shares its id with another")
    if jwk.get("kty") == "oct" or "k" in jwk or "d" in jwk:
        raise ValueError("is a secret, which must not be published: whoever can read it can make tokens")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
        raise ValueError("is not for checking signatures")
    key = _public_key(jwk)
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise ValueError("is too weak or too large")
    if jwk.get("alg", algorithm) != algorithm:
        raise ValueError(f"is for another algorithm than {algorithm}")
    return TokenKey(key_id, algorithm, key)


def _public_key(jwk: Mapping[str, Any]) -> PublicKey:
    kind = (jwk.get("kty"), jwk.get("crv"))
    if kind == ("RSA", None):
        return rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key()
    if kind == ("EC", "P-256"):
        return ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1()).public_key()
    if kind == ("OKP", "Ed25519"):
        return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x"))
    raise ValueError("is none of RSA, EC with P-256 and OKP with Ed25519")


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name), "big")


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise TypeError(f"has no {name}")
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
