"""A program that becomes the real service, again and again: each start is a fork of what is imported already.

It takes orders on stdin, one line of JSON each, and tells on stdout what becomes of them: {"what": "forked", "pid"},
"ready" with the address, "failed" with the message, "exited" with the status. It ends, and its service with it, when
stdin does. gRPC is not imported here: a process that has it must not fork.
"""

import json
import os
import select
import signal
import sys
import traceback

import orjson
import sqlalchemy
import uvloop

from service.admission import permission, schema, tokens
from service.engine import engine, expressions, recovery
from service.executors import session
from service.projections import audit, audit_query, runner, workflow_query, workflows
from store import migrate, sqlite

IMPORTED_AHEAD = (
    orjson, sqlalchemy, uvloop, permission, schema, tokens, engine, expressions, recovery, session, audit, audit_query,
    runner, workflow_query, workflows, migrate, sqlite,
)  # fmt: skip


def report(**fields):
    os.write(sys.stdout.fileno(), (json.dumps({"pid": os.getpid(), **fields}) + "\n").encode())


def start(order):
    """Fork a service and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        from tests.faults.fault_points import become_service  # noqa: PLC0415 - gRPC comes after the fork

        status = become_service(order, report)
    except BaseException:  # noqa: BLE001 - whatever it was, the fork must not go on as its parent does
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main():
    assert "grpc" not in sys.modules, "a process that has gRPC must not fork"
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    running = 0
    pending = b""
    while True:
        readable, _, _ = select.select([sys.stdin.fileno(), woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
        if running and (ended := os.waitpid(running, os.WNOHANG))[0]:
            running = 0
            report(pid=ended[0], what="exited", status=os.waitstatus_to_exitcode(ended[1]))
        if sys.stdin.fileno() not in readable:
            continue
        received = os.read(sys.stdin.fileno(), 65536)
        if not received:
            break
        *orders, pending = (pending + received).split(b"\n")
        for order in orders:
            assert not running, "one service at a time"
            running = start(json.loads(order))
            report(pid=running, what="forked")
    if running:
        os.kill(running, signal.SIGKILL)
        os.waitpid(running, 0)


if __name__ == "__main__":
    main()
