"""The tables, and the gates. A gate that fails is shown as such and makes the run's status non-zero."""

import statistics

from measure import CLOSING, FEATURES, HTTP, LIMITED, PACED, RELAYS, SOCKS5, median

NAMES = {
    "sluice": "Sluice, features on", "sluice-bare": "Sluice `--bare`", "haproxy": "HAProxy", "nginx": "nginx",
    "nginx-half-close": "nginx, half-close on", "go": "Go io.Copy",
    "sluice-socks5": "Sluice", "go-socks5": "Go armon/go-socks5", "microsocks": "microsocks",
    "sluice-http": "Sluice, features on", "sluice-http-bare": "Sluice `--bare`", "haproxy-http": "HAProxy",
    "nginx-http": "nginx", "nginx-http-buffered": "nginx, buffering", "go-http": "Go httputil",
    "sluice-nolog": "`--log off`", "sluice-json": "`--log json`",
}

# (workload, peer): (gate, goal). Ratios of CPU time with features on; the gate must hold, the goal is where we want to be.
LIMITS = {
    ("bulk", "haproxy"): (1.10, 1.00), ("bulk", "nginx"): (None, 0.70), ("bulk", "go"): (0.65, 0.60),
    ("bulk1", "haproxy"): (1.10, 1.00), ("bulk1", "nginx"): (None, 0.70), ("bulk1", "go"): (0.65, 0.60),
    ("bulk64", "haproxy"): (1.10, 1.00), ("bulk64", "nginx"): (None, 0.70), ("bulk64", "go"): (0.65, 0.60),
    ("pingpong64", "haproxy"): (0.95, 0.90), ("pingpong64", "nginx"): (1.00, 0.95), ("pingpong64", "go"): (None, 0.75),
    ("pingpong256", "haproxy"): (0.95, 0.90), ("pingpong256", "nginx"): (1.00, 0.95), ("pingpong256", "go"): (None, 0.75),
    ("connect", "haproxy"): (1.00, 0.90), ("connect", "nginx"): (1.10, 1.00), ("connect", "go"): (None, 0.65),
    ("http", "haproxy-http"): (0.85, 0.75), ("http", "nginx-http"): (1.00, 0.85), ("http", "go-http"): (0.45, 0.40),
    ("http256", "haproxy-http"): (0.85, 0.75), ("http256", "nginx-http"): (1.00, 0.85), ("http256", "go-http"): (0.45, 0.40),
    ("http64k", "haproxy-http"): (1.00, 0.90), ("http64k", "nginx-http"): (None, 0.75),
    ("socks5", "go-socks5"): (None, 0.65), ("socks5", "microsocks"): (None, 1.00),
}
MEMORY_GOALS = {"haproxy": 1.2, "nginx": 0.5, "go": 0.5}
MALLOC_GATES = {("sluice", "connection"): 12, ("sluice-socks5", "connection"): 20, ("sluice-forward", "authenticated request"): 4}
# None at all after warm-up, as far as a whole run can show it: a timer's or the log writer's own handful is not "per unit".
ZERO_MALLOCS = [("sluice", "message"), ("sluice-http", "request"), ("sluice-http-bare", "request"), ("sluice-http", "64 KiB request")]


class Report:
    def __init__(self):
        self.lines = []
        self.verdicts = []

    def verdict(self, kind, what, value, limit, shown):
        passed = value <= limit
        self.verdicts.append((kind, passed))
        self.line(f"| {kind} | {what} | ≤ {limit:g} | {shown} | {'PASS' if passed else '**FAIL**'} |")

    def line(self, text=""):
        self.lines.append(text)

    @staticmethod
    def ratio(ours, theirs, of="cost"):
        """Median of the rounds' ratios, and between what their middle half lies: each compares its own neighbours only."""
        ratios = [a[of] / b[of] for a, b in zip(ours, theirs)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * ratios
        return median(ratios), f"{median(ratios):.2f} ({low:.2f}–{high:.2f})"

    def costs(self, results, workloads):
        relays = [key for key in CLOSING if any(key in samples for samples in results.values())]
        if not results:
            return
        self.line("CPU time of the proxy per unit, median of the rounds:")
        self.line()
        if relays:
            self.header(["workload", *[NAMES[key] for key in relays]])
        for workload in workloads:
            samples = results.get(workload.key, {})
            if workload.programs in (RELAYS, CLOSING) and samples:
                cells = [self.cost(samples.get(key), workload.unit) for key in relays]
                self.row([f"{workload.title}, {workload.unit}", *cells])
        if relays:
            self.line()
        for workload in workloads:
            if workload.programs is SOCKS5 and results.get(workload.key):
                samples = results[workload.key]
                self.header(["workload", *[NAMES[key] for key in samples]])
                self.row([f"{workload.title}, {workload.unit}", *[self.cost(s, workload.unit) for s in samples.values()]])
                self.line()
        if any(workload.programs is HTTP and results.get(workload.key) for workload in workloads):
            self.header(["workload", *[NAMES[key] for key in HTTP]])
            for workload in workloads:
                samples = results.get(workload.key)
                if workload.programs is HTTP and samples:
                    self.row([f"{workload.title}, {workload.unit}", *[self.cost(samples.get(key), workload.unit) for key in HTTP]])
            self.line()

    def cost(self, samples, unit, of="cost"):
        if not samples:
            return "–"
        value = median([sample[of] for sample in samples])
        return f"{value:.3f}" if unit == "s/GB" else f"{value:.1f}"

    def ratios(self, results, workloads):
        if not any(key.startswith("sluice") for samples in results.values() for key in samples):
            return
        self.line("Ratios ours / theirs, median (middle half of the measurements); below 1.00 we use less CPU:")
        self.line()
        if any(key in samples for samples in results.values() for key in ("sluice", "sluice-bare", "sluice-socks5")):
            self.header(["workload", "column", "HAProxy", "nginx", "nginx, half-close on", "Go", "microsocks"])
        for workload in workloads:
            samples = results.get(workload.key, {})
            if workload.programs is HTTP:
                continue
            peers = ["", "", "", "go-socks5", "microsocks"] if workload.programs is SOCKS5 else [*CLOSING[2:], ""]
            for ours, column in (("sluice", "features on"), ("sluice-bare", "`--bare`"), ("sluice-socks5", "features on")):
                if workload.programs is FEATURES or not samples.get(ours):
                    continue
                cells = [self.ratio(samples[ours], samples[peer])[1] if peer in samples else "–" for peer in peers]
                self.row([workload.title, column, *cells])
        self.line()
        if not any(workload.programs is HTTP and results.get(workload.key) for workload in workloads):
            return
        self.header(["workload", "column", *[NAMES[peer] for peer in HTTP[2:]]])
        for workload in workloads:
            samples = results.get(workload.key, {})
            for ours, column in (("sluice-http", "features on"), ("sluice-http-bare", "`--bare`")):
                if workload.programs is HTTP and samples.get(ours):
                    cells = [self.ratio(samples[ours], samples[peer])[1] if peer in samples else "–" for peer in HTTP[2:]]
                    self.row([workload.title, column, *cells])
        self.line()

    def latencies(self, results, workloads):
        self.some_latencies(results, workloads, RELAYS, "pingpong")
        self.some_latencies(results, workloads, HTTP, "http")

    def some_latencies(self, results, workloads, programs, prefix):
        if not any(key.startswith(prefix) for key in results):
            return
        self.line("Latency p50 / p99 and rate, medians (load and origin share one core, so the rate is theirs as much as the proxy's):")
        self.line()
        keys = [key for key in programs if any(key in samples for samples in results.values())]
        self.header(["workload", *[NAMES[key] for key in keys]])
        for workload in workloads:
            samples = results.get(workload.key, {})
            if not workload.key.startswith(prefix) or not samples:
                continue
            cells = []
            for key in keys:
                values = {name: median([s[name] for s in samples[key]]) for name in ("p50", "p99", "rate")}
                cells.append(f"{values['p50']:.0f} / {values['p99']:.0f} µs, {values['rate'] / 1000:.1f} k/s")
            self.row([workload.title, *cells])
        self.line()

    def features(self, results, workloads):
        for workload in workloads:
            samples = results.get(workload.key, {})
            if workload.programs is not FEATURES or "sluice-bare" not in samples:
                continue
            self.line(f"{workload.title[0].upper()}{workload.title[1:]}, {workload.unit}:")
            self.line()
            self.header(["variant", "cost", "against `--bare`"])
            for key in samples:
                shown = {"sluice-bare": "`--bare`", "sluice-nolog": "five middlewares, `--log off`",
                         "sluice": "five middlewares, `--log text`", "sluice-json": "five middlewares, `--log json`"}[key]
                self.row([shown, self.cost(samples[key], workload.unit), self.ratio(samples[key], samples["sluice-bare"])[1]])
            self.line()

    def limited(self, results, workloads):
        """What a bandwidth limit costs: CPU time with it against without, in the same rounds.

        Of the proxy alone, and of client, proxy and origin together: on loopback the kernel charges a segment, its sender's and its
        receiver's part alike, to whoever set it going, which a limit changes.
        """
        against = {"sluice-paced-origin": "the same speed, kept by the origin", "sluice-paced-client": "the same speed, kept by the client"}
        self.header(["workload", "against", "unit", "proxy, without", "with", "ratio", "all three, without", "with", "ratio"])
        compared = []
        for workload in workloads:
            if workload.key not in LIMITED or not results.get(workload.key):
                continue
            limited, *others = LIMITED[workload.key]
            samples = results[workload.key]
            for other in [key for key in others if samples.get(key) and samples.get(limited)]:
                name = against.get(other, "full speed")
                compared.append((workload, other, name, samples[limited], samples[other]))
                cells = []
                for of in ("cost", "whole"):
                    cells += [self.cost(samples[other], workload.unit, of), self.cost(samples[limited], workload.unit, of),
                              self.ratio(samples[limited], samples[other], of)[1]]
                self.row([workload.title, name, workload.unit, *cells])
        self.line()
        self.header(["", "what", "limit", "seen", ""])
        for wanted in ("gate", "goal"):
            for workload, other, name, limited, without in compared:
                for of, who in (("cost", "the proxy"), ("whole", "all three")):
                    if self.is_gate(workload, other, of) == (wanted == "gate"):
                        value, shown = self.ratio(limited, without, of)
                        self.verdict(wanted, f"{workload.title}, {who}, against {name}", value, 1.2, shown)
        self.line()

    @staticmethod
    def is_gate(workload, other, of):
        """Whether a limit must cost no more than 1.2 of this.

        At 10 MB/s every piece wakes sleeping processors, with a limit as without one, so full speed says nothing: there the same
        speed counts. At 100 MB/s full speed counts.
        """
        if workload.key == "limit-far-below":
            return other == "sluice-paced-origin" or (other == "sluice-paced-client" and of == "whole")
        return other not in PACED

    def memory(self, idle, connections):
        if not idle:
            return
        self.line(f"Resident memory per idle tunnel, {connections} of them, KB (kernel memory is not in it):")
        self.line()
        self.header([NAMES[key] if key != "sluice-socks5" else "Sluice SOCKS5" for key in idle])
        self.row([f"{median(values):.2f}" for values in idle.values()])
        self.line()

    def allocations(self, mallocs):
        if not mallocs:
            return
        self.line("Allocations after warm-up:")
        self.line()
        self.header(["what", "column", "mallocs", "units", "per unit"])
        for (key, what), (count, units) in mallocs.items():
            title = {"message": "relayed 64 B message", "connection": "relayed connection", "request": "HTTP request, 128 B",
                     "64 KiB request": "HTTP request, 64 KiB", "authenticated request": "HTTP request with a password, 128 B"}[what]
            if key == "sluice-socks5":
                title = "SOCKS5 connection with password"
            self.row([title, "`--bare`" if key.endswith("-bare") else "features on", count, units, f"{count / units:.3f}"])
        self.line()

    def chain(self, output):
        if output:
            self.line("The chain alone, in memory (`Benchmarks/ChainBenchmark`):")
            self.line()
            # A table stays one; anything else is shown as it was printed.
            self.lines += output.splitlines() if output.lstrip().startswith("|") else ["```", *output.splitlines(), "```"]
            self.line()

    def gates(self, results, idle, mallocs):
        self.line("Gates (must hold) and goals:")
        self.line()
        self.header(["", "what", "limit", "seen", ""])
        for place, kind in ((0, "gate"), (1, "goal")):
            for (workload, peer), limits in LIMITS.items():
                samples = results.get(workload, {})
                ours = samples.get("sluice") or samples.get("sluice-socks5") or samples.get("sluice-http")
                if limits[place] is not None and ours and samples.get(peer):
                    value, shown = self.ratio(ours, samples[peer])
                    self.verdict(kind, f"{workload}, {NAMES[peer]}", value, limits[place], shown)
            if kind == "gate":
                for (key, what), limit in MALLOC_GATES.items():
                    if (key, what) in mallocs:
                        count, units = mallocs[key, what]
                        name = {"sluice-socks5": "SOCKS5 connection", "sluice": "TCP connection"}.get(key, what)
                        self.verdict(kind, f"mallocs per {name}", count / units, limit, f"{count / units:.2f}")
                for key, what in ZERO_MALLOCS:
                    if (key, what) in mallocs:
                        count, units = mallocs[key, what]
                        name = what + (", `--bare`" if key.endswith("-bare") else "")
                        self.verdict(kind, f"mallocs per {name}", count / units, 0.001, f"{count} in {units}")
            elif idle and "sluice" in idle:
                for peer, limit in MEMORY_GOALS.items():
                    if peer in idle:
                        value = median(idle["sluice"]) / max(median(idle[peer]), 0.001)
                        self.verdict(kind, f"memory per idle tunnel, {NAMES[peer]}", value, limit, f"{value:.2f}")
                if results.get("pingpong4"):
                    p50 = {key: median([s["p50"] for s in samples]) for key, samples in results["pingpong4"].items()}
                    best = min(value for key, value in p50.items() if not key.startswith("sluice"))
                    value = p50["sluice"] / best
                    self.verdict(kind, "p50 at 4 connections, best peer", value, 1.0, f"{value:.2f}")
        self.line()

    def header(self, cells):
        self.row(cells)
        self.row(["---"] * len(cells))

    def row(self, cells):
        self.line("| " + " | ".join(str(cell) for cell in cells) + " |")

    def failed_gates(self):
        return sum(1 for kind, passed in self.verdicts if kind == "gate" and not passed)

    def text(self):
        return "\n".join(self.lines).rstrip() + "\n"


def write_between_markers(path, text, block):
    """Replaces what stands between the two marker lines of a block; everything else of the page is written by hand."""
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    with open(path) as file:
        page = file.read()
    head, rest = page.split(begin)
    _, tail = rest.split(end)
    with open(path, "w") as file:
        file.write(f"{head}{begin}\n{text}{end}{tail}")
