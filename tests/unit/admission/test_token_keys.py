"""The keys of tokens: made once, read by their owner alone."""

import os
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from service.admission.token_keys import KeyRefused, load_or_make_key, load_public_key

random_bytes = os.urandom


def test_the_first_start_makes_a_key_that_only_its_owner_may_read(tmp_path):
    path = tmp_path / "state" / "token.key"
    key = load_or_make_key(path, random_bytes)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert len(key.material) == 32
    assert list(path.parent.iterdir()) == [path]


def test_the_next_start_reads_the_same_key(tmp_path):
    path = tmp_path / "token.key"
    assert load_or_make_key(path, random_bytes).material == load_or_make_key(path, random_bytes).material


def test_the_umask_does_not_open_the_file(tmp_path):
    before = os.umask(0)
    try:
        load_or_make_key(tmp_path / "token.key", random_bytes)
    finally:
        os.umask(before)
    assert (tmp_path / "token.key").stat().st_mode & 0o777 == 0o600


def test_the_key_is_not_shown(tmp_path):
    key = load_or_make_key(tmp_path / "token.key", random_bytes)
    assert key.material.hex() not in repr(key)
    assert repr(key.material) not in repr(key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o666])
def test_a_key_that_others_may_use_is_refused_with_the_remedy(tmp_path, mode):
    path = tmp_path / "token.key"
    load_or_make_key(path, random_bytes)
    path.chmod(mode)
    with pytest.raises(KeyRefused, match=r"token\.key: chmod 600"):
        load_or_make_key(path, random_bytes)
    path.chmod(0o400)
    load_or_make_key(path, random_bytes)


@pytest.mark.parametrize("text", [b"", b"short", b"g" * 64, b"00" * 31, b"00" * 33, b"\xff" * 64])
def test_a_file_that_holds_no_key_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "token.key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(KeyRefused, match="does not hold 32 bytes"):
        load_or_make_key(path, random_bytes)
    assert path.read_bytes() == text


def test_a_link_is_not_followed(tmp_path):
    load_or_make_key(tmp_path / "real", random_bytes)
    (tmp_path / "token.key").symlink_to(tmp_path / "real")
    with pytest.raises(KeyRefused):
        load_or_make_key(tmp_path / "token.key", random_bytes)


def test_a_folder_or_a_pipe_is_no_key(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("folder", "pipe"):
        with pytest.raises(KeyRefused):
            load_or_make_key(tmp_path / name, random_bytes)


def test_two_first_starts_agree_on_one_key(tmp_path):
    for attempt in range(20):
        path = tmp_path / f"{attempt}.key"
        barrier = threading.Barrier(4)
        keys = []

        def start(path=path, barrier=barrier, keys=keys):
            barrier.wait()
            keys.append(load_or_make_key(path, random_bytes).material)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 4
        assert len(set(keys)) == 1


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_public_key_must_fit_its_algorithm(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1())))
    assert load_public_key("k", "ES256", path).algorithm == "ES256"
    for algorithm in ("RS256", "EdDSA", "HS256", "none"):
        with pytest.raises(KeyRefused, match=f"not for {algorithm}"):
            load_public_key("k", algorithm, path)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("ES256", ec.generate_private_key(ec.SECP384R1())), ("RS256", rsa.generate_private_key(65537, 1024))],
    ids=["another curve", "a short key"],
)
def test_a_weak_or_unfit_public_key_is_refused(tmp_path, algorithm, key):
    path = tmp_path / "key.pem"
    path.write_bytes(public_pem(key))
    with pytest.raises(KeyRefused, match="is not for"):
        load_public_key("k", algorithm, path)


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path):
    path = tmp_path / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyRefused, match="holds no public key"):
        load_public_key("k", "ES256", path)
    with pytest.raises(KeyRefused, match="cannot be read"):
        load_public_key("k", "ES256", tmp_path / "none.pem")
