"""The bound of memory that the process's control group has, as the system's files tell it."""

import pytest

from service.cgroups import memory_limit_bytes

UNBOUNDED = str((1 << 63) - 4096)


@pytest.mark.parametrize(
    ("groups", "files", "bound"),
    [
        ("0::/", {"memory.max": "1000\n"}, 1000),
        ("0::/", {"memory.max": "max\n"}, 0),
        ("0::/a/b", {"a/memory.max": "900", "a/b/memory.max": "1000"}, 900),
        ("0::/a/b", {"a/memory.max": "900", "a/b/memory.max": "max"}, 900),
        ("0::/../a", {"a/memory.max": "7"}, 7),
        ("4:cpu,memory:/a", {"memory/a/memory.limit_in_bytes": "500"}, 500),
        ("4:memory:/of/the/host", {"memory/memory.limit_in_bytes": "500"}, 500),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": UNBOUNDED}, 0),
        ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "500", "memory.max": "max"}, 500),
        ("3:cpu:/a", {"memory/a/memory.limit_in_bytes": "500"}, 0),
        ("", {}, 0),
    ],
)
def test_it_is_the_narrowest_of_the_group_and_those_around_it(tmp_path, groups, files, bound):
    of_process = tmp_path / "of-process"
    of_process.write_text(groups)
    for name, text in files.items():
        place = tmp_path / "mounted" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert memory_limit_bytes(tmp_path / "mounted", of_process) == bound


def test_a_system_without_groups_has_no_bound(tmp_path):
    assert memory_limit_bytes(tmp_path, tmp_path / "missing") == 0
