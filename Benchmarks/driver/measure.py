"""The method: one worker on one core, load and origin on the other, rounds interleaved, each in another order, CPU time per unit."""

import base64
import json
import mmap
import os
import random
import statistics
import struct
import subprocess
import time

from programs import PASSWORD, USER, cpu_clock_ns


class Origin:
    """The echo and source server behind every proxy."""

    def __init__(self, scratch, core):
        self.process = subprocess.Popen(
            [os.path.join(scratch, "origin"), str(core)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        ports = dict(self.process.stdout.readline().split() for _ in range(3))
        self.echo, self.source, self.http = (int(ports[name]) for name in ("echo", "source", "http"))

    def cpu_ns(self):
        return cpu_clock_ns(self.process.pid)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Load:
    """One run of the load generator, in its three steps: connected, measured, closed."""

    def __init__(self, scratch, core, port, arguments, socks5_target=None):
        argv = [os.path.join(scratch, "load"), str(core), str(port), *map(str, arguments)]
        if socks5_target:
            argv += [str(socks5_target), USER, PASSWORD]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.expect("ready")

    def expect(self, wanted=None):
        # load itself gives up when nothing happens for 20 seconds, so this line always comes or the pipe closes.
        line = self.process.stdout.readline().strip()
        if not line or (wanted and line != wanted):
            raise RuntimeError(f"load: {line} {self.process.stderr.read().strip()}")
        return line

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        result = json.loads(self.expect())
        if result["failed"]:
            raise RuntimeError(f"load: {result['failed']} of {result['units']} units failed")
        return result

    def cpu_ns(self):
        return cpu_clock_ns(self.process.pid)

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write("\n")
                self.process.stdin.close()
            except BrokenPipeError:
                pass
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Workload:
    """What is done, how often, and in which unit it is shown.

    `slices`: short measurements that a round consists of. The machine drifts from second to second, so that many neighbours in
    short turns tell more than few in long ones; of what moves gigabytes one turn is long enough. What stands near its gate has ten:
    single ratios scatter by 15 %, the median of 50 by 3 %.
    """

    def __init__(
        self, key, title, unit, programs, arguments, quick, source=False, socks5=False, http=False, own=None, slices=1
    ):
        self.key, self.title, self.unit = key, title, unit
        self.programs = programs
        self.all_arguments = {False: arguments, True: quick}
        # What a program does instead: {program: arguments}.
        self.own = own or {}
        self.source, self.socks5, self.http = source, socks5, http
        self.slices = slices

    def arguments(self, program, quick):
        return self.own.get(program) or self.all_arguments[quick]


RELAYS = ["sluice", "sluice-bare", "haproxy", "nginx", "go"]
# By default nginx closes both connections as soon as one side ends. Passing a half-close on, as all others do, is
# a round trip to the origin more, so closing connections is compared with both.
CLOSING = ["sluice", "sluice-bare", "haproxy", "nginx", "nginx-half-close", "go"]
SOCKS5 = ["sluice-socks5", "go-socks5", "microsocks"]
HTTP = ["sluice-http", "sluice-http-bare", "haproxy-http", "nginx-http", "nginx-http-buffered", "go-http"]
HTTP_MALLOCS = ["sluice-http", "sluice-http-bare", "sluice-forward"]
# What a bandwidth limit costs, with a limit above what the machine moves and with limits far below it.
# First what is limited, then what it is compared with: no limit at full speed, and no limit while the origin sends, or the client
# reads, no faster than the limit allows.
PACED = {"sluice-paced-origin": "origin", "sluice-paced-client": "client"}
LIMITED = {
    "limit-above": ["sluice-limit-above", "sluice-nolog"], "limit-below": ["sluice-limit-100", "sluice-nolog", *PACED],
    "limit-far-below": ["sluice-limit-10", "sluice-nolog", *PACED], "limit-http": ["sluice-http-limit-above", "sluice-http-nolog"],
}
FEATURES = ["sluice-bare", "sluice-nolog", "sluice", "sluice-json"]


# What a limit of these workloads, and who holds the same transfer back without one, has to keep to: GB/s.
SPEEDS = {"limit-below": 0.1, "limit-far-below": 0.01}


def without_limit(connections, amount, speed):
    """The same transfer without a limit: as fast as it goes, and held at that speed from outside."""
    own = {key: ["paced", connections, amount, by, speed] for key, by in PACED.items()}
    return {**own, "sluice-nolog": ["bulk", connections, 2_000_000_000]}


def workloads():
    gigabyte = 1_000_000_000
    micro = "µs/round trip"
    return [
        Workload("bulk", "bulk relay, 4 connections", "s/GB", RELAYS,
                 ["bulk", 4, 3 * gigabyte], ["bulk", 4, 2 * gigabyte], source=True),
        Workload("bulk1", "bulk relay, 1 connection", "s/GB", RELAYS,
                 ["bulk", 1, 2 * gigabyte], ["bulk", 1, 1 * gigabyte], source=True),
        Workload("bulk64", "bulk relay, 64 connections", "s/GB", RELAYS,
                 ["bulk", 64, 4 * gigabyte], ["bulk", 64, 2 * gigabyte], source=True),
        Workload("pingpong4", "64 B ping-pong, 4 connections", micro, RELAYS,
                 ["pingpong", 4, 40_000, 2_000], ["pingpong", 4, 20_000, 1_000]),
        Workload("pingpong64", "64 B ping-pong, 64 connections", micro, RELAYS,
                 ["pingpong", 64, 25_000, 5_000], ["pingpong", 64, 10_000, 2_000], slices=4),
        Workload("pingpong256", "64 B ping-pong, 256 connections", micro, RELAYS,
                 ["pingpong", 256, 25_000, 5_000], ["pingpong", 256, 10_000, 2_000], slices=4),
        Workload("connect", "connect + 64 B + close", "µs/connection", CLOSING,
                 ["connect", 16, 4_000, 500], ["connect", 16, 1_500, 250], slices=10),
        Workload("socks5", "SOCKS5 with password, connect + 64 B + close", "µs/connection", SOCKS5,
                 ["connect", 16, 2_500, 500], ["connect", 16, 1_000, 250], socks5=True, slices=4),
        Workload("http", "HTTP reverse, 128 B body, 64 connections", "µs/request", HTTP,
                 ["http", 64, 20_000, 4_000, "/128"], ["http", 64, 10_000, 2_000, "/128"], http=True, slices=10),
        Workload("http256", "HTTP reverse, 128 B body, 256 connections", "µs/request", HTTP,
                 ["http", 256, 20_000, 4_000, "/128"], ["http", 256, 10_000, 2_000, "/128"], http=True, slices=10),
        Workload("http64k", "HTTP reverse, 64 KiB body, 16 connections", "µs/request", HTTP,
                 ["http", 16, 5_000, 1_000, "/65536"], ["http", 16, 3_000, 500, "/65536"], http=True, slices=4),
        Workload("features-pingpong", "what the features cost: 64 B ping-pong, 64 connections", micro, FEATURES,
                 ["pingpong", 64, 100_000, 10_000], ["pingpong", 64, 40_000, 5_000]),
        Workload("limit-above", "bulk, 4 connections, limit 1000 GB/s", "s/GB", LIMITED["limit-above"],
                 ["bulk", 4, 3 * gigabyte], ["bulk", 4, 1 * gigabyte], source=True),
        Workload("limit-below", "bulk, 4 connections, limit 100 MB/s", "s/GB", LIMITED["limit-below"],
                 ["bulk", 4, gigabyte // 2], ["bulk", 4, gigabyte // 4], source=True,
                 own=without_limit(4, gigabyte // 4, 100_000_000)),
        Workload("limit-far-below", "bulk, 2 connections, limit 10 MB/s", "s/GB", LIMITED["limit-far-below"],
                 ["bulk", 2, gigabyte * 6 // 100], ["bulk", 2, gigabyte * 3 // 100], source=True,
                 own=without_limit(2, gigabyte * 3 // 100, 10_000_000)),
        Workload("limit-http", "HTTP, 4 MB bodies, 4 connections, limit 1000 GB/s", "µs/request", LIMITED["limit-http"],
                 ["http", 4, 500, 50, "/4000000"], ["http", 4, 200, 20, "/4000000"], http=True),
        Workload("features-connect", "what the features cost: connect + 64 B + close", "µs/connection", FEATURES,
                 ["connect", 16, 15_000, 1_000], ["connect", 16, 6_000, 500]),
    ]


class Bench:
    def __init__(self, fleet, origin, scratch, load_core, rounds, quick, say):
        self.fleet, self.origin, self.scratch = fleet, origin, scratch
        self.load_core, self.rounds, self.quick, self.say = load_core, rounds, quick, say
        self.notes = []

    def load(self, program, arguments, workload=None):
        target = self.origin.echo if workload and workload.socks5 else None
        return Load(self.scratch, self.load_core, program.port, arguments, target)

    def run(self, workload, available):
        """All rounds of one workload: {program: [{"cost", "p50", "p99", "rate"}, …]}, one entry a slice."""
        keys = [key for key in workload.programs if key in available]
        target = self.origin.source if workload.source else self.origin.http if workload.http else self.origin.echo
        programs = {key: self.fleet.start(key, target) for key in keys}
        samples = {key: [] for key in keys}
        wanted = SPEEDS.get(workload.key)
        arguments = {key: workload.arguments(key, self.quick) for key in keys}
        rounds = f"{self.rounds} rounds" + (f" of {workload.slices} slices" if workload.slices > 1 else "")
        self.say(f"{workload.title}: {' '.join(map(str, arguments[keys[0]]))}, {rounds}: {', '.join(keys)}")
        # Round 0 warms up (caches, pools, the branch predictor) and is not counted.
        for number in range(self.rounds * workload.slices + 1):
            line = []
            # In another order each round, and the same in every run: what follows a busy neighbour finds other caches than what
            # follows a light one.
            for key in random.Random(f"{workload.key} {number}").sample(keys, len(keys)):
                sample = self.measure(programs[key], arguments[key], workload)
                # A limit that does not limit, or a transfer that is not held back, would make any ratio look well.
                if wanted and key != "sluice-nolog" and not 0.85 < sample["rate"] / wanted < 1.15:
                    raise RuntimeError(f"{key}: {1000 * sample['rate']:.1f} MB/s in place of {1000 * wanted:g}")
                line.append(f"{key} {sample['cost']:.3g}")
                if number > 0:
                    samples[key].append(sample)
            self.say(f"  {number}{' (warm-up)' if number == 0 else ''}: {'  '.join(line)}")
        for key, program in programs.items():
            if key not in ("sluice-bare", "sluice-nolog", "sluice-http-bare") and workload.key not in LIMITED and (
                    program.log_bytes() == 0):
                self.notes.append(f"{key} wrote no log in the workload {workload.title}")
            self.fleet.stop(program)
        return samples

    def measure(self, program, arguments, workload):
        load = self.load(program, arguments, workload)
        try:
            before, around = program.cpu_ns(), self.origin.cpu_ns() + load.cpu_ns()
            result = load.run()
            # What is still to be torn down or logged belongs to the run.
            time.sleep(0.03)
            spent = program.cpu_ns() - before
            whole = spent + self.origin.cpu_ns() + load.cpu_ns() - around
        finally:
            load.close()
        if workload.source:
            unit, rate = result["bytes"], result["bytes"] / result["seconds"] / 1e9
        else:
            unit, rate = 1000 * result["units"], result["units"] / result["seconds"]
        return {"cost": spent / unit, "whole": whole / unit, "rate": rate, "p50": result["p50"], "p99": result["p99"]}

    def idle(self, available, connections):
        """Resident memory per idle tunnel, KB. A fresh process each time, since memory once taken is rarely given back."""
        samples = {}
        keys = [key for key in [*RELAYS, *SOCKS5] if key in available]
        self.say(f"memory of {connections} idle tunnels: {', '.join(keys)}")
        for key in keys:
            samples[key] = []
            for _ in range(1 if self.quick else 3):
                program = self.fleet.start(key, self.origin.echo)
                socks5 = self.origin.echo if key in SOCKS5 else None
                # What the first connections of a process take once is not the price of a tunnel.
                for arguments in (["pingpong", 4, 100, 10], ["idle", 50]):
                    warm = Load(self.scratch, self.load_core, program.port, arguments, socks5)
                    warm.run()
                    warm.close()
                before = program.resident_kb()
                load = Load(self.scratch, self.load_core, program.port, ["idle", connections], socks5)
                samples[key].append((program.resident_kb() - before) / connections)
                load.run()
                load.close()
                self.fleet.stop(program)
            self.say(f"  {key}: {', '.join(f'{s:.2f}' for s in samples[key])} KB")
        return samples

    def mallocs(self, available):
        """Allocations of ours, counted by a preloaded library: {what: (count, units)}."""
        counts = {}
        cases = [
            ("sluice", "message", ["pingpong", 64, 100_000, 20_000], 2),
            ("sluice-bare", "message", ["pingpong", 64, 100_000, 20_000], 2),
            ("sluice", "connection", ["connect", 8, 4_000, 2_000], 1),
            ("sluice-bare", "connection", ["connect", 8, 4_000, 2_000], 1),
            ("sluice-socks5", "connection", ["connect", 8, 4_000, 2_000], 1),
            ("sluice-http", "request", ["http", 16, 50_000, 20_000, "/128"], 1),
            ("sluice-http-bare", "request", ["http", 16, 50_000, 20_000, "/128"], 1),
            ("sluice-http", "64 KiB request", ["http", 16, 10_000, 5_000, "/65536"], 1),
            ("sluice-forward", "authenticated request", ["http", 16, 50_000, 20_000, *self.through_forward("/128")], 1),
        ]
        for key, what, arguments, per_unit in cases:
            if key not in available:
                continue
            counter = os.path.join(self.scratch, "mallocs")
            with open(counter, "wb") as file:
                file.write(bytes(4096))
            with open(counter, "rb") as file:
                shared = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)
            target = self.origin.http if arguments[0] == "http" else self.origin.echo
            program = self.fleet.start(key, target, preload=counter)
            load = Load(self.scratch, self.load_core, program.port, arguments, self.origin.echo if key in SOCKS5 else None)
            before = struct.unpack("Q", shared[:8])[0]
            result = load.run()
            time.sleep(0.05)
            after = struct.unpack("Q", shared[:8])[0]
            load.close()
            self.fleet.stop(program)
            if after == 0:
                raise RuntimeError("the malloc counter was not loaded")
            counts[key, what] = (after - before, result["units"] * per_unit)
            self.say(f"mallocs of {key}: {after - before} in {result['units'] * per_unit} {what}s")
        return counts

    def through_forward(self, path):
        """What a client of a forward proxy asks for, with its password."""
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return [f"http://127.0.0.1:{self.origin.http}{path}", f"proxy-authorization: Basic {secret}"]


def median(values):
    return statistics.median(values)
