#!/usr/bin/env python3
"""Large trees: a million small files served, listed, and served again; and mirrors beside rsync and wget.

    bench/trees.py [--only PART...] [--files N] [--entries N] [--rounds N] [--scratch DIR] [--state DIR] [--bin DIR]

    scan        from the start of pdtpd until all files are known (they can be listed before), and until all are hashed
    restart     the same with a catalogue: until the first file is served, and until all are known
    listing     `pdtp ls -R` of all of it, and of one directory of 100,000 files: until its first page is there, and all
    huge        one directory of --entries (5,000,000) empty files: listed whole by `pdtp ls` while it is scanned and hashed, the
                most memory that either side took. Only when asked for (--only huge): it needs about 1 KiB of memory and an
                inode for each (a tmpfs of its own with nr_inodes=6m, as --scratch), and 1.5 GB for the catalogue (--state)
    mirror      2,000 files of 16 KiB, and 20 of 64 MiB, interleaved: pdtp mirror, rsync from its daemon, wget -m from
                pdtpd. (Several mirrors at once: bench/mirrors.py)
    hashing     a file of 4 GiB that is not known yet: from the start of pdtpd to its root, beside `openssl dgst -sha256` of as
                many parts of it as there are cores, at once

Absolute numbers depend on the machine and on what else it does; the load is printed, too. Needs release builds (`make`),
rsync and wget (Debian: rsync wget); without those the mirrors are left out. Result: JSON on standard output.
"""

import argparse
import atexit
import functools
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PER_DIRECTORY = 1000
WIDE = 100_000
MIRRORED = ((2000, 16 * 1024), (20, 64 * 1024 * 1024))


def make(base, count, per_directory, size=0):
    for n in range(count):
        if n % per_directory == 0:
            directory = os.path.join(base, f"d{n // per_directory:04d}")
            os.makedirs(directory)
        fd = os.open(os.path.join(directory, f"f{n:07d}"), os.O_CREAT | os.O_WRONLY)
        os.write(fd, os.urandom(size) if size else str(n).encode())
        os.close(fd)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def started(command):
    """A process that does not outlive this one."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(process.kill)
    return process


class Server:
    def __init__(self, args, directory, state, *options):
        self.port = free_port()
        self.started = time.monotonic()
        self.process = started(
            [f"{args.bin}/pdtpd", "serve", directory, "--listen", f"127.0.0.1:{self.port}", "--state", state, *options])

    def files(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/.pdtp/status", timeout=60) as answer:
                return json.load(answer)["files"]
        except OSError:
            return {"known": 0, "hashed": 0, "scanned": False}

    def until(self, condition):
        while not condition(self.files()):
            if self.process.poll() is not None:
                sys.exit("trees: pdtpd has ended")
            time.sleep(0.1)
        return round(time.monotonic() - self.started, 2)

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return round(int(next(line for line in f if line.startswith("VmHWM")).split()[1]) / 1024, 1)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def timed(command, **kwargs):
    begin = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, **kwargs)
    return round(time.monotonic() - begin, 2), result.stdout


def million(args, scratch):
    tree, state = os.path.join(scratch, "tree"), os.path.join(scratch, "state")
    make(tree, args.files, PER_DIRECTORY)
    server, out = Server(args, tree, state), {"files": args.files}
    out["scanned_s"] = server.until(lambda f: f["scanned"])
    out["hashed_s"] = server.until(lambda f: f["hashed"] == args.files)
    out["list_all_s"], listed = timed([f"{args.bin}/pdtp", "ls", "-R", f"pdtp://127.0.0.1:{server.port}/"])
    assert listed.count(b"\n") >= args.files
    out["peak_mib"] = server.peak_mib()
    server.stop()
    size = os.path.getsize(os.path.join(state, "catalogue.redb"))
    out["catalogue_bytes_a_file"] = round(size / args.files)
    server = Server(args, tree, state)
    server.until(lambda f: "being_looked_up" in f)
    timed([f"{args.bin}/pdtp", "stat", f"pdtp://127.0.0.1:{server.port}/d0000/f0000000"])
    out["restart_serves_s"] = round(time.monotonic() - server.started, 2)
    out["restart_knows_all_s"] = server.until(lambda f: f["scanned"] and f["hashed"] == args.files)
    server.stop()
    return out


def first_page(port, directory):
    """Milliseconds from `list` to the first `listing`, on a control connection that is open already."""
    with socket.create_connection(("127.0.0.1", port), 10) as s, s.makefile("rb") as frames:
        def send(*message):
            body = json.dumps(message).encode() + b"\r\n"
            s.sendall(struct.pack(">H", len(body)) + body)

        def received():
            return json.loads(frames.read(struct.unpack(">H", frames.read(2))[0]))

        send("register", {"client_id": "bench-trees", "listen_port": 0, "version": 3, "agent": "bench/1"})
        while received()[0] != "registered":
            pass
        begin = time.monotonic()
        send("list", {"url": f"pdtp://127.0.0.1:{port}/{directory}/", "id": 1})
        while (message := received())[0] != "listing":
            pass
        assert len(message[1]["entries"]) > 100 and message[1]["next"]
        return round((time.monotonic() - begin) * 1000, 1)


def wide(args, scratch):
    tree = os.path.join(scratch, "wide")
    make(tree, WIDE, WIDE)
    server, times, firsts = Server(args, tree, os.path.join(scratch, "wide-state")), [], []
    server.until(lambda f: f["hashed"] == WIDE)
    for _ in range(args.rounds):
        firsts.append(first_page(server.port, "d0000"))
        took, listed = timed([f"{args.bin}/pdtp", "ls", f"pdtp://127.0.0.1:{server.port}/d0000/"])
        assert listed.count(b"\n") == WIDE
        times.append(took)
    server.stop()
    return {"entries": WIDE, "first_page_ms": statistics.median(firsts), "list_s": statistics.median(times)}


def huge(args, scratch):
    """Seconds, and the most memory: of the client from its end, of the server from its status."""
    tree = os.path.join(scratch, "huge")
    os.mkdir(tree)
    at = os.open(tree, os.O_RDONLY)
    for n in range(args.entries):
        # Not in order, as directories are.
        os.mknod(f"f{n * 7919 % args.entries:07d}", 0o644, dir_fd=at)
    os.close(at)
    with tempfile.TemporaryDirectory(dir=args.state) as state:
        server, out = Server(args, tree, state, "--metadata", "off"), {"entries": args.entries, "listings": []}
        server.until(lambda f: "being_looked_up" in f)
        for options in ([], ["--json"]):
            known = server.files()
            begin = time.monotonic()
            process = subprocess.Popen([f"{args.bin}/pdtp", "ls", *options, f"pdtp://127.0.0.1:{server.port}/"],
                                       stdout=subprocess.PIPE)
            lines = 0
            while block := process.stdout.read(1 << 20):
                lines += block.count(b"\n")
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0 and lines == args.entries, f"{lines} listed, status {status}"
            out["listings"].append({
                "options": options, "s": round(time.monotonic() - begin, 1), "hashed_before": known["hashed"],
                "client_peak_mib": round(usage.ru_maxrss / 1024, 1), "server_peak_mib": server.peak_mib()})
        out["scanned_s"] = server.until(lambda f: f["scanned"])
        if args.until_hashed:
            out["hashed_s"] = server.until(lambda f: f["hashed"] == args.entries)
        out["server_peak_mib"] = server.peak_mib()
        server.stop()
    return out


def mirrors(args, scratch, count, size):
    rsync, wget = shutil.which("rsync"), shutil.which("wget")
    if not rsync or not wget:
        return {"skipped": "rsync and wget are needed"}
    tree = os.path.join(scratch, "mirrored")
    make(tree, count, 100, size)
    server, port, conf = Server(args, tree, os.path.join(scratch, "mirror-state")), free_port(), f"{scratch}/rsyncd.conf"
    with open(conf, "w") as f:
        f.write(f"port = {port}\naddress = 127.0.0.1\nuse chroot = no\n[m]\npath = {tree}\nread only = yes\n")
        if os.geteuid() == 0:
            f.write("uid = root\ngid = root\n")
    daemon = started([rsync, "--daemon", "--no-detach", f"--config={conf}"])
    server.until(lambda f: f["hashed"] == count)
    commands = {
        "pdtp mirror": [f"{args.bin}/pdtp", "mirror", "-q", f"pdtp://127.0.0.1:{server.port}/", "copy"],
        "rsync -a": [rsync, "-a", f"rsync://127.0.0.1:{port}/m/", "copy"],
        "wget -m": [wget, "-q", "-m", "-np", f"http://127.0.0.1:{server.port}/"],
    }
    times = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory(dir=scratch) as here:
                times[name].append(timed(command, cwd=here)[0])
    daemon.terminate()
    server.stop()
    return {"files": count, "bytes": size} | {name: statistics.median(all) for name, all in times.items()}


def hashing(args, scratch):
    """Seconds, all processors at it: pdtpd from its start to the root, and openssl with a part for each."""
    tree, cores = os.path.join(scratch, "hashed"), os.cpu_count()
    os.mkdir(tree)
    parts, part = [], args.hashed_mib // cores
    block = os.urandom(1 << 20)
    for n in range(cores):
        parts.append(os.path.join(scratch, f"part{n}"))
        for name in (parts[-1], os.path.join(tree, "file")):
            with open(name, "ab") as f:
                for _ in range(part):
                    f.write(block)
    times = {"pdtpd": [], "openssl": []}
    for number in range(args.rounds):
        begin = time.monotonic()
        together = [subprocess.Popen(["openssl", "dgst", "-sha256", name], stdout=subprocess.DEVNULL) for name in parts]
        assert all(process.wait() == 0 for process in together)
        times["openssl"].append(time.monotonic() - begin)
        state = os.path.join(scratch, f"hash-state{number}")
        server = Server(args, tree, state, "--hash-threads", str(cores))
        server.until(lambda f: "being_looked_up" in f)
        # From its start: the background begins at once.
        timed([f"{args.bin}/pdtp", "stat", "--json", f"pdtp://127.0.0.1:{server.port}/file"])
        times["pdtpd"].append(time.monotonic() - server.started)
        server.stop()
    middle = {name: statistics.median(all) for name, all in times.items()}
    return {"mib": part * cores, "cores": cores, "s": middle, "pdtpd/openssl speed": middle["openssl"] / middle["pdtpd"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", type=int, default=5_000_000, help="of the huge directory")
    parser.add_argument("--until-hashed", action="store_true", help="wait for the huge directory to be hashed")
    parser.add_argument("--state", default="/var/tmp", help="where the catalogue of the huge directory goes (/var/tmp)")
    parser.add_argument("--only", nargs="+", help="parts, by the beginning of their names")
    parser.add_argument("--hashed-mib", type=int, default=4096, help="size of the file to be hashed (4096)")
    parser.add_argument("--scratch", default="/dev/shm", help="directory for all of it (/dev/shm)")
    parser.add_argument("--bin", default=os.path.join(ROOT, "target/release"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        result = {"load_before": os.getloadavg()[0]}
        parts = {"hashing": hashing, "wide": wide, "million": million, "huge": huge}
        for count, size in MIRRORED:
            parts[f"mirror of {count}"] = functools.partial(mirrors, count=count, size=size)
        for name, part in parts.items():
            if not any(name.startswith(only) for only in args.only or [name]) or (name == "huge" and not args.only):
                continue
            print(name, file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=scratch) as own:
                result[name] = part(args, own)
        result["load_after"] = os.getloadavg()[0]
        # Before the trees are removed, which takes its time.
        print(json.dumps(result, indent=2), flush=True)


if __name__ == "__main__":
    main()
