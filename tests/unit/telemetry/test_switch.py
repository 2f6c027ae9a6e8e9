"""While traces and metrics are off, nothing of them is imported."""

import subprocess
import sys

import pytest

from tests.integration.rig.service_process import environment

PROGRAM = """
import sys
from service.telemetry.switch import telemetry_of
from service.settings.listening import Listening
from service.settings.telemetry import TelemetrySettings
import service.main
made = telemetry_of(TelemetrySettings({settings}), Listening(), None, None)
print(made is not None, any(name.startswith(("opentelemetry", "prometheus_client")) for name in sys.modules))
"""


@pytest.mark.parametrize(("settings", "expected"), [("", "False False"), ("'127.0.0.1:0'", "True True")])
def test_what_is_off_is_not_imported(settings, expected):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(settings=settings)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(), timeout=60)
    assert ended.stdout.strip() == expected
