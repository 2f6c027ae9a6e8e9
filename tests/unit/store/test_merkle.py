"""The Merkle tree against the recursive definitions of RFC 9162, and proofs against whoever bends them."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.merkle import (
    EMPTY_ROOT,
    consistency_spans,
    inclusion_spans,
    is_consistent,
    is_included,
    leaf_hash,
    root_of,
)

# The RFC's definitions, as they stand there: MTH, PATH and SUBPROOF of section 2.1.


def split(size):
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def mth(records):
    if not records:
        return hashlib.sha256(b"").digest()
    if len(records) == 1:
        return hashlib.sha256(b"\x00" + records[0]).digest()
    k = split(len(records))
    return hashlib.sha256(b"\x01" + mth(records[:k]) + mth(records[k:])).digest()


def path(m, records):
    if len(records) == 1:
        return []
    k = split(len(records))
    if m < k:
        return [*path(m, records[:k]), mth(records[k:])]
    return [*path(m - k, records[k:]), mth(records[:k])]


def subproof(m, records, is_whole):
    if m == len(records):
        return [] if is_whole else [mth(records)]
    k = split(len(records))
    if m <= k:
        return [*subproof(m, records[:k], is_whole), mth(records[k:])]
    return [*subproof(m - k, records[k:], is_whole=False), mth(records[:k])]


def records(size):
    return [b"record %d" % index for index in range(size)]


def inclusion_proof(index, leaves):
    return [root_of(leaves[start:end]) for start, end in inclusion_spans(index, len(leaves))]


def consistency_proof(old_size, leaves):
    return [root_of(leaves[start:end]) for start, end in consistency_spans(old_size, len(leaves))]


def test_the_root_is_the_recursive_one_at_every_size():
    log = records(300)
    for size in range(301):
        assert root_of(map(leaf_hash, log[:size])) == mth(log[:size])
    assert root_of([]) == EMPTY_ROOT


def test_the_vectors_of_certificate_transparency_hold():
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")]
    assert root_of(map(leaf_hash, leaves)).hex() == "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"


@pytest.mark.parametrize("size", range(1, 66))
def test_every_proof_of_a_small_tree_is_the_recursive_one_and_holds(size):
    log = records(size)
    leaves = [leaf_hash(record) for record in log]
    root = mth(log)
    for index in range(size):
        proof = inclusion_proof(index, leaves)
        assert proof == path(index, log)
        assert is_included(leaves[index], index, size, proof, root)
    for old_size in range(1, size + 1):
        proof = consistency_proof(old_size, leaves)
        assert proof == subproof(old_size, log, is_whole=True)
        assert is_consistent(old_size, mth(log[:old_size]), size, root, proof)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_larger_tree_proves_every_leaf_and_every_smaller_tree(data):
    size = data.draw(st.integers(2, 3000))
    log = records(size)
    leaves = [leaf_hash(record) for record in log]
    root = root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    assert is_included(leaves[index], index, size, inclusion_proof(index, leaves), root)
    assert len(inclusion_proof(index, leaves)) <= size.bit_length()
    old_size = data.draw(st.integers(1, size))
    proof = consistency_proof(old_size, leaves)
    assert is_consistent(old_size, root_of(leaves[:old_size]), size, root, proof)
    assert len(proof) <= size.bit_length() + 1


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_an_inclusion_proof_holds_for_nothing_else(data):
    size = data.draw(st.integers(1, 400))
    leaves = [leaf_hash(record) for record in records(size)]
    root = root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, leaves)
    other = data.draw(st.integers(-1, 500).filter(lambda number: number != index))
    assert not is_included(leaves[index], other, size, proof, root)
    assert not is_included(leaves[index], index, 2 * size, proof, root)
    assert not is_included(leaf_hash(b"another"), index, size, proof, root)
    assert not is_included(leaves[index], index, size, proof, leaf_hash(b"another"))
    assert not is_included(leaves[index], index, size, [*proof, root], root)
    if proof:
        assert not is_included(leaves[index], index, size, proof[:-1], root)
        bent = data.draw(st.integers(0, len(proof) - 1))
        assert not is_included(leaves[index], index, size, [*proof[:bent], root, *proof[bent + 1 :]], root)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_consistency_proof_holds_for_nothing_else(data):
    size = data.draw(st.integers(2, 400))
    old_size = data.draw(st.integers(1, size - 1))
    log = records(size)
    leaves = [leaf_hash(record) for record in log]
    old_root, root = root_of(leaves[:old_size]), root_of(leaves)
    proof = consistency_proof(old_size, leaves)
    altered = data.draw(st.integers(0, old_size - 1))
    rewritten = [*leaves[:altered], leaf_hash(b"rewritten"), *leaves[altered + 1 :]]
    assert not is_consistent(old_size, old_root, size, root_of(rewritten), consistency_proof(old_size, rewritten))
    assert not is_consistent(old_size, root_of(rewritten[:old_size]), size, root, proof)
    assert not is_consistent(old_size, old_root, size, root, [*proof, root])
    assert not is_consistent(old_size, old_root, size, root, proof[:-1])
    bent = data.draw(st.integers(0, len(proof) - 1))
    assert not is_consistent(old_size, old_root, size, root, [*proof[:bent], leaf_hash(b"x"), *proof[bent + 1 :]])


def test_sizes_that_cannot_be_are_refused():
    root = leaf_hash(b"only")
    assert is_consistent(1, root, 1, root, [])
    assert not is_consistent(1, root, 1, root, [root])
    assert not is_consistent(1, root, 1, leaf_hash(b"another"), [])
    assert not is_consistent(0, EMPTY_ROOT, 1, root, [])
    assert not is_consistent(2, root, 1, root, [])
    for index, size in ((0, 0), (1, 1), (-1, 1)):
        assert not is_included(root, index, size, [], root)
        with pytest.raises(ValueError, match="has no leaf"):
            inclusion_spans(index, size)
    for old_size, new_size in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="there is no proof"):
            consistency_spans(old_size, new_size)
