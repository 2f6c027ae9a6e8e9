"""Looks at the service from outside: /proc, and the file in which it writes down what it holds."""

import json
from pathlib import Path

from tests.soak.judgement import Sample

ESTABLISHED = "01"


class Look:
    """Takes samples of one process."""

    def __init__(self, pid, port, holdings, now_s):
        self._process = Path("/proc") / str(pid)
        self._port = port
        self._holdings = holdings
        self._now_s = now_s
        self._began_s = now_s()

    def sample(self):
        return Sample(
            self._now_s() - self._began_s, self._rss_mib(), len(self._files()), self._connections(), self.holdings()
        )

    def holdings(self):
        return json.loads(self._holdings.read_text()) if self._holdings.exists() else {}

    def _rss_mib(self):
        """Its own memory, without what it maps of files."""
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024

    def _files(self):
        return list((self._process / "fd").iterdir())

    def _connections(self):
        """Connections that callers have to it."""
        tables = [(self._process / "net" / name).read_text() for name in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table.splitlines()[1:]]
        return sum(int(row[1].rpartition(":")[2], 16) == self._port and row[3] == ESTABLISHED for row in rows)
