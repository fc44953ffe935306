#!/usr/bin/env python3
"""Several mirrors of one tree at once, on shaped links: pdtp mirror beside rsync and wget -m.

    bench/mirrors.py [--mirrors N] [--mbit N] [--rounds N] [--only TREE...] [--systems NAME...] [--scratch DIR] [--bin DIR]

Each mirror is a network namespace of its own, each uplink and downlink has the same rate. Two trees: 2,000 files of 16 KiB,
and 20 files of 4 MiB. What counts is when the last mirror is complete; each copy is compared with the tree. Besides,
the processor time of the mirrors and of the server (and, little, of setting up the network). One mirror alone,
on loopback without a limit, is in bench/trees.py. Needs root, release builds (`make`), rsync, wget, iproute2 and ethtool
(Debian packages of these names). Result: JSON on standard output.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench", "swarm"))

from net import Network, allowed, need, wait_until, why_not  # noqa: E402

TREES = {"2,000 files of 16 KiB": (2000, 16 * 1024), "20 files of 4 MiB": (20, 4 * 1024 * 1024)}


def make(tree, count, size):
    for n in range(count):
        directory = os.path.join(tree, f"d{n // 100:03d}")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, f"f{n:05d}"), "wb") as f:
            f.write(os.urandom(size))


def processor_seconds():
    """Of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def answers(host, *command):
    """Whether a server that was just started answers already."""
    return lambda: host.spawn(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait() == 0


def serve(name, args, origin, tree, scratch):
    """Starts the server, and answers the command that mirrors from it into a directory `copy`."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if name == "rsync -a":
        conf = os.path.join(scratch, "rsyncd.conf")
        with open(conf, "w") as f:
            f.write(f"use chroot = no\nuid = root\ngid = root\n[m]\npath = {tree}\nread only = yes\n")
        origin.spawn(need("rsync", "rsync"), "--daemon", "--no-detach", f"--config={conf}", **quiet)
        wait_until(answers(origin, "rsync", f"rsync://{origin.address}/m/"), 20, "rsync")
        return ["rsync", "-a", f"rsync://{origin.address}/m/", "copy"]
    server = origin.spawn(f"{args.bin}/pdtpd", "serve", tree, "--listen", "0.0.0.0:6086", "--state",
                          os.path.join(scratch, "state"), **quiet)
    count = sum(len(files) for _, _, files in os.walk(tree))
    status = f"http://{origin.address}:6086/.pdtp/status"

    def is_hashed():
        if server.poll() is not None:
            sys.exit("mirrors: pdtpd has ended")
        try:
            return json.loads(origin.run("curl", "-s", status))["files"]["hashed"] == count
        except Exception:  # It does not listen yet.
            return False

    wait_until(is_hashed, 300, "hashing")
    if name == "pdtp mirror":
        # A mirror goes on giving: whoever runs one wants others to have it from him.
        return [f"{args.bin}/pdtp", "mirror", "--json", "--seed-for", "1h", f"pdtp://{origin.address}/", "copy"]
    return [need("wget", "wget"), "-q", "-m", "-np", "-nH", "-P", "copy", f"http://{origin.address}:6086/"]


def once(name, args, tree, scratch):
    """Seconds until the last mirror is complete, bytes the origin sent for each byte of the tree, processor seconds."""
    rate, used_before = args.mbit * 1_000_000, processor_seconds()
    with Network([(rate, rate)] * (args.mirrors + 1)) as network:
        origin, *mirrors = network.hosts
        command = serve(name, args, origin, tree, scratch)
        sent_before, begin, running = origin.traffic()[0], time.monotonic(), []
        for mirror in mirrors:
            here = os.path.join(scratch, f"m{mirror.index}")
            os.mkdir(here)
            running.append((mirror, here, mirror.spawn(*command, cwd=here, stdout=subprocess.PIPE, text=True)))
        for _, _, process in running:
            # A mirror that seeds says so when it is complete; the others end. Pipes hold what the later ones say meanwhile.
            for line in process.stdout:
                if '"event":"seeding"' in line:
                    break
            else:
                if process.wait() != 0:
                    sys.exit(f"mirrors: {' '.join(command)} ended with {process.returncode}")
        took, sent = time.monotonic() - begin, origin.traffic()[0] - sent_before
    used = processor_seconds() - used_before
    for _, here, _ in running:
        if subprocess.run(["diff", "-rq", "-x", "index.html*", tree, f"{here}/copy"]).returncode != 0:
            sys.exit(f"mirrors: {name}: {here} is not like the tree")
    size = sum(os.path.getsize(os.path.join(at, file)) for at, _, files in os.walk(tree) for file in files)
    return took, sent / size, used


def compare(args):
    result = {"mirrors": args.mirrors, "mbit": args.mbit, "load_before": os.getloadavg()[0], "trees": {}}
    for title, (count, size) in TREES.items():
        if args.only and not any(only in title for only in args.only):
            continue
        rounds = {name: [] for name in ("pdtp mirror", "rsync -a", "wget -m") if name.startswith(tuple(args.systems))}
        for _ in range(args.rounds):
            for name, all in rounds.items():
                with tempfile.TemporaryDirectory(prefix="pdtp-mirrors-", dir=args.scratch) as scratch:
                    tree = os.path.join(scratch, "tree")
                    make(tree, count, size)
                    all.append(once(name, args, tree, scratch))
                    print(f"mirrors: {title}: {name}: {all[-1][0]:.2f} s", file=sys.stderr)
        middle = {name: statistics.median(took for took, _, _ in all) for name, all in rounds.items()}
        result["trees"][title] = {
            "seconds": {name: round(took, 2) for name, took in middle.items()},
            "copies_from_origin": {
                name: round(statistics.median(c for _, c, _ in all), 2) for name, all in rounds.items()},
            "processor_s": {name: round(statistics.median(used for _, _, used in all), 1) for name, all in rounds.items()},
            "times_faster": {
                name: round(took / middle["pdtp mirror"], 2) for name, took in middle.items() if "pdtp mirror" in middle},
            # Kumar & Ross 2006, with equal links.
            "optimum_s": round(count * size * 8 / (args.mbit * 1e6), 2),
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirrors", type=int, default=8, help="how many at once (8)")
    parser.add_argument("--mbit", type=int, default=100, help="rate of every uplink and downlink (100)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="trees, by a part of their titles")
    parser.add_argument("--systems", nargs="+", default=[""], help="by the beginning of their names")
    parser.add_argument("--scratch", default="/dev/shm")
    parser.add_argument("--bin", default=os.path.join(ROOT, "target/release"))
    args = parser.parse_args()
    with allowed("cubic"):
        if reason := why_not():
            sys.exit(f"mirrors: {reason}")
        print(json.dumps(compare(args), indent=2))


if __name__ == "__main__":
    main()
