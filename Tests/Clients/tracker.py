"""The token tracker: curl, and `tracker-check` on every set-up of stores, counters and front ends."""

import json
import re
import signal
import time

from harness import eventually, free_port, limit, need, run, test
from shared import cli, redis_server

FINAL = ["/test  with token 1: 1001, right", "/test2 with token 1: 901, right", "/test  with token 2: 1101, right",
         "an invalid token: 1000 of 1000 refused with 401, right"]


def front(scope, *options, port=None, name="tracker", **more):
    """(app, port) of a front end, or of a counter."""
    port = port or free_port()
    app = scope.app(name, "--listen", f"127.0.0.1:{port}", "--workers", "2", *options,
                    ready=[("127.0.0.1", port)], **more)
    return app, port


def three(scope, *options):
    return [front(scope, "--log", "off", *options)[1] for _ in range(3)]


def check(scope, ports, *options):
    """Runs tracker-check to its end and returns what it printed."""
    app = scope.app("tracker-check", *[f"127.0.0.1:{port}" for port in ports], *options)
    status = app.wait(100)
    said = app.output() + app.errors()
    assert status == 0, f"status {status}: {said}"
    for line in FINAL:
        assert line in said.splitlines(), said
    return said


def curl(port, path, *options):
    """(status, fields, body) of one request."""
    status, output, errors = run(
        [need("curl"), "-sS", "--max-time", "20", "-i", "--path-as-is", *options, f"http://127.0.0.1:{port}{path}"])
    assert status == 0, errors
    head, _, body = output.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), body


def token_from(port):
    status, fields, body = curl(port, "/auth")
    assert status == 200 and fields["content-type"] == "application/json", (status, fields)
    assert re.fullmatch(r'\{"token":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"\}', body), body
    return json.loads(body)["token"]


def counted(port, path, token, *options):
    status, _, body = curl(port, path, "-H", f"authorization: {token}", *options)
    assert status == 200, (status, body)
    assert re.fullmatch(r'\{"count":[0-9]+\}', body), body
    return json.loads(body)["count"]


def cluster(scope):
    """Ports of a cluster of three masters."""
    ports = []
    for index in range(3):
        _, port = redis_server(
            scope, "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{index}.conf",
            "--cluster-port", str(free_port()))
        ports.append(port)
    buses = [cli(port, "CONFIG", "GET", "cluster-port").split()[-1] for port in ports]
    for index, (first, last) in enumerate([(0, 5460), (5461, 10922), (10923, 16383)]):
        cli(ports[index], "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        cli(ports[index], "CLUSTER", "MEET", "127.0.0.1", str(ports[0]), buses[0])
    for port in ports:
        eventually(
            lambda: "cluster_state:ok" in cli(port, "CLUSTER", "INFO")
            and "cluster_known_nodes:3" in cli(port, "CLUSTER", "INFO"), "the cluster is up", 60)
    return ports


def what_curl_sees(port):
    first, second = token_from(port), token_from(port)
    assert first != second
    # Raw and as a bearer token are one; so are the ways to write a path.
    assert counted(port, "/test", first) == 1
    assert counted(port, "/test", f"Bearer {first}") == 2
    assert counted(port, "/test?a=b", f"bearer  {first.upper()}") == 3
    assert counted(port, "/%74est", first) == 4
    assert counted(port, "/test", second) == 1
    assert counted(port, "/test/", first) == 1
    assert counted(port, "/a%20b/c%2Fd", first) == 1
    assert counted(port, "/a%20b/c/d", first) == 2
    assert counted(port, "/%C3%A4", first) == 1
    assert counted(port, "/", first) == 1
    # As long as a request line may be, of characters that a query does not hold as they are.
    assert counted(port, "/" + "!" * 7000, first) == 1
    # A token at /auth changes nothing: it gives a new one, and counts nothing.
    status, _, body = curl(port, "/%61uth", "-H", f"authorization: {first}")
    assert status == 200 and json.loads(body)["token"] not in (first, second), body
    for options in ([], ["-H", "authorization: 00000000-0000-4000-8000-000000000000"], ["-H", "authorization: x"],
                    ["-H", "authorization: Bearer"], ["-u", "a:b"], ["-H", f"authorization: {first}x"]):
        status, fields, body = curl(port, "/test", *options)
        assert status == 401 and fields["www-authenticate"].startswith('bearer realm="tracker"'), (options, status)
    status, _, _ = curl(port, "/test", "-H", f"authorization: {first}", "-H", f"authorization: {second}")
    assert status == 400, status
    for path in ("/%zz", "/%", "/%ff", "/a/../test", "/%2e%2e/test"):
        status, _, _ = curl(port, path, "-H", f"authorization: {first}")
        assert status == 400, (path, status)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        for path in ("/test", "/auth"):
            options = ["-I"] if method == "HEAD" else ["-X", method]
            status, fields, _ = curl(port, path, *options, "-H", f"authorization: {first}")
            assert status == 405 and fields["allow"] == "get", (method, path, status, fields)
    assert counted(port, "/test", first) == 5, "none of these was counted"


@test
def a_tracker_in_memory_does_what_curl_expects(scope):
    app, port = front(scope)
    what_curl_sees(port)
    assert "counts in memory" in app.errors()


@test
@limit(120)
def a_tracker_on_redis_and_one_with_a_counter_do_what_curl_expects(scope):
    _, redis = redis_server(scope)
    what_curl_sees(front(scope, "--store", f"redis://127.0.0.1:{redis}")[1])
    _, counter = front(scope, "--store", f"redis://127.0.0.1:{redis}", name="counter")
    what_curl_sees(front(scope, "--counter", f"127.0.0.1:{counter}")[1])


@test
def addresses_come_from_the_environment_and_flags_go_before_them(scope):
    _, redis = redis_server(scope)
    listen, counter = free_port(), free_port()
    environment = {"ENVOY_ADDR": f"127.0.0.1:{listen}", "REDIS_ADDR": f"127.0.0.1:{redis}",
                   "COUNTER_ADDR": f"127.0.0.1:{counter}"}
    app = scope.app("tracker", ready=[("127.0.0.1", listen)], environment=environment)
    assert f"counts in redis://127.0.0.1:{redis}" in app.errors(), app.errors()
    token = token_from(listen)
    app = scope.app("counter", ready=[("127.0.0.1", counter)], environment=environment)
    assert f"counts in redis://127.0.0.1:{redis}" in app.errors(), app.errors()
    other = free_port()
    app = scope.app("tracker", "--listen", f"127.0.0.1:{other}", "--counter", f"127.0.0.1:{counter}",
                    ready=[("127.0.0.1", other)], environment=environment)
    assert counted(other, "/x", token) == 1 and counted(listen, "/x", token) == 2


@test
def a_wrong_store_is_refused_without_its_password(scope):
    for options, part in [(["--store", "redis://u:s3cret@h:0"], "--store: the server"), (["--store", "s3cret"], "allowed are"),
                          (["--store", "redis://h", "--store", "redis://h"], "named twice"),
                          (["--store", "redis://h", "--counter", "h:1"], "one or the other"),
                          (["--counter", "h"], "--counter: \"h\" is not allowed")]:
        app = scope.app("tracker", "--listen", f"127.0.0.1:{free_port()}", *options)
        assert app.wait(10) == 2, app.errors()
        assert part in app.errors(), app.errors()
        if part != "allowed are":
            assert "s3cret" not in app.errors(), app.errors()


@test
@limit(120)
def the_check_is_exact_with_three_front_ends_on_one_redis(scope):
    _, redis = redis_server(scope)
    said = check(scope, three(scope, "--store", f"redis://127.0.0.1:{redis}"))
    assert "; 0 were not taken" in said, said


@test
@limit(120)
def the_check_is_exact_with_three_front_ends_on_three_redis_servers(scope):
    servers = [redis_server(scope)[1] for _ in range(3)]
    stores = [word for port in servers for word in ("--store", f"redis://127.0.0.1:{port}")]
    ports = three(scope, *stores)
    check(scope, ports)
    # Tokens are spread over all of them, and every front end knows where each is.
    for number in range(40):
        token = token_from(ports[number % 3])
        assert [counted(port, "/x", token) for port in ports] == [1, 2, 3]
    sizes = [int(cli(port, "DBSIZE").split()[-1]) for port in servers]
    assert all(size >= 2 for size in sizes), sizes


@test
@limit(180)
def the_check_is_exact_with_three_front_ends_on_a_cluster_of_three(scope):
    nodes = cluster(scope)
    ports = three(scope, "--store", f"redis-cluster://127.0.0.1:{nodes[1]}")
    check(scope, ports)
    for number in range(20):
        token = token_from(ports[number % 3])
        assert [counted(port, "/x", token) for port in ports] == [1, 2, 3]
    sizes = [int(cli(port, "DBSIZE").split()[-1]) for port in nodes]
    assert all(size >= 2 for size in sizes), sizes


@test
@limit(120)
def the_check_is_exact_with_two_counters_between(scope):
    # Each counter has a memory of its own, so that a token which goes to the wrong one is not known there.
    counters = [front(scope, "--log", "off", name="counter")[1] for _ in range(2)]
    ports = three(scope, *[word for port in counters for word in ("--counter", f"127.0.0.1:{port}")])
    check(scope, ports)


@test
@limit(120)
def the_check_is_exact_with_two_counters_between_on_one_redis(scope):
    _, redis = redis_server(scope)
    counters = [front(scope, "--log", "off", "--store", f"redis://127.0.0.1:{redis}", name="counter")[1]
                for _ in range(2)]
    check(scope, three(scope, *[word for port in counters for word in ("--counter", f"127.0.0.1:{port}")]))


@test
@limit(180)
def the_check_is_exact_with_one_front_end_restarted_in_the_middle(scope):
    _, redis = redis_server(scope)
    store = ["--store", f"redis://127.0.0.1:{redis}"]
    (first, a), (second, b), (third, c) = [front(scope, *store) for _ in range(3)]
    app = scope.app("tracker-check", *[f"127.0.0.1:{port}" for port in (a, b, c)])
    eventually(lambda: len(second.output().splitlines()) > 200, "the check is under way", 60)
    second.terminate()
    assert second.wait(30) == 0, second.errors()
    assert app.process.poll() is None, "the check was over before the restart: it shows nothing"
    before = len(second.output().splitlines())
    # So that the others do not do all of its work while it starts.
    app.terminate(signal.SIGSTOP)
    second, _ = front(scope, *store, port=b)
    app.terminate(signal.SIGCONT)
    assert app.wait(100) == 0, app.output() + app.errors()
    for line in FINAL:
        assert line in app.output().splitlines(), app.output()
    after = len(second.output().splitlines())
    assert before > 200 and after > 100, f"both lives of the front end served: {before}, {after}"
    assert "; 0 were not taken" not in app.output(), "the restart was not noticed: it shows nothing"


@test
@limit(120)
def a_check_that_is_wrong_says_so(scope):
    # Front ends that do not share their counts.
    ports = three(scope)
    app = scope.app("tracker-check", *[f"127.0.0.1:{port}" for port in ports])
    assert app.wait(100) == 1, app.output()
    assert "wrong" in app.output(), app.output()
    app = scope.app("tracker-check", f"127.0.0.1:{free_port()}", "--patience", "500ms")
    assert app.wait(30) == 1, app.output()


@test
@limit(120)
def a_dead_redis_is_a_503_within_two_seconds_and_one_that_comes_back_counts_again(scope):
    server, redis = redis_server(scope)
    app, port = front(scope, "--store", f"redis://127.0.0.1:{redis}")
    token = token_from(port)
    assert counted(port, "/x", token) == 1
    server.kill()
    for path in ["/x"] * 8 + ["/auth"]:
        started = time.monotonic()
        status, fields, body = curl(port, path, "-H", f"authorization: {token}")
        took = time.monotonic() - started
        assert status == 503 and fields["retry-after"] == "1" and took < 2, (status, fields, took)
    redis_server(scope, port=redis)
    eventually(lambda: curl(port, "/auth")[0] == 200, "it counts again", 20)
    token = token_from(port)
    assert counted(port, "/x", token) == 1
    lines = [line for line in app.errors().splitlines() if "cache " in line]
    assert len(lines) == 2 and "failed 5 times" in lines[0] and "is back" in lines[1], lines


@test
@limit(120)
def a_redis_that_hangs_is_a_503_within_two_seconds(scope):
    server, redis = redis_server(scope)
    app, port = front(scope, "--store", f"redis://127.0.0.1:{redis}")
    _, counter = front(scope, "--store", f"redis://127.0.0.1:{redis}", name="counter")
    _, behind = front(scope, "--counter", f"127.0.0.1:{counter}")
    token = token_from(port)
    assert counted(port, "/x", token) == 1 and counted(behind, "/x", token) == 2
    server.process.send_signal(signal.SIGSTOP)
    try:
        for number in range(6):
            for front_end in (port, behind):
                started = time.monotonic()
                status, _, _ = curl(front_end, "/y", "-H", f"authorization: {token}")
                took = time.monotonic() - started
                assert status == 503 and took < 2, (status, took)
    finally:
        server.process.send_signal(signal.SIGCONT)
    for front_end in (port, behind):
        eventually(lambda: curl(front_end, "/x", "-H", f"authorization: {token}")[0] == 200, "it counts again", 20)


@test
@limit(60)
def a_dead_counter_is_a_503_and_its_tokens_alone(scope):
    counters = [front(scope, name="counter") for _ in range(2)]
    _, port = front(scope, *[word for _, at in counters for word in ("--counter", f"127.0.0.1:{at}")])
    tokens = []
    while len(tokens) < 24:
        tokens.append(token_from(port))
    counters[0][0].terminate(signal.SIGKILL)
    counters[0][0].process.wait()
    statuses = [curl(port, "/x", "-H", f"authorization: {token}")[0] for token in tokens]
    assert set(statuses) == {200, 503}, statuses
    scope.apps.remove(counters[0][0])
