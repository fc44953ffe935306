"""Where the capacity of the uplinks goes.

The bridge's counters tell how much has come out of each uplink, and when one was idle; nftables counts what of it was of
which kind. (Not how many frames data went in: it sees them before they are cut to size.) All shares are parts of the payload, so
that together they are the makespan in parts of payload / capacity, which is T* where uplinks are what is scarce:

    1 (payload) + headers + acks + requests + control + rest + idle

`headers` are those of segments with data, `acks` are those without, `requests` and `control` what is in them, `rest` is heads
of answers, what came in vain or was sent again, and what other systems say to each other.
"""

import os
import shutil
import subprocess
import time

# Ethernet, IPv4, and TCP with timestamps.
ETHERNET, HEADERS = 14, 14 + 20 + 32
KINDS = ("acks", "requests", "control")
# Segments without payload: a TCP header with timestamps, and up to three blocks of SACK.
RULES = """
table ip account {
    counter acks { }
    counter requests { }
    counter control { }
    chain sent {
        type filter hook output priority 0
        oifname != "eth0" accept
        ip protocol != tcp accept
        ip length { 52, 60, 64, 72, 80 } counter name acks accept
        @th,256,32 { 0x47455420, 0x50555420 } counter name requests accept
        tcp sport 6086 @th,272,8 0x5b @th,256,3 0 counter name control accept
        tcp dport 6086 @th,272,8 0x5b @th,256,3 0 counter name control accept
    }
}
"""
SAMPLE_S = 0.1


def is_possible():
    return shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") is not None


def processor():
    """Seconds of all processors since boot: busy, and in all."""
    with open("/proc/stat") as f:
        ticks = [int(word) for word in f.readline().split()[1:9]]
    total = sum(ticks)
    return (total - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), total / os.sysconf("SC_CLK_TCK")


class Account:
    """Of one run. `begin`, then `sample` often, then `end`."""

    def __init__(self, network):
        self.network = network
        self.counts = is_possible()
        if self.counts:
            for host in network.hosts:
                subprocess.run(["nsenter", f"--net=/run/netns/{host.namespace}", "nft", "-f", "-"], input=RULES,
                               text=True, check=True)
        self.devices = network.devices()
        self.samples = []
        self.before = None

    def _sent(self):
        """Bytes and frames that have come out of each host's uplink."""
        self.devices.seek(0)
        found = {}
        for line in self.devices.read().splitlines()[2:]:
            name, numbers = line.split(":")
            found[name.strip()] = tuple(int(number) for number in numbers.split()[:2])
        return [found[host.port] for host in self.network.hosts]

    def _counters(self):
        """For each host: kind to (frames, bytes)."""
        hosts = []
        for host in self.network.hosts:
            words = host.run("nft", "list", "counters").replace("{", " ").split()
            kinds = {}
            for at, word in enumerate(words):
                if word == "counter":
                    name = words[at + 1]
                elif word == "packets":
                    frames, octets = int(words[at + 1]), int(words[at + 3])
                    kinds[name] = (frames, octets + ETHERNET * frames)
            hosts.append(kinds)
        return hosts

    def begin(self):
        if self.counts:
            self.before = self._counters()
        self.cpu = processor()
        self.start = time.monotonic()
        self.samples = [(0.0, self._sent())]

    def sample(self):
        now = time.monotonic() - self.start
        if now - self.samples[-1][0] >= SAMPLE_S:
            self.samples.append((now, self._sent()))

    def end(self, makespan, payload):
        """What became of the uplinks until `makespan` (seconds), with so many bytes of payload delivered."""
        self.sample()
        sent, frames = (sum(now[at] - then[at] for then, now in zip(self.samples[0][1], self._sent())) for at in (0, 1))
        cpu = [after - before for before, after in zip(self.cpu, processor())]
        self.devices.close()
        result = {"processor_busy": round(cpu[0] / cpu[1], 3), "idle_over_time": self._idle_over_time(makespan)}
        if not self.counts:
            return result
        total = {kind: [0, 0] for kind in KINDS}
        for before, after in zip(self.before, self._counters()):
            for kind in KINDS:
                for part in (0, 1):
                    total[kind][part] += after[kind][part] - before[kind][part]
        capacity = sum(host.up for host in self.network.hosts) / 8 * makespan
        inside = {kind: total[kind][1] - total[kind][0] * HEADERS for kind in ("requests", "control")}
        headers = (frames - total["acks"][0]) * HEADERS
        rest = sent - total["acks"][1] - headers - payload - sum(inside.values())
        parts = {"headers": headers, "acks": total["acks"][1], **inside, "rest": rest,
                 "idle": capacity - sent}
        result["shares"] = {name: round(part / payload, 4) for name, part in parts.items()}
        result["frames"] = {"every": frames, **{kind: number for kind, (number, _) in total.items()}}
        return result

    def _idle_over_time(self, makespan):
        """For each half second: which part of all uplinks together stood idle."""
        step, capacity = 0.5, sum(host.up for host in self.network.hosts) / 8
        idle, last, at = [], self.samples[0], 0
        for sample in self.samples[1:]:
            if sample[0] >= last[0] + step and last[0] < makespan:
                moved = sum(now[0] - then[0] for then, now in zip(last[1], sample[1]))
                idle.append(round(1 - moved / (capacity * (sample[0] - last[0])), 3))
                last = sample
        return idle


def line(account):
    """For people."""
    busy = f"processors {account['processor_busy']:.0%} busy"
    shares = account.get("shares")
    if not shares:
        return f"    {busy}"
    words = "  ".join(f"{kind} {share:+.1%}" for kind, share in shares.items())
    return f"    uplinks: payload 100%  {words}  = {1 + sum(shares.values()):.3f}; {busy}"
