"""Start, stop and mistakes: drain, an address in use, settings errors, the demo as it is printed."""

import base64
import hashlib
import json
import os
import re
import resource
import signal
import socket

from harness import (
    PASSWORD, USER, Origin, Skip, address, echo, eventually, free_port, listening_ports, need, receive, run, socks5_connect, test,
)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 10)


def ping(connection):
    connection.sendall(b"ping")
    assert receive(connection, 4) == b"ping"


def drained(app, port):
    eventually(lambda: port not in listening_ports("127.0.0.1"), "the listener is closed")


@test
def sigterm_refuses_new_clients_and_lets_a_tunnel_finish(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--grace", "20s")
    with connect(port) as client:
        ping(client)
        app.terminate()
        drained(app, port)
        ping(client)
        try:
            connect(port).close()
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("a new client was accepted during the drain")
        assert app.process.poll() is None, "ended while a tunnel was open"
    assert app.wait(10) == 0


@test
def sigint_ends_an_idle_app_at_once_with_status_0(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address)
    app.terminate(signal.SIGINT)
    status = app.wait(3)
    assert status == 0, f"status {status}"


@test
def a_tunnel_that_outlives_the_grace_is_cut_and_reported(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--grace", "1s")
    with connect(port) as client:
        ping(client)
        app.terminate()
        assert app.wait(8) == 0
        client.settimeout(5)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    said = app.errors() + app.output()
    assert re.search(r"\bcut\b", said) and re.search(r"\b1\b", said), f"what was cut is not reported: {said[-400:]}"


@test
def a_socks5_tunnel_survives_the_drain_and_a_half_done_handshake_does_not_hold_it(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.socks5("--grace", "3s")
    tunnel, reply = socks5_connect(port, origin.address)
    assert reply == 0
    greeting = connect(port)
    greeting.sendall(b"\x05")
    app.terminate()
    drained(app, port)
    ping(tunnel)
    tunnel.close()
    assert app.wait(8) == 0
    greeting.close()


@test
def a_second_start_on_the_same_address_says_address_in_use(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.relay(origin.address)
    second = scope.app("relay", "--listen", f"127.0.0.1:{port}", "--to", address(*origin.address))
    assert second.wait(10) != 0
    assert "address in use" in second.errors().lower(), second.errors()
    assert str(port) in second.errors() and one_sentence(second.errors()), second.errors()


@test
def a_second_start_on_the_same_unix_socket_says_address_in_use(scope):
    origin = scope.keep(Origin(echo))
    path = scope.path("in-use.sock")
    first = scope.app("relay", "--listen", f"unix:{path}", "--to", address(*origin.address))
    eventually(lambda: os.path.exists(path) or first.process.poll() is not None, "the socket file appears")
    second = scope.app("relay", "--listen", f"unix:{path}", "--to", address(*origin.address))
    assert second.wait(10) != 0
    assert "address in use" in second.errors().lower(), second.errors()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        ping(client)


def one_sentence(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return len(lines) == 1 and len(lines[0]) < 400


@test
def wrong_settings_are_one_sentence_that_names_the_flag(scope):
    good = ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]
    cases = [
        (["relay", "--to", "127.0.0.1:9"], "--listen"),
        (["relay", "--listen", "127.0.0.1:0"], "--to"),
        (["relay", *good, "--workers", "0"], "--workers"),
        (["relay", *good, "--workers", "many"], "many"),
        (["relay", *good, "--log", "xml"], "xml"),
        (["relay", *good, "--idle-timeout", "5"], "--idle-timeout"),
        (["relay", *good, "--grace", "soon"], "soon"),
        (["relay", *good, "--max-connections", "-1"], "--max-connections"),
        (["relay", *good, "--no-such-flag"], "--no-such-flag"),
        (["relay", "--listen", "127.0.0.1:99999", "--to", "127.0.0.1:9"], "99999"),
        (["relay", "--listen", "not an address", "--to", "127.0.0.1:9"], "not an address"),
        (["relay", "--listen", "127.0.0.1:0", "--to", "nowhere"], "nowhere"),
        (["socks5", "--listen", "127.0.0.1:0", "--user", "nopassword"], "--user"),
        (["socks5", "--listen", "127.0.0.1:0", "--users", "/does/not/exist"], "/does/not/exist"),
        (["graph", "--format", "png"], "png"),
        (["no-such-command"], "no-such-command"),
    ]
    wrong = []
    for arguments, named in cases:
        app = scope.app(*arguments)
        try:
            status = app.wait(10)
        except Exception:
            wrong.append(f"{' '.join(arguments)}: did not end")
            continue
        if status == 0 or status < 0 or named not in app.errors() or not one_sentence(app.errors()):
            wrong.append(f"{' '.join(arguments)}: status {status}, {app.errors().strip()!r}")
    assert not wrong, "; ".join(wrong)


@test
def socks5_without_a_user_refuses_to_listen_beyond_loopback_unless_open(scope):
    app = scope.app("socks5", "--listen", f"0.0.0.0:{free_port()}")
    assert app.wait(10) != 0
    assert "--open" in app.errors() and one_sentence(app.errors()), app.errors()
    port = free_port()
    scope.app("socks5", "--listen", f"0.0.0.0:{port}", "--open", ready=[("127.0.0.1", port)])


@test
def a_password_on_the_command_line_is_warned_of_and_never_printed(scope):
    app, _ = scope.socks5()
    eventually(lambda: "--user" in app.errors(), "the warning is printed")
    assert PASSWORD not in app.errors() + app.output()


def scrypt(password):
    """A hash as the user file has it."""
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)
    salt, key = (base64.b64encode(part).decode().rstrip("=") for part in (salt, key))
    return f"$scrypt$ln=14,r=8,p=1${salt}${key}"


@test
def users_come_from_a_file(scope):
    origin = scope.keep(Origin(echo))
    path = scope.path("users")
    with open(path, "w") as file:
        file.write(f"# the only one\n{USER}:{scrypt(PASSWORD)}\n")
    os.chmod(path, 0o600)
    _, port = scope.socks5("--users", path, user=None)
    tunnel, reply = socks5_connect(port, origin.address)
    assert reply == 0
    ping(tunnel)
    tunnel.close()
    os.chmod(path, 0o644)
    readable = scope.app("socks5", "--listen", "127.0.0.1:0", "--users", path)
    assert readable.wait(10) != 0 and "0600" in readable.errors() and one_sentence(readable.errors()), readable.errors()


@test
def the_access_log_has_one_line_for_each_tunnel_and_no_password(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.socks5("--log", "json")
    for _ in range(5):
        tunnel, _ = socks5_connect(port, origin.address)
        ping(tunnel)
        tunnel.close()
    eventually(lambda: len(app.output().splitlines()) >= 5, "five lines")
    app.terminate()
    assert app.wait(10) == 0

    lines = [json.loads(line) for line in app.output().splitlines()]
    assert len(lines) == 5, lines
    assert len({str(line["id"]) for line in lines}) == 5, lines
    assert all(USER in json.dumps(line) and str(origin.port) in json.dumps(line) for line in lines), lines
    assert PASSWORD not in app.output()


@test
def max_connections_holds(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.relay(origin.address, "--max-connections", "3", "--connect-timeout", "1s")
    held = [scope.keep(connect(port)) for _ in range(3)]
    for connection in held:
        ping(connection)
    with connect(port) as fourth:
        # Refused at once, or held in the backlog or queue: in no case served.
        fourth.settimeout(1.5)
        try:
            fourth.sendall(b"ping")
            got = fourth.recv(4)
        except (TimeoutError, OSError):
            got = b""
        assert got == b"", "a fourth connection was served"


@test
def a_silent_client_is_dropped_after_the_handshake_timeout(scope):
    _, port = scope.socks5("--handshake-timeout", "1s")
    with connect(port) as client:
        client.settimeout(8)
        assert client.recv(1) == b"", "something was sent to a silent client"


@test
def an_idle_tunnel_is_closed_after_the_idle_timeout(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.relay(origin.address, "--idle-timeout", "1s")
    with connect(port) as client:
        ping(client)
        client.settimeout(10)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


@test
def out_of_descriptors_is_said_once_and_passes(scope):

    origin = scope.keep(Origin(echo))
    port = free_port()
    app = scope.app("relay", "--listen", f"127.0.0.1:{port}", "--to", address(*origin.address), "--workers", "1",
                    ready=[("127.0.0.1", port)], limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    held = [connect(port) for _ in range(60)]
    eventually(lambda: "Too many open files" in app.errors(), "it is said")
    for connection in held:
        connection.close()

    def served():
        try:
            with connect(port) as client:
                client.settimeout(2)
                ping(client)
                return True
        except (OSError, AssertionError):
            return False

    eventually(served, "accepting again", 20)
    # Once for each time that it runs out: the clients come and go in two or three waves.
    assert app.errors().count("Too many open files") <= 3, app.errors()
    assert "goes on" in app.errors(), app.errors()


@test
def graph_prints_each_format(scope):
    for form, sign in ((None, "socks5"), ("text", "socks5"), ("mermaid", "flowchart"), ("dot", "digraph")):
        app = scope.app("graph", *(["--format", form] if form else []))
        assert app.wait(10) == 0, app.errors()
        assert sign in app.output().lower(), (form, app.output()[:300])


@test
def help_lists_the_commands(scope):
    app = scope.app("--help")
    assert app.wait(10) == 0
    for command in ("demo", "server", "relay", "socks5", "reverse", "forward", "graph"):
        assert command in app.output(), app.output()


@test
def every_curl_line_that_the_demo_prints_works(scope):
    busy = {8001, 8002, 8080, 9000, 9901} & (listening_ports("127.0.0.1") | listening_ports("::1"))
    if busy:
        raise Skip(f"port {busy} is taken on this machine")
    app = scope.app("demo", ready=[("127.0.0.1", 8001), ("::1", 8001), ("127.0.0.1", 9000), ("::1", 9000), ("127.0.0.1", 8080), ("127.0.0.1", 8002)])
    need("curl")
    printed = eventually(lambda: re.findall(r"^\s*\$?\s*(curl .*)$", app.output() + "\n" + app.errors(), re.MULTILINE), "curl lines")
    for line in printed:
        status, output, errors = run(["bash", "-c", line.replace("curl ", "curl -sS --max-time 15 ", 1)])
        if "# refused" in line:
            assert status == 97 and not output, f"{line}: status {status}: {output}"
        else:
            assert status == 0 and output, f"{line}: status {status}: {errors}"
    assert any("socks5://fierceRabbit:secretThicket@localhost:8001" in line for line in printed), printed
    # The printed line took one of three tokens, and one comes every ten seconds.
    limited = "for i in 1 2 3 4; do curl -sS -i --max-time 15 http://localhost:8080/limited; done"
    status, output, errors = run(["bash", "-c", limited])
    assert status == 0, errors
    output = output.decode()
    refused = output[output.index("HTTP/1.1 429"):].lower()
    assert re.search(r"^retry-after: ([1-9]|10)\r?$", refused, re.MULTILINE), refused
    for field in ('ratelimit-policy: "demo";q=3;w=30', 'ratelimit: "demo";r=0;t=', "x-ratelimit-limit: 3", "x-ratelimit-remaining: 0"):
        assert field in refused, refused
    assert 'ratelimit: "demo";r=1;t=' in output, output
    public = {port for port in (8001, 8002, 8080, 9000, 9901) if wildcard(port)}
    assert not public, f"the demo listens beyond loopback on {public}"
    app.terminate()
    assert app.wait(10) == 0, app.errors()


def wildcard(port):
    """Whether somebody listens on this port on every address."""
    for table, any_address in (("/proc/net/tcp", "00000000"), ("/proc/net/tcp6", "0" * 32)):
        with open(table) as file:
            for row in (line.split() for line in file.readlines()[1:]):
                if row[3] == "0A" and row[1] == f"{any_address}:{port:04X}":
                    return True
    return False
