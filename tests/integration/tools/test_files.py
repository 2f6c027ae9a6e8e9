"""Files through the service: what lies in an allowed folder is read and written, and nothing else, on the record."""

import json

import pytest

import podium
from tests.integration.rig.caller import step

FILE_TOOLS = ["file_read", "file_list", "file_search", "file_write", "text_extract"]
ESCAPES = [
    "../../etc/passwd",
    "../secret.txt",
    "/etc/passwd",
    "data/../../secret.txt",
    "%2e%2e/secret.txt",
    "..\\secret.txt",
    "link.txt",
    "door/secret.txt",
    "/proc/self/environ",
]
LINKS = ("link.txt", "door/secret.txt")
"""Those that only the file system tells to be outside."""


@pytest.fixture
def file_tools(ground, serve):
    roots = [{"path": "data"}, {"path": "out", "modes": ["read", "write"]}]
    return serve(ground.file(tools=FILE_TOOLS, files={"roots": roots, "max_write": 1000, "max_entries": 5}))


async def test_a_file_in_an_allowed_folder_is_read(file_tools, client, ground):
    read = await client.call("file_read", path="greeting.txt")
    assert read == {
        "path": "greeting.txt",
        "content": "hello\nworld\n",
        "encoding": "utf-8",
        "offset": 0,
        "size": 12,
        "next_offset": None,
    }
    absolute = str(ground.folder / "data" / "greeting.txt")
    assert (await client.call("file_read", path=absolute))["content"] == "hello\nworld\n"


@pytest.mark.parametrize("path", ESCAPES)
async def test_what_lies_outside_is_refused_and_the_refusal_is_recorded(file_tools, client, caller, path):
    with pytest.raises(podium.PodiumError) as refused:
        await client.call("file_read", path=path)
    assert "secret" not in str(refused.value)
    submissions = await caller.refusals()
    if path in LINKS:
        assert refused.value.reason in ("INPUT_REJECTED", "NOT_FOUND"), refused.value
        assert submissions == [], "what only the file system knows is refused by the tool"
    else:
        [submission] = submissions
        assert (refused.value.reason, submission.reason) == ("INPUT_REJECTED", "INPUT_REJECTED")
        assert (submission.guard, submission.field) == ("path", "call.arguments.path")
        assert submission.sanitizer_reason.startswith("PATH_")
    # The same path, known only when the step runs: refused there, on the record.
    workflow_id = await caller.start(step("file_read", {"path": "${input}"}), input_json=json.dumps(path))
    await caller.ended(workflow_id)
    recorded = {event.WhichOneof("payload"): event for event in await caller.history(workflow_id)}
    if path not in LINKS:
        assert recorded["input_rejected"].input_rejected.guard == "path"
        assert "attempt_started" not in recorded
    else:
        assert recorded["step_failed"].step_failed.failure.reason == refused.value.reason


async def test_each_root_is_open_for_its_modes_alone(file_tools, client, ground):
    written = await client.call("file_write", path="report.txt", content="done\n")
    assert written == {"path": "report.txt", "bytes_written": 5, "size": 5, "created": True}
    assert (ground.folder / "out" / "report.txt").read_text() == "done\n"
    inside = str(ground.folder / "data" / "new.txt")
    with pytest.raises(podium.PodiumError):
        await client.call("file_write", path=inside, content="no")
    assert not (ground.folder / "data" / "new.txt").exists()


async def test_a_file_that_exists_is_replaced_only_when_that_is_said(file_tools, client, ground):
    await client.call("file_write", path="a.txt", content="one")
    with pytest.raises(podium.ToolFailed) as refused:
        await client.call("file_write", path="a.txt", content="two")
    assert refused.value.reason == "ALREADY_EXISTS"
    await client.call("file_write", path="a.txt", content="two", mode="overwrite")
    await client.call("file_write", path="a.txt", content=" and three", mode="append")
    assert (ground.folder / "out" / "a.txt").read_text() == "two and three"
    assert [entry.name for entry in (ground.folder / "out").iterdir()] == ["a.txt"], "no temporary file is left"


async def test_a_file_does_not_grow_beyond_the_limit(file_tools, client, ground):
    await client.call("file_write", path="a.txt", content="x" * 1000)
    for arguments in ({"content": "x", "mode": "append"}, {"content": "x" * 1001, "mode": "overwrite"}):
        with pytest.raises(podium.ToolFailed) as refused:
            await client.call("file_write", path="a.txt", **arguments)
        assert refused.value.reason == "TOO_LARGE"
    assert (ground.folder / "out" / "a.txt").stat().st_size == 1000


async def test_a_search_names_the_lines_and_follows_no_link(file_tools, client):
    found = await client.call("file_search", text="WORLD", ignore_case=True)
    assert found == {
        "matches": [{"path": "greeting.txt", "line": 2, "text": "world"}],
        "files_searched": 1,
        "truncated": False,
    }
    assert (await client.call("file_search", text="secret"))["matches"] == []


async def test_a_list_tells_links_apart_and_says_when_it_is_cut(file_tools, client, ground):
    listed = await client.call("file_list")
    assert [(each["name"], each["kind"]) for each in listed["entries"]] == [
        ("door", "link"),
        ("greeting.txt", "file"),
        ("link.txt", "link"),
    ]
    assert not listed["truncated"]
    for number in range(6):
        (ground.folder / "data" / f"n{number}.md").write_text("")
    cut = await client.call("file_list", pattern="*.md")
    assert len(cut["entries"]) == 5
    assert cut["truncated"]


async def test_text_is_extracted_from_a_file_and_from_what_is_given(file_tools, client, ground):
    (ground.folder / "data" / "page.html").write_text("<title>T</title><p>one<script>evil()</script><p>two")
    extracted = await client.call("text_extract", path="page.html")
    assert (extracted["title"], extracted["text"], extracted["format"]) == ("T", "one\n\ntwo", "html")
    given = await client.call("text_extract", content="a;b\n1;2", format="csv")
    assert given["text"] == "a\tb\n1\t2"
    with pytest.raises(podium.PodiumError):
        await client.call("text_extract", path="link.txt")
