"""How long a time that is set may be: every one has a bound, and what is beyond it is refused with it."""

import pytest

from service.config import ConfigurationError, Settings, load_settings
from service.settings.reading import all_settings
from service.settings.times import longest

TIMES = [setting for setting in all_settings(Settings) if setting.name.endswith(("_ms", "_s"))]


def problems(environment):
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environment)
    return refused.value.problems


@pytest.mark.parametrize("setting", TIMES, ids=lambda setting: setting.key)
def test_every_time_has_a_bound_that_its_default_is_far_from(setting):
    most = longest(setting.name)
    assert setting.default * 5 <= most
    assert any(
        told.startswith(f"{setting.variable} must be at most {most:_}, ")
        for told in problems({setting.variable: str(most + 1)})
    )


def test_the_bound_itself_is_accepted():
    """Negative control: it is what is beyond the bound that is refused."""
    assert load_settings({"PODIUM_DRAIN_MS": "86400000"}).timings.drain_ms == 86_400_000
    assert problems({"PODIUM_DRAIN_MS": "99999999999999"}) == [
        "PODIUM_DRAIN_MS must be at most 86_400_000, a day in milliseconds"
    ]


def test_what_is_no_time_has_no_bound_here():
    assert longest("workflow_steps") is None


def test_a_payload_fits_in_a_message():
    assert problems({"PODIUM_LIMIT_PAYLOAD_BYTES": str(1 << 31)}) == [
        "PODIUM_LIMIT_PAYLOAD_BYTES must be at most 1_073_741_824, 1 GiB"
    ]


@pytest.mark.parametrize("port", ["99999", "0"])
def test_the_port_of_a_database_is_one(port):
    [problem] = problems({"PODIUM_DATABASE_URL": f"postgresql://bob:hunter2@db:{port}/podium"})
    assert problem == "PODIUM_DATABASE_URL has a port that is none: a port is from 1 to 65535"


def test_an_address_with_half_a_bracket_is_refused():
    [problem] = problems({"PODIUM_DATABASE_URL": "postgresql://bob:hunter2@[db/podium"})
    assert "percent-encoded" in problem
