"""What samples of a soaked service say: whether its memory is flat, and whether at the end nothing is left over.

Pure: samples in, findings out.
"""

from dataclasses import dataclass, field

WARM_UP = 0.4
"""This part of the samples is left out: caches fill, and the allocator takes what it keeps."""
GROWTH_MAX_MIB = 24.0
"""How much memory may grow over all other samples, along their line: a leak grows on, whatever the bound."""
SHORT_S, SHORT_GROWTH_MAX_MIB = 600.0, 64.0
"""In a shorter soak caches are still being filled: the log's of 100,000 streams, the catalogue's, the allocator's."""
FILES_MORE_MAX = 4
"""The readers of the database may have opened a connection more."""
TASKS_MORE_MAX = 2


@dataclass(frozen=True)
class Sample:
    """One look at the service."""

    at_s: float
    rss_mib: float
    files: int
    connections: int
    holdings: dict = field(default_factory=dict)


def slope_mib_per_s(samples):
    """The slope of memory over time by least squares."""
    count = len(samples)
    mean_at = sum(each.at_s for each in samples) / count
    mean_rss = sum(each.rss_mib for each in samples) / count
    over = sum((each.at_s - mean_at) ** 2 for each in samples)
    return sum((each.at_s - mean_at) * (each.rss_mib - mean_rss) for each in samples) / over if over else 0.0


def growth_mib(samples):
    """By how much memory grew after the warm-up, along its line."""
    warm = samples[int(len(samples) * WARM_UP) :]
    return slope_mib_per_s(warm) * (warm[-1].at_s - warm[0].at_s)


def leftovers(before, after):
    """What is held after everything has ended, that was not before it began; a line each."""
    found = []
    if after.files > before.files + FILES_MORE_MAX:
        found.append(f"files: {after.files}, {before.files} at the beginning")
    if after.connections:
        found.append(f"connections: {after.connections}")
    for name, count in after.holdings.items():
        allowed = before.holdings.get(name, 0) + TASKS_MORE_MAX if name == "tasks" else 0
        if count > allowed:
            found.append(f"{name}: {count}" + (f", {before.holdings[name]} at the beginning" if allowed else ""))
    return found


def findings(before, samples, after):
    """Everything that is wrong, a line each."""
    found = leftovers(before, after)
    grown, lasted_s = growth_mib(samples), samples[-1].at_s - samples[0].at_s
    bound = GROWTH_MAX_MIB if lasted_s >= SHORT_S else SHORT_GROWTH_MAX_MIB
    if grown > bound:
        found.append(f"memory: grew by {grown:.1f} MiB after the warm-up, more than {bound:g}")
    return found
