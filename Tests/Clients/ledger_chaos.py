"""The ledger of `ExampleApp server` under traffic whose figures the clients know: locked, full, read-only, out at the start, SIGTERM
under load, kill -9. Each ends with what the ledger holds beside what the clients measured.
"""

import contextlib
import ctypes
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

from harness import APP, Origin, echo, eventually, free_port, limit, receive, socks5_connect, test

USERS = {f"user{number}": f"secret{number}" for number in range(6)}
# The interval of the writer.
PACE = 1.0


class Figures:
    """What was used: requests, bytes up, bytes down."""

    def __init__(self, requests=0, up=0, down=0):
        self.requests, self.up, self.down = requests, up, down

    def __eq__(self, other):
        return (self.requests, self.up, self.down) == (other.requests, other.up, other.down)

    def __sub__(self, other):
        return Figures(self.requests - other.requests, self.up - other.up, self.down - other.down)

    def __str__(self):
        return f"{self.requests} requests, {self.up} bytes up, {self.down} down"


class Traffic:
    """Clients that use SOCKS5 to an echo, one thread a user, and count what they got."""

    def __init__(self, port, target):
        self.port, self.target = port, target
        self.truth = {user: Figures() for user in USERS}
        # Exchanges that broke off: whether, and with how many bytes, the server counts them is not known here.
        self.broken = []
        # When each was over.
        self.times = []
        self.lock, self.stopping, self.threads = threading.Lock(), threading.Event(), []

    def exchange(self, user, randomness):
        """One tunnel. Every byte that is sent comes back before it ends, so both sides know the same numbers."""
        size = randomness.choice([1, 100, 5_000, 60_000])
        connection, reply = socks5_connect(self.port, self.target, (user, USERS[user]))
        with connection:
            assert reply == 0, f"SOCKS5 reply {reply}"
            connection.sendall(b"x" * size)
            receive(connection, size)
        with self.lock:
            figures = self.truth[user]
            figures.requests, figures.up, figures.down = figures.requests + 1, figures.up + size, figures.down + size
            self.times.append(time.monotonic())

    def work(self, user, seed):
        randomness = random.Random(seed)
        while not self.stopping.is_set():
            try:
                self.exchange(user, randomness)
            except (OSError, AssertionError) as error:
                with self.lock:
                    self.broken.append(f"{type(error).__name__}: {error}")
            # Below the limits of the gateway: 50 a second for each user, 100 for an address.
            self.stopping.wait(0.08 + randomness.random() * 0.04)

    def start(self):
        self.stopping.clear()
        self.threads = [
            threading.Thread(target=self.work, args=(user, number), daemon=True) for number, user in enumerate(USERS)
        ]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.threads = []

    def close(self):
        self.stop()

    def sum(self):
        with self.lock:
            return Figures(*(sum(getattr(f, name) for f in self.truth.values()) for name in ("requests", "up", "down")))

    def more(self, count, seconds=20.0):
        """Until so many more exchanges have been served."""
        before = self.sum().requests
        eventually(lambda: self.sum().requests >= before + count, f"{count} more exchanges are served", seconds)


class Ledger:
    """The file, read as anybody can read it."""

    def __init__(self, path):
        self.path = path

    def rows(self, sql, *values):
        try:
            # `with` alone would leave it open, and what is open keeps others from an exclusive lock.
            with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)) as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "no such table" in str(error):
                return []
            raise

    def users(self):
        found = self.rows("SELECT name, requests, up, down FROM accounts WHERE kind = 0")
        return {user: Figures() for user in USERS} | {row[0]: Figures(*row[1:]) for row in found}

    def sum_of_users(self):
        users = self.users().values()
        return Figures(*(sum(getattr(f, name) for f in users) for name in ("requests", "up", "down")))

    def check_sums(self):
        """The row of the sum, and the windows, say the same as the accounts."""
        columns = ("requests", "connections", "refused", "failed", "up", "down")
        for column in columns:
            kept, summed = self.rows(
                f"SELECT sum({column}) FILTER (WHERE kind = 4), sum({column}) FILTER (WHERE kind < 4) FROM accounts")[0]
            assert kept == summed, f"{column}: the sum says {kept}, the accounts {summed}"
            months = self.rows(
                f"SELECT a.name, a.{column}, sum(w.{column}) FROM accounts a JOIN windows w ON w.account = a.id"
                " WHERE w.unit = 4 GROUP BY a.id")
            for name, total, month in months:
                assert total == month, f"{column} of {name}: in all {total}, in its months {month}"


class Server:
    """ExampleApp on one port and one ledger, stopped and started."""

    def __init__(self, scope, path):
        self.scope, self.ledger, self.port = scope, Ledger(path), free_port()
        self.origin = scope.keep(Origin(echo))
        self.traffic = scope.keep(Traffic(self.port, self.origin.address))
        self.app = None

    def start(self, limits=None):
        users = [word for name, password in USERS.items() for word in ("--user", f"{name}:{password}")]
        self.app = self.scope.app(
            "server", "--socks5", f"127.0.0.1:{self.port}", "--ledger", self.ledger.path, "--grace", "10s", "--log", "off", *users,
            ready=[("127.0.0.1", self.port)], limits=limits)
        return self

    def says(self, text, seconds=20.0):
        eventually(lambda: text in self.app.errors() + self.app.output(), f"the log says {text!r}", seconds)

    def equal(self, what, seconds=20.0):
        """With no traffic under way: the ledger comes to hold what the clients measured, each user by itself."""
        def is_equal():
            return self.ledger.users() == self.traffic.truth
        try:
            eventually(is_equal, what, seconds)
        except AssertionError:
            raise AssertionError(
                f"{what}: clients {self.traffic.sum()}; ledger {self.ledger.sum_of_users()}; broken off"
                f" {self.traffic.broken[:3]}; log: {self.app.errors()[-800:]}") from None
        self.ledger.check_sums()
        print(f"     {what}: clients {self.traffic.sum()}; ledger {self.ledger.sum_of_users()}", flush=True)

    def undisturbed(self):
        assert not self.traffic.broken, f"traffic was disturbed: {self.traffic.broken[:3]}"


def begin(scope, limits=None):
    server = Server(scope, scope.path("usage.db")).start(limits)
    server.traffic.start()
    server.traffic.more(20)
    return server


@test
@limit(120)
def a_locked_ledger_disturbs_no_traffic_and_misses_nothing(scope):
    server = begin(scope)
    eventually(lambda: server.ledger.rows("SELECT 1 FROM accounts"), "the ledger has rows")
    for _ in range(2):
        lock = sqlite3.connect(server.ledger.path, isolation_level=None, timeout=30)
        lock.execute("BEGIN EXCLUSIVE")
        server.says("is locked by another program")
        server.traffic.more(50)
        lock.execute("ROLLBACK")
        lock.close()
        server.says("works again after")
    server.traffic.more(10)
    server.traffic.stop()
    server.equal("after two locks")
    server.undisturbed()


@test
@limit(120)
def a_ledger_without_room_disturbs_no_traffic_and_misses_nothing(scope):
    # Without the signal, a write beyond the limit of file sizes fails as on a full disk.
    server = begin(scope, limits=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
    eventually(lambda: server.ledger.rows("SELECT 1 FROM accounts"), "the ledger has rows")
    unlimited = resource.prlimit(server.app.pid, resource.RLIMIT_FSIZE)
    # The log of the app, a file too, is smaller than this, the journal of the ledger larger.
    resource.prlimit(server.app.pid, resource.RLIMIT_FSIZE, (8192, unlimited[1]))
    server.says("cannot be read or written")
    server.traffic.more(50)
    resource.prlimit(server.app.pid, resource.RLIMIT_FSIZE, unlimited)
    server.says("works again after", 60)
    server.traffic.more(10)
    server.traffic.stop()
    server.equal("after a full disk", 60)
    server.undisturbed()


def without_override():
    """Root, too, is bound by the modes of files."""
    if os.geteuid() == 0:
        # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE: not among the rights of what is started next.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(24, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


@test
@limit(120)
def a_ledger_that_may_only_be_read_is_served_without_and_merged_when_it_may_be_written(scope):
    directory = scope.path("state")
    os.mkdir(directory, 0o700)
    server = Server(scope, os.path.join(directory, "usage.db")).start()
    server.traffic.start()
    server.traffic.more(30)
    server.traffic.stop()
    server.equal("before")
    server.app.terminate()
    assert server.app.wait(20) == 0
    os.chmod(server.ledger.path, 0o400)
    os.chmod(directory, 0o500)
    try:
        server.start(limits=without_override)
        server.says("is read-only for this user")
        server.traffic.start()
        server.traffic.more(50)
    finally:
        os.chmod(directory, 0o700)
        os.chmod(server.ledger.path, 0o600)
    server.says("works again after", 60)
    server.traffic.more(10)
    server.traffic.stop()
    server.equal("after it was read-only", 60)
    server.undisturbed()


@test
@limit(120)
def sigterm_under_load_writes_everything(scope):
    server = begin(scope)
    server.traffic.more(50)
    server.app.terminate()
    assert server.app.wait(30) == 0, server.app.errors()[-500:]
    server.traffic.stop()
    # What was under way was let to its end; who came later was refused before it was anybody's.
    server.equal("after SIGTERM under load")
    # A restart goes on where it ended.
    server.traffic.broken.clear()
    server.start()
    server.traffic.start()
    server.traffic.more(30)
    server.traffic.stop()
    server.equal("after the restart")
    server.undisturbed()


@test
@limit(120)
def sigterm_while_the_ledger_is_locked_waits_for_it_and_writes_everything(scope):
    server = begin(scope)
    server.traffic.stop()
    server.equal("before")
    lock = sqlite3.connect(server.ledger.path, isolation_level=None, timeout=30)
    lock.execute("BEGIN EXCLUSIVE")
    server.traffic.start()
    server.traffic.more(30)
    server.traffic.stop()
    server.app.terminate()
    time.sleep(2)
    lock.execute("ROLLBACK")
    lock.close()
    assert server.app.wait(30) == 0
    server.equal("after SIGTERM with a lock that was let go")


@test
@limit(180)
def kill_9_loses_at_most_what_came_since_the_last_batch(scope):
    server = begin(scope)
    server.traffic.stop()
    for round in range(4):
        server.equal(f"round {round}, before kill -9")
        server.traffic.times.clear()
        server.traffic.start()
        # Several batches, and then somewhere in an interval.
        seen = server.ledger.sum_of_users()
        for _ in range(2):
            eventually(lambda: server.ledger.sum_of_users().requests > seen.requests, "a batch comes")
            seen = server.ledger.sum_of_users()
        server.traffic.stopping.wait(PACE * (0.1 + 0.25 * round))
        server.app.process.kill()
        killed = time.monotonic()
        server.app.process.wait()
        server.traffic.stop()
        measured, kept = server.traffic.sum(), server.ledger.sum_of_users()
        lost = measured - kept
        assert kept.requests >= seen.requests and kept.up >= seen.up, "what was in the ledger is gone"
        # Those that broke off may be in it, too.
        assert lost.requests >= -len(server.traffic.broken), f"the ledger has more than was used: {lost}"
        # As if the ones that are missing were the last ones.
        age = killed - sorted(server.traffic.times)[-lost.requests] if lost.requests > 0 else 0.0
        print(
            f"     kill -9, round {round}: clients {measured}; ledger {kept}; lost {lost}, of the last {age:.2f} s; broken off"
            f" {len(server.traffic.broken)}", flush=True)
        # An interval, and room for a machine that does other things.
        assert age <= PACE + 4, f"{lost} of the last {age} s"
        server.ledger.check_sums()
        # The next round counts from what the ledger has.
        server.traffic.broken.clear()
        server.traffic.truth = server.ledger.users()
        server.scope.apps.remove(server.app)
        server.start()
        server.traffic.start()
        server.traffic.more(20)
        server.traffic.stop()
    server.equal("after the last restart")
    server.undisturbed()


@test
@limit(120)
def a_ledger_that_is_locked_at_the_start_is_merged_later(scope):
    server = begin(scope)
    server.traffic.stop()
    server.equal("before")
    server.app.terminate()
    assert server.app.wait(20) == 0
    lock = sqlite3.connect(server.ledger.path, isolation_level=None, timeout=30)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    server.start()
    server.says("is locked by another program")
    server.traffic.start()
    server.traffic.more(30)
    lock.execute("ROLLBACK")
    lock.close()
    server.says("works again after", 60)
    server.traffic.more(10)
    server.traffic.stop()
    server.equal("after a start without the ledger", 60)
    server.undisturbed()


# ---- the commands

def fill(path, accounts):
    """Makes a ledger of so many users, each with a month."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {accounts})"
    connection.execute(
        "INSERT INTO accounts (id, kind, name, requests, connections, refused, failed, up, down, first_seen, last_seen) "
        f"{numbers} SELECT 100 + i, 0, printf('name%07d', i), i, 1, 0, 0, i, i, 0, 0 FROM n")
    connection.execute(
        "INSERT INTO windows (account, unit, start, ends, requests, connections, refused, failed, up, down) "
        f"{numbers} SELECT 100 + i, 4, 0, 9000000000000000000, 1, 1, 0, 0, 1, 1 FROM n")
    connection.commit()
    connection.close()


def run_for_cpu(*arguments):
    """CPU time of a command, and what it printed."""
    process = subprocess.Popen([APP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output = process.stdout.read()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == 0, f"{arguments}: {errors.decode()[-300:]}"
    return usage.ru_utime + usage.ru_stime, output.decode()


@test
@limit(180)
def statistics_of_a_million_users_cost_at_most_three_times_those_of_a_thousand(scope):
    server = begin(scope)
    server.traffic.stop()
    server.app.terminate()
    assert server.app.wait(20) == 0
    small, large = server.ledger.path, scope.path("large.db")
    with contextlib.closing(sqlite3.connect(small)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(small, large)
    fill(small, 1_000)
    fill(large, 1_000_000)
    ratios = []
    for command in (["fetchUserStats", "name0000777"], ["fetchGlobalStats"]):
        costs = {small: [], large: []}
        # By turns, so that what else the machine does meets both.
        for _ in range(7):
            for path in costs:
                cost, said = run_for_cpu(*command, "--json", "--ledger", path, "--admin", "off")
                assert command[0] == "fetchGlobalStats" or "777" in said, said
                costs[path].append(cost)
        ratios.append(min(costs[large]) / min(costs[small]))
    print(f"     with 1,000,000 users beside 1,000: fetchUserStats {ratios[0]:.2f}x, fetchGlobalStats {ratios[1]:.2f}x", flush=True)
    assert max(ratios) <= 3, ratios
