"""What the operator asks of tokens and keeps of them: issuers, roles in other places, further claims, sessions."""

import jwt
import pytest

from podium.v1 import value_pb2
from service.admission.token_claims import CLAIM_BYTES_MAX, TokenRules
from service.admission.token_keys import TokenKey
from service.admission.tokens import Tokens
from service.domain.errors import Unauthenticated

NOW_S = 1_800_000_000
NOW_US = NOW_S * 1_000_000
SECRET = bytes(range(32))


def verify(rules, now_us=NOW_US, **claims):
    told = {"iss": "podium", "aud": "podium", "exp": NOW_S + 600, "sub": "alice", "tenant": "default", **claims}
    token = jwt.encode(told, SECRET, algorithm="HS256", headers={"kid": "podium"})
    return Tokens([TokenKey("podium", "HS256", SECRET)], rules).verify(token, now_us)


def reason(rules, now_us=NOW_US, **claims):
    with pytest.raises(Unauthenticated) as refused:
        verify(rules, now_us, **claims)
    return refused.value.reason


def test_each_of_several_issuers_is_accepted_and_nobody_else():
    rules = TokenRules(issuers=("https://idp", "podium"))
    for issuer in rules.issuers:
        assert verify(rules, iss=issuer).authority.principal.subject == "alice"
    for issuer in ("https://idp/", "https://id", ""):
        assert reason(rules, iss=issuer) == "TOKEN_INVALID"


def test_tokens_are_made_in_the_name_of_the_first_issuer():
    tokens = Tokens([TokenKey("podium", "HS256", SECRET)], TokenRules(issuers=("mine", "other")))
    token = tokens.mint(now_us=NOW_US, lifetime_s=60, subject="bob", token_id="t")
    assert jwt.decode(token, options={"verify_signature": False})["iss"] == "mine"
    assert tokens.verify(token, NOW_US).authority.issued_at_us == NOW_US


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("roles", {"roles": ["a"]}, ["a"]),
        ("realm.roles", {"realm": {"roles": ["b"]}, "roles": ["admin"]}, ["b"]),
        ("https://example.org/roles", {"https://example.org/roles": ["c"]}, ["c"]),
        ("realm.roles", {"roles": ["admin"]}, []),
        ("realm.roles", {"realm": ["roles"]}, []),
        ("realm.roles", {"realm": {"roles": None}}, []),
    ],
)
def test_roles_are_read_from_where_the_issuer_puts_them_and_nowhere_else(path, claims, roles):
    assert list(verify(TokenRules(roles_claim=path), **claims).authority.roles) == roles


@pytest.mark.parametrize("roles", ["admin", {"admin": 1}, [1], ["x" * 300], ["r"] * 300, 5], ids=repr)
def test_roles_of_another_kind_refuse_the_token(roles):
    assert reason(TokenRules(roles_claim="a.b"), a={"b": roles}) == "TOKEN_INVALID"


def test_claims_that_are_wanted_are_kept_as_json_and_no_others():
    rules = TokenRules(kept_claims=("department", "level", "missing", "nested"))
    kept = verify(rules, department="finance", level=3, other="x", nested={"b": [1, None], "a": "ü"}).authority.claims
    assert list(kept) == [
        value_pb2.Claim(name="department", value_json='"finance"'),
        value_pb2.Claim(name="level", value_json="3"),
        value_pb2.Claim(name="nested", value_json='{"a":"ü","b":[1,null]}'),
    ]


@pytest.mark.parametrize(
    "value", ["x" * CLAIM_BYTES_MAX, list(range(CLAIM_BYTES_MAX)), 2**70], ids=lambda v: repr(v)[:9]
)
def test_a_claim_that_cannot_be_kept_refuses_the_token(value):
    rules = TokenRules(kept_claims=("department",))
    assert reason(rules, department=value) == "TOKEN_INVALID"
    assert verify(rules, other=value).authority.principal.subject == "alice"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused_beyond_the_leeway(claim):
    """A subject's revocation goes by the time of issue, so that one in the future would outlive it."""
    assert verify(TokenRules(), **{claim: NOW_S + 10}).tenant == "default"
    assert reason(TokenRules(), **{claim: NOW_S + 11}) == "TOKEN_INVALID"


def test_a_session_is_over_when_it_is_too_old():
    rules = TokenRules(session_max_age_s=100)
    assert reason(rules, sid="s", auth_time=NOW_S - 110) == "SESSION_TOO_OLD"
    assert reason(rules, sid="s", iat=NOW_S - 110) == "SESSION_TOO_OLD"
    assert reason(rules, sid="s", iat=NOW_S, auth_time=NOW_S - 110) == "SESSION_TOO_OLD"
    assert verify(rules, sid="s", auth_time=NOW_S - 109).ends_because == "SESSION_TOO_OLD"


def test_a_session_that_does_not_say_when_it_began_is_too_old():
    assert reason(TokenRules(session_max_age_s=100), sid="s") == "SESSION_TOO_OLD"


@pytest.mark.parametrize("claims", [{}, {"sid": ""}, {"auth_time": 5}], ids=str)
def test_a_token_without_a_session_has_no_age(claims):
    assert verify(TokenRules(session_max_age_s=100), **claims).ends_because == "TOKEN_EXPIRED"


def test_without_a_maximum_a_session_may_last():
    assert verify(TokenRules(), sid="s", auth_time=1).ends_because == "TOKEN_EXPIRED"


def test_what_ends_first_says_why():
    rules = TokenRules(session_max_age_s=100)
    caller = verify(rules, sid="s", auth_time=NOW_S, exp=NOW_S + 50)
    assert (caller.ends_because, caller.ends_at_us) == ("TOKEN_EXPIRED", (NOW_S + 60) * 1_000_000)
    caller = verify(rules, sid="s", auth_time=NOW_S, exp=NOW_S + 500)
    assert (caller.ends_because, caller.ends_at_us) == ("SESSION_TOO_OLD", (NOW_S + 110) * 1_000_000)
