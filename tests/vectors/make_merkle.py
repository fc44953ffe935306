#!/usr/bin/env python3
"""Writes merkle.json: roots of hash trees, computed apart from the Rust code and by another algorithm.

The tree of RFC 9162 section 2.1.1 is defined by splitting a list at a power of two. Here leaves are added one by
one instead, as a binary counter adds: a stack holds perfect trees, and two of equal height become one. What is left
on the stack at the end is joined from the right.

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


def main():
    counts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 511, 512, 513, 1000]
    vectors = [
        {"pieces": n, "root": root(sha(b"piece %d" % i) for i in range(n)).hex()} for n in counts
    ]
    lines = ",\n".join("  " + json.dumps(vector) for vector in vectors)
    path = pathlib.Path(__file__).with_name("merkle.json")
    path.write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
