#!/usr/bin/env python3
"""Throughput and memory of pdtpd and pdtp on loopback, with nginx + curl + openssl beside them in the same run.

    bench/throughput.py [--size MIB] [--rounds N] [--memory] [--scratch DIR] [--bin DIR]

What is compared, each on a warm file in memory (tmpfs), interleaved round by round so that both see the same machine:

    curl        curl -o FILE from nginx (sendfile on)
    curl+sha    the same, then `openssl dgst -sha256 FILE`: what it takes to have the file *and* know that it is right
    pdtp        pdtp get from pdtpd, which verifies every piece

Then the cases that peer-to-peer systems are mocked for, where there is nobody to share with: two clients at once, and
one client that wants its first bytes from a server far away (a relay in between holds every byte back for a while).

Absolute numbers depend on the machine; the ratios are what to look at. The result is printed as a table and written as
JSON to bench/results/. Needs nginx, curl and openssl (Debian: nginx-light curl openssl) and release builds (`make`).
"""

import argparse
import asyncio
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MIB = 1024 * 1024


def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not path:
        sys.exit(f"throughput: {program} is missing (Debian: apt-get install nginx-light curl openssl)")
    return path


def cpu_seconds(pid):
    """User and system time of a process and its waited-for children."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def status_kib(pid, key):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(rf"^{key}:\s+(\d+)", f.read(), re.M).group(1))


def timed(command):
    """Wall and CPU seconds of a command, and its peak memory in KiB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode != 0:
        sys.exit(f"throughput: {' '.join(command)} ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


class Nginx:
    def __init__(self, root, scratch):
        self.port = free_port()
        conf = os.path.join(scratch, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""
                worker_processes 1; daemon off; master_process off;
                pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;
                events {{ worker_connections 1024; }}
                http {{ sendfile on; tcp_nopush on; access_log off;
                        client_body_temp_path {scratch}/n1; proxy_temp_path {scratch}/n2; fastcgi_temp_path {scratch}/n3;
                        uwsgi_temp_path {scratch}/n4; scgi_temp_path {scratch}/n5;
                        server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}""")
        self.process = subprocess.Popen([need("nginx"), "-e", f"{scratch}/nginx.log", "-c", conf])
        wait_for_port(self.port)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Pdtpd:
    def __init__(self, bin_dir, root, *options):
        self.process = subprocess.Popen(
            [os.path.join(bin_dir, "pdtpd"), "serve", root, "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            match = re.search(r"pdtp://[^/\s]*:(\d+)/", line)
            if match:
                self.port = int(match.group(1))
                break
        else:
            sys.exit("throughput: pdtpd printed no URI")

    def uri(self, path):
        return f"pdtp://127.0.0.1:{self.port}/{path}"

    def wait_hashed(self, path, deadline=300):
        """Hashing is not part of a download: it happens once per file, not once per client."""
        subprocess.run([os.path.join(BIN, "pdtp"), "stat", self.uri(path)], check=True, timeout=deadline,
                       stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, seconds=10):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                sys.exit(f"throughput: nothing listens on port {port}")
            time.sleep(0.02)


def write_file(path, mib):
    with open(path, "wb") as f:
        for _ in range(mib // 16):
            f.write(os.urandom(16 * MIB))


def measure_throughput(args, scratch):
    served = os.path.join(scratch, "served")
    os.mkdir(served)
    write_file(os.path.join(served, "file"), args.size)
    out = os.path.join(scratch, "out")
    nginx, pdtpd = Nginx(served, scratch), Pdtpd(BIN, served)
    pdtpd.wait_hashed("file")
    gib = args.size / 1024
    rounds = {"curl": [], "openssl": [], "pdtp": []}
    servers = {"nginx": [], "pdtpd": []}
    for number in range(args.rounds + 1):
        row = {}
        before = cpu_seconds(nginx.process.pid)
        row["curl"] = timed([need("curl"), "-s", "-o", out, f"http://127.0.0.1:{nginx.port}/file"])
        nginx_cpu = cpu_seconds(nginx.process.pid) - before
        row["openssl"] = timed([need("openssl"), "dgst", "-sha256", out])
        os.remove(out)
        before = cpu_seconds(pdtpd.process.pid)
        row["pdtp"] = timed([os.path.join(BIN, "pdtp"), "get", "-q", "-o", out, pdtpd.uri("file")])
        pdtpd_cpu = cpu_seconds(pdtpd.process.pid) - before
        os.remove(out)
        if number == 0:
            continue  # warms caches, connections and the clock of the processor
        for name, value in row.items():
            rounds[name].append(value)
        servers["nginx"].append(nginx_cpu / gib)
        servers["pdtpd"].append(pdtpd_cpu / gib)
    nginx.stop()
    pdtpd.stop()

    wall = {name: statistics.median(v[0] for v in values) for name, values in rounds.items()}
    cpu = {name: statistics.median(v[1] for v in values) for name, values in rounds.items()}
    server = {name: statistics.median(values) for name, values in servers.items()}
    return {
        "size_mib": args.size,
        "rounds": args.rounds,
        "wall_s": wall,
        "client_cpu_s": cpu,
        "server_cpu_s_per_gib": server,
        "pdtp_peak_rss_kib": max(v[2] for v in rounds["pdtp"]),
        "ratios": {
            "pdtp / (curl + openssl)": wall["pdtp"] / (wall["curl"] + wall["openssl"]),
            "pdtp / curl": wall["pdtp"] / wall["curl"],
            "pdtpd cpu / nginx cpu": server["pdtpd"] / max(server["nginx"], 1e-9),
        },
    }


def together(commands):
    """Wall seconds until the last of several commands has ended."""
    start = time.monotonic()
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    for process, command in zip(processes, commands):
        if process.wait() != 0:
            sys.exit(f"throughput: {' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - start


def measure_two(args, scratch):
    """Two clients at once, from the start of both to the end of the later one."""
    served = os.path.join(scratch, "served2")
    os.mkdir(served)
    write_file(os.path.join(served, "file"), args.size // 2)
    outs = [os.path.join(scratch, f"two{n}") for n in range(2)]
    nginx, pdtpd = Nginx(served, scratch), Pdtpd(BIN, served)
    pdtpd.wait_hashed("file")
    rounds = {"curl": [], "curl + openssl": [], "pdtp": []}
    need("openssl")
    for number in range(args.two_rounds + 1):
        url = f"http://127.0.0.1:{nginx.port}/file"
        contenders = {
            "curl": [[need("curl"), "-s", "-o", out, url] for out in outs],
            "curl + openssl": [["sh", "-c", f"curl -s -o {out} {url} && openssl dgst -sha256 {out}"] for out in outs],
            "pdtp": [[os.path.join(BIN, "pdtp"), "get", "-q", "-o", out, pdtpd.uri("file")] for out in outs],
        }
        row = {}
        for name, commands in contenders.items():
            row[name] = together(commands)
            # Each begins with nothing there: giving back the pages of an old file takes time as well.
            for out in outs:
                os.remove(out)
        for name, value in row.items():
            if number > 0:
                rounds[name].append(value)
    nginx.stop()
    pdtpd.stop()
    return {
        "size_mib": args.size // 2,
        "rounds": args.two_rounds,
        "wall_s": {name: statistics.median(values) for name, values in rounds.items()},
        "slowest_s": {name: max(values) for name, values in rounds.items()},
        "ratios": {name: statistics.median(rounds["pdtp"]) / statistics.median(rounds[name])
                   for name in ("curl", "curl + openssl")},
    }


class Relay(threading.Thread):
    """Passes connections on to a port, every byte `delay` seconds late in either direction."""

    def __init__(self, port, delay):
        super().__init__(daemon=True)
        self.target, self.delay, self.port = port, delay, free_port()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self.accept, "127.0.0.1", self.port))
        self.ready.set()
        self.loop.run_forever()

    async def accept(self, reader, writer):
        # A handshake takes a round trip, too: the other side hears of it as late as of bytes.
        await asyncio.sleep(self.delay)
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            # Who warms connections may come when the server has ended.
            return writer.close()
        await asyncio.gather(self.carry(reader, other_writer), self.carry(other_reader, writer))

    async def carry(self, reader, writer):
        queue = asyncio.Queue()

        async def deliver():
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0, due - self.loop.time()))
                if not data:
                    break
                writer.write(data)
            writer.close()

        delivering = asyncio.ensure_future(deliver())
        try:
            while data := await reader.read(1 << 16):
                queue.put_nowait((self.loop.time() + self.delay, data))
        except ConnectionError:
            pass
        queue.put_nowait((self.loop.time() + self.delay, b""))
        await asyncio.gather(delivering, return_exceptions=True)


def measure_first_bytes(args, scratch):
    """A file of one piece and one of four, from far away: how many round trips until it is here."""
    served = os.path.join(scratch, "served3")
    os.mkdir(served)
    round_trip = 0.2
    sizes = {"16 KiB": 16 << 10, "256 KiB": 256 << 10}
    pdtpd = None
    for name, size in sizes.items():
        with open(os.path.join(served, name.replace(" ", "")), "wb") as f:
            f.write(os.urandom(size))
    nginx, pdtpd = Nginx(served, scratch), Pdtpd(BIN, served)
    relays = {"curl": Relay(nginx.port, round_trip / 2), "pdtp": Relay(pdtpd.port, round_trip / 2)}
    for relay in relays.values():
        relay.start()
        relay.ready.wait()
    out, result = os.path.join(scratch, "near"), {"round_trip_s": round_trip}
    for name in sizes:
        path = name.replace(" ", "")
        pdtpd.wait_hashed(path)
        commands = {
            "curl": [need("curl"), "-s", "-o", out, f"http://127.0.0.1:{relays['curl'].port}/{path}"],
            "pdtp": [os.path.join(BIN, "pdtp"), "get", "-q", "--overwrite=replace", "-o", out,
                     f"pdtp://127.0.0.1:{relays['pdtp'].port}/{path}"],
        }
        times = {who: statistics.median(timed(command)[0] for _ in range(5)) for who, command in commands.items()}
        result[name] = {who: seconds / round_trip for who, seconds in times.items()}
        os.remove(out)
    nginx.stop()
    pdtpd.stop()
    return result


def measure_memory(args, scratch):
    """Peak memory of both ends on an 8 GiB file, and what an idle client costs the server."""
    served = os.path.join(scratch, "served8")
    os.mkdir(served)
    path = os.path.join(served, "file")
    with open(path, "wb") as f:
        f.truncate(8 * 1024 * MIB)
        for at in range(0, 8 * 1024, 64):  # not all pieces alike
            f.seek(at * MIB)
            f.write(os.urandom(64))
    pdtpd = Pdtpd(BIN, served)
    pdtpd.wait_hashed("file", deadline=600)

    clients = []
    for number in range(8):
        out = os.path.join(scratch, f"c{number}")
        clients.append(subprocess.Popen([os.path.join(BIN, "pdtp"), "get", "-q", "-o", out, pdtpd.uri("file")]))
    peak_client = 0
    end = time.monotonic() + args.memory_seconds
    while time.monotonic() < end and any(c.poll() is None for c in clients):
        for client in clients:
            if client.poll() is None:
                peak_client = max(peak_client, status_kib(client.pid, "VmHWM"))
        time.sleep(0.2)
    peak_server = status_kib(pdtpd.process.pid, "VmHWM")
    got = sum(os.stat(os.path.join(scratch, n)).st_blocks * 512 for n in os.listdir(scratch) if re.match(r"c\d", n))
    for client in clients:
        if client.poll() is None:
            client.send_signal(signal.SIGINT)
    for client in clients:
        client.wait(timeout=30)
    pdtpd.stop()

    small = os.path.join(scratch, "small")
    os.mkdir(small)
    pdtpd = Pdtpd(BIN, small)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = 2000
    open_clients(pdtpd.port, 50, "warm")
    before = status_kib(pdtpd.process.pid, "VmRSS")
    idle = open_clients(pdtpd.port, count, "idle")
    after = status_kib(pdtpd.process.pid, "VmRSS")
    for s in idle:
        s.close()
    pdtpd.stop()
    return {
        "file_gib": 8,
        "clients": 8,
        "received_gib": round(got / 1024 / MIB, 2),
        "pdtpd_peak_rss_kib": peak_server,
        "pdtp_peak_rss_kib": peak_client,
        "idle_clients": count,
        "kib_per_idle_client": (after - before) / count,
    }


def open_clients(port, count, prefix):
    """Registered control connections, from several source addresses."""
    sockets = []
    for number in range(count):
        s = socket.create_connection(("127.0.0.1", port), 10, source_address=(f"127.0.1.{number % 200 + 1}", 0))
        body = json.dumps(["register", {"client_id": f"{prefix}{number}", "listen_port": 0, "version": 3,
                                        "agent": "bench/1"}]).encode() + b"\r\n"
        s.sendall(struct.pack(">H", len(body)) + body)
        sockets.append(s)
    for s in sockets:
        s.settimeout(10)
        if len(s.recv(2)) != 2:
            sys.exit("throughput: a client was not registered")
    return sockets


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return {"cpu": model.group(1) if model else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release()}


def main():
    global BIN
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="size of the file in MiB, a multiple of 16 (1024)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, after one that is not (5)")
    parser.add_argument("--two-rounds", type=int, default=20, help="rounds of two clients at once (20)")
    parser.add_argument("--memory", action="store_true", help="also measure memory on an 8 GiB file")
    parser.add_argument("--memory-seconds", type=float, default=20, help="how long the 8 clients run (20)")
    parser.add_argument("--scratch", default="/dev/shm", help="directory in memory for the files (/dev/shm)")
    parser.add_argument("--disk", default="/var/tmp", help="directory on disk for the 8 GiB downloads (/var/tmp)")
    parser.add_argument("--bin", default=os.path.join(ROOT, "target", "release"), help="where pdtp and pdtpd are")
    args = parser.parse_args()
    BIN = args.bin
    if not os.access(os.path.join(BIN, "pdtpd"), os.X_OK):
        sys.exit(f"throughput: no pdtpd in {BIN}; run make first")

    result = {"date": time.strftime("%Y-%m-%d"), "commit": git("rev-parse", "--short", "HEAD"), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="pdtp-bench-", dir=args.scratch) as scratch:
        result["throughput"] = measure_throughput(args, scratch)
        result["two_clients"] = measure_two(args, scratch)
        result["first_bytes"] = measure_first_bytes(args, scratch)
    if args.memory:
        with tempfile.TemporaryDirectory(prefix="pdtp-bench-", dir=args.disk) as scratch:
            result["memory"] = measure_memory(args, scratch)

    t = result["throughput"]
    print(f"{args.size} MiB, loopback, tmpfs, median of {args.rounds} rounds")
    print(f"{'':24}{'wall s':>10}{'client CPU s':>14}{'server CPU s/GiB':>18}")
    print(f"{'curl from nginx':24}{t['wall_s']['curl']:10.2f}{t['client_cpu_s']['curl']:14.2f}"
          f"{t['server_cpu_s_per_gib']['nginx']:18.2f}")
    print(f"{'openssl dgst -sha256':24}{t['wall_s']['openssl']:10.2f}{t['client_cpu_s']['openssl']:14.2f}")
    print(f"{'pdtp get from pdtpd':24}{t['wall_s']['pdtp']:10.2f}{t['client_cpu_s']['pdtp']:14.2f}"
          f"{t['server_cpu_s_per_gib']['pdtpd']:18.2f}")
    goals = {"pdtp / (curl + openssl)": 1.0, "pdtp / curl": 1.4, "pdtpd cpu / nginx cpu": 1.5}
    for name, ratio in t["ratios"].items():
        print(f"{name:32}{ratio:6.2f}   goal {goals[name]:.1f}   {'met' if ratio <= goals[name] else 'MISSED'}")
    two, first = result["two_clients"], result["first_bytes"]
    print(f"two clients at once, {two['size_mib']} MiB each, {two['rounds']} rounds: "
          f"curl {two['wall_s']['curl']:.2f} s (slowest {two['slowest_s']['curl']:.2f}), "
          f"pdtp {two['wall_s']['pdtp']:.2f} s (slowest {two['slowest_s']['pdtp']:.2f}), "
          f"pdtp / curl {two['ratios']['curl']:.2f}, pdtp / (curl + openssl) {two['ratios']['curl + openssl']:.2f}")
    for name in ("16 KiB", "256 KiB"):
        print(f"{name} from {first['round_trip_s'] * 1000:.0f} ms away, in round trips: "
              f"curl {first[name]['curl']:.2f}, pdtp {first[name]['pdtp']:.2f}")
    if args.memory:
        m = result["memory"]
        print(f"8 GiB to 8 clients ({m['received_gib']} GiB moved): pdtpd {m['pdtpd_peak_rss_kib'] / 1024:.1f} MiB, "
              f"largest client {m['pdtp_peak_rss_kib'] / 1024:.1f} MiB (goal 64 each); "
              f"idle client {m['kib_per_idle_client']:.1f} KiB (goal 16)")

    results = os.path.join(ROOT, "bench", "results")
    os.makedirs(results, exist_ok=True)
    name = os.path.join(results, f"throughput-{result['date']}-{result['commit']}.json")
    with open(name, "w") as f:
        json.dump(result, f, indent=2)
        f.write("\n")
    print(f"written to {os.path.relpath(name)}")


if __name__ == "__main__":
    main()
