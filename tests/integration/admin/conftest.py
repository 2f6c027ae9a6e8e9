"""Who is administered."""

import pytest


@pytest.fixture
def agent(admit, tools):
    """Bob, an agent beside an executor with plain tools."""
    return admit("bob", roles=["agent"])
