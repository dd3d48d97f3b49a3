"""Quotas of the whole program: exact under a thousand clients at once, in one process and in three that share a real Redis; live downloads
that end at their quota; a Redis that dies under way."""

import collections
import concurrent.futures
import json
import threading
import time

from admin import Server, done, user_file
from harness import PASSWORD, USER, HTTPOrigin, Origin, echo, eventually, limit, need, receive, run, socks5_connect, test
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
    server = Server(scope, "--quota", f"requests={LIMIT}/day")
    seen = storm([server.socks], origin, 1000)
    print(f"       one process: {dict(seen)}", flush=True)
    assert seen["ok"] == LIMIT, seen
    account = server.json(f"/users/{USER}/stats")["account"]
    assert account["total"]["requests"] - account["total"]["refused"] == LIMIT, account
    quota = next(quota for quota in account["quotas"] if quota["quota"] == "requests/day")
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
    server = Server(scope, "--quota", "bytes=10MB/day", users=user_file(scope, users))
    ways = {
        "socks5": ["--socks5-hostname", f"user0:{PASSWORD}@127.0.0.1:{server.socks}"],
        "connect": ["-p", "-x", f"http://user1:{PASSWORD}@127.0.0.1:{server.forward}"],
        "http": ["-x", f"http://user2:{PASSWORD}@127.0.0.1:{server.forward}"],
    }
    for number, (name, words) in enumerate(ways.items()):
        status, output, errors = run(
            [need("curl"), "-s", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}", *words, flood.url()], timeout=90)
        # What the head and the request take counts, too: a little less than all of it may be body.
        got = int(output)
        print(f"       {name}: {got} bytes came", flush=True)
        assert status != 0 and 10_000_000 - 65_536 <= got <= 10_000_000 + 65_536, (name, status, got, errors)
        account = server.json(f"/users/user{number}/stats")["account"]
        quota = next(quota for quota in account["quotas"] if quota["quota"] == "bytes/day")
        assert quota["exhausted"] and 10_000_000 <= quota["used"] <= 10_000_000 + 65_536, quota
