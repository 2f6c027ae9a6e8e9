"""Attacks on tokens that are known from others: each is refused, and its benign twin is accepted."""

import base64
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.admission.jwks import read_key_set
from service.admission.token_keys import TokenKey
from service.admission.tokens import Tokens
from service.domain.errors import Unauthenticated
from tests.unit.admission.jwk_forms import GENERATE, key_set, published

NOW_S = 1_800_000_000
NOW_US = NOW_S * 1_000_000
SECRET = bytes(range(32))
CLAIMS = {"iss": "podium", "aud": "podium", "exp": NOW_S + 60, "sub": "alice", "tenant": "default"}


@pytest.fixture(scope="module")
def private():
    return {algorithm: generate() for algorithm, generate in GENERATE.items()}


class Published:
    """Keys that are known from a key set."""

    revision = 0

    def __init__(self, keys):
        self.find = keys.get


@pytest.fixture
def tokens(private):
    sets = key_set(*(published(key, algorithm, algorithm) for algorithm, key in private.items()))
    return Tokens([TokenKey("own", "HS256", SECRET)], remote=Published(read_key_set(sets).keys))


def encoded(part):
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_secret(secret, header, claims=CLAIMS):
    """A token made by hand with HMAC, whatever its header says."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def is_refused(tokens, token):
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token, NOW_US)
    return refused.value.reason == "TOKEN_INVALID" and refused.value.message == "the token is not valid"


@pytest.mark.parametrize("algorithm", GENERATE)
def test_the_twin_of_the_attacks_is_accepted(tokens, private, algorithm):
    token = jwt.encode(CLAIMS, private[algorithm], algorithm=algorithm, headers={"kid": algorithm})
    assert tokens.verify(token, NOW_US).authority.principal.subject == "alice"
    assert tokens.verify(with_secret(SECRET, {"alg": "HS256", "kid": "own"}), NOW_US)


@pytest.mark.parametrize("algorithm", GENERATE)
def test_a_public_key_in_any_form_is_no_secret(tokens, private, algorithm):
    public = private[algorithm].public_key()
    jwk = published(private[algorithm], algorithm, algorithm)
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
        *(base64.urlsafe_b64decode(jwk[name] + "==") for name in ("n", "x") if name in jwk),
        b"",
    ]
    for form in forms:
        for key_id in (algorithm, "own"):
            assert is_refused(tokens, with_secret(form, {"alg": "HS256", "kid": key_id}))


@pytest.mark.parametrize("kid", [*GENERATE, "own"])
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", None, 0, ["HS256"], "HS384", "RS384", "PS256"]
)
def test_no_other_algorithm_than_the_keys_own_is_tried(tokens, kid, algorithm):
    header = {"alg": algorithm, "kid": kid}
    for token in (with_secret(SECRET, header), f"{encoded(header)}.{encoded(CLAIMS)}."):
        assert is_refused(tokens, token)


def test_a_key_of_one_kind_is_not_used_by_the_name_of_another(tokens, private):
    for algorithm, key in private.items():
        for other in {*GENERATE, "own"} - {algorithm}:
            assert is_refused(tokens, jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": other}))


@pytest.mark.parametrize(
    "kid",
    [
        "", "/dev/null", "../../../../dev/null", "own\x00", "OWN", " own", "own' OR '1'='1", "http://evil/key",
        None, 7, [], {"own": 1}, ["own"], True, "x" * 5000,
    ],
    ids=lambda kid: repr(kid)[:20],
)  # fmt: skip
def test_a_key_is_found_by_its_exact_id_alone(tokens, kid):
    for secret in (SECRET, b"", bytes(32)):
        assert is_refused(tokens, with_secret(secret, {"alg": "HS256", "kid": kid}))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t"])
def test_a_key_that_the_token_brings_is_not_looked_at(tokens, private, name):
    mallory = GENERATE["ES256"]()
    brought = {
        "jwk": published(mallory, "ES256", "ES256"),
        "jku": "http://127.0.0.1:9/keys.json",
        "x5u": "http://127.0.0.1:9/cert.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
    }
    headers = {"kid": "ES256", name: brought[name]}
    assert is_refused(tokens, jwt.encode(CLAIMS, mallory, algorithm="ES256", headers=headers))
    assert tokens.verify(jwt.encode(CLAIMS, private["ES256"], algorithm="ES256", headers=headers), NOW_US)


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "JWS", "", None, 5, "secevent+jwt"])
def test_a_token_that_was_made_for_something_else_is_refused(tokens, typ):
    assert is_refused(tokens, with_secret(SECRET, {"alg": "HS256", "kid": "own", "typ": typ}))


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_an_access_token_may_say_that_it_is_one(tokens, typ):
    assert tokens.verify(with_secret(SECRET, {"alg": "HS256", "kid": "own", "typ": typ}), NOW_US)


@pytest.mark.parametrize("crit", [[], ["exp"], ["b64"], "exp", None])
def test_a_header_that_asks_to_be_understood_is_refused(tokens, crit):
    assert is_refused(tokens, with_secret(SECRET, {"alg": "HS256", "kid": "own", "crit": crit, "b64": False}))


TWICE = {
    "an algorithm": (b'{"alg":"none","alg":"HS256","kid":"own"}', json.dumps(CLAIMS).encode()),
    "a key": (b'{"alg":"HS256","kid":"other","kid":"own"}', json.dumps(CLAIMS).encode()),
    "a subject": (b'{"alg":"HS256","kid":"own"}', json.dumps(CLAIMS).encode()[:-1] + b',"sub":"root"}'),
    "within a claim": (b'{"alg":"HS256","kid":"own"}', json.dumps(CLAIMS).encode()[:-1] + b',"x":{"a":1,"a":2}}'),
}


@pytest.mark.parametrize("what", TWICE)
def test_what_is_said_twice_is_refused(tokens, what):
    assert is_refused(tokens, with_secret(SECRET, *TWICE[what]))


@pytest.mark.parametrize(
    "token",
    [
        "a" * 9000, "." * 9000, "..", "a.b", "a.b.c.d.e", f"{encoded(b'[')}.e30.", "e30.e30.e30", "\ud800.e30.x",
        f"{encoded(b'[' * 3000)}.e30.x", f"e30.{encoded(b'[' * 3000)}.x", f"{encoded([])}.{encoded([])}.x",
        f"{encoded(b'1' * 5000)}.e30.x",
    ],
    ids=lambda token: repr(token)[:24],
)  # fmt: skip
def test_text_that_is_no_token_is_refused_and_breaks_nothing(tokens, token):
    assert is_refused(tokens, token)


def test_a_token_over_the_limit_is_refused_though_its_signature_is_good(tokens):
    assert is_refused(tokens, with_secret(SECRET, {"alg": "HS256", "kid": "own"}, {**CLAIMS, "x": "y" * 8000}))
