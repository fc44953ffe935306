#!/usr/bin/env python3
"""Writes seeds/: what the fuzzers start from, so that they need not find out how a message begins."""

import base64
import hashlib
import json
import pathlib
import struct

SEEDS = pathlib.Path(__file__).with_name("seeds")
URL = "http://files.example/dir/a%20file"
ROOT = hashlib.sha256(b"").hexdigest()
RANGE = {"min": 0, "max": 65535}


def seed(target, name, data):
    path = SEEDS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


MESSAGES = [
    ["register", {"client_id": "c1", "listen_port": 8000, "version": 3, "agent": "a", "features": ["give", "runs"],
                  "role": "client", "up_limit": 1000, "down_limit": None}],
    ["client_info", {"listen_port": 8000, "client_id": "787b48"}],
    ["registered", {"version": 3, "agent": "a", "server": "s", "session": "x", "address": "::1", "secret": "AA==",
                    "time": 1700000000, "features": [], "keepalive_s": 30,
                    "limits": {"outstanding": 64, "files": 4096, "ranges": 1024}, "notice": "hello"}],
    ["ping", {}],
    ["reachable", {"ok": True}],
    ["ask_info", {"url": URL}],
    ["tell_info", {"url": URL, "size": 12345, "chunk_size": 65536, "streaming": False, "root": ROOT, "mtime": -1,
                   "mime": "text/plain", "type": "file"}],
    ["tell_info", {"url": URL, "size": 1, "chunk_size": 65536, "root": ROOT, "signatures": [
        {"key": "k", "algorithm": "ed25519", "value": "AQID", "manifest": "m"},
        {"key": "k", "algorithm": "dsa-sha256", "value": "AQID"}]}],
    ["tell_info", {"url": URL, "chunkSize": 5000, "error": "not_found"}],
    ["hashing", {"url": URL, "done": 1, "total": 2}],
    ["ask_hashes", {"url": URL, "root": ROOT, "first": 0, "count": 1024}],
    ["tell_hashes", {"url": URL, "root": ROOT, "first": 0, "hashes": base64.b64encode(bytes(64)).decode()}],
    ["list", {"url": URL, "depth": 2, "cursor": "c", "format": "rdl", "id": 1}],
    ["listing", {"url": URL, "id": 1, "next": "n", "entries": [
        {"name": "a", "type": "dir"},
        {"name": "b\ufffd", "path": "b%FF", "type": "file", "size": 1, "root": ROOT, "chunk_size": 65536}]}],
    ["changed", {"url": URL, "root": None, "removed": True}],
    ["request", {"url": URL, "range": {"min": 1}, "root": ROOT, "order": "sequential", "position": 1, "window": 2}],
    ["provide", {"url": URL, "range": {"max": -1}}],
    ["transfer", {"id": 1, "host": "::1", "peer": "::1", "port": 8000, "method": "put", "url": URL, "root": ROOT,
                  "range": RANGE, "peer_id": "c2", "token": "1.ab", "proof": "cd", "reason": "rarest"}],
    ["ask_verify", {"peer": "127.0.0.1", "url": URL, "range": RANGE, "peer_id": "c2"}],
    ["tell_verify", {"peer": "127.0.0.1", "url": URL, "range": RANGE, "peer_id": "c2", "is_authorized": True,
                     "authorized": True}],
    ["completed", {"id": 1, "url": URL, "range": RANGE, "peer_id": "c2", "hash": None, "bytes": 1, "ms": 2,
                   "error": "hash"}],
    ["hash_verify", {"url": URL, "range": RANGE, "hash_ok": True}],
    ["progress", {"id": 1, "pieces": [0, 1, 18446744073709551615]}],
    ["cancel", {"id": 1}],
    ["waiting", {"url": URL, "reason": "origin_busy"}],
    ["redirect", {"host": "h", "port": 6086}],
    ["goaway", {"reason": "bye", "after_s": 5}],
    ["error", {"code": "slow_consumer", "message": "m", "url": URL, "re": "list", "id": 1}],
    ["protocol_error", {"reason": "r"}],
    ["reading", {"url": URL, "id": 7, "entries": 1}],
]


def control():
    for number, message in enumerate(MESSAGES):
        body = json.dumps(message, separators=(",", ":")).encode() + b"\r\n"
        name = f"{number:02}-{message[0]}"
        seed("control", name + "-framed", bytes([7]) + struct.pack(">H", len(body)) + body)
        seed("control", name + "-line", bytes([1]) + body)
    bodies = [json.dumps(message).encode() for message in MESSAGES[:6]]
    seed("control", "several-framed", b"\x05" + b"".join(struct.pack(">H", len(b)) + b for b in bodies))
    seed("control", "several-lines", b"\x05" + b"".join(b.replace(b"/", b"\\/") + b"\n" for b in bodies))


def names():
    for number, text in enumerate([
        "/", "/a/b/", "/a%20b", "/%2e%2e/a", "/a%2fb", "/%00", "//a/./b", "/caf%c3%a9", "/100%", "pdtp://h",
        "pdtp://[::1]:99/a/#root=" + ROOT, "pdtp://files.example:6086/a", "http://files.example/a?q#f", "a/b\xff/c",
    ]):
        seed("names", f"{number:02}", text.encode("latin-1"))


def http_head():
    for number, lines in enumerate([
        ["GET /a%20b HTTP/1.1", "Host: files.example", "Range: bytes=0-4999", "X-Pdtp-Peer-Id: fdf810"],
        ["PUT /a HTTP/1.1", "Host: h", "Content-Length: 10", "Content-Range: bytes 0-9/100", "Expect: 100-continue"],
        ["GET http://h/.pdtp/hello?n=ab%20c&id=x HTTP/1.0", "Connection: keep-alive, close"],
        ["GET / HTTP/1.1", "Range: bytes=-5, 7-, 9-8"],
        ["HTTP/1.1 206 Partial Content", "Content-Range: bytes 0-9/*", "Transfer-Encoding: chunked"],
        ["HTTP/1.1 100 Continue", "X-PDTP-Proof: ab"],
        ["HTTP/1.0 503"],
    ]):
        seed("http_head", f"{number:02}", "\r\n".join(lines + ["", ""]).encode())


def piece_hashes():
    for number, (size, piece, count) in enumerate([
        (0, 16384, 0), (1, 16384, 1), (32768, 16384, 2), (32769, 16384, 3), (5 << 30, 1 << 22, 5), (1 << 63, 1 << 22, 1),
    ]):
        hashes = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(count))
        seed("piece_hashes", f"{number:02}", struct.pack(">QI", size, piece) + base64.b64encode(hashes))


def signatures():
    vectors = pathlib.Path(__file__).parent.parent / "tests" / "vectors"
    manifest = (f"PDTP-Manifest: 1\nPath: /dir/file\nSize: 7\nPiece-Size: 65536\nRoot: {ROOT}\nSHA-256: {ROOT}\n"
                "Date: 2026-11-22T10:00:00Z\n").encode()
    seed("signatures", "manifest", b"\0" + manifest)
    for name in ("ed25519", "p256", "dsa-2048", "rsa-2048", "dsa-p-composite"):
        pem = (vectors / "keys" / (name + ".pem")).read_bytes()
        der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
        seed("signatures", "key-" + name, b"\1" + der)
        algorithm = {"p256": b"ecdsa-p256-sha256", "ed25519": b"ed25519"}.get(name, b"dsa-sha256")
        value = base64.b64encode(bytes(64) if name == "ed25519" else bytes.fromhex("3006020101020102"))
        seed("signatures", "sidecar-" + name, b"\0" + manifest + b"\nSignature: " + algorithm + b" " + value + b"\n" + pem)
    lines = [line.split() for line in (vectors / "pkits.txt").read_text().splitlines()]
    certificates = {words[1]: base64.b64decode(words[2]) for words in lines if words[0] == "certificate"}
    for test in ("4.1.1", "4.6.17", "4.13.14"):
        chain = next(words[3:] for words in lines if words[:2] == ["test", test]) + ["TrustAnchorRootCertificate"]
        ders = [certificates[name] for name in chain]
        seed("signatures", "chain-" + test, b"\2" + b"".join(struct.pack(">H", len(der)) + der for der in ders))
    root = base64.b64encode(certificates["TrustAnchorRootCertificate"]).decode()
    seed("signatures", "trust", b"\3" + "\n".join([
        "# who may sign what", f"h.example/pub ed25519 {ROOT} 2026-11-22T10:00:00Z Alice", f"* dsa-sha256 {ROOT}",
        f"@revoked * key {ROOT}", f"@cert-authority [::1]:7000/a x509 {root} us"]).encode())
    seed("signatures", "seen", b"\3" + f"/a {ROOT} 2026-11-22T10:00:00Z\n".encode())


def rdl():
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<listing xmlns="urn:pdtp:rdl:1" ' \
           'xmlns:dc="http://purl.org/dc/elements/1.1/" path="/a%20b">\n'
    file = '<file path="c%FF"><name>c\ufffd</name><size>9</size><modified>2026-11-24T10:00:00Z</modified>' \
           f'<pieces size="4" count="3"/><root>{ROOT}</root><signed by="publisher"/><dc:title>A &amp; &#x42;</dc:title>' \
           '<dc:format>video/mp4</dc:format><codec>h264</codec><duration>1.5</duration><width>640</width></file>\n'
    folder = '<dir path="d" described="no"><name>d</name></dir>\n'
    for number, text in enumerate([
        head + file + folder + "</listing>\n",
        head + "<note xmlns='urn:x'>a<b/><![CDATA[<>]]></note></listing>",
        '<!DOCTYPE l [<!ENTITY a "b">]><listing xmlns="urn:pdtp:rdl:1" path="/">&a;</listing>',
        '<m xmlns:d="http://purl.org/dc/elements/1.1/"><d:title xml:lang="en"> T </d:title><x><d:date>2026</d:date></x></m>',
    ]):
        seed("rdl", f"{number:02}", text.encode())


for make in (control, names, http_head, piece_hashes, signatures, rdl):
    make()
