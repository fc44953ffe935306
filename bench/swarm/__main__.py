"""A swarm on shaped links, with BitTorrent and plain HTTP beside it in the same run.

    sudo python3 bench/swarm [SCENARIO…] [--runs N] [--systems LIST] [--docs] [--short]

Every peer is a network namespace with an uplink and a downlink of its own; the programs are the real ones. All systems
of a scenario take turns, run by run, so that they see the same machine. Times are from the order to begin (a shell that
waits in the namespace becomes `pdtp` or `curl`; libtorrent, whose Python takes a while, is up and waiting) to the last
byte, verified. Every copy is compared with the original.

T* is the fluid optimum of Kumar and Ross; TCP/IP and Ethernet headers alone make it 1.046 T*. Where the capacity of the
uplinks went is told for each run (account.py), and how busy the processors of this machine were.

Needs root, and (Debian) iproute2 ethtool nginx-light curl python3-libtorrent, nftables for that account; programs built by
`make bins`.
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import account  # noqa: E402
import plot  # noqa: E402
import systems  # noqa: E402
from net import Network, NetError, allowed, why_not  # noqa: E402
from scenarios import MBIT, MIB, SCENARIOS  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT = ["equal", "fast", "ample", "differ", "arrive", "leave", "fail", "outage", "lie", "alone", "pair"]
# The settings of BitTorrent that are tried. The best of each scenario is what ours is compared with.
BITTORRENT = ["tuned", "default", "tuned-4", "tuned-all", "tuned-super", "tuned-all-super"]
BITTORRENT_SHORT = ["tuned", "tuned-super"]
# What `make bench` runs: a small swarm, and the cases that swarms are mocked for.
SHORT = ["short", "alone", "pair"]


def load():
    with open("/proc/loadavg") as f:
        return float(f.read().split()[0])


def measure(scenario, name, args):
    """One system, once: seconds for each peer that was not lost, and who sent how much."""
    links = [(scenario.origin * MBIT, 1000 * MBIT)] + [(up * MBIT, down * MBIT) for up, down in scenario.peers]
    links = [(int(up), int(down)) for up, down in links]
    args.leaves = scenario.leaves
    with tempfile.TemporaryDirectory(prefix="pdtp-swarm-", dir=args.scratch) as scratch:
        os.mkdir(os.path.join(scratch, "served"))
        with open(os.path.join(scratch, "served", "file"), "wb") as f:
            f.write(os.urandom(scenario.size))
        with Network(links, queue_ms=args.queue_ms, congestion=args.congestion) as network:
            system = systems.make(name, network, scratch, args)
            system.prepare()
            for index in scenario.lies:
                system.peers[index].garble()
            before = [host.traffic() for host in network.hosts]
            uplinks = account.Account(network)
            plan = [(number * scenario.every_s, 0, peer) for number, peer in enumerate(system.peers)]
            plan += [(at, 1, (system.peers[index], how)) for at, index, how in scenario.fails]
            plan.sort(key=lambda entry: entry[:2])
            lost, begun = set(), {}
            uplinks.begin()
            start = time.monotonic()
            while True:
                uplinks.sample()
                now = time.monotonic() - start
                while plan and plan[0][0] <= now:
                    _, kind, what = plan.pop(0)
                    if kind == 0:
                        begun[what.index] = time.monotonic()
                        system.begin(what, scenario.leaves)
                    elif what[0].index not in system.finished:
                        peer, how = what
                        lost.add(peer.index)
                        peer.vanish() if how == "vanish" else peer.kill()
                if not plan and all(p.index in system.finished or p.index in lost for p in system.peers):
                    break
                if now > scenario.deadline_s:
                    missing = [p.index for p in system.peers if p.index not in system.finished]
                    raise NetError(f"{name}: peers {missing} not done after {scenario.deadline_s} s")
                system.watch.poll(min(0.05, plan[0][0] - now if plan else 0.05))
            last = max(when for index, when in system.finished.items() if index not in lost)
            spent = uplinks.end(last - start, scenario.size * (len(system.peers) - len(lost)))
            after = [host.traffic() for host in network.hosts]
            segments = [host.segments() for host in network.hosts]
            wrong = [p.index for p in system.peers if p.index not in lost and not system.is_right(p)]
            if wrong:
                raise NetError(f"{name}: wrong copies at {wrong}")
            times = sorted(system.finished[p.index] - begun[p.index] for p in system.peers if p.index not in lost)
            return {
                "times_s": [round(t, 3) for t in times],
                "makespan_s": round(last - start, 3),
                "mean_s": round(statistics.mean(times), 3),
                "origin_copies": round((after[0][0] - before[0][0]) / scenario.size, 3),
                "sent_bytes": [b[0] - a[0] for a, b in zip(before, after)],
                "segments": sum(sent for sent, _ in segments),
                "retransmitted": sum(again for _, again in segments),
                "load": load(),
                "uplinks": spent,
                **system.details(),
            }


def sent_again(run):
    """For people. BitTorrent as it comes may use no TCP at all."""
    return f"{run['retransmitted'] / run['segments']:.2%}" if run["segments"] else "unknown"


def median_run(runs):
    """The run in the middle, by makespan."""
    return sorted(runs, key=lambda run: run["makespan_s"])[(len(runs) - 1) // 2]


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return {"cpu": model.group(1) if model else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release()}


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()


def build(args):
    """What is measured: the commit, whether files differ from it (but for results), and which programs, built when."""
    changed = git("status", "--porcelain", "--", ".", ":!docs/benchmarks", ":!bench/results")
    paths = {name: os.path.abspath(os.path.join(args.bin, name)) for name in ("pdtp", "pdtpd")}
    when = {name: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.stat(path).st_mtime)) for name, path in paths.items()}
    return {"commit": git("rev-parse", "--short", "HEAD"), "dirty": bool(changed),
            "programs": {name: {"path": os.path.relpath(path, ROOT), "built": when[name]} for name, path in paths.items()}}


def draw(result, where):
    """The curves of one scenario, with what they were measured of and on."""
    scenario, about = result["scenario"], result["about"]
    commit = about["commit"] + (" with changes" if about.get("dirty") else "")
    machine = about["machine"]
    note = f"{about['date']}, commit {commit}; {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"
    with open(os.path.join(where, f"swarm-{scenario['name']}.svg"), "w") as f:
        f.write(plot.completion(scenario["what"], note, curves(result), len(scenario["peers"]), scenario["optimum_s"]))


def is_seen_at_once(name, scenario, names):
    """Whether one run tells enough of a system: HTTP to many takes minutes, and differs by nothing; of BitTorrent's settings those
    that are not the usual ones are to be medians only in the scenario that they were made for."""
    if name == "http":
        return len(scenario.peers) > 4
    return scenario.name != "equal" and "bittorrent/tuned" in names and name.startswith("bittorrent/") and name != "bittorrent/tuned"


def compare(scenario, args):
    names = []
    for system in args.systems or ("pdtp", *scenario.rivals):
        if system == "bittorrent":
            names += [f"bittorrent/{v}" for v in (BITTORRENT_SHORT if args.short else BITTORRENT)]
        else:
            names.append(system)
    missing = [name for name in names if not systems.is_there(name)]
    if missing:
        print("swarm: without BitTorrent (Debian: apt-get install python3-libtorrent)", file=sys.stderr)
    names = [name for name in names if name not in missing]
    runs = {name: [] for name in names}
    for number in range(args.runs):
        for name in names:
            if number > 0 and is_seen_at_once(name, scenario, names):
                continue
            run = measure(scenario, name, args)
            runs[name].append(run)
            print(f"  {scenario.name} {number + 1}/{args.runs} {name:28} makespan {run['makespan_s']:7.2f} s  "
                  f"mean {run['mean_s']:7.2f} s  origin copies {run['origin_copies']:5.2f}  sent again {sent_again(run)}  "
                  f"load {run['load']:.1f}",
                  file=sys.stderr, flush=True)
            print(account.line(run["uplinks"]), file=sys.stderr, flush=True)
    optimum = scenario.optimum_s
    result = {"scenario": {**dataclasses.asdict(scenario), "optimum_s": optimum}, "systems": {}}
    for name, all_runs in runs.items():
        makespan = statistics.median(run["makespan_s"] for run in all_runs)
        result["systems"][name] = {
            "makespan_s": makespan,
            "mean_s": statistics.median(run["mean_s"] for run in all_runs),
            "origin_copies": statistics.median(run["origin_copies"] for run in all_runs),
            "ratio": round(makespan / optimum, 4) if optimum else None,
            "runs": all_runs,
        }
    return result


def table(result):
    scenario, optimum = result["scenario"], result["scenario"]["optimum_s"]
    head = f"{scenario['name']}: {scenario['what']}; origin {scenario['origin']:g} Mbit/s, {scenario['size'] // MIB} MiB"
    lines = [head + (f"; T* {optimum:.2f} s" if optimum else "")]
    lines.append(f"  {'':28}{'makespan s':>11}{'/ T*':>8}{'mean s':>9}{'origin copies':>15}{'runs':>6}")
    for name, one in sorted(result["systems"].items(), key=lambda item: item[1]["makespan_s"]):
        ratio = f"{one['ratio']:8.3f}" if one["ratio"] else f"{'':8}"
        lines.append(f"  {name:28}{one['makespan_s']:11.2f}{ratio}{one['mean_s']:9.2f}{one['origin_copies']:15.2f}"
                     f"{len(one['runs']):6}")
    return "\n".join(lines)


def curves(result):
    """Ours, the best BitTorrent, BitTorrent as it comes, and HTTP where it fits."""
    found, shown = result["systems"], {}
    torrents = sorted((one["makespan_s"], name) for name, one in found.items() if name.startswith("bittorrent"))
    names = ["pdtp"] + [name for _, name in torrents[:1]] + ["bittorrent/default", "http"]
    for name in names:
        if name in found and name not in shown:
            run = median_run(found[name]["runs"])
            if name != "http" or run["makespan_s"] < 3 * found["pdtp"]["makespan_s"]:
                shown[name] = run["times_s"]
    return shown


def main():
    parser = argparse.ArgumentParser(prog="bench/swarm", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)} ({' '.join(DEFAULT)})")
    parser.add_argument("--runs", type=int, default=3, help="of each system; medians are reported (3)")
    parser.add_argument("--short", action="store_true", help="one run of a small scenario, and of one and two peers; fewer BitTorrent settings")
    parser.add_argument("--systems", type=lambda text: text.split(","),
                        help="pdtp, http, bittorrent (all settings), bittorrent/SETTING; comma between")
    parser.add_argument("--docs", action="store_true", help="write JSON and SVG to docs/benchmarks/")
    parser.add_argument("--queue-ms", type=float, default=50, help="what a link may have queued (50)")
    parser.add_argument("--congestion", default="cubic", help="congestion control of TCP, for all systems (cubic)")
    parser.add_argument("--scratch", default="/dev/shm", help="directory in memory for the files (/dev/shm)")
    parser.add_argument("--bin", default=os.path.join(ROOT, "target", "release"), help="where pdtp and pdtpd are")
    parser.add_argument("--pdtpd", action="append", default=[], metavar="OPTION", help="passed to pdtpd; repeatable")
    parser.add_argument("--trace", metavar="DIR", help="keep what each pdtp tells, with times")
    args = parser.parse_args()
    if args.short:
        args.runs = 1
    names = args.scenario or (SHORT if args.short else DEFAULT)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    if os.geteuid() != 0:
        return skip("network namespaces need root")
    with allowed(args.congestion):
        go(args, names)


def skip(reason):
    """Nothing is wrong where this cannot be measured, and what else is to be measured goes on; but nobody is to overlook it."""
    print(f"swarm: SKIPPED, no shaped links here: {reason}", file=sys.stderr, flush=True)


def go(args, names):
    if reason := why_not():
        return skip(reason)
    for program in ("pdtp", "pdtpd"):
        if not os.access(os.path.join(args.bin, program), os.X_OK):
            sys.exit(f"swarm: no {program} in {args.bin}; run make first")
    if args.trace:
        os.makedirs(args.trace, exist_ok=True)
    about = {"date": time.strftime("%Y-%m-%d"), **build(args), "machine": machine(), "queue_ms": args.queue_ms,
             "congestion": args.congestion}
    where = os.path.join(ROOT, "docs", "benchmarks") if args.docs else os.path.join(ROOT, "bench", "results")
    os.makedirs(where, exist_ok=True)
    # Scenarios that are not measured now keep what was measured of them before.
    results, file = {}, os.path.join(where, "swarm.json")
    if os.path.exists(file):
        with open(file) as f:
            before = json.load(f)
        results = before.pop("results")
        for result in results.values():
            result.setdefault("about", before)
    for name in names:
        result = results[name] = {"about": about, **compare(SCENARIOS[name], args)}
        print(table(result), flush=True)
        if "pdtp" in result["systems"]:
            draw(result, where)
        # After each, so that nothing is lost if it is stopped.
        with open(file, "w") as f:
            json.dump({"results": results}, f, indent=1)
            f.write("\n")
    print(f"written to {os.path.relpath(where)}/")


if __name__ == "__main__":
    main()
