"""Hosts on shaped links: one network namespace each, a bridge between them, `tbf` on every uplink and downlink.

A packet passes the uplink of its sender (tbf on the host's end of its veth pair) and the downlink of its receiver (tbf on
the bridge's end). Offloads are off, so what is shaped are packets as they go over a wire: 1,448 bytes of payload in 1,514.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time

_numbers = itertools.count()


class NetError(Exception):
    pass


def run(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise NetError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def find(program):
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")


def missing(program, package):
    return f"{program} is missing (Debian: apt-get install {package})"


def need(program, package):
    return find(program) or sys.exit(f"swarm: {missing(program, package)}")


class Host:
    """A namespace with an address and a link."""

    def __init__(self, net, index, up, down):
        self.net, self.index, self.up, self.down = net, index, up, down
        self.namespace = f"{net.prefix}-h{index}"
        self.address = f"10.77.{index // 250}.{index % 250 + 1}"
        self.port = f"v{index}"
        self.processes = []

    def spawn(self, *command, **options):
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.namespace}", *command], **options)
        self.processes.append(process)
        return process

    def run(self, *command, timeout=120):
        """Runs a command to its end and answers what it printed."""
        done = subprocess.run(["nsenter", f"--net=/run/netns/{self.namespace}", *command], capture_output=True,
                              text=True, timeout=timeout)
        if done.returncode != 0:
            raise NetError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def vanish(self):
        """As if somebody had pulled the plug: no packet leaves any more, not even a farewell."""
        run("ip", "-n", self.net.bridge, "link", "set", self.port, "down")
        self.kill()

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)

    def garble(self):
        """From now on much of what this host gives is wrong: four bytes in every fourth full segment, and TCP's checksum is right.
        Not in segments that begin with the head of an answer or of a request."""
        rules = """
table ip garble {
    chain sent {
        type filter hook output priority 10
        oifname "eth0" ip protocol tcp ip length > 1000 @th,256,32 != { 0x48545450, 0x50555420 } numgen inc mod 4 0 @th,1600,32 set 0
    }
}
"""
        subprocess.run(["nsenter", f"--net=/run/netns/{self.namespace}", need("nft", "nftables"), "-f", "-"], input=rules, text=True,
                       check=True)

    def segments(self):
        """TCP segments sent so far, and those of them that were sent again."""
        rows = [line.split() for line in self.run("cat", "/proc/net/snmp").splitlines() if line.startswith("Tcp:")]
        counters = dict(zip(*rows))
        return int(counters["OutSegs"]), int(counters["RetransSegs"])

    def traffic(self):
        """Bytes sent and received so far, headers included."""
        out = run("ip", "-s", "-n", self.net.bridge, "link", "show", self.port)
        rows = re.findall(r"[RT]X:.*\n\s+(\d+)", out)
        return int(rows[0]), int(rows[1])


class Network:
    """`links` are (up, down) in bit/s, the origin's first. A context manager: nothing of it stays."""

    def __init__(self, links, queue_ms=50, congestion="cubic"):
        self.prefix = f"pdtpb{os.getpid()}-{next(_numbers)}"
        self.bridge = f"{self.prefix}-br"
        self.queue_ms, self.congestion = queue_ms, congestion
        self.hosts = [Host(self, index, up, down) for index, (up, down) in enumerate(links)]

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self):
        run("ip", "netns", "add", self.bridge)
        run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "-n", self.bridge, "link", "set", "br0", "up")
        for host in self.hosts:
            ns = host.namespace
            run("ip", "netns", "add", ns)
            host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                     f"net.ipv4.tcp_congestion_control={self.congestion}")
            run("ip", "-n", self.bridge, "link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", ns)
            run("ip", "-n", ns, "addr", "add", f"{host.address}/16", "dev", "eth0")
            for where, device, rate in ((ns, "eth0", host.up), (self.bridge, host.port, host.down)):
                run("ip", "netns", "exec", where, need("ethtool", "ethtool"), "-K", device, "tso", "off", "gso", "off",
                    "gro", "off")
                run("ip", "-n", where, "link", "set", device, "up")
                self._shape(where, device, rate)
            run("ip", "-n", ns, "link", "set", "lo", "up")
            run("ip", "-n", self.bridge, "link", "set", host.port, "master", "br0")
        # Nobody is to wait for ARP: a lost question costs a second.
        macs = {host: re.search(r"link/ether (\S+)", run("ip", "-n", host.namespace, "link", "show", "eth0")).group(1)
                for host in self.hosts}
        for host in self.hosts:
            lines = "".join(f"neigh replace {other.address} lladdr {mac} dev eth0 nud permanent\n"
                            for other, mac in macs.items() if other is not host)
            subprocess.run(["ip", "-n", host.namespace, "-batch", "-"], input=lines, text=True, check=True)

    def devices(self):
        """The counters of all links, as the bridge sees them: what it receives has come out of an uplink."""
        holder = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.bridge}", "cat"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        try:
            # An answer shows that it is there. The file remembers whose view it is.
            holder.stdin.write(b"\n")
            holder.stdin.flush()
            holder.stdout.readline()
            return open(f"/proc/{holder.pid}/net/dev")
        finally:
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()

    def _shape(self, where, device, rate):
        tc = ["tc", "-n", where, "qdisc", "add", "dev", device]
        # A burst of two packets, so that rates hold over milliseconds; more where the timer could not keep up.
        burst = max(3100, rate // 8 // 1000)
        limit = max(int(rate / 8 * self.queue_ms / 1000), 16 * 1514)
        shape = ["tbf", "rate", str(rate), "burst", str(burst), "limit", str(limit)]
        run(*tc, "root", *shape)

    def __exit__(self, *_):
        for host in self.hosts:
            host.kill()
        for host in self.hosts:
            for process in host.processes:
                process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream:
                        stream.close()
        for namespace in [host.namespace for host in self.hosts] + [self.bridge]:
            run("ip", "netns", "del", namespace, check=False)


@contextlib.contextmanager
def allowed(congestion):
    """Lets namespaces choose a congestion control; what was allowed before is so again afterwards."""
    path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
    with open(path) as f:
        before = f.read().strip()
    if congestion in before.split():
        yield
        return
    with open(path, "w") as f:
        f.write(f"{before} {congestion}")
    try:
        yield
    finally:
        with open(path, "w") as f:
            f.write(before)


def why_not():
    """Why no such network can be made here; `None` if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("ethtool", "ethtool"), ("nsenter", "util-linux")):
        if not find(program):
            return missing(program, package)
    try:
        with Network([(10_000_000, 10_000_000)]):
            return None
    except (NetError, OSError) as error:
        return str(error)


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NetError(f"{what}: not after {seconds} s")
        time.sleep(0.02)
