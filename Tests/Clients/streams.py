"""Bytes in bulk: both ways at once, half-close, a reader that stands still, RST."""

import errno
import socket
import struct
import threading
import time

from harness import BLOCK, Origin, digest, echo, eventually, exchange_streams, limit, reset, socks5_connect, test

TOTAL = 100 * BLOCK


class Both(Origin):
    """Sends one stream while it reads another; `seen` is what it read of each connection."""

    def __init__(self):
        self.seen = []
        super().__init__(lambda connection: self.seen.append(exchange_streams(connection, b"from the origin", TOTAL)))


def check_both_ways(origin, connection):
    connection.settimeout(60)
    came = exchange_streams(connection, b"from the client", TOTAL)
    connection.close()
    assert came == (digest(b"from the origin", TOTAL), TOTAL), f"client got {came[1]} bytes, or others"
    eventually(lambda: origin.seen, "the origin has read to the end", 30)
    assert origin.seen[0] == (digest(b"from the client", TOTAL), TOTAL), f"origin got {origin.seen[0][1]} bytes, or others"


@test
@limit(120)
def relay_moves_100_MB_each_way_at_once_unchanged(scope):
    origin = scope.keep(Both())
    _, port = scope.relay(origin.address)
    check_both_ways(origin, socket.create_connection(("127.0.0.1", port)))


@test
@limit(120)
def bare_relay_moves_100_MB_each_way_at_once_unchanged(scope):
    origin = scope.keep(Both())
    _, port = scope.relay(origin.address, "--bare")
    check_both_ways(origin, socket.create_connection(("127.0.0.1", port)))


@test
@limit(120)
def socks5_moves_100_MB_each_way_at_once_unchanged(scope):
    origin = scope.keep(Both())
    _, port = scope.socks5()
    connection, reply = socks5_connect(port, origin.address)
    assert reply == 0, reply
    check_both_ways(origin, connection)


@test
def many_tunnels_at_once_keep_their_bytes_apart(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.relay(origin.address)
    results = []

    def one(number):
        seed, total = bytes([number]), 2 * BLOCK
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            results.append(exchange_streams(connection, seed, total) == (digest(seed, total), total))

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert results == [True] * 32, f"{results.count(True)} of 32 came back whole"


@test
def a_bandwidth_limit_holds_both_ways_over_tcp_and_socks5(scope):
    # 1 MiB each way at 2 MB/s with a burst of a tenth of a second's worth: 0.4 s at least.
    total, rate = BLOCK, ("--bandwidth", "2MB/s")
    origin = scope.keep(Origin(lambda connection: exchange_streams(connection, b"from the origin", total)))
    _, relay = scope.relay(origin.address, *rate)
    _, proxy = scope.socks5(*rate)

    def takes(connection):
        connection.settimeout(60)
        began = time.monotonic()
        came = exchange_streams(connection, b"from the client", total)
        connection.close()
        assert came == (digest(b"from the origin", total), total), f"client got {came[1]} bytes, or others"
        return time.monotonic() - began

    took = takes(socket.create_connection(("127.0.0.1", relay)))
    assert took >= 0.4, f"relay: {took}"
    connection, reply = socks5_connect(proxy, origin.address)
    assert reply == 0, reply
    took = takes(connection)
    assert took >= 0.4, f"SOCKS5: {took}"


class Pouring(Origin):
    """Sends without end; `sent` is what its socket took over all connections."""

    def __init__(self):
        self.sent = 0
        super().__init__(self.pour)

    def pour(self, connection):
        block = bytes(65536)
        while True:
            self.sent += connection.send(block)


def settled(count):
    """Waits until a counter stands still: everything between the two ends is full."""
    last, since = count(), time.monotonic()
    deadline = since + 30
    while time.monotonic() - since < 1.0:
        assert time.monotonic() < deadline, "never stood still"
        time.sleep(0.05)
        value = count()
        if value != last:
            last, since = value, time.monotonic()
    return last


@test
def a_client_that_stops_reading_holds_memory_flat(scope):
    origin = scope.keep(Pouring())
    app, port = scope.relay(origin.address)
    # One tunnel first: what the process takes once is not what a stalled reader costs.
    with socket.create_connection(("127.0.0.1", port)) as first:
        first.recv(1 << 20)
    before = app.resident_kb()
    stalled = [scope.keep(socket.create_connection(("127.0.0.1", port))) for _ in range(20)]
    settled(lambda: origin.sent)
    full = app.resident_kb()
    # A fixed window for each: 20 tunnels in 8 MB leave no room for a buffer that grows.
    assert full - before < 8 * 1024, f"20 stalled readers took {full - before} KB"
    for connection in stalled:
        connection.settimeout(10)
        connection.recv(1 << 16)
    settled(lambda: origin.sent)
    assert app.resident_kb() - full < 2 * 1024, "memory grew once a reader had read a little"


@test
def an_upstream_that_stops_reading_holds_memory_flat(scope):
    released = threading.Event()
    origin = scope.keep(Origin(lambda connection: released.wait(50)))
    app, port = scope.relay(origin.address)
    socket.create_connection(("127.0.0.1", port)).close()
    before, sent = app.resident_kb(), [0]
    connection = scope.keep(socket.create_connection(("127.0.0.1", port)))

    def push():
        try:
            while True:
                sent[0] += connection.send(bytes(65536))
        except OSError:
            pass  # closed at the end of the test

    threading.Thread(target=push, daemon=True).start()
    settled(lambda: sent[0])
    grown = app.resident_kb() - before
    released.set()
    assert grown < 4 * 1024, f"a stalled upstream took {grown} KB"


@test
def half_close_of_the_upstream_leaves_the_way_up_open(scope):
    got = []

    def serve(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            got.append(data)

    origin = scope.keep(Origin(serve))
    _, port = scope.relay(origin.address)
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        assert client.recv(3) == b"bye" and client.recv(1) == b""
        client.sendall(b"still here")
        client.shutdown(socket.SHUT_WR)
        eventually(lambda: b"".join(got) == b"still here", "what was sent after the upstream's FIN arrives")


@test
def a_reset_of_the_upstream_reaches_the_client_as_reset(scope):
    def serve(connection):
        connection.recv(1)
        reset(connection)

    origin = scope.keep(Origin(serve))
    _, port = scope.relay(origin.address)
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"x")
        try:
            got = client.recv(1)
        except OSError as error:
            assert error.errno == errno.ECONNRESET, error
        else:
            raise AssertionError(f"read {got!r} in place of a reset")


@test
def a_reset_of_the_client_reaches_the_upstream_as_reset(scope):
    seen = []

    def serve(connection):
        connection.sendall(b"x")
        try:
            seen.append(connection.recv(1))
        except OSError as error:
            seen.append(error.errno)

    origin = scope.keep(Origin(serve))
    _, port = scope.relay(origin.address)
    client = socket.create_connection(("127.0.0.1", port), 10)
    assert client.recv(1) == b"x"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: seen, "the upstream hears of it")
    assert seen == [errno.ECONNRESET], seen
