"""Files beneath a folder: nothing leads out of it, not even while links are moved about."""

import os
import threading
from collections import Counter

import pytest

from podium.sanitizers import Rejected
from podium.sanitizers.beneath import Root

SECRET = b"the secret outside"


@pytest.fixture
def folder(tmp_path):
    """A root with a file, a folder and links, beside a secret."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "sub" / "deep").write_bytes(b"deep inside")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "inner").symlink_to("sub")
    return root


@pytest.fixture
def root(folder):
    with Root(folder) as opened:
        yield opened


def reason(call, *arguments):
    with pytest.raises(Rejected) as raised:
        call(*arguments)
    return raised.value.reason


def test_files_beneath_are_read_and_written(root, folder):
    with root.open("sub/deep") as file:
        assert file.read() == b"deep inside"
    with root.open("new", "x") as file:
        file.write(b"1234")
    with root.open("new", "a") as file:
        file.write(b"56")
    assert (folder / "new").read_bytes() == b"123456"
    with root.open("new", "w") as file:
        file.write(b"7")
    assert (folder / "new").read_bytes() == b"7"
    assert (folder / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        root.open("new", "x")
    with pytest.raises(FileNotFoundError):
        root.open("sub/none")


@pytest.mark.parametrize("path", ["link", "up/secret", "up/tree/file", "inner/deep", "sub/../link"])
@pytest.mark.parametrize("mode", ["r", "w", "a", "x"])
def test_no_link_is_followed(root, folder, path, mode):
    try:
        assert reason(root.open, path, mode) in ("PATH_LINK", "PATH_TRAVERSAL")
    except FileExistsError:
        assert (path, mode) == ("link", "x")
    assert (folder.parent / "secret").read_bytes() == SECRET


def test_python_s_own_open_follows_each_of_them(folder):
    for path in ("link", "up/secret"):
        assert (folder / path).read_bytes() == SECRET


@pytest.mark.parametrize("path", ["..", "../secret", "sub/../../secret", "/etc/passwd", "a\0b"])
def test_a_path_that_leads_out_is_refused(root, path):
    for call in (root.open, root.stat, root.list, root.make_folder):
        assert reason(call, path) in ("PATH_TRAVERSAL", "PATH_OUTSIDE_ROOTS")


def test_only_regular_files_are_opened(root, folder):
    os.mkfifo(folder / "pipe")
    # Nothing has the other end open: to wait for it would take for ever.
    assert reason(root.open, "pipe") == "PATH_NOT_A_FILE"
    assert reason(root.open, "sub") == "PATH_NOT_A_FILE"
    assert reason(root.open, ".") == "PATH_NOT_A_FILE"


def test_what_a_folder_holds_is_listed_without_following(root):
    assert [(entry.path, entry.kind, entry.size) for entry in root.list() if entry.kind == "file"] == [
        ("file", "file", 6)
    ]
    assert [(entry.path, entry.kind) for entry in root.walk()] == [
        ("file", "file"),
        ("inner", "link"),
        ("link", "link"),
        ("sub", "folder"),
        ("sub/deep", "file"),
        ("up", "link"),
    ]
    assert root.stat("link").kind == "link"
    assert root.stat("sub/deep").size == 11
    assert root.stat(".").kind == "folder"
    assert reason(root.list, "up") == "PATH_LINK"


def test_folders_are_made_beneath(root, folder):
    root.make_folder("sub/a/b")
    root.make_folder("sub/a/b")
    assert (folder / "sub" / "a" / "b").is_dir()
    assert reason(root.make_folder, "up/c") == "PATH_LINK"


def swap_until(done, folder):
    """Exchange a folder for a link that leads out, over and over."""
    real, link, spare = folder / "real", folder.parent / "out-link", folder / "spare"
    while not done.is_set():
        real.rename(spare)
        link.rename(real)
        real.rename(link)
        spare.rename(real)


def test_a_link_that_is_swapped_in_between_is_not_followed(root, folder):
    (folder / "real").mkdir()
    (folder / "real" / "secret").write_bytes(b"inside")
    (folder.parent / "out-link").symlink_to(folder.parent)
    done, got = threading.Event(), Counter()
    swapping = threading.Thread(target=swap_until, args=(done, folder))
    swapping.start()
    # Until it was found to be the folder, a link and away often enough.
    while min(got["inside"], got["PATH_LINK"], got["away"]) < 20:
        try:
            with root.open("real/secret") as file:
                got[file.read().decode()] += 1
        except Rejected as rejected:
            got[rejected.reason] += 1
        except OSError:
            got["away"] += 1
    done.set()
    swapping.join()
    assert SECRET.decode() not in got


def test_a_check_before_the_use_is_too_early(folder):
    path = folder / "sub" / "secret"
    path.write_bytes(b"inside")
    assert path.resolve().is_relative_to(folder)
    # What another process may do at this moment.
    (folder / "sub").rename(folder / "away")
    (folder / "sub").symlink_to(folder.parent)
    assert path.read_bytes() == SECRET
    with Root(folder) as root:
        assert reason(root.open, "sub/secret") == "PATH_LINK"
