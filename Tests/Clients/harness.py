"""What the tests with real clients share: ExampleApp on ephemeral ports, small origins, a plain runner."""

import hashlib
import http.server
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
APP = os.environ.get("EXAMPLE_APP", os.path.join(TOP, ".build", "checked", "debug", "ExampleApp"))
USER, PASSWORD = "fierceRabbit", "secretThicket"
BLOCK = 1 << 20

# ---- the runner

TESTS = []


class Skip(Exception):
    """Something that this machine does not allow; said, and not counted as passed."""


def test(function):
    """Registers a test. Its name, with spaces, is the fact that it shows."""
    TESTS.append(function)
    return function


def run_all(only=()):
    """Runs the registered tests one by one, each bounded in time; returns whether all passed."""
    passed, failed, skipped = 0, [], 0
    for function in TESTS:
        name = function.__name__.replace("_", " ")
        if only and not any(word in function.__name__ for word in only):
            continue
        limit = getattr(function, "limit", 60)
        started = time.monotonic()
        verdict, reason = "ok  ", ""
        with Scope() as scope:
            try:
                signal.signal(signal.SIGALRM, on_alarm)
                signal.alarm(limit)
                function(scope)
                scope.check_apps()
            except Skip as skip:
                verdict, reason = "skip", f": {skip}"
            except AssertionError as error:
                verdict, reason = "FAIL", f": {error}"
            except Exception as error:  # a broken test is a failed one, with what broke it
                verdict, reason = "FAIL", f": {type(error).__name__}: {error}"
            finally:
                signal.alarm(0)
        print(f"{verdict} {name} ({time.monotonic() - started:.1f} s){reason}", flush=True)
        if verdict == "FAIL":
            failed.append(name)
            for app in scope.apps[-3:]:
                for line in app.errors().splitlines()[-5:]:
                    print(f"       {app.arguments[0]}: {line}", flush=True)
        elif verdict == "skip":
            skipped += 1
        else:
            passed += 1
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {len(failed)} failed", flush=True)
    return not failed


def on_alarm(signum, frame):
    raise AssertionError("took too long")


def limit(seconds):
    def mark(function):
        function.limit = seconds
        return function
    return mark


def eventually(condition, what, seconds=10.0):
    """Waits for something that no event tells of (another process's state)."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def free_port(host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def address(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(argv, input=None, timeout=30, **options):
    """A client, run to its end: (status, output, errors)."""
    done = subprocess.run(argv, input=input, capture_output=True, timeout=timeout, **options)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def need(program):
    for directory in [*os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"]:
        if os.access(os.path.join(directory, program), os.X_OK):
            return os.path.join(directory, program)
    raise AssertionError(f"{program} is not installed: run Scripts/setup test")


# ---- the app

class App:
    """One ExampleApp process. Standard output (the access log) and standard error go to files."""

    def __init__(self, scratch, arguments, ready=(), environment=None, limits=None):
        # Servers of the tests run side by side: the admin port is for those that say which.
        if arguments[0] in ("server", "proxy") and "--admin-http" not in arguments and "--help" not in arguments:
            arguments = [*arguments, "--admin-http", "off"]
        self.arguments = arguments
        stem = os.path.join(scratch, f"app{len(os.listdir(scratch))}")
        self.output_path, self.errors_path = stem + ".out", stem + ".err"
        with open(self.output_path, "wb") as out, open(self.errors_path, "wb") as err:
            self.process = subprocess.Popen(
                [APP, *arguments], stdout=out, stderr=err, stdin=subprocess.DEVNULL, preexec_fn=limits,
                # The admin socket and the ledger of a test are its own.
                env={**os.environ, "XDG_RUNTIME_DIR": scratch, "XDG_STATE_HOME": scratch, **(environment or {})},
            )
        for host, port in ready:
            self.await_listener(host, port)

    def await_listener(self, host, port):
        # The listening socket is looked up, not connected to: a probe would be an exchange in the log.
        def listening():
            if self.process.poll() is not None:
                raise AssertionError(f"ExampleApp ended with {self.process.returncode}: {self.errors().strip()[-500:]}")
            # It says so once it hears signals, too.
            return port in listening_ports(host) and "listen" in self.errors() + self.output()
        eventually(listening, f"ExampleApp listens on {address(host, port)}", 20)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        with open(self.output_path, errors="replace") as file:
            return file.read()

    def errors(self):
        with open(self.errors_path, errors="replace") as file:
            return file.read()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sockets(self):
        count = 0
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                count += os.readlink(f"/proc/{self.pid}/fd/{fd}").startswith("socket:")
            except FileNotFoundError:
                pass
        return count

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def resident_kb(self):
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def terminate(self, sent=signal.SIGTERM):
        self.process.send_signal(sent)

    def wait(self, seconds=20):
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Program:
    """One process that is not ours."""

    def __init__(self, argv, output):
        self.argv, self.output_path = argv, output
        with open(output, "ab") as out:
            self.process = subprocess.Popen(
                argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)

    def output(self):
        with open(self.output_path, errors="replace") as file:
            return file.read()

    def await_port(self, port):
        def listening():
            assert self.process.poll() is None, f"{self.argv[0]} ended: {self.output()[-800:]}"
            return port in listening_ports("127.0.0.1")
        eventually(listening, f"{self.argv[0]} listens on {port}", 20)

    def kill(self):
        # Its own session, so exactly the processes that this test started.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGTERM)
                self.process.wait(3)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        self.kill()


def listening_ports(host):
    table = "/proc/net/tcp6" if ":" in host else "/proc/net/tcp"
    with open(table) as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"}


class Scope:
    """What a test started; all of it is stopped at its end."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="sluice-clients-")
        self.apps, self.closing = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thing in reversed(self.closing):
            thing.close()
        for app in self.apps:
            app.close()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def app(self, *arguments, ready=(), **options):
        app = App(self.directory.name, [str(a) for a in arguments], ready, **options)
        self.apps.append(app)
        return app

    def relay(self, target, *options, host="127.0.0.1"):
        """(app, port) of `ExampleApp relay` to a host and port."""
        port = free_port(host)
        app = self.app("relay", "--listen", address(host, port), "--to", address(*target), *options, ready=[(host, port)])
        return app, port

    def socks5(self, *options, host="127.0.0.1", user=f"{USER}:{PASSWORD}"):
        """(app, port) of `ExampleApp socks5`, with one user unless `user` is None."""
        port = free_port(host)
        users = ["--user", user] if user else []
        return self.app("socks5", "--listen", address(host, port), *users, *options, ready=[(host, port)]), port

    def reverse(self, targets, *options, host="127.0.0.1"):
        """(app, port) of `ExampleApp reverse` to hosts and ports."""
        port = free_port(host)
        to = [word for target in targets for word in ("--to", address(*target))]
        return self.app("reverse", "--listen", address(host, port), *to, *options, ready=[(host, port)]), port

    def forward(self, *options, host="127.0.0.1", user=f"{USER}:{PASSWORD}"):
        """(app, port) of `ExampleApp forward`, with one user unless `user` is None."""
        port = free_port(host)
        users = ["--user", user] if user else []
        return self.app("forward", "--listen", address(host, port), *users, *options, ready=[(host, port)]), port

    def program(self, argv, port, name):
        """Another program that listens on a loopback port, stopped at the end of the test."""
        program = self.keep(Program(argv, self.path(f"{name}-{port}.log")))
        program.await_port(port)
        return program

    def keep(self, thing):
        self.closing.append(thing)
        return thing

    def check_apps(self):
        """No test passes when an app crashed under it."""
        for app in self.apps:
            status = app.process.poll()
            assert status is None or status >= 0, f"{app.arguments[0]} died of signal {-status}: {app.errors()[-800:]}"


# ---- origins

class Origin:
    """A TCP server on an ephemeral loopback port; `serve(connection)` runs in a thread for each connection."""

    def __init__(self, serve, host="127.0.0.1", backlog=512):
        self.serve = serve
        self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, 0))
        self.listener.listen(backlog)
        self.host, self.port = host, self.listener.getsockname()[1]
        self.accepted = 0
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self):
        return (self.host, self.port)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.open.add(connection)
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        try:
            self.serve(connection)
        except OSError:
            pass  # the other side went; what it means is the test's to say
        finally:
            self.open.discard(connection)
            connection.close()

    def close(self):
        # A blocked accept keeps the listening socket alive beyond close().
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def reset(connection):
    """Ends a connection with RST in place of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class HTTPOrigin:
    """A small real HTTP server."""

    def __init__(self, host="127.0.0.1", body=b"hello from the origin\n"):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            request_queue_size = 512

            def handle_error(self, request, client):
                pass  # the other side went; what it means is the test's to say

        self.body = body
        self.server = Server((host, 0), Handler)
        self.host, self.port = host, self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, host=None):
        return f"http://{address(host or self.host, self.port)}/"

    @property
    def address(self):
        return (self.host, self.port)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# ---- bytes

def socks5_connect(port, target, user=(USER, PASSWORD), host="127.0.0.1", timeout=20):
    """A tunnel by hand, for tests that need the plain socket: (socket, reply code)."""
    connection = socket.create_connection((host, port), timeout)
    connection.sendall(b"\x05\x01" + (b"\x02" if user else b"\x00"))
    method = receive(connection, 2)[1]
    assert method == (2 if user else 0), f"method {method:#04x}"
    if user:
        name, password = (part.encode() for part in user)
        connection.sendall(bytes([1, len(name)]) + name + bytes([len(password)]) + password)
        status = receive(connection, 2)[1]
        assert status == 0, f"authentication status {status}"
    where = socket.inet_aton(target[0]) + struct.pack("!H", target[1])
    connection.sendall(b"\x05\x01\x00\x01" + where)
    head = receive(connection, 4)
    receive(connection, {1: 4, 4: 16}[head[3]] + 2)
    return connection, head[1]


def receive(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, f"closed after {len(data)} of {count} bytes: {data!r}"
        data += more
    return data


def blocks(seed, total):
    """A reproducible stream in which no two blocks are alike, so that a lost or doubled one changes the digest."""
    base = hashlib.shake_256(seed).digest(BLOCK)
    for number in range(total // BLOCK):
        yield number.to_bytes(8, "big") + base[8:]


def digest(seed, total):
    value = hashlib.sha256()
    for block in blocks(seed, total):
        value.update(block)
    return value.hexdigest()


def exchange_streams(connection, seed, total):
    """Sends `total` bytes of `seed`, half-closes, and meanwhile reads to the end: (digest, length) of what came."""
    seen, count = hashlib.sha256(), 0

    def send():
        for block in blocks(seed, total):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    while data := connection.recv(256 * 1024):
        seen.update(data)
        count += len(data)
    sender.join()
    return seen.hexdigest(), count


def main(only):
    if not os.access(APP, os.X_OK):
        print(f"{APP} is not built: run make check first", file=sys.stderr)
        return 1
    return 0 if run_all(only) else 1
