#!/usr/bin/env python3
"""Makes the keys of this directory: hostile public keys, each wrong in one way, and sound ones beside them.

The sound ones come from the openssl command, so that they are nobody's who works on this project. Hostile ones are
built from their numbers. Run it only to make them anew; the tests read what is checked in.
"""
import base64, os, random, re, subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
RANDOM = random.Random(6086)


def run(*args, stdin=b""):
    return subprocess.run(args, input=stdin, check=True, capture_output=True).stdout


def is_prime(n):
    if n % 2 == 0 or any(n % p == 0 for p in range(3, 2000, 2) if p < n):
        return n in (2, 3, 5, 7)
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for _ in range(40):
        x = pow(RANDOM.randrange(2, n - 1), d, n)
        if x not in (1, n - 1) and all((x := pow(x, 2, n)) != n - 1 for _ in range(s - 1)):
            return False
    return True


def tlv(tag, body):
    n = len(body)
    size = bytes([n]) if n < 128 else (lambda b: bytes([0x80 | len(b)]) + b)(n.to_bytes((n.bit_length() + 7) // 8, "big"))
    return bytes([tag]) + size + body


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big", signed=n < 0))


DSA_OID = bytes.fromhex("06072a8648ce380401")


def spki(p, q, g, y, parameters=None):
    parameters = tlv(0x30, integer(p) + integer(q) + integer(g)) if parameters is None else parameters
    return tlv(0x30, tlv(0x30, DSA_OID + parameters) + tlv(3, b"\0" + integer(y)))


def write(name, der):
    body = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\n".join(body[i:i + 64] for i in range(0, len(body), 64))
    with open(os.path.join(HERE, name + ".pem"), "w") as out:
        out.write(f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")


def dsa(bits, qbits):
    parameters = run("openssl", "genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", f"dsa_paramgen_bits:{bits}",
                     "-pkeyopt", f"dsa_paramgen_q_bits:{qbits}")
    path = os.path.join(HERE, "parameters.tmp")
    with open(path, "wb") as out:
        out.write(parameters)
    key = run("openssl", "genpkey", "-paramfile", path)
    os.unlink(path)
    der = run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=key)
    text = run("openssl", "pkey", "-noout", "-text_pub", stdin=run("openssl", "pkey", "-pubout", stdin=key) and key).decode()
    numbers = {}
    for name, label in (("y", "pub:"), ("p", "P:"), ("q", "Q:"), ("g", "G:")):
        body = re.search(re.escape(label) + r"\s+((?:[0-9a-f]{2}[:\s]*)+)", text).group(1)
        numbers[name] = int(re.sub(r"[^0-9a-f]", "", body), 16)
    assert spki(**numbers) == der
    return numbers


def prime(bits, q=None):
    while True:
        n = RANDOM.getrandbits(bits) | 1 << (bits - 1) | 1 << (bits - 2) | 1
        if q:
            n = n - n % (2 * q) + 1
        if n.bit_length() == bits and is_prime(n):
            return n


def composite(q):
    """p = a * b with a = 1 (mod q), and g of order q modulo it: all is well but that p is not prime."""
    a, b = prime(1024, q), prime(1024)
    n = a * b
    assert n.bit_length() == 2048
    h = 2
    while (ga := pow(h, (a - 1) // q, a)) == 1:
        h += 1
    g = (ga * b * pow(b, -1, a) + a * pow(a, -1, b)) % n
    assert pow(g, q, n) == 1 and g != 1
    return n, g


good = dsa(2048, 256)
p, q, g, y = (good[name] for name in "pqgy")
write("dsa-2048", spki(p, q, g, y))
write("dsa-3072", spki(**dsa(3072, 256)))
write("dsa-1024-160", spki(**dsa(1024, 160)))
write("dsa-2048-224", spki(**dsa(2048, 224)))

n, ng = composite(q)
write("dsa-p-composite", spki(n, q, ng, pow(ng, 12345, n)))
write("dsa-p-even", spki(p + 1, q, g, y))
write("dsa-p-other", spki(p + 2, q, g, y))
write("dsa-p-negative", spki(-p, q, g, y))
write("dsa-p-large", spki(p << 2048 | 1, q, g, y))
write("dsa-p-huge", spki(1 << 100000 | 1, q, g, y))
write("dsa-q-composite", spki(p, q + 2 if not is_prime(q + 2) else q + 4, g, y))
write("dsa-q-small", spki(p, 3, p - 1, p - 1))
write("dsa-q-negative", spki(p, -q, g, y))
write("dsa-g-0", spki(p, q, 0, y))
write("dsa-g-1", spki(p, q, 1, 1))
write("dsa-g-order-2", spki(p, q, p - 1, y))
write("dsa-g-whole-group", spki(p, q, next(h for h in range(2, 99) if pow(h, q, p) != 1), y))
write("dsa-g-is-p", spki(p, q, p, y))
write("dsa-g-above-p", spki(p, q, g + p, y))
write("dsa-y-0", spki(p, q, g, 0))
write("dsa-y-1", spki(p, q, g, 1))
write("dsa-y-order-2", spki(p, q, g, p - 1))
write("dsa-y-outside", spki(p, q, g, next(h for h in range(2, 99) if pow(h, q, p) != 1)))
write("dsa-y-is-p", spki(p, q, g, p))
write("dsa-y-above-p", spki(p, q, g, y + p))
write("dsa-y-negative", spki(p, q, g, -y))
write("dsa-no-parameters", spki(p, q, g, y, parameters=b""))
write("dsa-null-parameters", spki(p, q, g, y, parameters=b"\x05\x00"))
write("dsa-four-parameters", spki(p, q, g, y, tlv(0x30, integer(p) + integer(q) + integer(g) + integer(1))))
write("dsa-trailing", spki(p, q, g, y) + b"\0")
write("dsa-padded-integer", spki(p, q, g, y, tlv(0x30, tlv(2, b"\0\0" + p.to_bytes(256, "big")) + integer(q) + integer(g))))
body = spki(p, q, g, y)
write("dsa-long-length", b"\x30\x83\0" + body[2:])
write("dsa-indefinite", b"\x30\x80" + body[4:] + b"\0\0")

ED = bytes.fromhex("302a300506032b6570032100")
run("openssl", "genpkey", "-algorithm", "ED25519", "-out", os.path.join(HERE, "ed.tmp"))
der = run("openssl", "pkey", "-in", os.path.join(HERE, "ed.tmp"), "-pubout", "-outform", "DER")
os.unlink(os.path.join(HERE, "ed.tmp"))
write("ed25519", der)
write("ed25519-small-order", ED + bytes([1]) + bytes(31))
write("ed25519-off-curve", ED + bytes([2]) + bytes(31))
write("ed25519-short", bytes.fromhex("3029300506032b6570032000") + bytes(31))
write("ed25519-parameters", bytes.fromhex("302c300706032b65700500032100") + der[-32:])

EC = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
key = run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
der = run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=key)
write("p256", der)
write("p256-off-curve", der[:-1] + bytes([der[-1] ^ 1]))
write("p256-infinity", bytes.fromhex("3019301306072a8648ce3d020106082a8648ce3d030107030200") + b"\0")
explicit = run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=run(
    "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"))
write("p256-explicit", explicit)
write("p384", run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=run(
    "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")))

for bits in (1024, 2048):
    write(f"rsa-{bits}", run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=run(
        "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")))
write("x25519", run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=run("openssl", "genpkey", "-algorithm", "X25519")))
