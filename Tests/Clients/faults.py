"""Thousands of SOCKS5 exchanges with failures injected on every side, and what must be left afterwards: nothing.

Each exchange comes from a loopback address of its own, so that its line in the access log can be told from the others'.
"""

import collections
import json
import os
import random
import signal
import socket
import struct
import threading

from harness import PASSWORD, USER, Origin, eventually, free_port, limit, listening_ports, receive, reset, test

COUNT = int(os.environ.get("FAULTS", "10000"))
THREADS = 24

# What is done to an exchange, and how often in a thousand.
KINDS = {
    "served": 560,
    "bulk": 20,
    "refused": 100,
    "connect timeout": 20,
    "wrong password": 10,
    "bad command": 40,
    "garbage": 40,
    "client gone in greeting": 50,
    "client gone before request": 50,
    "client reset in tunnel": 50,
    "upstream reset": 30,
    "upstream gone": 30,
}


class Injected:
    """Origins that misbehave on request: the first byte of a tunnel says how."""

    def __init__(self, scope):
        self.origin = scope.keep(Origin(self.serve))
        self.refusing = free_port()
        # A listener whose queue is full drops further SYNs: the only honest connect timeout on loopback.
        self.silent = scope.keep(socket.socket())
        self.silent.bind(("127.0.0.1", 0))
        self.silent.listen(0)
        self.fill = []
        for _ in range(4):
            filler = scope.keep(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(self.silent.getsockname())
            self.fill.append(filler)

    @staticmethod
    def serve(connection):
        what = connection.recv(1)
        if what == b"r":
            reset(connection)
        elif what == b"b":
            connection.sendall(bytes(2 << 20))
        elif what != b"g":
            connection.sendall(what)
            while data := connection.recv(65536):
                connection.sendall(data)


class Exchange:
    """One client with an address of its own."""

    def __init__(self, number, kind, port, injected):
        # 127.1.0.0 and on: nothing else on the machine talks from there.
        self.source = f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"
        self.kind, self.port, self.injected = kind, port, injected
        self.socket = None

    def connect(self):
        self.socket = socket.socket()
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        self.socket.bind((self.source, 0))
        self.socket.connect(("127.0.0.1", self.port))

    def login(self, user=USER, password=PASSWORD):
        self.socket.sendall(b"\x05\x01\x02")
        assert receive(self.socket, 2) == b"\x05\x02"
        name, secret = user.encode(), password.encode()
        self.socket.sendall(bytes([1, len(name)]) + name + bytes([len(secret)]) + secret)
        return receive(self.socket, 2)[1]

    def request(self, port, command=1):
        self.socket.sendall(b"\x05" + bytes([command]) + b"\x00\x01\x7f\x00\x00\x01" + struct.pack("!H", port))
        return receive(self.socket, 10)[1]

    def expect(self, got, wanted):
        assert got == wanted, f"{self.kind}: got {got!r}, not {wanted!r}"

    def run(self):
        try:
            self.connect()
            getattr(self, self.kind.replace(" ", "_"))()
        finally:
            if self.socket:
                self.socket.close()

    def tunnel(self, first):
        self.expect(self.login(), 0)
        self.expect(self.request(self.injected.origin.port), 0)
        self.socket.sendall(first)

    def at_end(self):
        """The other side's end, by FIN or RST."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def served(self):
        self.tunnel(b"e")
        self.expect(receive(self.socket, 1), b"e")

    def bulk(self):
        self.tunnel(b"b")
        count = 0
        while data := self.socket.recv(1 << 18):
            count += len(data)
        self.expect(count, 2 << 20)

    def refused(self):
        self.expect(self.login(), 0)
        self.expect(self.request(self.injected.refusing), 5)

    def connect_timeout(self):
        self.expect(self.login(), 0)
        self.expect(self.request(self.injected.silent.getsockname()[1]), 6)

    def wrong_password(self):
        # A name of its own: throttling by user is another test's subject.
        assert self.login(user=self.source, password="wrong") != 0, "a wrong password was accepted"

    def bad_command(self):
        self.expect(self.login(), 0)
        self.expect(self.request(1, command=2), 7)

    def garbage(self):
        self.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert self.at_end(), "garbage was answered"

    def client_gone_in_greeting(self):
        self.socket.sendall(b"\x05")

    def client_gone_before_request(self):
        self.expect(self.login(), 0)

    def client_reset_in_tunnel(self):
        self.tunnel(b"e")
        self.expect(receive(self.socket, 1), b"e")
        reset(self.socket)

    def upstream_reset(self):
        self.tunnel(b"r")
        assert self.at_end()

    def upstream_gone(self):
        self.tunnel(b"g")
        assert self.at_end()


def storm(exchanges):
    """Runs them from several threads; returns the failures."""
    queue, failures, lock = collections.deque(exchanges), [], threading.Lock()

    def work():
        while True:
            try:
                exchange = queue.popleft()
            except IndexError:
                return
            try:
                exchange.run()
            except Exception as error:
                with lock:
                    failures.append(f"{exchange.kind} from {exchange.source}: {type(error).__name__} {error}")

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def draw(numbers, port, injected, seed):
    source = random.Random(seed)
    kinds, weights = list(KINDS), list(KINDS.values())
    return [Exchange(number, source.choices(kinds, weights)[0], port, injected) for number in numbers]


def log_lines(app):
    """The complete lines of the access log, by client address."""
    lines = collections.defaultdict(list)
    for line in app.output().splitlines():
        entry = json.loads(line)
        lines[entry["client"].rsplit(":", 1)[0]].append(entry)
    return lines


# What the line of an exchange must say: its outcome, who ended it, and the bytes up and down where they are certain.
LINES = {
    "served": ("ok", "client", 1, 1),
    "bulk": ("ok", "upstream", 1, 2 << 20),
    "refused": ("connectionRefused", "upstream", 0, 0),
    "connect timeout": ("connectTimeout", "upstream", 0, 0),
    "wrong password": ("credentialsInvalid", "client", 0, 0),
    "bad command": ("unsupportedCommand", "client", 0, 0),
    "garbage": ("malformed", "client", 0, 0),
    "client gone in greeting": ("clientGone", "client", 0, 0),
    "client gone before request": ("clientGone", "client", 0, 0),
    "client reset in tunnel": ("ok", "client", 1, 1),
    "upstream reset": ("ok", "upstream", 1, 0),
    "upstream gone": ("ok", "upstream", 1, 0),
    "drained": ("ok", "client", 1, 1),
    "cut": ("draining", "proxy", 1, 1),
}


def complaint(exchange, entry):
    said = (entry["outcome"], entry["ended"], entry["up"], entry["down"])
    return None if said == LINES[exchange.kind] else f"says {said}"


@test
@limit(400)
def ten_thousand_exchanges_with_faults_leave_nothing_behind_and_are_each_logged_once(scope):
    injected = Injected(scope)
    app, port = scope.socks5("--log", "json", "--connect-timeout", "300ms", "--workers", "2", "--grace", "2s",
                             "--handshake-timeout", "20s")
    warm = draw(range(0, 600), port, injected, seed=1)
    # Hashing a password takes 16 MB for a moment, on each thread of the pool: the peak belongs to the warm-up.
    warm += [Exchange(number, "wrong password", port, injected) for number in range(60_000, 60_000 + 4 * THREADS)]
    failures = storm(warm[::-1])
    assert not failures, f"{len(failures)} in the warm-up: {'; '.join(failures[:5])}"
    quiet(app, expected_lines=len(warm))
    descriptors, sockets, threads, memory = app.descriptors(), app.sockets(), app.threads(), app.resident_kb()

    exchanges = draw(range(600, 600 + COUNT), port, injected, seed=2)
    failures = storm(exchanges)
    assert not failures, f"{len(failures)} of {COUNT}: {'; '.join(failures[:5])}"
    quiet(app, expected_lines=len(warm) + COUNT)
    eventually(lambda: app.sockets() == sockets, f"sockets are {sockets} again, not {app.sockets()}", 15)
    eventually(lambda: app.descriptors() <= descriptors, f"descriptors are {descriptors} again, not {app.descriptors()}", 5)
    assert app.threads() <= threads, f"{app.threads()} threads, {threads} before"
    grown = app.resident_kb() - memory
    assert grown < 6 * 1024, f"memory grew by {grown} KB"

    # The drain in the middle: half of the tunnels end in time, half are cut.
    tunnels = draw(range(600 + COUNT, 600 + COUNT + 40), port, injected, seed=3)
    for number, tunnel in enumerate(tunnels):
        tunnel.kind = "drained" if number < 20 else "cut"
        tunnel.connect()
        tunnel.tunnel(b"e")
        tunnel.expect(receive(tunnel.socket, 1), b"e")
    app.terminate(signal.SIGTERM)
    eventually(lambda: port not in listening_ports("127.0.0.1"), "the listener is closed")
    for tunnel in tunnels[:20]:
        tunnel.socket.close()
    assert app.wait(15) == 0
    for tunnel in tunnels[20:]:
        assert tunnel.at_end(), "a cut tunnel is still open"
        tunnel.socket.close()

    check_log(app, warm + exchanges + tunnels)


def quiet(app, expected_lines):
    """The log is written behind the exchanges' backs: it is complete when as many lines stand in it as exchanges began."""
    try:
        eventually(lambda: app.output().count("\n") >= expected_lines, f"{expected_lines} log lines", 20)
    except AssertionError:
        raise AssertionError(f"{app.output().count(chr(10))} log lines for {expected_lines} exchanges")


def check_log(app, exchanges):
    lines = log_lines(app)
    wrong = []
    for exchange in exchanges:
        entries = lines.pop(exchange.source, [])
        if len(entries) != 1:
            wrong.append(f"{exchange.kind}: {len(entries)} lines")
        elif reason := complaint(exchange, entries[0]):
            wrong.append(f"{exchange.kind}: {reason}")
    ids = [line["id"] for line in map(json.loads, app.output().splitlines())]
    assert len(set(ids)) == len(ids), "two exchanges have one id"
    counted = collections.Counter(wrong)
    assert not wrong, f"{len(wrong)} wrong: " + "; ".join(f"{count}x {what}" for what, count in counted.most_common(8))
    assert not lines, f"lines of nobody: {list(lines)[:5]}"
