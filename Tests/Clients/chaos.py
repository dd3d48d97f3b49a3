"""Load at 256 connections while backends are killed and started again: which statuses are seen, and whether any body that is
taken for whole is not.

`Tests/Clients/chaos` takes a minute, or as long as it is told; `make test` takes 20 seconds.
"""

import collections
import http.client
import os
import random
import re
import socket
import sys
import threading
import time

from backend import content
from harness import Program, free_port, limit, need, run, test

SECONDS = int(os.environ.get("CHAOS_SECONDS", "20"))
ALLOWED = {200, 502, 503, 504}

# Counts the statuses that wrk sees; `done` gets the sums of its threads.
SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) seen = "" counts = {} end
function response(status) counts[status] = (counts[status] or 0) + 1
  if counts[status] == 1 or counts[status] % 100 == 0 then
    local all = {}
    for code, count in pairs(counts) do table.insert(all, code .. "=" .. count) end
    seen = table.concat(all, " ")
  end
end
function done()
  for _, thread in ipairs(threads) do print("statuses " .. thread:get("seen")) end
end
"""


class Backends:
    """Processes on fixed ports of this test, which one thread kills and starts again."""

    def __init__(self, scope, count):
        self.scope, self.ports, self.kills = scope, [free_port() for _ in range(count)], 0
        self.running = {}
        self.lock = threading.Lock()
        for port in self.ports:
            self.start(port)
        for port in self.ports:
            self.running[port].await_port(port)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.kill_and_start, daemon=True)

    def start(self, port):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "backend.py")
        self.running[port] = Program([sys.executable, script, str(port)], self.scope.path(f"backend-{port}.log"))

    def kill_and_start(self):
        randomness = random.Random(4)
        while not self.stopping.wait(0.3 + randomness.random() * 0.7):
            # Sometimes all of them at once: then there is nobody to go to.
            for port in self.ports if randomness.random() < 0.2 else [randomness.choice(self.ports)]:
                self.running[port].kill()
                self.kills += 1
            if self.stopping.wait(randomness.random() * 0.4):
                return
            for port in self.ports:
                if self.running[port].process.poll() is not None:
                    self.start(port)

    def close(self):
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()
        for program in self.running.values():
            program.kill()


class Verifier:
    """Clients that check every body. What is cut must be seen as cut; what is whole must be right."""

    def __init__(self, port, until):
        self.port, self.until = port, until
        self.counts = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()

    def note(self, what):
        with self.lock:
            self.counts[what] += 1

    def run(self, number):
        randomness = random.Random(number)
        connection = None
        while time.monotonic() < self.until and not self.wrong:
            size = randomness.choice([0, 1, 100, 4096, 20_000, 100_000, 400_000])
            target = f"/{randomness.choice(['length', 'chunked'])}/{size}/{randomness.randrange(1 << 30)}"
            if randomness.random() < 0.2:
                self.ask_in_http10(target)
                continue
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", target)
                answer = connection.getresponse()
                body = answer.read()
            except (http.client.HTTPException, OSError) as error:
                # A timeout would be a hang.
                if isinstance(error, TimeoutError):
                    self.wrong.append(f"{target}: nothing came for 30 seconds")
                self.note("cut")
                connection.close()
                connection = None
                continue
            self.judge(target, answer.status, body)
            if answer.will_close:
                connection.close()
                connection = None

    def ask_in_http10(self, target):
        """Without chunks the end of the body may be the end of the connection: a cut must then be a reset."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 30) as plain:
                plain.sendall(f"GET {target} HTTP/1.0\r\nhost: a\r\n\r\n".encode())
                data = b""
                while more := plain.recv(1 << 16):
                    data += more
        except OSError as error:
            if isinstance(error, TimeoutError):
                self.wrong.append(f"{target} in HTTP/1.0: nothing came for 30 seconds")
            return self.note("cut")
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return self.note("cut")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length and len(body) < int(length.group(1)):
            return self.note("cut")
        self.judge(target + " in HTTP/1.0", int(head.split(b" ")[1]), body)

    def judge(self, target, status, body):
        self.note(status)
        if status == 200 and body != content(target.split(" ")[0]):
            self.wrong.append(f"{target}: {len(body)} bytes were taken for the whole body, and are not")
        elif status not in ALLOWED:
            self.wrong.append(f"{target}: status {status}")


@test
@limit(SECONDS + 90)
def killed_backends_show_as_502_503_504_and_never_as_a_wrong_body(scope):
    backends = scope.keep(Backends(scope, 3))
    app, port = scope.reverse(
        [("127.0.0.1", p) for p in backends.ports], "--log", "off", "--connect-timeout", "2s", "--response-timeout", "5s")
    with open(scope.path("count.lua"), "w") as script:
        script.write(SCRIPT)
    before = app.descriptors()
    verifier = Verifier(port, time.monotonic() + SECONDS)
    backends.thread.start()
    clients = [threading.Thread(target=verifier.run, args=(number,), daemon=True) for number in range(8)]
    for client in clients:
        client.start()
    status, output, errors = run(
        [need("wrk"), "-t2", "-c256", f"-d{SECONDS}s", "--timeout", "20s", "-s", script.name,
         f"http://127.0.0.1:{port}/length/1000/wrk"], timeout=SECONDS + 60)
    for client in clients:
        client.join(60)
        assert not client.is_alive(), "a client hangs"
    text = output.decode()
    assert status == 0, text + errors
    seen = collections.Counter()
    for code, count in re.findall(r"(\d+)=(\d+)", " ".join(re.findall(r"statuses (.*)", text))):
        seen[int(code)] += int(count)
    print(f"       wrk {dict(seen)}, verified {dict(verifier.counts)}, {backends.kills} kills", flush=True)
    assert not verifier.wrong, verifier.wrong[:5]
    assert set(seen) <= ALLOWED, (seen, text)
    assert seen[200] > 100 and verifier.counts[200] > 100, (seen, verifier.counts, text)
    assert backends.kills >= SECONDS // 2, backends.kills
    timeouts = re.search(r"timeout (\d+)", text)
    assert not timeouts or int(timeouts.group(1)) == 0, text
    assert app.process.poll() is None, app.errors()
    # Only the kept upstream connections may be left.
    assert app.descriptors() <= before + 3 * 300 + 10, (before, app.descriptors())
