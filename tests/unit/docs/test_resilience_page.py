"""The examples of docs/resilience.md and of the chains in docs/workflows.md are read by what reads a user's files."""

import re

import pytest

from service.cli.failures import CommandFailed
from service.cli.policy.file import PolicyFile
from service.cli.workflows.file import read_workflow
from tests.architecture.checkout import ROOT

PAGES = ("docs/resilience.md", "docs/workflows.md")
SECTIONS_OF_A_POLICY = re.compile(r"^(breakers|bulkheads|caches|limits|rules|roles):", re.MULTILINE)
LINES_MAX = 360


def examples(text):
    """The page's blocks of YAML."""
    return re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def read(example):
    """What an example is: sections of a policy, which want a name, or a workflow. Raises CommandFailed."""
    if SECTIONS_OF_A_POLICY.search(example):
        named = example if re.search(r"^name:", example, re.MULTILINE) else f"name: example\n{example}"
        return PolicyFile(named, "the page").policy
    return read_workflow(example, "the page")


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_read(page):
    found = [read(example) for example in examples((ROOT / page).read_text())]
    assert len(found) >= 2


def test_the_page_shows_a_rule_of_every_kind_and_a_chain():
    found = [read(example) for example in examples((ROOT / PAGES[0]).read_text())]
    fields = {field.name for message in found for field, _ in message.ListFields()}
    assert fields >= {"breakers", "bulkheads", "caches", "steps"}
    assert any(step.fallback for message in found for step in getattr(message, "steps", ()))


def test_the_page_can_be_read_in_one_go():
    assert len((ROOT / PAGES[0]).read_text().splitlines()) < LINES_MAX


@pytest.mark.parametrize(
    "example",
    [
        "caches:\n  - {id: quotes, ttl_ms: 30000}\n",
        "breakers:\n  - {id: vendors, when_open: queue}\n",
        "steps:\n  - {tool: quote, fallback: [{old: 1h}]}\n",
    ],
)
def test_an_example_that_nobody_could_use_is_found(example):
    """Negative control."""
    with pytest.raises(CommandFailed):
        [read(each) for each in examples(f"# A page\n\n```yaml\n{example}```\n")]
