#!/usr/bin/env python3
"""Writes merkle.json and merkle_proofs.json: roots of hash trees, and proofs of blocks, computed apart from the Rust
code and by other algorithms.

The tree of RFC 9162 section 2.1.1 is defined by splitting a list at a power of two. Here leaves are added one by
one instead, as a binary counter adds: a stack holds perfect trees, and two of equal height become one. What is left
on the stack at the end is joined from the right.

Proofs are as RFC 9162 section 2.1.3.1 defines PATH(m, D_n), from the top, where the Rust code goes level by level from
below; PATH ends where the list is the block.

Piece i of every list has the hash SHA-256("piece i").
"""

import hashlib
import json
import pathlib


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(pieces):
    stack = []  # (height, hash), heights falling
    for piece in pieces:
        height, value = 0, sha(b"\x00", piece)
        while stack and stack[-1][0] == height:
            value = sha(b"\x01", stack.pop()[1], value)
            height += 1
        stack.append((height, value))
    if not stack:
        return sha()
    value = stack.pop()[1]
    while stack:
        value = sha(b"\x01", stack.pop()[1], value)
    return value


def path(pieces, first, count):
    """The hashes beside the way from the block pieces[first:first + count] to the root, from below."""
    if first == 0 and len(pieces) <= count:
        return []
    k = 1
    while k * 2 < len(pieces):
        k *= 2
    if first < k:
        return path(pieces[:k], first, count) + [root(pieces[k:])]
    return path(pieces[k:], first - k, count) + [root(pieces[:k])]


def write(name, vectors):
    lines = ",\n".join("  " + json.dumps(vector) for vector in vectors)
    pathlib.Path(__file__).with_name(name).write_text("[\n" + lines + "\n]\n")


def main():
    counts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 511, 512, 513, 1000]
    vectors = [
        {"pieces": n, "root": root(sha(b"piece %d" % i) for i in range(n)).hex()} for n in counts
    ]
    write("merkle.json", vectors)
    blocks = [
        (n, count, first)
        for n in [1, 2, 3, 7, 64, 65, 128, 129, 200, 513]
        for count in [1, 2, 64, 128, 1024]
        for first in sorted({0, n // 2 // count * count, (n - 1) // count * count})
    ]
    proofs = []
    for n, count, first in blocks:
        pieces = [sha(b"piece %d" % i) for i in range(n)]
        proof = [value.hex() for value in path(pieces, first, count)]
        proofs.append({"pieces": n, "first": first, "count": count, "proof": proof})
    write("merkle_proofs.json", proofs)


if __name__ == "__main__":
    main()
