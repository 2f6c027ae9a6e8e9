"""The settings of the result cache: where results are kept beside memory, told without credentials."""

import pytest

from service.config import load_settings
from service.settings.cache import CacheSettings, cache_problems


def test_without_an_address_results_are_in_memory_alone():
    settings = load_settings({}).cache
    assert settings.remote is None
    assert list(cache_problems(settings)) == []


def test_settings_are_read_from_the_environment():
    named = {"TENANT_ENTRIES": "7", "SIZE_BYTES": "1_000_000", "URL": "redis://cache.example", "TIMEOUT_MS": "5"}
    settings = load_settings({f"PODIUM_CACHE_{name}": value for name, value in named.items()}).cache
    assert (settings.tenant_entries, settings.size_bytes, settings.timeout_ms) == (7, 1_000_000, 5)
    assert str(settings.remote) == "redis://cache.example:6379/0"


def test_no_credentials_are_told():
    settings = CacheSettings(url="valkeys://user:pass%40word@[2001:db8::1]:7000/3")
    place = settings.remote
    assert (place.user, place.password, place.host, place.database) == ("user", "pass@word", "2001:db8::1", 3)
    assert place.tls
    assert str(place) == repr(place) == "rediss://[2001:db8::1]:7000/3"
    assert "word" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "memcached://user:hunter2@here",
        "redis://user:hunter2@",
        "redis://user:hunter2@here/names",
        "redis://user:hunter2@here/0?db=1",
        "redis://user:hun/ter2@here:6379/0",
        "redis://user:hunter2@here:port",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(url):
    [problem] = cache_problems(CacheSettings(url=url))
    assert problem.startswith("PODIUM_CACHE_URL ")
    assert "hunter2" not in problem
    assert "ter2" not in problem


@pytest.mark.parametrize("name", ["tenant_entries", "tenant_bytes", "entries", "size_bytes", "timeout_ms"])
def test_bounds_are_positive(name):
    assert list(cache_problems(CacheSettings(**{name: 0}))) == [f"PODIUM_CACHE_{name.upper()} must be at least 1"]


@pytest.mark.parametrize(
    "url", ["redis://h:99999/0", "redis://u:p@h:0/0", "redis://h:port/0", f"redis://h:{'9' * 9000}"]
)
def test_a_port_that_is_none_is_told_as_that(url):
    [problem] = cache_problems(CacheSettings(url=url))
    assert problem == "PODIUM_CACHE_URL has a port that is none: a port is from 1 to 65535, and 6379 without one"


def test_a_password_with_a_slash_is_no_port():
    """Negative control: what is before the slash is digits, and is neither taken for a port nor repeated."""
    [problem] = cache_problems(CacheSettings(url="redis://user:123456/part@here:6379/0"))
    assert "percent-encoded" in problem
    assert "123456" not in problem
