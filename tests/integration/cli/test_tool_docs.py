"""`podium tools docs` prints and writes the guides of registered tools."""

import pytest


@pytest.fixture
async def docs(service, podium_command, tenant, caller):
    """A tenant with two tools, and the command."""
    await caller.register("search", description="Look for something.", permissions=["network_access"], read_only=True)
    await caller.register("transfer", permissions=["financial_operations"])

    def run(*words, roles=("admin",)):
        token = service.token("ana", roles=roles, tenant=tenant)
        return podium_command("tools", "docs", *words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


async def test_a_guide_is_printed_and_is_the_same_each_time(docs):
    printed = docs("search")
    assert printed.code == 0
    assert printed.out.startswith("# search\n")
    assert "Look for something." in printed.out
    assert docs("search").out == printed.out


async def test_all_guides_are_written_into_a_folder(docs, tmp_path):
    folder = tmp_path / "new" / "guides"
    assert docs("--output", folder).code == 0
    assert sorted(each.name for each in folder.iterdir()) == ["search.md", "transfer.md"]
    assert (folder / "search.md").read_text() == docs("search").out
    (tmp_path / "file").touch()
    assert docs("--output", tmp_path / "file").code == 2


async def test_a_tool_that_is_not_there_or_not_to_be_seen_is_not_found(docs):
    assert docs("serch").code == 4
    assert docs("transfer", roles=("viewer",)).code == 4


async def test_for_programs_each_guide_is_a_line(docs):
    assert [each["tool"] for each in docs("--json").lines] == ["search", "transfer"]
