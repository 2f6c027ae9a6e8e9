"""The table of the built-in roles in docs/security.md is the policy's."""

import re

from service.domain.permissions import DEFAULT_POLICY
from tests.architecture.checkout import ROOT

PAGE = ROOT / "docs/security.md"


def roles(text):
    """The table of roles: {role: grants}, a grant of everything as `*`."""
    [table] = re.findall(r"^\| role \| grants \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [row.strip("|").split("|") for row in table.splitlines()]
    return {role.strip(" `"): set(re.findall("`([^`]+)`", grants)) or {"*"} for role, grants in rows}


def test_the_table_of_roles_is_the_built_in_policy():
    assert roles(PAGE.read_text()) == DEFAULT_POLICY.roles


def test_a_grant_that_the_table_lacks_is_noticed():
    """Negative control."""
    assert roles(PAGE.read_text().replace("`statistics.read`, ", "", 1)) != DEFAULT_POLICY.roles
