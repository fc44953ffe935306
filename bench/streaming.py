#!/usr/bin/env python3
"""A film is watched while it comes: time to the first frame, how long a jump takes, stalls. Over narrow lines, with
`pdtp stream` (which gets it from the origin and from peers), and with plain HTTP from the same origin beside.

    bench/streaming.py [--seconds N] [--jumps N] [--watch N] [--scratch DIR] [--bin DIR] [--film FILE]

The network is made of namespaces, a bridge and veth pairs, each line with tbf at both ends (there is no delay but that of
the queues): an origin, three peers that have the film, two hosts that download it, and the player's. Each case is run
with idle lines, and while the two downloads saturate them: of pdtp as `pdtp get`, of HTTP as curl from the origin.

    first frame   ffmpeg decodes one frame from the start: from its start to its end, the look at the index included
    jump          the same at a random place, one after the other in the same film
    stalls        a player of the film's rate that starts with one second in hand and holds at most ten: how often it ran
                  dry in the first --watch seconds, half of them after a jump, and for how long

With FFmpeg on the local file as what the machine itself takes. Needs root, iproute2, ffmpeg and curl. The result is
printed as a table and written as JSON to bench/results/.
"""

import argparse
import atexit
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ORIGIN = (16, 100)  # Mbit/s up, down
PEER = (24, 50)
PLAYER = (10, 50)
PEERS = 3
DOWNLOADS = 2
RATE = 8_500_000 / 8  # of the film and its sound, bytes a second, and a bit
START = 1.0  # seconds in hand when the player starts, or goes on after a stall
HOLD = 10.0  # and at most
PATIENCE = 300


def run(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


class Net:
    """Hosts behind one bridge."""

    def __init__(self):
        self.name, self.count = f"pdtpbench{os.getpid()}", 0
        self.spaces = []
        self.space(self.name)
        atexit.register(self.end)
        run("ip", "-n", self.name, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.name, "link", "set", "br0", "up")

    def space(self, name):
        run("ip", "netns", "add", name)
        self.spaces.append(name)

    def end(self):
        for name in reversed(self.spaces):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


class Host:
    def __init__(self, net):
        net.count += 1
        self.net, self.name, self.number = net, f"{net.name}-{net.count}", net.count
        self.address = f"10.78.0.{self.number}"
        net.space(self.name)
        port = f"p{self.number}"
        for line in (
            f"ip -n {self.name} link set lo up",
            f"ip -n {net.name} link add {port} type veth peer name eth0 netns {self.name}",
            f"ip -n {net.name} link set {port} master br0",
            f"ip -n {net.name} link set {port} up",
            f"ip -n {self.name} addr add {self.address}/24 dev eth0",
            f"ip -n {self.name} link set eth0 up",
        ):
            run(*line.split())

    def narrow(self, up, down):
        for space, device, rate in ((self.name, "eth0", up), (self.net.name, f"p{self.number}", down)):
            run(*f"tc -n {space} qdisc replace dev {device} root tbf rate {rate}mbit burst 64kb latency 100ms".split())

    def start(self, *command, **kwargs):
        """A process that does not outlive this one."""
        kwargs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **kwargs}
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *command], text=True, **kwargs)
        atexit.register(process.kill)
        return process


def end(process, how=signal.SIGINT):
    process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def make_film(path, seconds):
    """H.264 at a constant 8 Mbit/s, with the index at the end."""
    options = "-c:v libx264 -preset ultrafast -x264-params nal-hrd=cbr -b:v 8M -minrate 8M -maxrate 8M -bufsize 8M -g 50 -c:a aac"
    run("ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=25:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}", *options.split(), "-shortest", path)


class Gateway:
    """`pdtp stream` on the player's machine."""

    def __init__(self, bench):
        self.process = bench.player.start(bench.pdtp, "stream", "--http", "0", "--json", bench.uri, stdout=subprocess.PIPE)
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "listening":
                self.url = event["url"] + "film.mp4"
                return
        raise SystemExit("streaming: pdtp stream did not start")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate(timeout=20)[0]
        return json.loads(said.strip().splitlines()[-1])


class Plain:
    """The origin over HTTP."""

    def __init__(self, bench):
        self.url = f"http://{bench.origin.address}:6086/film.mp4"

    def end(self):
        return {}


class Bench:
    def __init__(self, args, scratch):
        self.args = args
        self.pdtp, pdtpd = os.path.join(args.bin, "pdtp"), os.path.join(args.bin, "pdtpd")
        self.served, self.scratch = os.path.join(scratch, "served"), scratch
        os.makedirs(self.served)
        self.film = os.path.join(self.served, "film.mp4")
        if args.film:
            shutil.copyfile(args.film, self.film)
        else:
            make_film(self.film, args.seconds)
        self.seconds = float(run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", self.film).stdout)
        net = Net()
        self.origin = Host(net)
        server = self.origin.start(pdtpd, "serve", self.served, "--listen", "0.0.0.0:6086", "--state",
                                   os.path.join(scratch, "state"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in server.stdout:
            if "pdtp://" in line:
                break
        self.uri = f"pdtp://{self.origin.address}/"
        self.peers = [Host(net) for _ in range(PEERS)]
        self.origin.narrow(*ORIGIN)
        for n, peer in enumerate(self.peers):
            peer.narrow(*PEER)
            # It has the film from elsewhere, verifies it, and gives it to others.
            shutil.copyfile(self.film, os.path.join(scratch, f"seed{n}"))
            seed = peer.start(self.pdtp, "get", "--json", "--seed-for", "forever", self.uri + "film.mp4", "-o",
                              os.path.join(scratch, f"seed{n}"), stdout=subprocess.PIPE)
            if not any('"done"' in line for line in seed.stdout):
                raise SystemExit("streaming: a peer could not download the film")
        self.downloaders = [Host(net) for _ in range(DOWNLOADS)]
        self.player = Host(net)
        for host in self.downloaders:
            host.narrow(*PEER)
        self.player.narrow(*PLAYER)

    def downloads(self, system):
        """Two that go on for ever: each begins anew when it is through."""
        to = [os.path.join(self.scratch, f"down{n}") for n in range(DOWNLOADS)]
        url = Plain(self).url
        script = {
            Gateway: 'while :; do "$0" get -q --overwrite replace "$1" -o "$2"; rm -f "$2"; done',
            Plain: 'while :; do curl -s -o "$2" "$3"; rm -f "$2"; done',
        }[system]
        processes = [host.start("bash", "-c", script, self.pdtp, self.uri + "film.mp4", path, url, start_new_session=True)
                     for host, path in zip(self.downloaders, to)]
        time.sleep(4)  # until they fill the lines
        return processes

    def decode(self, url, at=0.0):
        begun = time.monotonic()
        process = self.player.start("ffmpeg", "-loglevel", "error", "-nostdin", "-ss", f"{at:.3f}", "-i", url, "-map", "0:v",
                                    "-frames:v", "1", "-f", "null", "-", stderr=subprocess.PIPE)
        said = process.communicate(timeout=PATIENCE)[1]
        if process.returncode or said.strip():
            raise SystemExit(f"streaming: ffmpeg at {at} of {url}: {said}")
        return time.monotonic() - begun

    def watch(self, url, at, seconds):
        """A player without eyes: bytes at the rate of the film. How often it ran dry, and for how long."""
        reader = self.player.start(sys.executable, os.path.abspath(__file__), "--play", url, str(int(at * RATE)), str(seconds),
                                   stdout=subprocess.PIPE)
        return json.loads(reader.communicate(timeout=PATIENCE)[0])

    def case(self, system, loaded):
        loads = self.downloads(system) if loaded else []
        try:
            firsts = []
            for _ in range(self.args.starts):
                world = system(self)
                firsts.append(self.decode(world.url))
                world.end()
            world = system(self)
            dice = random.Random(7)
            jumps = [self.decode(world.url, dice.uniform(0, self.seconds - 10)) for _ in range(self.args.jumps)]
            first = world.end()
            world = system(self)
            half = self.args.watch / 2
            watched = [self.watch(world.url, 0, half), self.watch(world.url, self.seconds / 2, half)]
            second = world.end()
        finally:
            for process in loads:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        share = {key: first.get(key, 0) + second.get(key, 0) for key in ("from_origin", "from_peers", "wasted")}
        return {
            "first_frame_s": firsts, "jump_s": jumps, **share,
            "start_s": watched[0]["start"], "restart_s": watched[1]["start"],
            "stalls": sum(w["stalls"] for w in watched), "stalled_s": sum(w["stalled"] for w in watched),
        }


def play(url, offset, seconds):
    """Runs on the player's machine: see Bench.watch."""
    begun = time.monotonic()
    answer = urllib.request.urlopen(urllib.request.Request(url, headers={"Range": f"bytes={offset}-"}), timeout=PATIENCE)
    got, played, last = 0, 0.0, begun
    playing, stalls, stalled, start = False, 0, 0.0, None
    wanted = seconds * RATE
    while played < seconds:
        now = time.monotonic()
        if playing:
            played = min(played + now - last, got / RATE, seconds)
            if played * RATE >= got - 1 and got < wanted:
                playing, stalls = False, stalls + 1
        elif start is not None:
            stalled += now - last
        last = now
        if not playing and got >= min(wanted, (played + START) * RATE):
            playing, start = True, start if start is not None else now - begun
        if got < wanted and got / RATE - played < HOLD:
            chunk = answer.read1(65536)
            if not chunk:
                break
            got += len(chunk)
        else:
            time.sleep(0.01)
    print(json.dumps({"start": start, "stalls": stalls, "stalled": stalled}))


def spread(values):
    values = sorted(values)
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def main():
    if sys.argv[1:2] == ["--play"]:
        return play(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300, help="of film, at a MiB each")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--jumps", type=int, default=20)
    parser.add_argument("--watch", type=int, default=60, help="seconds to watch in each case")
    parser.add_argument("--film", help="a film to use instead, at most of the same rate")
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--bin", default=os.path.join(ROOT, "target", "release"))
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("streaming: network namespaces need root")
    for program in ("ip", "tc", "ffmpeg", "ffprobe", "curl"):
        if not shutil.which(program):
            sys.exit(f"streaming: {program} is missing (Debian: apt-get install iproute2 ffmpeg curl)")
    with tempfile.TemporaryDirectory(prefix="pdtp-streaming-", dir=args.scratch) as scratch:
        bench = Bench(args, scratch)
        results = {"local": {"first_frame_s": [bench.decode(bench.film) for _ in range(5)],
                             "jump_s": [bench.decode(bench.film, bench.seconds * n / 7) for n in range(1, 6)]}}
        for loaded in (False, True):
            for system, name in ((Gateway, "pdtp stream"), (Plain, "HTTP")):
                label = f"{name}, {'two downloads' if loaded else 'idle lines'}"
                results[label] = bench.case(system, loaded)
                print(f"  {label}: done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        commit = run("git", "-C", ROOT, "rev-parse", "--short", "HEAD").stdout.strip()
        about = {"commit": commit, "kernel": platform.release(), "cpus": os.cpu_count(), "load": os.getloadavg(),
                 "film_bytes": os.path.getsize(bench.film), "film_s": bench.seconds, "peers": PEERS,
                 "mbit": {"origin": ORIGIN, "peer": PEER, "player": PLAYER}}
        os.makedirs(os.path.join(ROOT, "bench", "results"), exist_ok=True)
        path = os.path.join(ROOT, "bench", "results", f"streaming-{time.strftime('%Y%m%d-%H%M%S')}.json")
        with open(path, "w") as f:
            json.dump({"about": about, "results": results}, f, indent=1)
    print(f"\n{about['film_bytes'] / 1e6:.0f} MB, {about['film_s']:.0f} s; commit {commit}; load {about['load'][0]:.1f}")
    print("| | first frame, s | jump, s | start to watch, s | after a jump, s | stalls | from peers |\n|---|---|---|---|---|---|---|")
    for label, r in results.items():
        total = r.get("from_origin", 0) + r.get("from_peers", 0)
        share = f"{100 * r['from_peers'] / total:.0f}%" if total else ""
        watched = (f"{r['start_s']:.2f} | {r['restart_s']:.2f} | {r['stalls']} of {r['stalled_s']:.1f} s"
                   if r.get("start_s") is not None else " | | ")
        print(f"| {label} | {spread(r['first_frame_s'])} | {spread(r['jump_s'])} | {watched} | {share} |")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
