"""The Merkle tree of RFC 9162 (section 2.1, as in RFC 6962): roots, proofs, and their verification. Pure.

A leaf is the bytes of a record, exactly as stored. Leaves are counted from 0 as in the RFC: the record at position p
is leaf p - 1. A tree of size n is over the first n of them, and no larger tree changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
"""The root of the tree without leaves."""

Node = tuple[int, int]
"""A complete subtree: its level (a leaf is at 0, each level above spans twice as many) and its place in the level."""

Span = tuple[int, int]
"""Leaves from the first index up to, and without, the second."""


def leaf_hash(record: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of what is over two hashes."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over the hashes of leaves, in time linear in their number.

    Level by level, two by two; one that is left over moves up as it is. It is the tree of the RFC's recursion, which
    splits off the largest complete subtree on the left: either way the subtrees are complete except at the right edge.
    """
    level = list(leaves)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        pairs = iter(level)
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0]


def joined(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, from the largest to the smallest: at least one."""
    root = peaks[-1]
    for left in peaks[-2::-1]:
        root = node_hash(left, root)
    return root


def subtrees(span: Span) -> list[Node]:
    """The fewest complete subtrees that make up a span of a tree, from left to right.

    The span is one that the RFC's recursion splits a tree into: it begins where a subtree of its size can.
    """
    start, end = span
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def span_hash(span: Span, hashes: Mapping[Node, bytes]) -> bytes:
    """The hash over a span that is not empty, from those of its `subtrees`."""
    return joined([hashes[node] for node in subtrees(span)])


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose hashes prove that a leaf is in the tree of a size, in the order of the proof (2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(old_size: int, new_size: int) -> list[Span]:
    """The spans whose hashes prove that the tree of the new size begins with that of the old one (2.1.4.1)."""
    if not 0 < old_size <= new_size:
        raise ValueError(f"there is no proof from size {old_size} to size {new_size}")
    spans: list[Span] = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start > 0:
        # The old tree is not one of the new one's subtrees, so its last part is told too.
        spans.append((start, end))
    return spans[::-1]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows the hash of a leaf at an index of the tree of this size and root (2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            computed = node_hash(sibling, computed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and computed == root


def is_consistent(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the new tree begins with the old one, which is not empty (2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if not proof:
        return False
    # A complete subtree of the new tree stands for itself and is not in the proof.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else proof
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def _split(size: int) -> int:
    """The largest power of two that is smaller than a size above one: how many leaves go to the left."""
    return 1 << (size - 1).bit_length() - 1
