"""Keys that an issuer publishes: what is known stays known, what is gone goes, and nobody is asked too often."""

import asyncio
import contextlib

import jwt
import pytest

from service.admission.published_keys import PublishedKeys
from service.admission.tokens import Tokens
from service.domain.errors import Unauthenticated
from tests.unit.admission.jwk_forms import GENERATE, Publisher, published

NOW_S = 1_800_000_000


class Monotonic:
    """A clock that a test sets."""

    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture(scope="module")
def pair():
    return [GENERATE["ES256"]() for _ in range(2)]


@pytest.fixture
def clock():
    return Monotonic()


@pytest.fixture
def publisher(pair):
    return Publisher(published(pair[0], "ES256", "old"))


@pytest.fixture
def keys(publisher, clock):
    return PublishedKeys(publisher.fetch, clock, refresh_s=300, cooldown_s=10, grace_s=60)


def signed(key, key_id):
    claims = {"iss": "podium", "aud": "podium", "exp": NOW_S + 60, "sub": "alice", "tenant": "default"}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": key_id})


async def test_a_token_of_a_published_key_is_accepted_and_one_of_another_is_not(keys, pair):
    tokens = Tokens([], remote=keys)
    await keys.refresh()
    assert tokens.verify(signed(pair[0], "old"), NOW_S * 10**6).authority.principal.subject == "alice"
    for key, key_id in ((pair[1], "old"), (pair[0], "new"), (pair[0], "")):
        with pytest.raises(Unauthenticated) as refused:
            tokens.verify(signed(key, key_id), NOW_S * 10**6)
        assert refused.value.reason == "TOKEN_INVALID"


async def test_with_nothing_ever_known_nothing_is_accepted(keys, publisher, pair):
    publisher.fail()
    assert not await keys.refresh()
    with pytest.raises(Unauthenticated):
        Tokens([], remote=keys).verify(signed(pair[0], "old"), NOW_S * 10**6)


async def test_an_endpoint_that_is_away_or_talks_nonsense_changes_nothing(keys, publisher, clock):
    await keys.refresh()
    for answer in (None, b"nonsense", b'{"keys": 5}'):
        publisher.answer = answer
        clock.s += 100_000
        assert not await keys.refresh()
        assert keys.find("old") is not None
    assert keys.revision == 0


async def test_a_key_that_is_not_published_any_more_is_dropped_after_its_grace(keys, publisher, pair, clock):
    await keys.refresh()
    publisher.publish(published(pair[1], "ES256", "new"))
    await keys.refresh()
    assert keys.find("old") is not None
    assert keys.find("new") is not None
    clock.s += 59
    await keys.refresh()
    assert keys.find("old") is not None
    assert keys.revision == 0
    clock.s += 1
    await keys.refresh()
    assert keys.find("old") is None
    assert keys.revision == 1


async def test_the_grace_ends_also_while_the_endpoint_is_away(keys, publisher, clock):
    await keys.refresh()
    publisher.publish()
    await keys.refresh()
    publisher.fail()
    clock.s += 60
    await keys.refresh()
    assert keys.find("old") is None


async def test_a_key_that_comes_back_has_no_end(keys, publisher, pair, clock):
    await keys.refresh()
    publisher.publish()
    await keys.refresh()
    publisher.publish(published(pair[0], "ES256", "old"))
    await keys.refresh()
    clock.s += 10_000
    await keys.refresh()
    assert keys.find("old") is not None


async def test_another_key_of_the_same_id_takes_its_place_at_once(keys, publisher, pair):
    await keys.refresh()
    publisher.publish(published(pair[1], "ES256", "old"))
    await keys.refresh()
    assert keys.find("old").material == pair[1].public_key()
    assert keys.revision == 1


async def test_however_many_unknown_keys_are_asked_for_the_endpoint_is_asked_once(publisher, clock):
    waiting = asyncio.Event()

    async def fetch():
        waiting.set()
        return await publisher.fetch()

    keys = PublishedKeys(fetch, clock, refresh_s=1000, cooldown_s=0.05, grace_s=60)
    running = asyncio.ensure_future(keys.run())
    for number in range(1000):
        assert keys.find(f"unknown {number}") is None
    await asyncio.wait_for(waiting.wait(), 5)
    assert publisher.asked == 1
    assert keys.find("old") is not None
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_an_error_that_nobody_foresaw_does_not_end_the_rotation(publisher, clock, caplog):
    """As a host name gives one that an encoding refuses, when a connection is made."""
    later = asyncio.Event()

    async def fetch():
        if publisher.asked == 0:
            publisher.asked += 1
            "a..b".encode("idna")
        later.set()
        return await publisher.fetch()

    keys = PublishedKeys(fetch, clock, refresh_s=0.001, cooldown_s=0.001, grace_s=60)
    assert not await keys.refresh()
    assert "UnicodeError" in caplog.text
    publisher.asked = 0
    running = asyncio.ensure_future(keys.run())
    await asyncio.wait_for(later.wait(), 5)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert keys.find("old") is not None


async def test_nobody_asks_while_every_key_is_known(publisher, clock):
    asked = asyncio.Event()

    async def fetch():
        if publisher.asked:
            asked.set()
        return await publisher.fetch()

    keys = PublishedKeys(fetch, clock, refresh_s=1000, cooldown_s=0.001, grace_s=60)
    await keys.refresh()
    running = asyncio.ensure_future(keys.run())
    for _ in range(10_000):
        assert keys.find("old") is not None
        await asyncio.sleep(0)
    assert not asked.is_set()
    keys.find("new")
    await asyncio.wait_for(asked.wait(), 5)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
