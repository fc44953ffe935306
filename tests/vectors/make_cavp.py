#!/usr/bin/env python3
"""Writes cavp.txt: the signatures of NIST's CAVP (FIPS 186-3 SigVer) over what is spoken here, as DER.

    pip download --no-deps cryptography-vectors && tests/vectors/make_cavp.py cryptography_vectors-*.whl

A line each: algorithm, `good` or why it is bad, key (SPKI), message, signature; the last three in hexadecimal digits.
"""

import os
import re
import sys
import zipfile

FOLDER = "cryptography_vectors/asymmetric"
DSA_OID = bytes.fromhex("06072a8648ce380401")
P256_OIDS = bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107")


def tlv(tag, body):
    n = len(body)
    length = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8)
    return bytes([tag]) + length + body


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1))


def sequence(*parts):
    return tlv(0x30, b"".join(parts))


def spki(algorithm, key):
    return sequence(algorithm, tlv(3, b"\0" + key))


def cases(text, header):
    """The blocks of `name = value` lines of the sections whose header matches; names of a section stay known."""
    known, wanted = {}, False
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("["):
            known, wanted = {}, re.fullmatch(header, line) is not None
        elif wanted and " = " in line:
            name, value = line.split(" = ", 1)
            known[name] = value
            if name == "Result":
                yield dict(known)


def main():
    archive = zipfile.ZipFile(sys.argv[1])
    out = []

    def add(kind, key, case):
        number = lambda name: int(case[name], 16)
        signature = sequence(integer(number("R")), integer(number("S")))
        passed, _, reason = case["Result"].partition(" ")
        why = "good" if passed == "P" else re.sub(r"[^A-Za-z]+", "-", reason).strip("-") or "bad"
        out.append(f"{kind} {why} {key.hex()} {case['Msg']} {signature.hex()}")

    dsa = archive.read(f"{FOLDER}/DSA/FIPS_186-3/SigVer.rsp").decode()
    for case in cases(dsa, r"\[mod = L=(2048|3072), N=256, SHA-256\]"):
        p, q, g, y = (int(case[name], 16) for name in "PQGY")
        add("dsa", spki(sequence(DSA_OID, sequence(integer(p), integer(q), integer(g))), integer(y)), case)
    ecdsa = archive.read(f"{FOLDER}/ECDSA/FIPS_186-3/SigVer.rsp").decode()
    for case in cases(ecdsa, r"\[P-256,SHA-256\]"):
        x, y = (int(case[name], 16) for name in ("Qx", "Qy"))
        add("ecdsa", spki(sequence(P256_OIDS), b"\4" + x.to_bytes(32) + y.to_bytes(32)), case)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cavp.txt"), "w") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
