"""A breaker written down naively: a list of everything that happened, from which everything is worked out anew.

It shares nothing with the one of the service but the rule: no rings, no buckets, no counters.
"""

from dataclasses import dataclass, field

SECOND_US = 1_000_000


@dataclass
class Call:
    """An attempt: when it started and ended, in which phase, and as what it counts (None: not at all)."""

    started_us: int
    phase: int
    ended_us: int = 0
    failed: bool | None = None
    counted_in: int = 0
    """The phase in which it counted; 0: in none."""


@dataclass
class Reference:
    """Normal mode only."""

    rule: object
    phases: list = field(default_factory=lambda: [("closed", "", 0, 0)])
    """(state, reason, since, open until), one for each phase."""
    calls: dict = field(default_factory=dict)
    ended: list = field(default_factory=list)
    """Those that counted, in the order of their ends."""

    @property
    def state(self):
        return self.phases[-1][0]

    @property
    def reason(self):
        return self.phases[-1][1]

    @property
    def phase(self):
        return len(self.phases)

    def counted(self):
        return [call for call in self.ended if call.counted_in == self.phase]

    # The rule, with what it leaves unset

    @property
    def rates(self):
        return self.rule.window if self.rule.HasField("window") else None

    @property
    def needed(self):
        return self.rule.success_threshold or (0 if self.rates else 1)

    @property
    def permits(self):
        return self.rule.half_open_permits or self.needed or 10

    def reopened(self):
        """How often it opened from half-open since it was closed last."""
        times = 0
        for before, after in zip(self.phases[-2::-1], self.phases[:0:-1], strict=False):
            if after[0] == "closed":
                break
            times += (before[0], after[0]) == ("half_open", "open")
        return times

    def enter(self, state, reason, now_us, since_us=None):
        until_us = 0
        if state == "open":
            times = self.reopened() + (self.state == "half_open")
            wait_ms = (self.rule.recovery_timeout_ms or 60_000) * (self.rule.recovery_multiplier or 1) ** times
            wait_ms = min(wait_ms, self.rule.recovery_max_ms or wait_ms)
            until_us = (now_us if since_us is None else since_us) + round(wait_ms * 1000)
        self.phases.append((state, reason, now_us, until_us))

    # What happens

    def pass_time(self, now_us):
        state, _, since_us, _ = self.phases[-1]
        over_us = since_us + self.rule.half_open_max_ms * 1000
        if state == "half_open" and self.rule.half_open_max_ms and now_us >= over_us:
            self.enter("open", "HALF_OPEN_TIMEOUT", now_us, over_us)

    def room(self, now_us):
        """How many may start; None: any number."""
        state, _, _, until_us = self.phases[-1]
        if state == "closed":
            return None
        if state == "open":
            return self.permits if now_us >= until_us else 0
        out = sum(call.phase == self.phase for call in self.calls.values())
        most = max(self.permits, self.needed)
        return max(0, min(self.permits - out, most - out - len(self.counted())))

    def start(self, key, now_us):
        if self.state == "open":
            self.enter("half_open", "RECOVERY_TIMEOUT", now_us)
        self.calls[key] = Call(now_us, self.phase)

    def end(self, key, reason, now_us):
        call = self.calls.pop(key, None)
        if call is None or reason is None or self.state == "open":
            return
        if self.state == "half_open" and call.phase != self.phase:
            return
        if not reason and self.rule.timeout_ms and now_us - call.started_us > self.rule.timeout_ms * 1000:
            reason = "TIMEOUT"
        names = [reason, "TIMEOUT"] if reason == "WORKFLOW_TIMEOUT" else [reason]
        if reason and any(name in self.rule.ignore for name in names):
            return
        if reason == "CANCELED" and reason not in self.rule.record:
            return
        call.failed = bool(reason) and (not self.rule.record or any(name in self.rule.record for name in names))
        call.ended_us, call.counted_in = now_us, self.phase
        self.ended.append(call)
        (self.judge if self.state == "closed" else self.judge_trials)(now_us)

    def in_a_row(self, *, failed):
        number = 0
        for call in reversed(self.counted()):
            if call.failed != failed:
                break
            number += 1
        return number

    def exceeded(self, calls, minimum):
        rates = self.rates
        if rates is None or len(calls) < max(1, minimum):
            return ""
        slow_us = (rates.slow_call_ms or 60_000) * 1000
        failed = 100 * sum(call.failed for call in calls) / len(calls)
        slow = 100 * sum(call.ended_us - call.started_us > slow_us for call in calls) / len(calls)
        if failed >= (rates.failure_rate or 50):
            return "FAILURE_RATE"
        return "SLOW_CALL_RATE" if slow >= (rates.slow_call_rate or 100) else ""

    def judge(self, now_us):
        threshold = self.rule.failure_threshold or (0 if self.rates else 5)
        if threshold and self.in_a_row(failed=True) >= threshold:
            self.enter("open", "FAILURES_IN_A_ROW", now_us)
            return
        reason = self.exceeded(*self.windowed(now_us))
        if reason:
            self.enter("open", reason, now_us)

    def windowed(self, now_us):
        """The calls in the window, and how many there must be."""
        calls, rates = self.counted(), self.rates
        if rates is None:
            return calls, 1
        size, minimum = rates.size or 100, rates.minimum_calls or 100
        if rates.kind == 2:
            first = now_us // SECOND_US - size + 1
            return [call for call in calls if call.ended_us // SECOND_US >= first], minimum
        return calls[-size:], min(minimum, size)

    def judge_trials(self, now_us):
        calls = self.counted()
        if self.needed:
            if calls[-1].failed:
                self.enter("open", "HALF_OPEN_FAILURE", now_us)
            elif len(calls) >= self.needed:
                self.enter("closed", "SUCCESSES_IN_A_ROW", now_us)
        elif len(calls) >= self.permits:
            reason = self.exceeded(calls, self.permits)
            self.enter("open" if reason else "closed", reason or "RATES_RECOVERED", now_us)
