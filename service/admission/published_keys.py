"""The keys that an issuer publishes: cached, fetched again in the background, and never waited for.

Invariant: `find` answers from memory. What was known stays known while the endpoint is away; with nothing ever known,
nothing is accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from service.admission.jwks import KeySetRefused, read_key_set
from service.admission.key_endpoint import EndpointError
from service.admission.token_keys import TokenKey

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A key, and since when it is not published any more."""

    key: TokenKey
    gone_at_s: float | None = None


class PublishedKeys:
    """The keys at one address."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        monotonic: Callable[[], float],
        *,
        refresh_s: float,
        cooldown_s: float,
        grace_s: float,
    ) -> None:
        """Times in seconds.

        Args:
            fetch: Fetches the key set; raises EndpointError.
            monotonic: The time that passes.
            refresh_s: How often the set is fetched.
            cooldown_s: An unknown key has it fetched sooner, but at most once in so long.
            grace_s: How long a key that is not published any more is still accepted.
        """
        self._fetch = fetch
        self._monotonic = monotonic
        self._refresh_s = refresh_s
        self._cooldown_s = cooldown_s
        self._grace_s = grace_s
        self._held: dict[str, _Held] = {}
        self._wanted = asyncio.Event()
        self.revision = 0
        """Raised whenever a key that was known is not any more, or is another."""

    def find(self, key_id: str) -> TokenKey | None:
        """The key of this id. One that is not known is asked for, in the background."""
        held = self._held.get(key_id)
        if held is None:
            self._wanted.set()
            return None
        return held.key

    async def run(self) -> None:
        """Keep the keys current until cancelled; `refresh` comes first."""
        while True:
            # However many unknown keys are asked for meanwhile, the endpoint is asked once.
            await asyncio.sleep(self._cooldown_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._refresh_s - self._cooldown_s)):
                    await self._wanted.wait()
            await self.refresh()

    async def refresh(self) -> bool:
        """Fetch the keys now. An endpoint that is away, or publishes no key set, changes nothing; returns False."""
        self._wanted.clear()
        try:
            found = read_key_set(await self._fetch())
        except Exception as error:  # noqa: BLE001 - whatever it is, the keys must go on being renewed and dropped
            effect = f"the {len(self._held)} keys that are known stay" if self._held else "no token is accepted"
            # Only of these is it known that their words hold nothing but what the endpoint did wrong.
            problem = error if isinstance(error, EndpointError | KeySetRefused) else type(error).__name__
            logger.warning("the keys of tokens cannot be fetched, %s: %s", effect, problem)
            self._drop_old()
            return False
        for problem in found.problems:
            logger.warning("a published key of tokens is not used: %s", problem)
        self._take(found.keys)
        self._drop_old()
        return True

    def _take(self, published: dict[str, TokenKey]) -> None:
        for key_id, key in published.items():
            held = self._held.get(key_id)
            if held is None:
                logger.info("the key %r of tokens is published", key_id)
            elif held.key != key:
                logger.warning("the key %r of tokens was replaced by another of its id", key_id)
                self.revision += 1
            self._held[key_id] = _Held(key)
        now_s = self._monotonic()
        for key_id, held in self._held.items():
            if key_id not in published and held.gone_at_s is None:
                held.gone_at_s = now_s

    def _drop_old(self) -> None:
        before_s = self._monotonic() - self._grace_s
        for key_id in [
            k for k, held in self._held.items() if held.gone_at_s is not None and held.gone_at_s <= before_s
        ]:
            logger.info("the key %r of tokens is not published any more and is dropped", key_id)
            del self._held[key_id]
            self.revision += 1
