"""How the garbage collector works in a service: its objects live for a step, or as long as the process."""

from __future__ import annotations

import gc


def settle_collector() -> None:
    """Leave to the garbage collector only what it is good for.

    States and messages hold no cycles, so that counting references frees them: to look at every young object once
    in 700 allocations, and at all of them whenever a quarter is new, finds nothing and took a tenth of a step.
    """
    # What lives as long as the process need not be looked at by any collection.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
