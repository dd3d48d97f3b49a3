"""Quotas of the whole program: exact under a thousand clients at once, in one process and in three that share a real Redis; live downloads
that end at their quota; a Redis that dies under way."""

import collections
import concurrent.futures
import json
import time

from admin import Load, Server, done, user_file
from harness import PASSWORD, USER, Origin, echo, eventually, limit, need, receive, run, socks5_connect, test
from shared import redis_server

LIMIT = 100


def ask(port, origin):
    """What one SOCKS5 exchange ends with: "ok", a reply number, or "cut"."""
    try:
        tunnel, reply = socks5_connect(port, origin.address, timeout=30)
    except (OSError, AssertionError, EOFError, IndexError):
        return "cut"
    with tunnel:
        if reply != 0:
            return reply
        tunnel.sendall(b"x")
        return "ok" if receive(tunnel, 1) == b"x" else "cut"


def storm(ports, origin, count):
    """How many of `count` exchanges at once, spread over the ports, ended how."""
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        return collections.Counter(pool.map(lambda number: ask(ports[number % len(ports)], origin), range(count)))


@test
@limit(120)
def a_hundred_of_a_thousand_requests_pass_and_no_more(scope):
    origin = scope.keep(Origin(echo))
    server = Server(scope, "--quota", f"requests={LIMIT}/ever")
    seen = storm([server.socks], origin, 1000)
    print(f"       one process: {dict(seen)}", flush=True)
    assert seen["ok"] == LIMIT, seen
    account = server.json(f"/users/{USER}/stats")["account"]
    assert account["total"]["requests"] - account["total"]["refused"] == LIMIT, account
    quota = next(quota for quota in account["quotas"] if quota["quota"] == "requests/ever")
    assert (quota["used"], quota["exhausted"]) == (LIMIT, True), quota


class Flood:
    """An origin that sends more than any quota allows, and knows nothing of it."""

    def __init__(self, scope):
        self.origin = scope.keep(Origin(self.serve))

    @staticmethod
    def serve(connection):
        head = b""
        while b"\n" not in head:
            piece = connection.recv(4096)
            if not piece:
                return
            head += piece
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        block = bytes(1 << 16)
        for _ in range(1_000_000_000 // len(block)):
            connection.sendall(block)

    def url(self):
        return f"http://127.0.0.1:{self.origin.port}/"


@test
@limit(120)
def a_download_of_a_gigabyte_ends_at_its_ten_megabytes(scope):
    flood = Flood(scope)
    users = [(f"user{number}", PASSWORD) for number in range(3)]
    server = Server(scope, "--quota", "bytes=10MB/ever", users=user_file(scope, users))
    ways = {
        "socks5": ["--socks5-hostname", f"user0:{PASSWORD}@127.0.0.1:{server.socks}"],
        "connect": ["-p", "-x", f"http://user1:{PASSWORD}@127.0.0.1:{server.forward}"],
        "http": ["-x", f"http://user2:{PASSWORD}@127.0.0.1:{server.forward}"],
    }
    for number, (name, words) in enumerate(ways.items()):
        status, output, errors = run(
            [need("curl"), "-s", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}", *words, flood.url()], timeout=90)
        # A cut is a reset: what a slow client has not been sent yet, at most a send buffer of the kernel, does not come.
        got = int(output)
        assert status != 0 and 5_000_000 <= got <= 10_000_000 + 65_536, (name, status, got, errors)
        account = server.json(f"/users/user{number}/stats")["account"]
        quota = next(quota for quota in account["quotas"] if quota["quota"] == "bytes/ever")
        print(f"       {name}: {got} bytes came, {quota['used']} are counted", flush=True)
        assert quota["exhausted"] and 10_000_000 <= quota["used"] <= 10_000_000 + 65_536, quota


class Three:
    """Three servers with one user file, which count together in one Redis."""

    def __init__(self, scope, redis, *options):
        users = user_file(scope)
        self.servers = [
            Server(scope, "--quota", f"requests={LIMIT}/ever", "--cache", f"redis://127.0.0.1:{redis}", "--ledger",
                   scope.path(f"usage-{number}.db"), *options, users=users, admin=scope.path(f"admin-{number}.sock"))
            for number in range(3)]
        self.ports = [server.socks for server in self.servers]


@test
@limit(120)
def a_hundred_of_a_thousand_requests_pass_at_three_processes_with_one_redis(scope):
    origin = scope.keep(Origin(echo))
    _, redis = redis_server(scope)
    three = Three(scope, redis)
    seen = storm(three.ports, origin, 1000)
    # What one process holds and does not need it gives back after a while.
    deadline = time.monotonic() + 60
    while seen["ok"] < LIMIT and time.monotonic() < deadline:
        seen += storm(three.ports, origin, 30)
    seen += storm(three.ports, origin, 300)
    print(f"       three processes: {dict(seen)}", flush=True)
    assert seen["ok"] == LIMIT, seen
    served = [server.json(f"/users/{USER}/stats")["account"]["total"] for server in three.servers]
    assert sum(total["requests"] - total["refused"] for total in served) == LIMIT, served


@test
@limit(120)
def leases_are_handed_back_by_a_process_that_stops(scope):
    origin = scope.keep(Origin(echo))
    _, redis = redis_server(scope)
    three = Three(scope, redis)
    first = [ask(port, origin) for port in three.ports]
    assert first == ["ok"] * 3, first
    for server in three.servers[1:]:
        server.stop()
    # All that is left is there at once for the one that goes on.
    seen = storm(three.ports[:1], origin, 200)
    print(f"       after two of three have stopped: {dict(seen)}", flush=True)
    assert seen["ok"] == LIMIT - 3, seen


def through_a_dead_redis(scope, policy):
    """What three processes answered while their Redis was dead, and how long the slowest answer took."""
    origin = scope.keep(Origin(echo))
    redis, port = redis_server(scope)
    three = Three(scope, port, "--cache-trouble", policy)
    before = storm(three.ports, origin, 15)
    assert before == {"ok": 15}, before
    redis.kill()
    slowest, during = 0.0, collections.Counter()
    for _ in range(10):
        for socks in three.ports:
            begun = time.monotonic()
            during[ask(socks, origin)] += 1
            slowest = max(slowest, time.monotonic() - begun)
    print(f"       {policy}: {dict(during)} while Redis was dead, the slowest answer after {slowest:.1f} s", flush=True)
    assert slowest < 15, "somebody hung"
    redis_server(scope, port=port)
    eventually(lambda: [ask(socks, origin) for socks in three.ports] == ["ok"] * 3, "all count again", 40)
    for server in three.servers:
        server.stop()
    return during


@test
@limit(180)
def while_redis_is_dead_quotas_go_on_alone_and_nobody_hangs(scope):
    during = through_a_dead_redis(scope, "alone")
    assert during == {"ok": 30}, during


@test
@limit(180)
def while_redis_is_dead_quotas_refuse_where_that_was_asked_for(scope):
    during = through_a_dead_redis(scope, "refuse")
    # What a process had taken before is its own; then SOCKS5 says "general failure".
    assert set(during) <= {"ok", 1} and during[1] > 0, during


@test
@limit(180)
def a_redis_that_dies_under_load_leaves_a_ledger_that_agrees_with_the_clients(scope):
    origin = scope.keep(Origin(echo))
    redis, port = redis_server(scope)
    server = Server(scope, "--quota", "requests=1000000/ever,bytes=1TB/ever", "--cache", f"redis://127.0.0.1:{port}")
    # Below the server's own limits of rate: what it turned away would not be the quota's doing.
    load = Load(server.socks, origin, clients=8, pause=0.2)

    def more(count):
        wanted = load.tunnels + count
        eventually(lambda: load.tunnels >= wanted, "traffic goes on", 60)

    more(30)
    redis.kill()
    more(40)
    redis_server(scope, port=port)
    more(40)
    server.app.terminate()
    assert server.app.wait(60) == 0, server.app.errors()
    load.end()
    assert not load.wrong, load.wrong[:5]
    account = json.loads(done(scope, "fetchUserStats", USER, "--json"))["account"]
    total, quotas = account["total"], {quota["quota"]: quota["used"] for quota in account["quotas"]}
    print(f"       clients {load.tunnels} tunnels, {load.up} up, {load.down} down; ledger {total['requests']}, {total['up']}, "
          f"{total['down']}, quotas {quotas}", flush=True)
    assert (total["requests"], total["refused"], total["up"], total["down"]) == (load.tunnels, 0, load.up, load.down), total
    assert quotas == {"requests/ever": load.tunnels, "bytes/ever": load.up + load.down}, quotas
