"""What looks like a secret is found, whole or in pieces, and what looks only a little like one is left alone."""

import base64
import random
import re
import string
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from podium.sanitizers.patterns import ExpressionRefused
from podium.v1 import policy_pb2
from service.admission.linear_regex import compile_expression
from service.admission.redaction import PATTERN_HELD_BYTES, Redactor
from service.admission.secret_shapes import SECRET_SHAPES

ALL = Redactor.of()
_chance = random.Random(7)


def some(alphabet, count):
    return "".join(_chance.choices(alphabet, k=count))


WORD = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + "234567"


def pem(key, form, encryption):
    return key.private_bytes(Encoding.PEM, form, encryption).decode()


SECRETS = {
    "private-key": [
        pem(rsa.generate_private_key(65_537, 2048), PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        pem(rsa.generate_private_key(65_537, 2048), PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")),
        pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8, NoEncryption()),
        pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.OpenSSH, NoEncryption()).rstrip().replace("\n", "\\n"),
    ],
    "jwt": [f"eyJ{some(WORD, 20)}.eyJ{some(WORD, 40)}.{some(WORD, 43)}"],
    "bearer-token": [f"Bearer {some(string.ascii_letters, 5)}7{some(WORD, 30)}=="],
    "aws-key": [f"AKIA{some(UPPER, 16)}", f"ASIA{some(UPPER, 16)}"],
    "aws-secret": [f'aws_secret_access_key = "{some(WORD, 40)}', f"AWS_SECRET_ACCESS_KEY={some(WORD, 39)}/"],
    "github-token": [f"ghp_{some(WORD, 36)}", f"github_pat_{some(WORD, 82)}"],
    "gitlab-token": [f"glpat-{some(WORD, 20)}"],
    "slack-token": [f"xoxb-1{some(string.digits, 11)}-{some(WORD, 24)}"],
    "google-key": [f"AIza{some(WORD, 35)}"],
    "stripe-key": [f"sk_live_{some(WORD, 24)}"],
    "model-api-key": [f"sk-ant-api03-{some(WORD, 90)}", f"sk-proj-{some(WORD, 60)}", f"sk-{some(WORD, 48)}"],
    "npm-token": [f"npm_{some(WORD, 36)}"],
    "pypi-token": [f"pypi-AgEI{some(WORD, 80)}"],
}
EACH = [(name, secret) for name, secrets in SECRETS.items() for secret in secrets]


def test_there_is_a_sample_of_every_shape():
    assert list(SECRETS) == [shape.id for shape in SECRET_SHAPES]


@pytest.mark.parametrize(("name", "secret"), EACH, ids=[name for name, _ in EACH])
def test_a_secret_is_replaced_and_what_surrounds_it_stays(name, secret):
    names = {}
    told = ALL.text(f"before {secret.rstrip()} äfter", names)
    assert told == f"before [redacted:{name}] äfter"
    assert names == {f"redacted:{name}": None}


BEFORE = [
    r"line\n", r"a\tb\r\n", r"\\n", r"\0", r"\033[0m", r"\x20", r"\u001b[0m", r"\u000a", r"\u000A", r"\U0001f511",
    r"\e[1;31m", "\x1b[0m", "\x1b[01;31m\x1b[K", "a%20", "t%3D", "t%3d", "a%2520", "a%252525af", "%25",
    "TOKEN_", "MY_", "__", "x=", "x=..", "é", '{"a":"',
]  # fmt: skip
"""What ends in a word's character, or in none, and is no part of a word that goes on."""


@pytest.mark.parametrize("before", BEFORE, ids=repr)
def test_a_secret_after_an_escape_or_an_underscore_is_replaced_and_alone(before):
    for name, secret in EACH:
        names = {}
        assert ALL.text(f"{before}{secret.rstrip()} end", names) == f"{before}[redacted:{name}] end"
        assert names == {f"redacted:{name}": None}


@pytest.mark.parametrize(
    "before",
    [
        "a",
        "Z",
        "9",
        "x0",
        r"\q",
        r"\x2",
        r"\u00",
        r"\u{20",
        "%2x",
        "%2",
        "[0",
        "[0;1q",
        "0m",
        r"\nx",
        "%20x",
        "_x",
    ],
)
def test_what_a_word_goes_on_with_is_no_secret(before):
    for name, secret in EACH:
        if name != "private-key":
            assert ALL.text(f"{before}{secret.rstrip()} end", {}) == f"{before}{secret.rstrip()} end", name


def test_secrets_that_follow_each_other_are_all_replaced():
    first, second = SECRETS["github-token"][0], SECRETS["aws-key"][0]
    text = rf"a\n{first}\n{second}\n{first}_{first}%20{second}"
    told = r"a\n[redacted:github-token]\n[redacted:aws-key]\n[redacted:github-token]_[redacted:github-token]"
    assert ALL.text(text, {}) == told + "%20[redacted:aws-key]"


@pytest.mark.parametrize("before", ["", r"\n", "%20", "_"])
@pytest.mark.parametrize(("name", "secret"), EACH, ids=[name for name, _ in EACH])
def test_every_beginning_of_a_secret_is_held_back(name, secret, before):
    for length in range(1, len(secret.rstrip())):
        data = f"see {before}{secret[:length]}".encode()
        assert ALL.pending_from(data) <= len(f"see {before}"), secret[:length]


@pytest.mark.parametrize(
    "text",
    [
        "the header -----BEGIN PRIVATE KEY----- comes first",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "Bearer authentication-with-a-long-description is what is meant",
        "AKIA is a prefix", "an AKIAlikeword0123456789", "eyJ is how JSON begins in base64", "sk-learn and sk-image",
        "ghp_short", "xoxo", "AIza", "https://example.org/sk_live_", "sha256:" + "ab12" * 16, "npm_config_registry",
        "d41d8cd98f00b204e9800998ecf8427e", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    ],
)  # fmt: skip
def test_what_is_none_is_left(text):
    assert ALL.text(text, {}) == text


def test_real_texts_are_left_as_they_are():
    folder = Path(re.__file__).parent.parent
    files = sorted(folder.glob("*.py")) + sorted((Path(sys.prefix) / "lib").rglob("METADATA"))
    texts = [path.read_text(errors="replace") for path in files]
    changed = [path.name for path, text in zip(files, texts, strict=True) if ALL.text(text, {}) != text]
    assert len(texts) > 200
    # The documentation of a library of tokens shows one.
    assert len(changed) <= len(texts) / 200, changed


ENCODINGS = {
    "base64": base64.b64encode,
    "base64 of addresses": base64.urlsafe_b64encode,
    "base64 in lines": lambda data: base64.encodebytes(data).replace(b"\n", rb"\n"),
    "base64 in an address": lambda data: base64.b64encode(data).replace(b"/", b"%2F").replace(b"+", b"%2B"),
    "base32": base64.b32encode,
    "hex": lambda data: data.hex().encode(),
    "capitals and digits": lambda data: data.translate(UPPER.encode() * 8),
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_random_data_is_left_as_it_is(encoding):
    for seed in range(4):
        assert not ALL.find(encoding(random.Random(seed).randbytes(1 << 20)))


@pytest.mark.parametrize("encoding", ["base64", "base32", "hex"])
def test_what_looks_like_a_key_inside_of_a_blob_is_left(encoding):
    """Each blob holds the shape of a key, as one in so many does."""
    for seed in range(50):
        blob = ENCODINGS[encoding](random.Random(seed).randbytes(300)).rstrip(b"=").decode()
        at = next(at for at in range(20, len(blob)) if blob[at - 1].isalnum())
        for key in (SECRETS["aws-key"][0], SECRETS["google-key"][0], SECRETS["npm-token"][0]):
            text = blob[:at] + key + "\n"
            assert ALL.text(text, {}) == text


@given(st.text(max_size=40), st.text(max_size=40), st.text(min_size=4, max_size=20))
def test_a_given_value_is_found_wherever_it_stands(before, after, value):
    redactor = Redactor().with_values({"key": value.encode()})
    told = redactor.text(before + value + after, {})
    assert "[redacted:key]" in told
    assert value not in told.replace("[redacted:key]", "")


def test_values_in_json_are_found_in_texts_names_and_numbers():
    redactor = Redactor().with_values({"pin": b"123456"})
    names = {}
    value = {"a": ["x123456", 123456, 1234567, True], "123456": 1, "[redacted:pin]": 2}
    told = redactor.value(value, names)
    assert told == {
        "a": ["x[redacted:pin]", "[redacted:pin]", 1234567, True],
        "[redacted:pin]": 1,
        "[redacted:pin]'": 2,
    }
    assert names == {"redacted:pin": None}


def test_short_values_are_not_looked_for():
    assert Redactor().with_values({"key": b"abc"}).text("abc", {}) == "abc"


def pattern(expression, **fields):
    return policy_pb2.ContentPattern(id="own", expression=expression, redact_output=True, **fields)


def test_an_operators_pattern_is_replaced_and_what_may_become_a_match_is_held_back():
    redactor = ALL.with_patterns([pattern(r"(?i)project \w+")])
    assert redactor.text("on PROJECT Apollo now", {}) == "on [redacted:own] now"
    assert redactor.pending_from(b"x" * 3000) == 3000 - PATTERN_HELD_BYTES
    assert redactor.reads_each_value


@pytest.mark.parametrize("expression", ["", "a*", "(?=a)", r"(a)\1", "(", "x" * 5000, "(((a{1,90}){1,90}){1,90})"])
def test_an_expression_that_cannot_be_bounded_or_finds_everything_is_refused(expression):
    with pytest.raises(ExpressionRefused):
        compile_expression(expression)


def test_a_pattern_that_cannot_be_used_finds_everything():
    assert Redactor().with_patterns([pattern("(")]).text("a\nb", {}) == "[redacted:own]"


def test_overlapping_finds_are_one():
    redactor = ALL.with_patterns([pattern("AKIA")])
    names = {}
    assert redactor.text(SECRETS["aws-key"][0], names) == "[redacted:aws-key]"
