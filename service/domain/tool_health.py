"""Whether an executor can run a tool, by its answers to probes: so many in a row change it, and fewer do not."""

from __future__ import annotations

from podium.v1 import definition_pb2

UNHEALTHY_AFTER = 3
HEALTHY_AFTER = 1


class ToolHealth:
    """The health of one tool on one executor. It is taken to be well until its answers say otherwise."""

    __slots__ = ("_against", "_healthy_after", "_unhealthy_after", "healthy")

    def __init__(self, probing: definition_pb2.Probing) -> None:
        self._unhealthy_after = probing.unhealthy_after or UNHEALTHY_AFTER
        self._healthy_after = probing.healthy_after or HEALTHY_AFTER
        self.healthy = True
        self._against = 0
        """How many answers in a row, up to the last, spoke against what it is taken to be."""

    def answered(self, *, healthy: bool) -> int:
        """Take an answer, or its absence as one that says no.

        Returns how many in a row have made it the other, or 0: it is what it was.
        """
        if healthy == self.healthy:
            self._against = 0
            return 0
        self._against += 1
        if self._against < (self._healthy_after if healthy else self._unhealthy_after):
            return 0
        self.healthy = healthy
        answers, self._against = self._against, 0
        return answers
