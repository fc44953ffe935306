"""What is compared: ours, BitTorrent, and plain HTTP. Each runs on a network of its own and answers when who was done."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time

from net import need, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
# Debian's libtorrent is for Debian's Python.
PYTHON = "/usr/bin/python3"


class Watch:
    """Reads lines from many processes at once."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.rests = {}

    def add(self, process, take):
        os.set_blocking(process.stdout.fileno(), False)
        self.selector.register(process.stdout, selectors.EVENT_READ, take)
        self.rests[process.stdout] = b""

    def poll(self, seconds):
        for key, _ in self.selector.select(max(0, seconds)):
            data = key.fileobj.read()
            if data is None:
                continue
            if not data:
                self.selector.unregister(key.fileobj)
                continue
            *lines, self.rests[key.fileobj] = (self.rests[key.fileobj] + data).split(b"\n")
            for line in lines:
                key.data(line.decode(errors="replace"))


class System:
    """One of the compared. `begin` is called for each peer at its time, and calls `self.done(peer, when)` later."""

    def __init__(self, network, scratch, options):
        self.origin, self.peers = network.hosts[0], network.hosts[1:]
        self.scratch, self.options = scratch, options
        self.watch = Watch()
        self.finished = {}

    def done(self, peer, when=None):
        self.finished.setdefault(peer.index, time.monotonic() if when is None else when)

    def output(self, peer):
        return os.path.join(self.scratch, f"out{peer.index}")

    def ready(self, peer, script, *words, **options):
        """A shell in the host's namespace that waits for `go`, so that getting there costs no time that is measured."""
        return peer.spawn("sh", "-c", f"read go && {script}", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)

    @staticmethod
    def go(process):
        process.stdin.write(b"go\n")
        process.stdin.close()

    def is_right(self, peer):
        name = self.output(peer)
        name = os.path.join(name, "file") if os.path.isdir(name) else name
        return subprocess.run(["cmp", "-s", name, os.path.join(self.scratch, "served", "file")]).returncode == 0

    def details(self):
        return {}


class Pdtp(System):
    """pdtpd and pdtp with their defaults."""

    name = "pdtp"

    def prepare(self):
        log = open(os.path.join(self.scratch, "pdtpd.log"), "wb")
        server = self.origin.spawn(os.path.join(self.options.bin, "pdtpd"), "serve", os.path.join(self.scratch, "served"),
                                   "--listen", "0.0.0.0:6086", *self.options.pdtpd, stdout=subprocess.PIPE, stderr=log)
        server.stdout.readline()
        self.uri = f"pdtp://{self.origin.address}/file"
        # Hashing happens once for each file, not once for each client.
        self.origin.run(os.path.join(self.options.bin, "pdtp"), "stat", self.uri)
        self.results = {}
        self.clients = {peer: self.client(peer, self.options.leaves) for peer in self.peers}

    def begin(self, peer, leaves):
        self.go(self.clients[peer])

    def client(self, peer, leaves):
        words = ["get", "--json", "-o", self.output(peer), *([] if leaves else ["--seed-for", "1h"]), self.uri]
        if self.options.trace:
            words.insert(1, "-v")
        log = open(os.path.join(self.scratch, f"pdtp{peer.index}.log"), "wb")
        process = self.ready(peer, 'exec "$0" "$@"', os.path.join(self.options.bin, "pdtp"), *words, stderr=log)
        trace = open(os.path.join(self.options.trace, f"peer{peer.index}.jsonl"), "w") if self.options.trace else None

        def take(line):
            if trace:
                trace.write(f"{time.monotonic():.4f} {line}\n")
                trace.flush()
            if '"event":"done"' in line or '"event":"seeding"' in line and peer.index not in self.finished:
                self.done(peer)
                event = json.loads(line)
                if event["event"] == "done":
                    self.results[peer.index] = event

        self.watch.add(process, take)
        return process

    def details(self):
        wasted = sum(event.get("wasted", 0) for event in self.results.values())
        return {"wasted_bytes": wasted}


class BitTorrent(System):
    """libtorrent. All peers are told of each other at once: no tracker to wait for."""

    def __init__(self, network, scratch, options, variant):
        super().__init__(network, scratch, options)
        self.variant = variant
        self.agents = {}

    @property
    def name(self):
        return f"bittorrent/{self.variant}"

    def agent(self, host, directory, **ours):
        settings = {**VARIANTS[self.variant][1], **ours}
        process = host.spawn(PYTHON, os.path.join(HERE, "bt.py"), "run", os.path.join(self.scratch, "file.torrent"),
                             directory, "6881", json.dumps(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=open(os.path.join(self.scratch, f"bt{host.index}.log"), "wb"))
        state = {"ready": False}

        def take(line):
            if line == "ready":
                state["ready"] = True
            elif line.startswith("done"):
                self.done(host, float(line.split()[1]))

        self.watch.add(process, take)
        self.agents[host] = (process, state)

    def prepare(self):
        piece_size, settings = VARIANTS[self.variant]
        subprocess.run([PYTHON, os.path.join(HERE, "bt.py"), "make", os.path.join(self.scratch, "served", "file"),
                        os.path.join(self.scratch, "file.torrent"), str(piece_size)], check=True)
        is_super = settings.get("super", False)
        self.agent(self.origin, os.path.join(self.scratch, "served"), super=is_super)
        # Python takes its time to start; that is not BitTorrent's fault.
        for peer in self.peers:
            os.mkdir(self.output(peer))
            self.agent(peer, self.output(peer), super=False, stay=not self.options.leaves)

        def all_ready():
            self.watch.poll(0.01)
            return all(state["ready"] for _, state in self.agents.values())

        wait_until(all_ready, 60, "libtorrent")
        self.say(self.origin, "go")
        # The seed verifies what it has before it gives; that is hashing, which is not counted for others either.
        wait_until(lambda: self.watch.poll(0.01) or self.origin.index in self.finished, 60, "the seed")
        del self.finished[self.origin.index]
        self.here = []

    def say(self, host, words):
        stdin = self.agents[host][0].stdin
        stdin.write(words.encode() + b"\n")
        stdin.flush()

    def begin(self, peer, leaves):
        others = [host for host in self.here if self.agents[host][0].poll() is None] + [self.origin]
        self.say(peer, " ".join(["go", *(f"{host.address}:6881" for host in others)]))
        self.here.append(peer)

    def details(self):
        return {}


TUNED = {
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "request_queue_time": 1, "whole_pieces_threshold": 0, "piece_extent_affinity": False,
    "connection_speed": 200, "torrent_connect_boost": 100, "min_reconnect_time": 1,
    "peer_turnover": 0, "strict_end_game_mode": False, "choking_algorithm": 0,
    "mixed_mode_algorithm": 0, "close_redundant_connections": True,
}
# Piece size, and libtorrent's settings ("super" is ours). choking_algorithm 0: fixed slots, 2: rate based;
# seed_choking_algorithm 0: round robin, 1: fastest upload, 2: anti-leech.
VARIANTS = {
    "default": (256 * 1024, {}),
    "tuned": (32 * 1024, {**TUNED, "unchoke_slots_limit": 8, "seed_choking_algorithm": 1}),
    "tuned-4": (32 * 1024, {**TUNED, "unchoke_slots_limit": 4, "seed_choking_algorithm": 1}),
    "tuned-all": (32 * 1024, {**TUNED, "unchoke_slots_limit": -1, "seed_choking_algorithm": 0}),
    "tuned-super": (32 * 1024, {**TUNED, "unchoke_slots_limit": 8, "seed_choking_algorithm": 1, "super": True}),
    "tuned-all-super": (32 * 1024, {**TUNED, "unchoke_slots_limit": -1, "seed_choking_algorithm": 0, "super": True}),
    "tuned-utp": (32 * 1024, {**TUNED, "enable_incoming_utp": True, "enable_outgoing_utp": True,
                              "unchoke_slots_limit": 8}),
}


class Http(System):
    """nginx and curl: everybody gets everything from the origin."""

    name = "http"

    def prepare(self):
        s = self.scratch
        conf = os.path.join(s, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""
                worker_processes 1; daemon off; master_process off; user root;
                pid {s}/nginx.pid; error_log {s}/nginx.log;
                events {{ worker_connections 1024; }}
                http {{ sendfile on; tcp_nopush on; access_log off;
                        client_body_temp_path {s}/n1; proxy_temp_path {s}/n2; fastcgi_temp_path {s}/n3;
                        uwsgi_temp_path {s}/n4; scgi_temp_path {s}/n5;
                        server {{ listen 0.0.0.0:8080; root {s}/served; }} }}""")
        self.origin.spawn(need("nginx", "nginx-light"), "-e", f"{s}/nginx.log", "-c", conf)
        probe = f"http://{self.origin.address}:8080/"
        wait_until(lambda: subprocess.run(["nsenter", f"--net=/run/netns/{self.origin.namespace}", need("curl", "curl"),
                                           "-s", "-o", "/dev/null", probe]).returncode == 0, 20, "nginx")

        self.clients = {peer: self.client(peer) for peer in self.peers}

    def client(self, peer):
        command = f'curl -s -o "$0" http://{self.origin.address}:8080/file && echo done'
        process = self.ready(peer, command, self.output(peer))
        self.watch.add(process, lambda line: self.done(peer))
        return process

    def begin(self, peer, leaves):
        self.go(self.clients[peer])


def make(name, network, scratch, options):
    if name == "pdtp":
        return Pdtp(network, scratch, options)
    if name == "http":
        return Http(network, scratch, options)
    return BitTorrent(network, scratch, options, name.split("/", 1)[1])


def is_there(name):
    if name.startswith("bittorrent"):
        return subprocess.run([PYTHON, "-c", "import libtorrent"], capture_output=True).returncode == 0
    return True
