"""Tokens: what is accepted, what is refused, and that a refusal tells nothing."""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from podium.v1 import value_pb2
from service.admission.token_keys import TokenKey, load_public_key
from service.admission.tokens import Tokens
from service.domain.errors import Unauthenticated

NOW_S = 1_800_000_000
NOW_US = NOW_S * 1_000_000
SECRET = bytes(range(32))
KEY = TokenKey("podium", "HS256", SECRET)


@pytest.fixture
def tokens():
    return Tokens([KEY])


def mint(tokens, **claims):
    return tokens.mint(**{"now_us": NOW_US, "lifetime_s": 60, "subject": "alice", "token_id": "t1", **claims})


def forged(key=SECRET, algorithm="HS256", headers=None, without=(), **claims):
    """A token with whatever claims one likes."""
    payload = {"iss": "podium", "aud": "podium", "exp": NOW_S + 60, "sub": "alice", "tenant": "default", **claims}
    kept = {name: value for name, value in payload.items() if name not in without}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": "podium"} if headers is None else headers)


def reason(tokens, token, now_us=NOW_US):
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token, now_us)
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    return refused.value.reason


def test_a_token_carries_everything_it_was_made_with(tokens):
    caller = tokens.verify(
        mint(
            tokens, tenant="acme", roles=["agent", "viewer"], scopes=["tools.*", "read_files"], agent="bot",
            session_id="s1", on_behalf_of="bob",
        ),
        NOW_US,
    )  # fmt: skip
    assert caller.tenant == "acme"
    assert caller.expires_at_us == NOW_US + 60_000_000
    assert caller.authority == value_pb2.Authority(
        principal=value_pb2.Principal(subject="alice", agent="bot", on_behalf_of="bob", session_id="s1", token_id="t1"),
        roles=["agent", "viewer"],
        scopes=["tools.*", "read_files"],
        limited=True,
        issued_at_us=NOW_US,
    )


def test_without_a_scope_the_roles_are_not_limited_and_with_an_empty_one_nothing_is_left(tokens):
    assert not tokens.verify(mint(tokens), NOW_US).authority.limited
    empty = tokens.verify(mint(tokens, scopes=[]), NOW_US).authority
    assert empty.limited
    assert list(empty.scopes) == []


def test_a_caller_at_an_address_is_a_copy(tokens):
    caller = tokens.verify(mint(tokens), NOW_US)
    assert caller.at("10.0.0.1").authority.principal.address == "10.0.0.1"
    assert caller.authority.principal.address == ""


def test_a_forged_token_with_nothing_wrong_is_accepted(tokens):
    assert tokens.verify(forged(), NOW_US).tenant == "default"


def test_no_token_is_told_from_a_wrong_one(tokens):
    assert reason(tokens, "") == "TOKEN_MISSING"


def test_a_token_ends_at_its_expiry_with_a_small_leeway(tokens):
    token = mint(tokens)
    assert tokens.verify(token, NOW_US + 69_999_999).tenant == "default"
    assert reason(tokens, token, NOW_US + 70_000_000) == "TOKEN_EXPIRED"


def test_a_token_does_not_begin_before_its_time(tokens):
    token = forged(nbf=NOW_S + 11)
    assert reason(tokens, token) == "TOKEN_INVALID"
    assert tokens.verify(token, NOW_US + 1_000_000).tenant == "default"


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub", "tenant"])
def test_a_claim_that_is_needed_cannot_be_left_out(tokens, claim):
    assert reason(tokens, forged(without=[claim])) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other"}, {"aud": "other"}, {"sub": ""}, {"sub": 7}, {"sub": "x" * 300}, {"tenant": "a/b"},
        {"tenant": ""}, {"tenant": None},
        {"tenant": 1}, {"tenant": "x" * 65}, {"roles": "admin"}, {"roles": [1]}, {"roles": ["r"] * 300},
        {"scope": ["a"]}, {"scope": "s " * 300}, {"agent": {}}, {"jti": 7}, {"sid": 7}, {"on_behalf_of": []},
        {"exp": "soon"}, {"exp": True}, {"exp": float("inf")}, {"exp": -1}, {"nbf": "now"}, {"exp": 2**60},
        {"sub": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_a_claim_of_the_wrong_kind_is_refused(tokens, claims):
    assert reason(tokens, forged(**claims)) == "TOKEN_INVALID"


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_token_without_a_signature_is_refused(tokens):
    claims = {"iss": "podium", "aud": "podium", "exp": NOW_S + 60, "sub": "alice", "tenant": "default"}
    for algorithm in ("none", "None", "HS256"):
        assert reason(tokens, f"{encoded({'alg': algorithm, 'kid': 'podium'})}.{encoded(claims)}.") == "TOKEN_INVALID"


def test_a_token_signed_with_another_key_is_refused(tokens):
    assert reason(tokens, forged(key=bytes(32))) == "TOKEN_INVALID"


def test_a_changed_token_is_refused(tokens):
    header, _, signature = mint(tokens).split(".")
    claims = {
        "iss": "podium",
        "aud": "podium",
        "exp": NOW_S + 60,
        "sub": "root",
        "tenant": "default",
        "roles": ["admin"],
    }
    assert reason(tokens, f"{header}.{encoded(claims)}.{signature}") == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "a.b.c", "...", "é", "x" * 9000, "\x00"])
def test_what_is_no_token_is_refused(tokens, token):
    assert reason(tokens, token) == "TOKEN_INVALID"


def test_a_refusal_tells_nothing(tokens):
    messages = set()
    for token in (forged(key=bytes(32)), forged(iss="other"), forged(sub=""), "x"):
        with pytest.raises(Unauthenticated) as refused:
            tokens.verify(token, NOW_US)
        messages.add(refused.value.message)
    assert messages == {"the token is not valid"}


PRIVATE = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """For each algorithm a private key and the file of its public one."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for algorithm, generate in PRIVATE.items():
        key = generate()
        path = folder / f"{algorithm}.pem"
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        made[algorithm] = key, path
    return made


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_signed_elsewhere_is_checked_with_the_public_key(pairs, algorithm):
    key, path = pairs[algorithm]
    tokens = Tokens([load_public_key("idp", algorithm, path), KEY])
    assert tokens.verify(forged(key, algorithm, {"kid": "idp"}), NOW_US).authority.principal.subject == "alice"
    assert tokens.verify(forged(), NOW_US).authority.principal.subject == "alice"


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_public_key_is_never_taken_for_a_secret(pairs, algorithm):
    _, path = pairs[algorithm]
    tokens = Tokens([load_public_key("idp", algorithm, path)])
    claims = {"iss": "podium", "aud": "podium", "exp": NOW_S + 60, "sub": "alice", "tenant": "default"}
    signing_input = f"{encoded({'alg': 'HS256', 'kid': 'idp'})}.{encoded(claims)}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(algorithm.sign(signing_input.encode(), path.read_bytes())).rstrip(b"=")
    assert reason(tokens, f"{signing_input}.{signature.decode()}") == "TOKEN_INVALID"


def test_a_key_is_used_with_its_own_algorithm_only(tokens):
    assert reason(tokens, forged(key=SECRET * 2, algorithm="HS512")) == "TOKEN_INVALID"
    assert reason(Tokens([TokenKey("podium", "HS256", SECRET * 2)]), forged(SECRET * 2, "HS512")) == "TOKEN_INVALID"


def test_with_several_keys_a_token_must_name_its_own():
    tokens = Tokens([KEY, TokenKey("next", "HS256", SECRET)])
    assert tokens.verify(forged(headers={"kid": "next"}), NOW_US).tenant == "default"
    assert reason(tokens, forged(headers={})) == "TOKEN_INVALID"
    assert reason(tokens, forged(headers={"kid": "gone"})) == "TOKEN_INVALID"


def test_the_only_key_need_not_be_named(tokens):
    assert tokens.verify(forged(headers={}), NOW_US).tenant == "default"


def test_tokens_are_not_made_with_public_keys_nor_with_claims_that_would_be_refused(pairs, tokens):
    with pytest.raises(ValueError, match="public keys"):
        mint(Tokens([load_public_key("idp", "EdDSA", pairs["EdDSA"][1])]))
    for claims in ({"tenant": "a/b"}, {"subject": ""}, {"scopes": ["a b"]}):
        with pytest.raises(ValueError, match=r"sub, tenant or scope|a word without spaces"):
            mint(tokens, **claims)


def test_every_key_has_an_id_of_its_own():
    for keys in ([], [KEY, KEY]):
        with pytest.raises(ValueError, match="id of its own"):
            Tokens(keys)
