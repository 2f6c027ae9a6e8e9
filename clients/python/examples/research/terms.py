"""Terms: the words of a text that carry its meaning, stemmed as the search index stems them, so that the two agree."""

import functools
import re
import threading
from collections.abc import Iterable

import snowballstemmer  # type: ignore[import-untyped]  # it publishes no types; only `stem` below calls it

_WORD = re.compile(r"[^\W_]+")
_STEMMER = snowballstemmer.stemmer("porter")
_STEMMER_LOCK = threading.Lock()  # a stemmer keeps the word it is at work on in itself

_STOP_WORDS = (
    "a about after all also am an and any are as at be because been before being between both but by can could "
    "did do does doing done down each else etc few for from further get gets had has have having he her here hers "
    "him his how i if in into is it its itself just let me may might more most must my no nor not of off on once only "
    "or other our ours out over own per same shall she should so some such than that the their theirs them then "
    "there these they this those through to too under until up upon us use used using very via was we were what "
    "when where whether which while who whom whose why will with within without would you your yours"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that any text has. A question's words of asking are among them."""


@functools.lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return the stem of a lower-case English word (Porter, Program 14(3), 1980): `retries` and `retry` are `retri`."""
    with _STEMMER_LOCK:
        return str(_STEMMER.stemWord(word))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, split at everything but letters and digits."""
    return _WORD.findall(text.casefold())


def terms(text: str) -> list[str]:
    """Return the stemmed words of a text, in their order, without stop words."""
    return [stem(word) for word in without_stop_words(words(text))]


def without_stop_words(candidates: Iterable[str]) -> list[str]:
    """Return those of the lower-case words that are no stop words."""
    return [word for word in candidates if word not in STOP_WORDS]
