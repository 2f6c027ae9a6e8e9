"""Where the peers are installed: an environment each, in a folder that git ignores, with the versions named here.

pip and npm find their index by their own settings. What is there already and of these versions is not installed again.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "bench" / "peers"
PACKAGES = {
    "dbos": ("dbos==3.4.0", "psycopg[binary]==3.3.9"),
    "langgraph": (
        "langgraph==1.2.22",
        "langgraph-checkpoint-postgres==3.2.0",
        "langgraph-checkpoint-sqlite==3.1.2",
        "psycopg[binary,pool]==3.3.9",
    ),
    "restate": ("restate-sdk==1.3.0", "granian==2.8.7", "aiohttp==3.14.5"),
}
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
INSTALL_WITHIN_S = 300


class CannotInstallError(Exception):
    """A peer could not be installed. The message says what failed."""


def versions_of(peer):
    """The pinned versions of what is installed for a peer, by package."""
    return {package.partition("[")[0]: version for package, version in (p.split("==") for p in PACKAGES[peer])}


def python_of(peer):
    """The interpreter of a peer's environment; it is made when it is not there. Raises CannotInstallError."""
    home = FOLDER / peer
    python = home / "bin" / "python"
    install_once(home, PACKAGES[peer], lambda: _install_packages(home, python, PACKAGES[peer]))
    return python


def restate_server():
    """The binary of Restate's server; it is installed when it is not there. Raises CannotInstallError."""
    home = FOLDER / "restate-server"
    install_once(home, [RESTATE_SERVER], lambda: _install_server(home))
    found = sorted(home.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise CannotInstallError("npm brought no server of Restate for this machine")
    return found[0]


def install_once(home, wanted, install):
    """Install into a folder, unless what is wanted is there. Half an installation is none: it is begun anew."""
    stamp = home / "installed.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == list(wanted):
        return
    print(f"installing {', '.join(wanted)}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    install()
    stamp.write_text(json.dumps(list(wanted)))


def _install_packages(home, python, packages):
    _run([sys.executable, "-m", "venv", home])
    _run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", *packages])


def _install_server(home):
    if shutil.which("npm") is None:
        raise CannotInstallError("there is no npm, with which Restate's server is installed")
    # Its binary comes in a package; scripts that run at an installation are not needed.
    _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", home, RESTATE_SERVER])


def _run(command):
    try:
        ran = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"{command[0]} did not end within {INSTALL_WITHIN_S} s") from None
    if ran.returncode != 0:
        raise CannotInstallError(f"{Path(command[0]).name} failed: {ran.stderr.strip()[-1000:]}")
