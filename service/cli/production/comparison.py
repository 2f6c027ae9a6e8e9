"""Whether the settings found here are those of the service that answers.

Invariant: what speaks against it is told; settings of another service vouch for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from service.settings.listening import Listening

if TYPE_CHECKING:
    from podium.v1 import monitoring_service_pb2

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, and not listened on


@dataclass(frozen=True, slots=True)
class Here:
    """What the settings found here say: where they listen, and what their database is."""

    listening: Listening
    database_name: str
    database: Mapping[str, Any] | None
    """What the database tells of itself; None: it could not be read."""


def difference(here: Here, address: str, status: monitoring_service_pb2.GetStatusResponse | None) -> str:
    """Return what tells the service at an address from the one that these are the settings of; empty: nothing.

    Args:
        here: What the settings say.
        address: Where the service answers.
        status: What it says of itself; None: the caller may not know. Its database is told to operators alone.
    """
    listen = here.listening.listen_address
    if not _may_answer(here.listening, address):
        return f"they say that it listens on {listen}"
    if status is None or not status.owner:
        if _host(listen) in _EVERYWHERE and not _is_local(here.listening, address):
            return "whose they are is told to the operator's tenant alone"
        return ""
    if here.database is None:
        same = here.database_name == status.database
    else:
        # An owner is of one process, so that other names for the same database do not matter, nor the same for others.
        shards = here.database["shards"]
        same = any((shard["owner"], shard["epoch"]) == (status.owner, status.epoch) for shard in shards)
    return "" if same else f"they name the database {here.database_name}, and it says that its own is {status.database}"


def _may_answer(listening: Listening, address: str) -> bool:
    """Whether a service that listens so may be the one that answers at the address."""
    place = address.rpartition("://")[2]
    if place.startswith("unix:") or listening.listen_address.startswith("unix:"):
        return place == listening.listen_address
    port = listening.listen_address.rpartition(":")[2]
    if int(port) and place.rpartition(":")[2] != port:
        return False
    there, here = _host(place), _host(listening.listen_address)
    return there == here or here in _EVERYWHERE or (listening.is_local and _is_local(listening, address))


def _is_local(listening: Listening, address: str) -> bool:
    return replace(listening, listen_address=address.rpartition("://")[2]).is_local


def _host(place: str) -> str:
    return place.rpartition(":")[0].strip("[]")
