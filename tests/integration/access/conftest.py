"""Secrets for the tenants of these tests, in a folder that is no part of what the service keeps."""

import contextlib

import pytest


@pytest.fixture
def secrets(tmp_path, tenant):
    """Writes a secret of the test's tenant: `secrets(name, value)`. `secrets.directory` is the setting."""

    def write(name, value, mode=0o600):
        folder = write.directory / tenant
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
        (folder / name).write_text(value)
        (folder / name).chmod(mode)

    write.directory = tmp_path / "secrets-of-tenants"
    write.directory.mkdir()
    return write
