"""Who is there, with what links, and when they come and go."""

import dataclasses

MBIT = 1_000_000
MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    peers: tuple  # (up, down) in Mbit/s
    origin: float = 20  # Mbit/s up
    size: int = 32 * MIB
    every_s: float = 0  # a peer each so many seconds
    leaves: bool = False  # each leaves when it is done
    fails: tuple = ()  # (seconds, index of the peer, "vanish" or "kill")
    lies: tuple = ()  # indices of peers that give wrong bytes
    rivals: tuple = ("bittorrent",)
    deadline_s: float = 400

    @property
    def optimum_s(self):
        """T* of Kumar and Ross (2006), where all begin together and nobody goes; it knows no framing."""
        if self.every_s or self.fails or self.leaves or self.lies:
            return None
        bits = self.size * 8
        ups, downs = [up * MBIT for up, _ in self.peers], [down * MBIT for _, down in self.peers]
        origin = self.origin * MBIT
        return max(bits / origin, bits / min(downs), len(self.peers) * bits / (origin + sum(ups)))


EQUAL = ((10, 50),) * 16
MIXED = ((2, 50), (18, 50)) * 8

SCENARIOS = {s.name: s for s in (
    Scenario("equal", "16 peers of 10 up and 50 down, all at once", EQUAL, rivals=("bittorrent", "http")),
    Scenario("differ", "half of the peers 2 up, half 18", MIXED),
    Scenario("arrive", "a peer every 2 s; each leaves when it is done", EQUAL, every_s=2, leaves=True),
    Scenario("leave", "half of the peers 2 up, half 18; each leaves when it is done", MIXED, leaves=True),
    Scenario("fail", "4 of 16 are lost on the way: two vanish without a word, two are killed", EQUAL,
             fails=((5, 2, "vanish"), (8, 5, "kill"), (11, 9, "vanish"), (14, 13, "kill"))),
    Scenario("outage", "half of 16 vanish at once, without a word, after 8 s", EQUAL,
             fails=tuple((8, index, "vanish") for index in range(0, 16, 2))),
    Scenario("lie", "one of 16 gives wrong bytes, and two vanish without a word", EQUAL, lies=(3,),
             fails=((5, 2, "vanish"), (11, 9, "vanish"))),
    Scenario("fast", "16 peers of 10 up and 50 down, all at once, and an origin of 200", EQUAL, origin=200,
             rivals=("bittorrent", "http")),
    Scenario("ample", "16 peers of 4 up and 10 down, all at once, and an origin of 200, enough for all of them", ((4, 10),) * 16,
             origin=200, rivals=("bittorrent", "http")),
    Scenario("alone", "one peer", EQUAL[:1], rivals=("http", "bittorrent")),
    Scenario("pair", "two peers", EQUAL[:2], rivals=("http", "bittorrent")),
    Scenario("short", "4 peers of 10 up and 50 down, 8 MiB", EQUAL[:4], size=8 * MIB, rivals=("bittorrent", "http")),
)}
