"""Whether settings are those of the service that answers: what speaks against it, and what does not."""

import pytest

from podium.v1 import monitoring_service_pb2 as pb
from service.cli.production.comparison import Here, difference
from service.settings.listening import Listening

OWNER = "host:7:abc"
SHARDS = {"shards": [{"shard": 0, "owner": OWNER, "epoch": 3}]}


def here(listen="127.0.0.1:7233", database=SHARDS, name="podium.db"):
    return Here(Listening(listen), name, database)


def status(owner=OWNER, epoch=3, database="podium.db"):
    return pb.GetStatusResponse(owner=owner, epoch=epoch, database=database)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:7233", "127.0.0.1:7233"),
        ("127.0.0.1:7233", "localhost:7233"),
        ("127.0.0.1:7233", "http://127.0.0.1:7233"),
        ("[::1]:7233", "127.0.0.1:7233"),
        ("0.0.0.0:7233", "podium.example:7233"),
        ("podium.example:7233", "https://podium.example:7233"),
        ("127.0.0.1:0", "127.0.0.1:40123"),
        ("unix:/run/podium", "unix:/run/podium"),
    ],
)
def test_a_service_may_answer_where_its_settings_say_that_it_listens(listen, address):
    assert difference(here(listen), address, status()) == ""


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:7233", "127.0.0.1:17411"),
        ("127.0.0.1:7233", "podium.example:7233"),
        ("0.0.0.0:7233", "podium.example:443"),
        ("10.0.0.5:7233", "10.0.0.6:7233"),
        ("unix:/run/podium", "127.0.0.1:7233"),
        ("127.0.0.1:7233", "unix:/run/podium"),
        ("127.0.0.1:7233", "podium.example"),
    ],
)
def test_where_they_say_that_it_listens_elsewhere_they_are_anothers(listen, address):
    assert f"listens on {listen}" in difference(here(listen), address, status())


def test_the_owner_in_the_database_tells_it_whatever_it_is_called():
    address = "127.0.0.1:7233"
    assert difference(here(name="/srv/podium.db"), address, status()) == ""
    for other in (status(owner="host:8:def"), status(epoch=4)):
        assert "they name the database podium.db" in difference(here(), address, other)


def test_of_a_database_that_cannot_be_read_its_name_tells():
    address = "127.0.0.1:7233"
    assert difference(here(database=None), address, status()) == ""
    assert "its own is other.db" in difference(here(database=None), address, status(database="other.db"))


def test_who_is_told_nothing_of_the_database_has_the_address_alone():
    for unknown in (None, pb.GetStatusResponse()):
        assert difference(here(), "127.0.0.1:7233", unknown) == ""
        assert difference(here("0.0.0.0:7233"), "127.0.0.1:7233", unknown) == ""
        assert "operator" in difference(here("0.0.0.0:7233"), "podium.example:7233", unknown)
