"""The admin socket and the commands that talk to it: real curl, a pseudo-terminal for the prompt, servers that come and go."""

import base64
import concurrent.futures
import fcntl
import hashlib
import http.client
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import termios
import threading
import time

from harness import (
    APP, PASSWORD, USER, HTTPOrigin, Origin, Skip, address, echo, eventually, free_port, limit, need, receive, run,
    socks5_connect, test,
)

# ---- the app


def environment(scope):
    """The default socket and the default ledger are the test's own."""
    return {**os.environ, "XDG_RUNTIME_DIR": scope.directory.name, "XDG_STATE_HOME": scope.directory.name}


def command(scope, *words, input=None):
    """(status, output, errors) of one command."""
    status, output, errors = run([APP, *map(str, words)], input=input and input.encode(), env=environment(scope))
    return status, output.decode(), errors


def done(scope, *words, input=None):
    """The output of a command that has to succeed."""
    status, output, errors = command(scope, *words, input=input)
    assert status == 0, f"{' '.join(map(str, words))}: status {status}: {errors}"
    return output


def hashed(password):
    """A cheap hash as the user file has it."""
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=16, r=8, p=1, dklen=32)
    salt, key = (base64.b64encode(part).decode().rstrip("=") for part in (salt, key))
    return f"$scrypt$ln=4,r=8,p=1${salt}${key}"


def matches(line, password):
    """Whether this line of a user file holds a hash of the password."""
    _, _, parameters, salt, key = line.split(":")[1].lstrip("!").split("$")
    values = dict(part.split("=") for part in parameters.split(","))
    raw = [base64.b64decode(text + "=" * (-len(text) % 4)) for text in (salt, key)]
    made = hashlib.scrypt(
        password.encode(), salt=raw[0], n=1 << int(values["ln"]), r=int(values["r"]), p=int(values["p"]),
        dklen=len(raw[1]), maxmem=1 << 28)
    return made == raw[1]


def user_file(scope, users=((USER, PASSWORD),)):
    path = scope.path("users.txt")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write("# who may come in\n" + "".join(f"{name}:{hashed(password)}\n" for name, password in users))
    return path


class Server:
    """`ExampleApp server` with a user file, SOCKS5, a forward proxy, and what the test adds."""

    def __init__(self, scope, *options, users=None, admin=None, socks=None):
        self.scope, self.users = scope, users or user_file(scope)
        self.socks, self.forward = socks or free_port(), free_port()
        self.admin = admin or scope.path("sluice.sock")
        self.app = scope.app(
            "server", "--users", self.users, "--socks5", f"127.0.0.1:{self.socks}", "--forward",
            f"127.0.0.1:{self.forward}", "--log", "off", "--workers", "2",
            *(["--admin", admin] if admin else []), *options,
            ready=[("127.0.0.1", self.socks), ("127.0.0.1", self.forward)])

    def ask(self, target, method="GET"):
        """(status, body) that a real curl gets from the admin socket."""
        code, output, errors = run([
            need("curl"), "-sS", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", "--unix-socket", self.admin,
            f"http://sluice{target}"])
        assert code == 0, errors
        body, _, status = output.decode().rpartition("\n")
        return int(status), body

    def json(self, target, method="GET"):
        status, body = self.ask(target, method)
        assert status == 200, (target, status, body)
        return json.loads(body)

    def curl(self, url, user=f"{USER}:{PASSWORD}", *options):
        """The status that one request through the forward proxy ends with."""
        code, output, errors = run([
            need("curl"), "-s", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "-x",
            f"http://{user}@127.0.0.1:{self.forward}", *options, url])
        assert code in (0, 56), errors
        return int(output)

    def stop(self, sent=signal.SIGTERM):
        self.app.terminate(sent)
        status = self.app.wait(30)
        assert status == (0 if sent == signal.SIGTERM else -sent), self.app.errors()
        # A kill that was meant is no crash.
        self.scope.apps.remove(self.app)


# ---- the prompt

class Terminal:
    """A command on a pseudo-terminal, as a person sees it."""

    def __init__(self, scope, *words):
        # The master stays with us; the other end is the command's only terminal.
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)

        def own():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            # Who runs the tests in the background has some of them ignored, and children inherit that.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [APP, *map(str, words)], stdin=slave, stdout=slave, stderr=slave, preexec_fn=own, env=environment(scope),
            pass_fds=[slave])
        self.seen = ""
        scope.keep(self)

    def read_until(self, text, seconds=20):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} never came: {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        position = self.seen.index(text) + len(text)
        shown, self.seen = self.seen[:position], self.seen[position:]
        return shown

    def type(self, text):
        os.write(self.master, text.encode())

    @property
    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def wait(self):
        return self.process.wait(20)

    def rest(self):
        while select.select([self.master], [], [], 0.05)[0]:
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        return self.seen

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@test
def users_add_asks_twice_without_echo_and_makes_a_private_file(scope):
    path = scope.path("new.txt")
    os.umask(0)
    terminal = Terminal(scope, "users", "add", "ann", "--users", path, "--role", "admin")
    shown = terminal.read_until("password of \"ann\": ")
    assert not terminal.echoes, "the terminal shows what is typed"
    terminal.type("quiet-Fox\n")
    shown += terminal.read_until("again: ")
    assert not terminal.echoes
    terminal.type("quiet-Fox\n")
    assert terminal.wait() == 0
    shown += terminal.rest()
    os.umask(0o022)
    assert "quiet" not in shown and "added" in shown, shown
    assert terminal.is_as_before(), "the terminal is not what it was"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path) as file:
        line = file.read().strip()
    assert line.startswith("ann:$scrypt$ln=14,r=8,p=1$") and line.endswith(":admin"), line
    assert matches(line, "quiet-Fox") and not matches(line, "quiet-fox")


@test
def two_different_passwords_change_nothing(scope):
    path = user_file(scope)
    with open(path) as file:
        before = file.read()
    terminal = Terminal(scope, "users", "passwd", USER, "--users", path)
    terminal.read_until(": ")
    terminal.type("one\n")
    terminal.read_until("again: ")
    terminal.type("two\n")
    assert terminal.wait() == 2
    assert "not the same" in terminal.rest()
    with open(path) as file:
        assert file.read() == before
    assert terminal.is_as_before()


@test
def a_signal_at_the_prompt_restores_the_terminal_and_ends_the_command(scope):
    path = scope.path("none.txt")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        terminal = Terminal(scope, "users", "add", "ann", "--users", path)
        terminal.read_until(": ")
        assert not terminal.echoes
        terminal.type("half a pass")
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        # A core file could hold the password.
        assert terminal.wait() == -(signal.SIGTERM if number == signal.SIGQUIT else number), number
        assert terminal.is_as_before(), number
    assert not os.path.exists(path)


@test
def a_stop_at_the_prompt_gives_the_terminal_back_and_asks_again_afterwards(scope):
    terminal = Terminal(scope, "users", "add", "ann", "--users", scope.path("stopped.txt"))
    terminal.read_until("password of")
    # The group of a session's leader is an orphan, which the kernel does not stop: it goes on at once.
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.read_until("password of")
    eventually(lambda: not terminal.echoes, "it asks again without echo")
    terminal.type("\x03")
    assert terminal.wait() == -signal.SIGINT
    assert terminal.is_as_before()


@test
def a_password_may_come_from_a_pipe(scope):
    path = user_file(scope)
    for words, text, password in ((["add", "bob"], "a b:c\n", "a b:c"), (["passwd", "bob", "--password-stdin"], "zwei", "zwei"),
                                  (["passwd", "bob"], "drei\r\nnext line\n", "drei")):
        done(scope, "users", *words, "--users", path, input=text)
        with open(path) as file:
            line = next(line for line in file if line.startswith("bob:"))
        assert matches(line.strip(), password), words
    for text in ("", "\n", "x" * 256 + "\n", "nul\0\n"):
        status, _, errors = command(scope, "users", "passwd", "bob", "--users", path, input=text or "\n")
        assert status == 2 and "1 to 255 bytes" in errors, (text, errors)


# ---- the user file

@test
def the_user_file_keeps_its_comments_and_refuses_what_it_cannot_hold(scope):
    path = user_file(scope, [("ann", "a"), ("bob", "b"), ("cat", "c")])
    done(scope, "users", "block", "bob", "--users", path)
    done(scope, "users", "remove", "ann", "--users", path)
    with open(path) as file:
        lines = file.read().splitlines()
    assert lines[0] == "# who may come in" and [line.split(":")[0] for line in lines[1:]] == ["bob", "cat"], lines
    assert lines[1].startswith("bob:!$scrypt$"), lines
    assert re.search(r"^bob +yes +- +blocked", done(scope, "users", "list", "--users", path), re.MULTILINE)
    done(scope, "users", "unblock", "bob", "--users", path)
    listed = json.loads(done(scope, "users", "list", "--users", path, "--json"))["users"]
    assert [(user["user"], user["blocked"]) for user in listed] == [("bob", False), ("cat", False)], listed
    for name in ("a:b", "#x", " x", "a\nb", "x" * 256):
        status, _, errors = command(scope, "users", "add", name, "--users", path, input="secret\n")
        assert status == 2 and "NAME" in errors and len(errors.strip().splitlines()) == 1, (name, errors)
    status, _, errors = command(scope, "users", "add", "bob", "--users", path, input="secret\n")
    assert status == 1 and "there already" in errors, errors
    for action in ("remove", "passwd", "block"):
        status, _, errors = command(scope, "users", action, "zed", "--users", path, input="secret\n")
        assert status == 1 and "zed" in errors, (action, errors)
    os.chmod(path, 0o640)
    status, _, errors = command(scope, "users", "remove", "bob", "--users", path)
    assert status == 2 and "chmod 600" in errors, errors


@test
def twenty_writers_at_once_lose_nothing(scope):
    path = user_file(scope)
    names = [f"user{number}" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: done(scope, "users", "add", name, "--users", path, input=f"pw-{name}\n"), names))
    with open(path) as file:
        lines = file.read().splitlines()
    assert sorted(line.split(":")[0] for line in lines[1:]) == sorted([USER, *names]), lines
    assert not [name for name in os.listdir(scope.directory.name) if ".new-" in name]


# ---- a running server

@test
def a_running_server_learns_of_users_at_once(scope):
    origin = scope.keep(HTTPOrigin())
    server = Server(scope)
    assert server.curl(origin.url(), "ann:first") == 407
    assert "the running server knows" in done(scope, "users", "add", "ann", input="first\n")
    assert server.curl(origin.url(), "ann:first") == 200
    done(scope, "users", "passwd", "ann", input="second\n")
    assert (server.curl(origin.url(), "ann:second"), server.curl(origin.url(), "ann:first")) == (200, 407)
    done(scope, "users", "remove", "ann")
    assert server.curl(origin.url(), "ann:second") == 407
    # A file that cannot be used changes nothing.
    with open(server.users, "a") as file:
        file.write("broken\n")
    status, body = server.ask("/reload-users", "POST")
    assert status == 409 and "users.txt:" in json.loads(body)["error"], body
    assert server.curl(origin.url()) == 200


@test
def a_block_holds_for_the_next_request_of_a_kept_connection_and_ends_a_tunnel(scope):
    web, plain = scope.keep(HTTPOrigin()), scope.keep(Origin(echo))
    server = Server(scope)
    kept = http.client.HTTPConnection("127.0.0.1", server.forward, timeout=20)
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def ask():
        kept.request("GET", web.url(), headers={"proxy-authorization": f"Basic {login}"})
        answer = kept.getresponse()
        answer.read()
        return answer.status

    tunnel, reply = socks5_connect(server.socks, plain.address)
    assert reply == 0 and ask() == 200
    tunnel.sendall(b"ping")
    assert receive(tunnel, 4) == b"ping"
    assert "blocked" in done(scope, "users", "block", USER)
    assert ask() in (403, 407)
    tunnel.settimeout(20)
    try:
        while True:
            tunnel.sendall(b"ping")
            if not tunnel.recv(4):
                break
    except (ConnectionResetError, BrokenPipeError):
        pass
    answer = server.json(f"/users/{USER}/stats")
    assert answer["account"]["blocked"] is True, answer
    assert "blocked" in done(scope, "fetchUserStats", USER)
    done(scope, "users", "unblock", USER)
    kept.close()
    assert ask() == 200
    assert server.json(f"/users/{USER}/stats")["account"]["blocked"] is False


@test
def curl_sees_every_route_of_the_admin_socket(scope):
    origin = scope.keep(Origin(echo))
    server = Server(scope, "--quota", "requests=100/day,bytes=10MB/month", "--plan", "gold:requests=1000/day")
    tunnels = []
    for _ in range(5):
        tunnel, reply = socks5_connect(server.socks, origin.address)
        assert reply == 0
        tunnel.sendall(b"x" * 1000)
        assert len(receive(tunnel, 1000)) == 1000
        tunnels.append(scope.keep(tunnel))

    listed = server.json("/connections?user=" + USER)
    assert len(listed["connections"]) == 5 and listed["next"] is None, listed
    row = listed["connections"][0]
    assert row["listener"] == "socks5" and row["identity"] == USER and row["destination"] == address(*origin.address), row
    assert re.match(r"127\.0\.0\.1:\d+$", row["client"]) and row["up"] <= 1000 and row["seconds"] >= 0, row
    paged, after = [], 0
    while after is not None:
        page = server.json(f"/connections?user={USER}&limit=2&after={after}")
        paged += [row["id"] for row in page["connections"]]
        after = page["next"]
    assert paged == [row["id"] for row in listed["connections"]], paged

    for tunnel in tunnels:
        tunnel.close()
    eventually(lambda: not server.json("/connections?user=" + USER)["connections"], "the tunnels are closed")
    user = eventually(
        lambda: (answer := server.json(f"/users/{USER}/stats"))["account"]["total"]["down"] == 5000 and answer, "all is counted")
    assert user["source"] == "server" and user["account"]["total"] == {
        "requests": 5, "connections": 5, "refused": 0, "failed": 0, "up": 5000, "down": 5000}, user
    assert [window["window"] for window in user["account"]["windows"]] == ["minute", "hour", "day", "month"], user
    quotas = {quota["quota"]: quota for quota in user["account"]["quotas"]}
    assert (quotas["requests/day"]["used"], quotas["requests/day"]["limit"]) == (5, 100), quotas
    assert (quotas["bytes/month"]["used"], quotas["bytes/month"]["limit"]) == (10_000, 10_000_000), quotas
    assert quotas["requests/day"]["resets"].endswith("T00:00:00Z") and not quotas["requests/day"]["exhausted"], quotas

    everything = server.json("/stats")
    assert everything["account"]["total"]["requests"] == 5 and everything["started"].endswith("Z"), everything
    assert server.json("/flush", "POST") == {"written": True, "problem": None}
    users = server.json("/users")
    assert users["file"] == server.users and [row["user"] for row in users["users"]] == [USER], users
    assert users["users"][0]["requests"] == 5, users

    status, plan = server.ask("/chain")
    assert status == 200 and "password-auth" in plan and "5 in" in plan, plan
    assert server.ask("/chain?format=mermaid")[1].startswith("flowchart TD")
    elements = next(part for part in server.json("/chain?format=json")["listeners"] if part["listener"] == "socks5")["elements"]
    login = next(element for element in elements if element["title"].startswith("password-auth"))
    assert login["counts"] == {"entered": 5, "refused": 0, "failed": 0}, login

    assert server.json(f"/users/{USER}/plan?plan=gold", "POST")["account"]["plan"] == "gold"
    quotas = {quota["quota"]: quota for quota in server.json(f"/users/{USER}/stats")["account"]["quotas"]}
    assert quotas["requests/day"]["limit"] == 1000, quotas
    assert server.json(f"/users/{USER}/reset", "POST")["account"]["quotas"][0]["used"] == 0
    for target, method, wanted in (
            ("/users/nobody/stats", "GET", 404), ("/users/nobody/block", "POST", 404), (f"/users/{USER}/frob", "POST", 404),
            (f"/users/{USER}/plan?plan=tin", "POST", 400), ("/connections?limit=0", "GET", 400), ("/connections?after=x", "GET", 400),
            ("/users?limit=1001", "GET", 400), ("/chain?format=png", "GET", 400), ("/nothing", "GET", 404), ("/stats", "POST", 405),
            ("/flush", "GET", 405)):
        status, body = server.ask(target, method)
        assert status == wanted, (target, status, body)
        assert wanted == 405 or target == "/nothing" or json.loads(body)["error"], body


@test
def the_admin_socket_is_its_owners_alone(scope):
    server = Server(scope)
    path = server.admin
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    second = scope.app("server", "--users", server.users, "--socks5", f"127.0.0.1:{free_port()}", "--ledger", "off")
    assert second.wait(20) == 2 and "in use" in second.errors() and "--admin" in second.errors(), second.errors()
    assert server.ask("/stats")[0] == 200, "the second start took the socket away"
    if os.getuid() == 0:
        # The mode alone does not keep this one out any more: the kernel's word about the peer does.
        os.chmod(path, 0o666)
        os.chmod(scope.directory.name, 0o755)
        status, output, errors = run(
            [need("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path, "http://sluice/stats"], user=65534)
        assert (status, output) == (0, b"403"), (status, output, errors)
        assert "uid=65534 was refused" in server.app.errors(), server.app.errors()
    server.stop(signal.SIGKILL)
    assert os.path.exists(path), "a killed server leaves its socket"
    Server(scope, users=server.users)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@test
def a_directory_that_others_can_write_is_no_place_for_the_default_socket(scope):
    users = user_file(scope)
    directory = f"/tmp/sluice-{os.getuid()}"
    if os.path.exists(directory):
        raise Skip(f"{directory} is somebody's")
    os.mkdir(directory, 0o777)
    try:
        os.chmod(directory, 0o777)
        app = scope.app("server", "--users", users, "--socks5", f"127.0.0.1:{free_port()}", environment={"XDG_RUNTIME_DIR": ""})
        assert app.wait(20) == 2 and directory in app.errors() and "--admin" in app.errors(), app.errors()
    finally:
        os.rmdir(directory)


# ---- what lasts

@test
def the_commands_ask_the_server_and_else_the_ledger(scope):
    origin = scope.keep(HTTPOrigin())
    status, _, errors = command(scope, "fetchUserStats", USER)
    assert status == 1 and "no server runs" in errors, errors
    server = Server(scope)
    for _ in range(3):
        assert server.curl(origin.url()) == 200
    running = json.loads(done(scope, "fetchUserStats", USER, "--json"))
    assert running["source"] == "server" and running["account"]["total"]["requests"] == 3, running
    table = done(scope, "fetchUserStats", USER)
    assert "from the running server" in table and re.search(r"^total +3 +", table, re.MULTILINE), table
    assert re.search(r"^total +3 +", done(scope, "fetchGlobalStats"), re.MULTILINE)
    for words in (["fetchUserStats", "nobody"], ["users", "block", "nobody"], ["users", "reset", "nobody"]):
        status, output, errors = command(scope, *words)
        assert status == 1 and not output and len(errors.strip().splitlines()) == 1 and "nobody" in errors, (words, errors)
    server.stop()

    ledger = json.loads(done(scope, "fetchUserStats", USER, "--json"))
    assert ledger["source"] == "ledger" and ledger["account"]["total"] == running["account"]["total"], (ledger, running)
    assert [window["usage"] for window in ledger["account"]["windows"]] == [
        window["usage"] for window in running["account"]["windows"]][-len(ledger["account"]["windows"]):], (ledger, running)
    assert "from the ledger" in done(scope, "fetchGlobalStats")
    assert json.loads(done(scope, "fetchGlobalStats", "--json"))["account"]["total"]["requests"] == 3
    status, _, errors = command(scope, "fetchUserStats", "nobody")
    assert status == 1 and "nobody" in errors, errors


@test
@limit(120)
def a_restart_keeps_quota_block_and_plan(scope):
    origin = scope.keep(HTTPOrigin())
    options = ["--quota", "requests=5/ever", "--plan", "gold:requests=8/ever"]
    users = user_file(scope, [(USER, PASSWORD), ("ann", "ann")])
    server = Server(scope, *options, users=users)
    assert [server.curl(origin.url()) for _ in range(3)] == [200] * 3
    server.stop()
    server = Server(scope, *options, users=users)
    assert [server.curl(origin.url()) for _ in range(4)] == [200, 200, 429, 429]
    assert server.curl(origin.url(), "ann:ann") == 200, "somebody else's quota was used"
    # A kill loses at most what was not flushed.
    server.json("/flush", "POST")
    server.stop(signal.SIGKILL)
    done(scope, "users", "plan", USER, "gold")
    server = Server(scope, *options, users=users)
    assert [server.curl(origin.url()) for _ in range(4)] == [200, 200, 200, 429]
    done(scope, "users", "reset", USER)
    assert server.curl(origin.url()) == 200
    assert server.json("/users/ann/block", "POST")["account"]["blocked"]
    server.stop()
    server = Server(scope, *options, users=users)
    assert server.curl(origin.url(), "ann:ann") == 403
    assert server.json("/users/ann/stats")["account"]["blocked"]
    server.stop()
    done(scope, "users", "unblock", "ann", "--users", users)
    done(scope, "users", "plan", USER, "default")
    server = Server(scope, *options, users=users)
    assert server.curl(origin.url(), "ann:ann") == 200
    assert server.json(f"/users/{USER}/stats")["account"]["plan"] is None


class Load:
    """Clients that know to the byte what they have sent and received through SOCKS5."""

    def __init__(self, port, origin, clients=16, pause=0.0):
        self.port, self.origin, self.pause = port, origin, pause
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.tunnels = self.up = self.down = self.turned_away = 0
        self.wrong = []
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        size = 100 + number * 1777
        while not self.stopping.wait(self.pause):
            try:
                tunnel, reply = socks5_connect(self.port, self.origin.address)
            except (OSError, AssertionError, EOFError, IndexError):
                # No longer accepted, or never taken from the queue of the kernel.
                with self.lock:
                    self.turned_away += 1
                if self.turned_away > 200:
                    return
                continue
            if reply != 0:
                self.wrong.append(f"reply {reply}")
                return
            try:
                with tunnel:
                    for _ in range(1 + number % 4):
                        tunnel.sendall(bytes(size))
                        got = receive(tunnel, size)
                        with self.lock:
                            self.up += size
                            self.down += len(got)
                        assert len(got) == size
                    tunnel.shutdown(socket.SHUT_WR)
                    assert tunnel.recv(1) == b""
            except (OSError, AssertionError, EOFError) as error:
                self.wrong.append(f"a tunnel broke: {error!r}")
            with self.lock:
                self.tunnels += 1

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"


@test
@limit(120)
def sigterm_under_load_leaves_a_ledger_that_agrees_with_the_clients(scope):
    origin = scope.keep(Origin(echo))
    users = user_file(scope)
    tunnels = up = down = 0
    for _ in range(3):
        server = Server(scope, "--quota", "bytes=1TB/day", users=users)
        load = Load(server.socks, origin)
        eventually(lambda: load.tunnels >= 60, "load", 60)
        server.app.terminate()
        assert server.app.wait(60) == 0, server.app.errors()
        load.end()
        assert not load.wrong, load.wrong[:5]
        tunnels, up, down = tunnels + load.tunnels, up + load.up, down + load.down
        total = json.loads(done(scope, "fetchUserStats", USER, "--json"))["account"]["total"]
        everything = json.loads(done(scope, "fetchGlobalStats", "--json"))["account"]["total"]
        print(f"       clients {tunnels} tunnels, {up} up, {down} down; ledger {total['requests']}, {total['up']}, {total['down']}", flush=True)
        assert (total["requests"] - total["refused"], total["up"], total["down"]) == (tunnels, up, down), (total, tunnels, up, down)
        assert (everything["up"], everything["down"]) == (up, down), everything
