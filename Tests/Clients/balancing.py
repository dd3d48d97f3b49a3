"""Load over several real backends while one is killed (kill -9) and one is stopped (SIGSTOP), and both are brought back, again
and again; and what one slow backend among twenty does to each strategy.

`Tests/Clients/balancing` takes a minute for each transport, or as long as it is told; `make test` takes 20 seconds for all.
"""

import collections
import http.client
import os
import random
import re
import signal
import socket
import sys
import threading
import time

from harness import Program, free_port, limit, need, receive, run, socks5_connect, test

SECONDS = int(os.environ.get("BALANCING_SECONDS", "7"))
EVERY, TIMEOUT, RISE, FALL = 0.2, 0.5, 2, 3
HEALTH = ["--health", "/health", "--health-every", "200ms", "--health-timeout", "500ms",
          "--health-rise", str(RISE), "--health-fall", str(FALL)]
# What a loaded machine may add to a time that is measured from outside: both processes have to get a turn.
SLACK = 3.0

# Counts the statuses that wrk sees; `done` gets them from its threads.
SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) seen = "" counts = {} end
function response(status) counts[status] = (counts[status] or 0) + 1
  if status ~= 200 or counts[status] == 1 or counts[status] % 20 == 0 then
    local all = {}
    for code, count in pairs(counts) do table.insert(all, code .. "=" .. count) end
    seen = table.concat(all, " ")
  end
end
function done()
  for _, thread in ipairs(threads) do print("statuses " .. thread:get("seen")) end
end
"""


class Events:
    """The operational log of an app, each line with the time at which it was seen."""

    def __init__(self, app):
        self.app, self.lines, self.stopping = app, [], threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        with open(self.app.errors_path, errors="replace") as file:
            rest = ""
            while not self.stopping.is_set():
                rest += file.read()
                *whole, rest = rest.split("\n")
                self.lines += [(time.monotonic(), line) for line in whole]
                self.stopping.wait(0.01)

    def first(self, port, kinds, since):
        """When a backend was first said to be so after a time."""
        for when, line in list(self.lines):
            if when >= since and re.search(rf"127\.0\.0\.1:{port}: ({kinds})\b", line):
                return when
        return None

    def close(self):
        self.stopping.set()
        self.thread.join()


class Chaos:
    """Three backends on ports of this test; one thread kills one and stops another one, and brings both back."""

    def __init__(self, scope):
        self.scope, self.ports = scope, [free_port() for _ in range(3)]
        self.ledger = scope.path("posts")
        self.running, self.stopped = {}, set()
        # From when to when a kill may have cut what ran.
        self.kills, self.rounds, self.outs, self.backs, self.wrong = [], 0, [], [], []
        for port in self.ports:
            self.start(port)
        for port in self.ports:
            self.running[port].await_port(port)
        self.stopping = threading.Event()
        self.thread = None

    def start(self, port):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "balanced.py")
        self.running[port] = Program([sys.executable, script, self.ledger, str(port)], self.scope.path(f"b-{port}.log"))

    def begin(self, app):
        self.events = self.scope.keep(Events(app))
        self.thread = threading.Thread(target=self.rage, daemon=True)
        self.thread.start()

    def rage(self):
        try:
            self.rounds_until_stopped()
        except Exception as error:  # a thread's own end would be seen by nobody
            self.wrong.append(repr(error))

    def rounds_until_stopped(self):
        randomness = random.Random(6)
        while not self.stopping.is_set():
            killed, stopped = randomness.sample(self.ports, 2)
            began = time.monotonic()
            self.kills.append(began)
            self.running[killed].kill()
            os.kill(self.running[stopped].process.pid, signal.SIGSTOP)
            self.stopped.add(stopped)
            # A check in turn takes its interval and, where nobody answers, its timeout.
            self.judge(
                "out", (killed, stopped), "unhealthy|ejected", began, began, FALL * (EVERY * 1.1 + TIMEOUT), self.outs)
            self.stopping.wait(0.3 + randomness.random() * 0.5)
            brought = time.monotonic()
            self.start(killed)
            os.kill(self.running[stopped].process.pid, signal.SIGCONT)
            self.stopped.discard(stopped)
            self.running[killed].await_port(killed)
            self.judge(
                "back", (killed, stopped), "up", brought, time.monotonic(), RISE * (EVERY * 1.1 + TIMEOUT), self.backs)
            self.rounds += 1
            self.stopping.wait(0.3 + randomness.random() * 0.4)

    def judge(self, what, ports, kinds, since, begun, threshold, times):
        """Each of these has to be said to be so after `since`, and no later than the threshold after `begun`."""
        for port in ports:
            while (when := self.events.first(port, kinds, since)) is None:
                if time.monotonic() > begun + threshold + SLACK:
                    self.wrong.append(f"{port} was not {what} after {threshold + SLACK:.1f} s")
                    return
                time.sleep(0.01)
            times.append(max(0, when - begun))

    def has_killed(self, begin, end):
        return any(begin - 0.5 <= when <= end + 0.5 for when in self.kills)

    def end(self):
        self.stopping.set()
        self.thread.join(60)
        assert not self.wrong, self.wrong[:5]
        assert self.rounds >= 1, "nothing was ever killed"

    def figures(self):
        def most(times):
            return f"{max(times):.2f}" if times else "-"
        return f"{self.rounds} rounds, out within {most(self.outs)} s, back within {most(self.backs)} s"

    def close(self):
        self.stopping.set()
        for port in self.stopped:
            os.kill(self.running[port].process.pid, signal.SIGCONT)
        for program in self.running.values():
            program.kill()


class Clients:
    """Threads that call `once(number)` until they are stopped, and count what it returns."""

    def __init__(self, once, count=4):
        self.once, self.counts, self.wrong = once, collections.Counter(), []
        self.stopping, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.go, args=(n,), daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def go(self, number):
        while not self.stopping.is_set():
            try:
                what = self.once(number)
            except Exception as error:  # said below, with what it was
                self.wrong.append(f"{type(error).__name__}: {error}")
                return
            with self.lock:
                self.counts[what] += 1

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        assert not self.wrong, self.wrong[:5]


@test
@limit(SECONDS + 120)
def no_get_fails_and_no_post_comes_twice_while_backends_are_killed_and_stopped(scope):
    chaos = scope.keep(Chaos(scope))
    app, port = scope.reverse(
        [("127.0.0.1", p) for p in chaos.ports], "--log", "off", "--connect-timeout", "2s", "--response-timeout", "1s",
        *HEALTH)
    chaos.begin(app)
    answered, sequence = [], iter(range(1 << 40))

    def post(number):
        name = f"{number}-{next(sequence)}"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", f"/{name}", body=b"x")
            status = connection.getresponse().status
        finally:
            connection.close()
        if status == 200:
            answered.append(name)
        return status

    posts = Clients(post, 3)
    with open(scope.path("count.lua"), "w") as script:
        script.write(SCRIPT)
    status, output, errors = run(
        [need("wrk"), "-t2", "-c16", f"-d{SECONDS}s", "--timeout", "30s", "-s", script.name,
         f"http://127.0.0.1:{port}/work"], timeout=SECONDS + 60)
    chaos.end()
    posts.end()
    text = output.decode()
    assert status == 0, text + errors
    seen = collections.Counter()
    for code, count in re.findall(r"(\d+)=(\d+)", " ".join(re.findall(r"statuses (.*)", text))):
        seen[int(code)] += int(count)
    print(f"       wrk {dict(seen)}, posts {dict(posts.counts)}; {chaos.figures()}", flush=True)
    assert set(seen) == {200}, (seen, text)
    assert "Socket errors" not in text, text
    with open(chaos.ledger) as ledger:
        came = collections.Counter(ledger.read().split())
    twice = [name for name, count in came.items() if count > 1]
    assert not twice, f"came twice: {twice[:5]}"
    lost = [name for name in answered if name not in came]
    assert not lost, f"were answered and never came: {lost[:5]}"
    assert posts.counts[200] > 20 and set(posts.counts) <= {200, 502, 503, 504}, posts.counts


def ask(connection):
    """One question through a tunnel; False when it was cut before the answer."""
    connection.settimeout(30)
    try:
        connection.sendall(b"GET /work HTTP/1.1\r\nhost: a\r\n\r\n")
        return receive(connection, 15) == b"HTTP/1.1 200 OK"
    except (AssertionError, ConnectionError):
        return False


def tunnels(scope, make_app, connect):
    """Connects through an app again and again under chaos: every connect succeeds, and only a kill cuts what it opened."""
    chaos = scope.keep(Chaos(scope))
    app, port = make_app(chaos)
    chaos.begin(app)

    def once(number):
        begin = time.monotonic()
        connection = connect(port)
        try:
            if ask(connection):
                return "answered"
            if not chaos.has_killed(begin, time.monotonic()):
                raise AssertionError(f"cut without a kill after {time.monotonic() - begin:.2f} s")
            return "cut by a kill"
        finally:
            connection.close()

    clients = Clients(once)
    time.sleep(SECONDS)
    chaos.end()
    clients.end()
    print(f"       {dict(clients.counts)}; {chaos.figures()}", flush=True)
    assert clients.counts["answered"] > 100, clients.counts
    # A kill cuts what runs at that moment: of each client one at most.
    assert clients.counts["cut by a kill"] <= len(clients.threads) * len(chaos.kills), clients.counts
    return app


@test
@limit(SECONDS + 120)
def no_tcp_connect_fails_while_backends_are_killed_and_stopped(scope):
    def relay(chaos):
        port = free_port()
        to = [word for p in chaos.ports for word in ("--to", f"127.0.0.1:{p}")]
        app = scope.app(
            "relay", "--listen", f"127.0.0.1:{port}", *to, "--log", "json", "--connect-timeout", "2s", *HEALTH,
            ready=[("127.0.0.1", port)])
        return app, port

    app = tunnels(scope, relay, lambda port: socket.create_connection(("127.0.0.1", port), 30))
    # A client of raw TCP is not told; the log is.
    refused = re.findall(r'"(connectionRefused|connectTimeout|overloaded|hostUnreachable)"', app.output())
    assert not refused, collections.Counter(refused)


@test
@limit(SECONDS + 120)
def no_socks5_connect_fails_while_backends_are_killed_and_stopped(scope):
    def socks5(chaos):
        to = [word for p in chaos.ports for word in ("--to", f"127.0.0.1:{p}")]
        return scope.socks5(*to, "--log", "off", "--connect-timeout", "2s", *HEALTH, user=None)

    def connect(port):
        connection, code = socks5_connect(port, ("192.0.2.1", 80), user=None, timeout=30)
        assert code == 0, f"reply {code}"
        return connection

    tunnels(scope, socks5, connect)


@test
@limit(120)
def one_slow_backend_of_twenty_is_passed_over_by_two_choices_and_peak_ewma(scope):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "balanced.py")

    def p99(strategy):
        # New ones each time: what the one before has left in the queue of the slow one is not this one's doing.
        ports = [free_port() for _ in range(20)]
        words = [f"{port}:{400 if number == 3 else 20}" for number, port in enumerate(ports)]
        backends = scope.program([sys.executable, script, scope.path("posts"), *words], ports[-1], "twenty")
        app, port = scope.reverse([("127.0.0.1", p) for p in ports], "--log", "off", "--balance", strategy)
        status, output, errors = run(
            [need("wrk"), "-t1", "-c40", "-d4s", "--latency", "--timeout", "30s", f"http://127.0.0.1:{port}/work"])
        app.close()
        backends.close()
        text = output.decode()
        assert status == 0 and "Non-2xx" not in text, text + errors
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", text).groups()
        return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit]

    times = {strategy: p99(strategy) for strategy in ("round-robin", "two-choices", "peak-ewma")}
    ratios = {name: times["round-robin"] / value for name, value in times.items()}
    print("       p99 of round robin, times: " + ", ".join(f"{n} {r:.1f}" for n, r in ratios.items()), flush=True)
    assert ratios["two-choices"] >= 3 and ratios["peak-ewma"] >= 3, times
