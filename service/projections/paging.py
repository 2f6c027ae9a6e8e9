"""Pages by key: the opaque token that continues a query, and the size of a page.

A token holds the key after which the next page begins and the digest of what was asked. It is no secret and is not
signed: whatever key it names, the query it continues is limited to the caller's tenant. The digest is there so that
a token used with another filter is an error, and not a page with a silent gap.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Select, select, union_all

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
PAGE_BYTES = 4 * 1024 * 1024
"""A page ends early before its results are larger than this; the first is on it however large it is."""

_VERSION = 1
_DIGEST_BYTES = 16
_TOKEN = struct.Struct(f">B{_DIGEST_BYTES}sQ")

Item = TypeVar("Item", bound=Message)


class PagingError(ValueError):
    """A page was asked for that there cannot be. `field` names the field of the request that is at fault."""

    field = ""


class PageTokenError(PagingError):
    """The token is damaged, or belongs to another query, filter or tenant."""

    field = "page_token"


class PageSizeError(PagingError):
    """The size of the page is out of bounds."""

    field = "page_size"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some results in order."""

    items: list[Item]
    next_page_token: str
    """Asks for the results after these; empty: there are none."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of one query is meant."""

    scope: bytes
    """The digest of the query, the tenant and the filter."""
    after: int | None
    """The key of the last result of the page before; None: this is the first page."""
    limit: int
    """How many results the page holds at most."""

    @classmethod
    def of(cls, query: str, tenant: str, filter_bytes: bytes, *, page_size: int, page_token: str) -> Paging:
        """Read what a request says about its page. Raises PageTokenError and PageSizeError.

        Args:
            query: The query's name.
            tenant: The tenant that asks.
            filter_bytes: The filter in a canonical form: the same filter has the same bytes.
            page_size: 1 to PAGE_SIZE_MAX; 0: PAGE_SIZE_DEFAULT.
            page_token: From the last page; empty: the first page is meant.
        """
        if not 0 <= page_size <= PAGE_SIZE_MAX:
            raise PageSizeError(f"page_size is {page_size}; it is 1 to {PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}")
        parts = (query.encode(), tenant.encode(), filter_bytes)
        # Each part goes in with its length, so that no two questions can run together into the same bytes.
        scope = hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()[:_DIGEST_BYTES]
        return cls(scope, _key_of(page_token, scope) if page_token else None, page_size or PAGE_SIZE_DEFAULT)

    def page(self, results: Sequence[Item], keys: Sequence[int]) -> Page[Item]:
        """Make the page of `limit` results, or of fewer large ones; more in `results` says there is a next page."""
        sizes = accumulate(result.ByteSize() for result in results[: self.limit])
        count = max(1, sum(size <= PAGE_BYTES for size in sizes))
        return Page(list(results[:count]), self._token(keys[count - 1]) if len(results) > count else "")

    def _token(self, key: int) -> str:
        return base64.urlsafe_b64encode(_TOKEN.pack(_VERSION, self.scope, key)).rstrip(b"=").decode()


def _key_of(token: str, scope: bytes) -> int:
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, token_scope, key = _TOKEN.unpack(data)
    except (binascii.Error, struct.error, ValueError):
        raise PageTokenError("page_token is damaged: pass on what the last page returned, as it is") from None
    # SQLite's integers are signed, and a key beyond them cannot have come from a page.
    if version != _VERSION or key >> 63:
        raise PageTokenError("page_token is damaged: pass on what the last page returned, as it is")
    if token_scope != scope:
        raise PageTokenError("page_token belongs to another query: it continues only the filter it came with")
    return int(key)


def first_of(branches: Sequence[Select[Any]], key: str, limit: int, *, descending: bool = False) -> Select[Any]:
    """Select the first `limit` rows, in order of the column `key`, of what any of the branches selects.

    Each branch is cut to `limit` by itself, so that each can walk an index in order and stop. A condition with OR or
    IN would make SQLite read and sort all that match before it can return the first.

    The branches must not overlap.
    """
    cut = []
    for branch in branches:
        column = branch.selected_columns[key]
        cut.append(branch.order_by(column.desc() if descending else column).limit(limit))
    if len(cut) == 1:
        return cut[0]
    joined = union_all(*(select(branch.subquery()) for branch in cut)).subquery()
    column = joined.c[key]
    return select(joined).order_by(column.desc() if descending else column).limit(limit)
