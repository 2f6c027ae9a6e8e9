"""Generates the typed Python stubs of protos/podium/v1 into clients/python/podium/v1, or checks that they are current.

Invariant: clients/python/podium/v1 holds what this script writes and nothing else, so the contract is the only source.
"""

import argparse
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent
PACKAGE = Path("podium/v1")
CLIENT_ROOT = PROTO_ROOT.parent / "clients" / "python"
PACKAGE_DOCSTRING = '"""The contract\'s messages and stubs, generated from protos/podium/v1 by `make proto`."""\n'


def compile_protos(protos: list[Path], outputs: list[str]) -> None:
    """Runs protoc over `protos` with the given output options; raises RuntimeError if it refuses one."""
    scripts = Path(sys.executable).parent
    arguments = [
        "protoc",
        f"--proto_path={PROTO_ROOT}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *(str(proto) for proto in protos),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused the contract; its reasons are above")


def generate(destination: Path) -> None:
    """Writes the whole package podium.v1 below `destination`."""
    protos = sorted((PROTO_ROOT / PACKAGE).glob("*.proto"))
    services = [proto for proto in protos if re.search(r"^service ", proto.read_text(), re.MULTILINE)]
    (destination / PACKAGE).mkdir(parents=True, exist_ok=True)
    compile_protos(protos, [f"--python_out={destination}", f"--mypy_out=quiet:{destination}"])
    # Without this choice every file of messages would get an empty gRPC module beside it.
    if services:
        compile_protos(services, [f"--grpc_python_out={destination}", f"--mypy_grpc_out=quiet:{destination}"])
    (destination / PACKAGE / "__init__.py").write_text(PACKAGE_DOCSTRING)


def contents(root: Path) -> dict[str, bytes]:
    """The files of the package podium.v1 below `root`, by name."""
    return {path.name: path.read_bytes() for path in (root / PACKAGE).glob("*") if path.is_file()}


def differences(committed: dict[str, bytes], generated: dict[str, bytes]) -> list[str]:
    """One line a file that is missing, stale, or generated from no proto."""
    reasons = dict.fromkeys(generated.keys() - committed.keys(), "missing")
    reasons |= dict.fromkeys(committed.keys() - generated.keys(), "generated from no proto")
    reasons |= {name: "stale" for name in generated.keys() & committed.keys() if generated[name] != committed[name]}
    return [f"{PACKAGE / name}: {reason}" for name, reason in sorted(reasons.items())]


def main(arguments: list[str] | None = None) -> int:
    """Writes the stubs, or with --check only compares them; 1 if they are not what the contract generates."""
    parser = argparse.ArgumentParser(description="Generate the Python stubs of protos/podium/v1.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the stubs are not current")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        generated, committed = contents(Path(folder)), contents(CLIENT_ROOT)
    found = differences(committed, generated)
    if check:
        sys.stderr.write("".join(f"{line}\n" for line in found))
        sys.stderr.write("Run `make proto` and commit what it writes.\n" if found else "")
        return 1 if found else 0
    for name in committed.keys() - generated.keys():
        (CLIENT_ROOT / PACKAGE / name).unlink()
    (CLIENT_ROOT / PACKAGE).mkdir(parents=True, exist_ok=True)
    for name, data in generated.items():
        # A file that would not change keeps its time, so that nothing that watches it starts again.
        if committed.get(name) != data:
            (CLIENT_ROOT / PACKAGE / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
