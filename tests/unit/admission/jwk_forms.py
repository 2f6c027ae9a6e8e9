"""Keys as issuers have them, and as they publish them."""

import base64
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from service.admission.key_endpoint import EndpointError

GENERATE = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_FORMS = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


def published(key, algorithm, key_id, **fields):
    """The public half of a key as it is published."""
    return {**_FORMS[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": key_id, **fields}


def key_set(*keys):
    """A key set as bytes."""
    return json.dumps({"keys": list(keys)}).encode()


def in_base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Publisher:
    """An issuer's endpoint, without the network."""

    def __init__(self, *keys):
        self.answer = key_set(*keys)
        self.asked = 0

    def publish(self, *keys):
        self.answer = key_set(*keys)

    def fail(self):
        self.answer = None

    async def fetch(self):
        self.asked += 1
        if self.answer is None:
            raise EndpointError("it is away")
        return self.answer
