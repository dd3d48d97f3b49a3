"""Limits that several ExampleApp processes share through a real Redis: one server, one that dies, a cluster of three."""

import collections
import concurrent.futures
import http.client
import socket

from harness import Program, eventually, free_port, limit, need, run, test

LIMIT = 40


def redis_server(scope, *options, port=None):
    """(program, port) of a redis-server of the test's own, without persistence."""
    port = port or free_port()
    program = Program(
        [need("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
         "--dir", scope.directory.name, *options],
        scope.path(f"redis-{port}.log"),
    )
    scope.keep(program)
    program.await_port(port)
    return program, port


def cli(port, *words):
    status, output, errors = run([need("redis-cli"), "-p", str(port), *words])
    assert status == 0, errors
    return output.decode()


def origin(scope):
    """A web server of one answer."""
    from harness import Origin

    def answer(connection):
        while True:
            request = b""
            while b"\r\n\r\n" not in request:
                piece = connection.recv(4096)
                if not piece:
                    return
                request += piece
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    return scope.keep(Origin(answer)).address


def three(scope, url, *options):
    """Ports of three reverse proxies that share one limit."""
    target = origin(scope)
    ports = []
    for _ in range(3):
        port = free_port()
        scope.app(
            "reverse", "--listen", f"127.0.0.1:{port}", "--to", f"{target[0]}:{target[1]}", "--log", "off",
            "--workers", "2", "--rate-limit", f"{LIMIT}/d", "--limit-store", url, *options,
            ready=[("127.0.0.1", port)],
        )
        ports.append(port)
    return ports


def ask(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def statuses(ports, each):
    """How many answers of each status came to `each` requests at each port, all at once."""
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        return collections.Counter(pool.map(ask, [port for _ in range(each) for port in ports]))


def exactly(ports):
    got = statuses(ports, LIMIT)
    assert got == {200: LIMIT, 429: 2 * LIMIT}, got


@test
@limit(120)
def three_processes_on_one_redis_admit_exactly_n_of_3n(scope):
    _, redis = redis_server(scope)
    exactly(three(scope, f"redis://127.0.0.1:{redis}"))


def cluster_node(scope, index, port=None, bus=None):
    """A node of a cluster; with the ports of one that died it takes that one's place again."""
    bus = bus or free_port()
    program, port = redis_server(
        scope, "--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{index}.conf", "--cluster-port", str(bus),
        "--cluster-node-timeout", "1000", port=port)
    return program, port, bus


def redis_cluster(scope):
    """Three masters that share all slots."""
    nodes = [cluster_node(scope, index) for index in range(3)]
    for (_, port, _), (first, last) in zip(nodes, [(0, 5460), (5461, 10922), (10923, 16383)]):
        cli(port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        cli(port, "CLUSTER", "MEET", "127.0.0.1", str(nodes[0][1]), str(nodes[0][2]))
    for _, port, _ in nodes:
        eventually(
            lambda: "cluster_state:ok" in cli(port, "CLUSTER", "INFO")
            and "cluster_known_nodes:3" in cli(port, "CLUSTER", "INFO"), "the cluster is up", 60)
    return nodes


@test
@limit(180)
def three_processes_on_a_cluster_of_three_admit_exactly_n_of_3n(scope):
    # One of the three is enough to find the others.
    exactly(three(scope, f"redis-cluster://127.0.0.1:{redis_cluster(scope)[2][1]}"))


def through_a_dead_node(scope, policy):
    """What three processes answer while the node of a cluster that has their key is dead; before and after it they count."""
    nodes = redis_cluster(scope)
    url = "redis-cluster://" + ",".join(f"127.0.0.1:{port}" for _, port, _ in nodes)
    ports = three(scope, url, "--limit-trouble", policy)
    before = statuses(ports, 2)
    assert before == {200: 6}, before
    owners = [index for index, (_, port, _) in enumerate(nodes) if cli(port, "DBSIZE").strip() != "0"]
    assert len(owners) == 1, owners
    owner, (program, port, bus) = owners[0], nodes[owners[0]]
    program.kill()
    during = statuses(ports, LIMIT)
    nodes[owner] = cluster_node(scope, owner, port, bus)

    def counts_again():
        return all("cluster_state:ok" in cli(port, "CLUSTER", "INFO") for _, port, _ in nodes) and is_counting(ports, port)

    eventually(counts_again, "every process counts in the cluster again", 60)
    cli(port, "FLUSHALL")
    exactly(ports)
    return during


@test
@limit(180)
def while_a_node_of_the_cluster_is_dead_fail_open_admits_all(scope):
    during = through_a_dead_node(scope, "open")
    assert during == {200: 3 * LIMIT}, during


@test
@limit(180)
def while_a_node_of_the_cluster_is_dead_fail_closed_refuses_all(scope):
    during = through_a_dead_node(scope, "closed")
    assert during == {503: 3 * LIMIT}, during


@test
@limit(180)
def while_a_node_of_the_cluster_is_dead_local_limits_each_process_to_its_share(scope):
    during = through_a_dead_node(scope, "local:4")
    assert during == {200: 3 * (LIMIT // 4), 429: 3 * (LIMIT - LIMIT // 4)}, during


def through_an_outage(scope, policy):
    """What three processes answer while their Redis is dead; before and after it they count."""
    server, redis = redis_server(scope)
    ports = three(scope, f"redis://127.0.0.1:{redis}", "--limit-trouble", policy)
    before = statuses(ports, 2)
    assert before == {200: 6}, before
    server.kill()
    during = statuses(ports, LIMIT)
    redis_server(scope, port=redis)

    eventually(lambda: is_counting(ports, redis), "every process counts in Redis again", 30)
    cli(redis, "FLUSHALL")
    exactly(ports)
    return during


def is_counting(ports, redis):
    """Whether one request at each port is one call of the script each."""
    for port in ports:
        calls = script_calls(redis)
        ask(port)
        if script_calls(redis) == calls:
            return False
    return True


def script_calls(redis):
    stats = cli(redis, "INFO", "commandstats")
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in stats.splitlines() if "cmdstat_eval" in line)


@test
@limit(120)
def while_redis_is_dead_fail_open_admits_all(scope):
    during = through_an_outage(scope, "open")
    assert during == {200: 3 * LIMIT}, during


@test
@limit(120)
def while_redis_is_dead_fail_closed_refuses_all(scope):
    during = through_an_outage(scope, "closed")
    assert during == {503: 3 * LIMIT}, during


@test
@limit(120)
def while_redis_is_dead_local_limits_each_process_to_its_share(scope):
    during = through_an_outage(scope, "local:4")
    assert during == {200: 3 * (LIMIT // 4), 429: 3 * (LIMIT - LIMIT // 4)}, during


@test
@limit(60)
def a_redis_that_accepts_and_never_answers_hangs_nobody(scope):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        ports = three(scope, f"redis://127.0.0.1:{silent.getsockname()[1]}", "--limit-trouble", "open")
        got = statuses(ports, 20)
        assert got == {200: 60}, got


@test
def a_wrong_limit_store_is_refused_without_its_password(scope):
    for url, part in [("redis://user:s3cret@host:0", "allowed are"), ("mysql://s3cret", "redis://"),
                      ("rediss://:s3cret@h", "TLS")]:
        app = scope.app("relay", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1", "--rate-limit", "1/s",
                        "--limit-store", url)
        assert app.wait(10) != 0
        assert part in app.errors() and "--limit-store" in app.errors(), app.errors()
        assert "s3cret" not in app.errors() + app.output(), "the password is in the message"
