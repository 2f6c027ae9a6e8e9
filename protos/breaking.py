"""Compares the contract in protos/ with what was committed before it, and fails on a change that breaks a caller.

Invariant: it never compares the contract with itself. Uncommitted changes are held against the last commit; a clean
checkout is held against the parent of the last commit that touched the contract. A break that is meant says so, and
why, in a trailer of its commit message: `Contract-break: <why>`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = "protos/podium"
TRAILER = "Contract-break"


def git(*arguments: str) -> str | None:
    """What git printed, or None where it failed: no repository, no such commit, no such path."""
    finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return finished.stdout.strip() if finished.returncode == 0 else None


def previous_contract() -> tuple[str | None, str]:
    """The commit to compare with; None, with the reason, where there is nothing to compare."""
    if git("rev-parse", "--verify", "--quiet", "HEAD") is None:
        return None, "there is no commit yet"
    if git("status", "--porcelain", "--", CONTRACT):
        return "HEAD", ""
    changed = git("log", "-1", "--format=%H", "--", CONTRACT)
    if not changed:
        return None, "no commit holds a contract"
    reason = git("log", "-1", f"--format=%(trailers:key={TRAILER},valueonly)", changed)
    if reason:
        return None, f"the last change is declared as a break: {reason}"
    parent = git("rev-parse", "--verify", "--quiet", f"{changed}^")
    return parent, "" if parent else "its history is not in this clone, or begins here"


def main() -> int:
    """Runs `buf breaking` against the previous contract; 0 also where there is none, which it says."""
    commit, reason = previous_contract()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "previous.zip"
        if commit and git("archive", "--format=zip", f"--output={archive}", commit, CONTRACT) is None:
            commit, reason = None, f"{commit} holds no contract"
        if commit is None:
            sys.stdout.write(f"The contract was compared with nothing: {reason}.\n")
            return 0
        buf = Path(sys.executable).parent / "buf"
        against = f"{archive}#subdir=protos"
        finished = subprocess.run([buf, "breaking", "--against", against], cwd=ROOT, check=False)
    if finished.returncode != 0:
        advice = f"If it is meant, its commit message says why: a last line `{TRAILER}: <why>`."
        sys.stderr.write(f"The contract breaks its callers. {advice}\n")
    return finished.returncode


if __name__ == "__main__":
    sys.exit(main())
