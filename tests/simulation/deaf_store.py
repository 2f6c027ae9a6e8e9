"""A store whose answers a test gives."""

import asyncio

from store.contract import StoreError


class DeafStore:
    """A store that takes an append and never says what became of it, or refuses it."""

    def __init__(self, store, *, refusing=False):
        self._store = store
        self.refusing = refusing
        self._held = []

    def submit(self, append, done):
        if self.refusing:
            asyncio.get_running_loop().call_soon(done, StoreError("the disk is full"))
        elif self._held is None:
            self._store.submit(append, done)
        else:
            self._held.append((append, done))

    def answer(self, outcome=None):
        """Says what became of all that it took; this, or what the store says."""
        held, self._held = self._held, None
        for append, done in held:
            if outcome is None:
                self._store.submit(append, done)
            else:
                done(outcome)
