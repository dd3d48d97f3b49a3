"""The settings of `ExampleApp proxy`, as a new operator meets them: init, check, run, break, reload under load."""

import os
import re
import signal
import subprocess
import threading
import time

from harness import (
    APP, TOP, Origin, echo, eventually, free_port, limit, need, receive, run, test,
)
from web import curl, curl_ok


def saying(scope, word):
    """An HTTP backend that answers everything with one word, its health included."""
    body = word.encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    def serve(connection):
        rest = b""
        while data := connection.recv(65536):
            rest += data
            count = rest.count(b"\r\n\r\n")
            rest = rest.rsplit(b"\r\n\r\n", 1)[-1] if count else rest
            if count:
                connection.sendall(answer * count)
    return scope.keep(Origin(serve))


def environment(scope):
    return {**os.environ, "XDG_RUNTIME_DIR": scope.directory.name, "XDG_STATE_HOME": scope.directory.name}


def command(scope, *words):
    """(status, output, errors) of one command, run in the test's directory."""
    status, output, errors = run([APP, *map(str, words)], env=environment(scope), cwd=scope.directory.name)
    return status, output.decode(), errors


def write(scope, text, name="proxy.yaml"):
    # As editors do: nobody ever reads half of it.
    path = scope.path(name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)
    return path


def settings(port, backends, more=""):
    servers = "".join(f"  - url: http://127.0.0.1:{backend.port}\n" for backend in backends)
    return f"server:\n  address: 127.0.0.1:{port}\n{more}servers:\n{servers}"


def proxy(scope, port, *words, **options):
    return scope.app("proxy", *words, ready=[("127.0.0.1", port)], **options)


def reloads(app):
    return app.errors().count("reload: ")


@test
def a_new_operator_gets_from_readme_and_help_to_a_running_proxy(scope):
    with open(os.path.join(TOP, "README.md")) as file:
        readme = file.read()
    status, overview, _ = command(scope, "--help")
    assert status == 0
    for word in ("init", "check", "proxy", "reload"):
        assert f"ExampleApp {word}" in readme, f"README does not say ExampleApp {word}"
        assert re.search(rf"^  {word} ", overview, re.M), f"--help does not list {word}"
    status, text, _ = command(scope, "proxy", "--help")
    assert status == 0 and "readTimeout" in text and "loadBalance" in text and "--config FILE" in text
    # The file that init writes, with the operator's own backend and port in it.
    path = scope.path("proxy.yaml")
    status, said, errors = command(scope, "init")
    assert status == 0 and "ExampleApp check --config proxy.yaml" in said, said + errors
    status, _, errors = command(scope, "init")
    assert status == 2 and errors == "init: proxy.yaml is there already; name another file, or remove it first\n", errors
    one, two = saying(scope, "one"), saying(scope, "two")
    port = free_port()
    with open(path) as file:
        text = file.read()
    text = text.replace("http://127.0.0.1:9001", f"http://127.0.0.1:{one.port}")
    text = text.replace("    # - url: http://127.0.0.1:9002", f"    - url: http://127.0.0.1:{two.port}")
    text = text.replace("# server:", "server:").replace("  # address: :8080", f"  address: 127.0.0.1:{port}")
    write(scope, text)
    status, checked, errors = command(scope, "check", "--config", "proxy.yaml")
    assert status == 0, errors
    assert re.search(rf"^server.address +127.0.0.1:{port} +proxy.yaml:\d+ server.address$", checked, re.M), checked
    assert re.search(r"^server.readTimeout +30s +default$", checked, re.M), checked
    proxy(scope, port, "-config", path)
    answers = {curl_ok(f"http://127.0.0.1:{port}/") for _ in range(4)}
    assert answers == {b"one", b"two"}, answers


# What is broken, and what the sentence has to say: where, what is wrong, and how to mend it.
BROKEN = [
    (("  port: 8080", "\tport: 8080"), r"proxy.yaml:2: a tab .*spaces alone"),
    (("  readTimeout: 30s", "  readTimeOut: 30s"), r"proxy.yaml:3: server.readTimeOut is not known; did you mean server.readTimeout\?"),
    (("  readTimeout: 30s", "  readTimeout: 30"), r'proxy.yaml:3: server.readTimeout: "30" is not allowed; .*30s'),
    (("port: 8080", "port: 80800"), r'proxy.yaml:2: server.port: "80800" is not allowed; allowed is a port, 1 to 65535'),
    (("port: 8080", "port:8080"), r"proxy.yaml:3: this is not YAML: .*a space is missing behind a colon above"),
    (("- url: http://127.0.0.1:9001", "- url: https://127.0.0.1:9001"), r"proxy.yaml:7: .*https:// is not there yet: .*http://"),
    (("- url: http://127.0.0.1:9001", "- url: 127.0.0.1"), r'proxy.yaml:7: .*url: "127.0.0.1" is not allowed; allowed is http://HOST:PORT'),
    (("algorithm: round-robin", "algorithm: fastest"), r'proxy.yaml:8: loadBalance.algorithm: "fastest" is not allowed; allowed is one of round-robin'),
    (("  timeout: 5s", "  timeout: 5m"), r"proxy.yaml:12: health.timeout: 5m is longer than health.interval, 30s: .*raise the interval"),
    (("  path: /health", "  path: ${HEALTH_PATH}"), r"proxy.yaml:13: health.path: the variable HEALTH_PATH is not set; set it"),
    (("cache:", "caches:"), r"proxy.yaml:14: caches is not known; did you mean cache\?"),
    (("  enabled: true", "  tlsCertFile: x"), r"proxy.yaml:10: health.tlsCertFile is not known; did you mean server.tlsCertFile\?"),
    (("    - url: http://127.0.0.1:9001\n", ""), r"no backend is named: write loadBalance.backends"),
    (("ttl: 5m", "ttl: \"5m"), r"proxy.yaml:1[56]: this is not YAML: .*quotation mark .* not closed"),
]
GOOD = """server:
  port: 8080
  readTimeout: 30s

loadBalance:
  backends: # one
    - url: http://127.0.0.1:9001
  algorithm: round-robin
health:
  enabled: true
  interval: 30s
  timeout: 5s
  path: /health
cache:
  ttl: 5m
"""


@test
def a_file_that_is_broken_in_ten_ways_and_more_gets_one_sentence_each_time(scope):
    write(scope, GOOD)
    status, _, errors = command(scope, "check", "--config", "proxy.yaml")
    assert status == 0 and errors == "", errors
    assert len(BROKEN) >= 10
    for (before, after), sentence in BROKEN:
        assert GOOD.count(before) == 1, before
        write(scope, GOOD.replace(before, after))
        status, output, errors = command(scope, "check", "--config", "proxy.yaml")
        assert status == 2 and output == "", f"{after}: status {status}: {output}{errors}"
        assert errors.startswith("check: ") and errors.count("\n") == 1, f"{after}: {errors}"
        assert re.search(sentence, errors), f"{after}: {errors}"
        # The proxy itself does not start with it, and says the same.
        status, _, same = command(scope, "proxy", "--config", "proxy.yaml")
        assert status == 2 and same == errors.replace("check: ", "proxy: ", 1), same


@test
def later_places_win_and_check_says_which(scope):
    write(scope, "retries: {max: 3}\nservers: [http://127.0.0.1:9]\n")
    write(scope, "MAX_RETRIES=4\nPROXY_ADDRESS=127.0.0.1:7001\n", "config.env")

    def row(*words, **variables):
        status, output, errors = run(
            [APP, "check", "--config", "proxy.yaml", *words], env={**environment(scope), **variables},
            cwd=scope.directory.name)
        assert status == 0, errors
        return next(line.split()[1:] for line in output.decode().splitlines() if line.startswith("retries.max "))

    assert row() == ["4", "config.env:1", "MAX_RETRIES"]
    assert row(MAX_RETRIES="5") == ["5", "environment", "MAX_RETRIES"]
    assert row("--max-retries", "6", MAX_RETRIES="5") == ["6", "--max-retries"]
    os.unlink(scope.path("config.env"))
    assert row() == ["3", "proxy.yaml:1", "retries.max"]


@test
def the_four_variables_of_config_env_run_a_proxy_without_a_file(scope):
    origin = saying(scope, "here")
    port = free_port()
    environment_of_it = {
        "PROXY_ADDRESS": f"127.0.0.1:{port}", "BACKEND_ADDRESS": f"127.0.0.1:{origin.port}",
        "MAX_CONCURRENT_REQUESTS": "10", "MAX_RETRIES": "1",
    }
    proxy(scope, port, environment=environment_of_it)
    assert curl_ok(f"http://127.0.0.1:{port}/") == b"here"


@test
def tcp_backends_make_a_raw_tcp_proxy_and_a_reload_leaves_its_tunnels_alone(scope):
    import socket
    first, second = scope.keep(Origin(echo)), scope.keep(Origin(lambda c: (c.sendall(b"second"), echo(c))))
    port = free_port()
    text = "server: {address: '127.0.0.1:%d'}\nservers: ['tcp://127.0.0.1:%d']\n"
    path = write(scope, text % (port, first.port))
    app = proxy(scope, port, "--config", path)
    with socket.create_connection(("127.0.0.1", port), 10) as old:
        old.sendall(b"ping")
        assert receive(old, 4) == b"ping"
        write(scope, text % (port, second.port))
        app.process.send_signal(signal.SIGHUP)
        eventually(lambda: reloads(app), "the reload is told")
        with socket.create_connection(("127.0.0.1", port), 10) as new:
            assert receive(new, 6) == b"second"
        old.sendall(b"pong")
        assert receive(old, 4) == b"pong"


@test
def a_bad_file_changes_nothing_and_says_why(scope):
    origin = saying(scope, "here")
    port, other = free_port(), free_port()
    path = write(scope, settings(port, [origin]))
    app = proxy(scope, port, "--config", path)
    taken = Origin(echo)
    scope.keep(taken)
    mistakes = [
        ("server:\n\tport: 1\n", f"{path}:2: a tab stands where the line is indented; YAML takes spaces alone"),
        (settings(port, [origin], "  grase: 1s\n"), f"{path}:3: server.grase is not known; did you mean server.grace?"),
        (settings(taken.port, [origin]), f"server.address: address in use: 127.0.0.1:{taken.port}; name another one, "),
        (settings(port, []), "no backend is named"),
    ]
    for index, (text, sentence) in enumerate(mistakes):
        write(scope, text)
        app.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: app.errors().count("nothing has changed: ") == index + 1, f"the log says why: {app.errors()[-300:]}")
        assert f"error: reload: nothing has changed: {sentence}" in app.errors(), app.errors()
        status, output, errors = command(scope, "reload")
        assert status == 1 and output == "" and errors.startswith(f"reload: {sentence}"), errors
        assert curl_ok(f"http://127.0.0.1:{port}/") == b"here"
    # And a good one, with another address: the old one is let go of.
    write(scope, settings(other, [origin]))
    status, output, errors = command(scope, "reload")
    assert status == 0 and output == f"server.address: 127.0.0.1:{port} -> 127.0.0.1:{other}\n", output + errors
    assert curl_ok(f"http://127.0.0.1:{other}/") == b"here"
    status, _, _ = curl(f"http://127.0.0.1:{port}/")
    assert status == 7, f"the old address still answers: {status}"


@test
def an_address_in_use_is_one_sentence_that_names_the_setting(scope):
    taken = scope.keep(Origin(echo))
    status, _, errors = command(
        scope, "proxy", "--listen", f"127.0.0.1:{taken.port}", "--backend", "127.0.0.1:9", "--admin", "off")
    assert status == 2, errors
    assert errors.splitlines()[-1] == (
        f"proxy: server.address: address in use: 127.0.0.1:{taken.port}; name another one, or stop who listens there"), errors


@test
def stored_responses_outlive_a_reload_and_a_new_size_empties_the_cache(scope):
    asked = []

    def serve(connection):
        while data := connection.recv(65536):
            asked.append(data)
            text = b"%d" % len(asked)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
    origin = scope.keep(Origin(serve))
    port = free_port()
    path = write(scope, settings(port, [origin]) + "cache: {ttl: 1h}\n")
    proxy(scope, port, "--config", path)
    url = f"http://127.0.0.1:{port}/page"
    assert [curl_ok(url), curl_ok(url)] == [b"1", b"1"]
    write(scope, settings(port, [origin], "  maxConcurrentRequests: 5\n") + "cache: {ttl: 2h}\n")
    assert command(scope, "reload")[0] == 0
    assert curl_ok(url) == b"1"
    write(scope, settings(port, [origin]) + "cache: {ttl: 2h, maxSize: 5}\n")
    assert command(scope, "reload")[0] == 0
    assert [curl_ok(url), curl_ok(url)] == [b"2", b"2"]


@test
def a_backend_that_fails_its_check_gets_nothing_until_it_passes(scope):
    well = {"one": True, "two": True}

    def backend(name):
        def serve(connection):
            while data := connection.recv(65536):
                is_out = data.startswith(b"GET /up") and not well[name]
                status = b"503 Service Unavailable" if is_out else b"200 OK"
                connection.sendall(b"HTTP/1.1 %s\r\ncontent-length: 3\r\n\r\n%s" % (status, name.encode()))
        return scope.keep(Origin(serve))

    one, two = backend("one"), backend("two")
    port = free_port()
    path = write(
        scope, settings(port, [one, two])
        + "health_checks: {interval: 400ms, timeout: 400ms, path: /up, rise: 1, fall: 2}\n")
    app = proxy(scope, port, "--config", path)
    url = f"http://127.0.0.1:{port}/"

    def answers():
        return {curl_ok(url) for _ in range(6)}

    eventually(lambda: answers() == {b"one", b"two"}, "both are asked")
    well["one"] = False
    eventually(lambda: answers() == {b"two"}, "the one that is not well is out")
    # What is known of a backend is kept over a reload.
    app.process.send_signal(signal.SIGHUP)
    eventually(lambda: reloads(app), "the reload is told")
    assert answers() == {b"two"}
    well["one"] = True
    eventually(lambda: answers() == {b"one", b"two"}, "it is in again")


@test
@limit(120)
def limits_change_under_load_without_a_failed_request(scope):
    origins = [saying(scope, word) for word in ("one", "two")]
    port = free_port()
    path = write(scope, settings(port, origins))
    app = proxy(scope, port, "--config", path, "--log", "off")
    seconds = 8
    wrk = subprocess.Popen(
        [need("wrk"), "-t2", "-c32", f"-d{seconds}s", "--timeout", "20s", f"http://127.0.0.1:{port}/"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    done = threading.Event()
    said = []
    turn = 0
    while wrk.poll() is None:
        turn += 1
        # Another limit each time, and other backends; by both ways.
        more = f"  maxConcurrentRequests: {1000 + turn}\n  queuedRequests: {turn}\n"
        write(scope, settings(port, origins[: 1 + turn % 2], more))
        if turn % 2:
            before = reloads(app)
            app.process.send_signal(signal.SIGHUP)
            eventually(lambda: reloads(app) > before, "the reload is told")
        else:
            status, output, errors = command(scope, "reload")
            assert status == 0, errors
            said.append(output)
        done.wait(0.1)
    output = wrk.stdout.read()
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    print(f"       {turn} reloads under {requests} requests", flush=True)
    assert turn >= 10 and requests > 100, output
    assert "Non-2xx" not in output and "Socket errors" not in output, output
    assert all("server.maxConcurrentRequests: " in line for line in said), said
    # The change of a limit is in effect for a connection that was there before it.
    with open(path) as file:
        text = file.read()
    write(scope, text + "rateLimit: {capacity: 2, refillRate: 0.001}\n")
    url = f"http://127.0.0.1:{port}/"
    import http.client
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def status():
        kept.request("GET", "/")
        answer = kept.getresponse()
        answer.read()
        return answer.status

    assert status() == 200
    local = kept.sock.getsockname()
    code, output, errors = command(scope, "reload")
    assert code == 0 and "rateLimit.enabled: false -> true" in output, output + errors
    assert [status() for _ in range(3)] == [200, 200, 429]
    assert kept.sock is None or kept.sock.getsockname() == local, "the connection was not kept"
    # The bucket is carried over: it is as empty as it was.
    write(scope, text + "rateLimit: {capacity: 2, refillRate: 0.002}\n")
    assert command(scope, "reload")[0] == 0
    assert curl_ok("-o", "/dev/null", "-w", "%{http_code}", url) == b"429"
