#!/usr/bin/env python3
"""How long signing and verifying take: many small files, one large one, and a download of a signed tree.

    bench/signing.py [--files 10000] [--gib 8] [--kinds ed25519,ecdsa-p256,dsa-2048] [--bin target/release]

Works in a directory of its own under $TMPDIR. The large file is sparse, so that the disk is not what is measured;
hashing does not know. Numbers are of one run each, warm. The second time is that of the processor, all threads
together: it says more than the first when others use the machine.
"""
import argparse, os, pathlib, random, re, shutil, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--files", type=int, default=10000)
parser.add_argument("--gib", type=int, default=8)
parser.add_argument("--kinds", default="ed25519,ecdsa-p256,dsa-2048")
parser.add_argument("--bin", default=str(pathlib.Path(__file__).parent.parent / "target" / "release"))
args = parser.parse_args()
pdtp, pdtpd = (str(pathlib.Path(args.bin).resolve() / name) for name in ("pdtp", "pdtpd"))
here = pathlib.Path(tempfile.mkdtemp(prefix="pdtp-signing-"))
environment = dict(os.environ, XDG_CONFIG_HOME=str(here / "config"))


def run(*command):
    begin, before = time.monotonic(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - begin, cpu


def row(what, times, count=None, size=None):
    seconds, cpu = times
    rate = f"{cpu / count * 1e6:10.0f} us each" if count else f"{size / cpu / 2**20:10.0f} MiB/s of processor" if size else ""
    print(f"{what:<58} {seconds:8.2f} s {cpu:8.2f} s {rate}", flush=True)


def serve(tree):
    server = subprocess.Popen([pdtpd, "serve", str(tree), "--listen", "127.0.0.1:0", "--state", str(here / "state"), "--json"],
                              stdout=subprocess.PIPE, text=True, env=environment)
    port = int(re.search(r"127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
    return server, f"pdtp://127.0.0.1:{port}/"


try:
    tree = here / "tree"
    rng = random.Random(6086)
    for n in range(args.files):
        path = tree / f"{n // 100:03}" / f"{n:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(100, 8000)))
    if args.files:
        server, uri = serve(tree)
        run(pdtp, "get", "-r", "--verify", "off", uri, "-o", str(here / "warm"))
        seconds = run(pdtp, "get", "-r", "--verify", "off", uri, "-o", str(here / "unsigned"))
        row(f"get of {args.files} small files, not signed", seconds, args.files)
        server.terminate()
        server.wait()
    for kind in args.kinds.split(",") if args.files else []:
        key = str(here / kind)
        seconds = run(pdtp, "keygen", "--no-passphrase", "--type", kind, key)
        row(f"{kind}: keygen", seconds)
        row(f"{kind}: sign {args.files} small files",
            run(pdtp, "sign", "--force", "--key", key, "-r", str(tree)), args.files)
        row(f"{kind}: verify {args.files} small files",
            run(pdtp, "verify", "--key", key + ".pub", "-r", str(tree)), args.files)
        if kind in ("ed25519", "dsa-2048"):
            server, uri = serve(tree)
            # Each has its sidecar beside it, which is fetched as well.
            run(pdtp, "get", "-r", "--verify", "off", uri, "-o", str(here / ("warm-" + kind)))
            off = run(pdtp, "get", "-r", "--verify", "off", uri, "-o", str(here / ("off-" + kind)))
            row(f"{kind}: get of them with their sidecars, not verified", off, 2 * args.files)
            on = run(pdtp, "get", "-r", "--verify", "require", "--key", key + ".pub", uri, "-o", str(here / ("on-" + kind)))
            row(f"{kind}: the same, each verified", on, 2 * args.files)
            server.terminate()
            server.wait()
    large, size = here / "large", args.gib << 30
    with open(large, "wb") as out:
        out.truncate(size)
    for kind in args.kinds.split(",") if args.gib else []:
        key = str(here / ("large-" + kind))
        run(pdtp, "keygen", "--no-passphrase", "--type", kind, key)
        row(f"{kind}: sign {args.gib} GiB", run(pdtp, "sign", "--force", "--key", key, str(large)), size=size)
        row(f"{kind}: verify {args.gib} GiB", run(pdtp, "verify", "--key", key + ".pub", str(large)), size=size)
    if args.gib:
        row(f"openssl dgst -sha256 of {args.gib} GiB", run("openssl", "dgst", "-sha256", str(large)), size=size)
finally:
    shutil.rmtree(here, ignore_errors=True)
