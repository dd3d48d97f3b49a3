"""Real clients through `ExampleApp socks5` and `ExampleApp relay`: curl, nc, ssh, PySocks, proxychains4."""

import hashlib
import os
import socket
import subprocess

import socks  # PySocks, of Debian's python3-socks

from harness import (
    PASSWORD, USER, HTTPOrigin, Origin, Skip, address, echo, eventually, free_port, listening_ports, need, run, test,
)


def curl(*arguments):
    return run([need("curl"), "--silent", "--show-error", "--max-time", "15", "--noproxy", "", *arguments])


def proxy(port, scheme="socks5", user=f"{USER}:{PASSWORD}", host="127.0.0.1"):
    return f"{scheme}://{user + '@' if user else ''}{address(host, port)}"


# ---- curl

@test
def curl_with_password_gets_the_page(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = curl("--proxy", proxy(port), origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def curl_socks5_option_as_the_readme_has_it_gets_the_page(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = curl("--socks5", f"socks5://{USER}:{PASSWORD}@localhost:{port}", origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def curl_socks5_hostname_lets_the_proxy_resolve(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = curl("--socks5-hostname", f"{USER}:{PASSWORD}@127.0.0.1:{port}", origin.url("localhost"))
    assert (status, body) == (0, origin.body), errors


@test
def curl_with_a_wrong_password_is_refused_and_nothing_is_dialled(scope):
    dialled = scope.keep(Origin(echo))
    _, port = scope.socks5()
    status, body, errors = curl("--proxy", proxy(port, user=f"{USER}:wrong"), f"http://127.0.0.1:{dialled.port}/")
    assert status == 97 and body == b"", (status, body, errors)
    assert "rejected" in errors, errors
    assert dialled.accepted == 0


@test
def curl_without_a_password_is_refused_where_one_is_asked(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = curl("--proxy", proxy(port, user=None), origin.url())
    assert status == 97 and body == b"", (status, body, errors)


@test
def curl_without_a_user_works_where_nobody_is_named(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5(user=None)
    status, body, errors = curl("--proxy", proxy(port, user=None), origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def curl_reaches_an_ipv6_origin_by_literal(scope):
    origin = scope.keep(HTTPOrigin("::1"))
    _, port = scope.socks5()
    status, body, errors = curl("--proxy", proxy(port), origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def curl_reaches_the_proxy_over_ipv6(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5(host="::1")
    status, body, errors = curl("--proxy", proxy(port, host="::1"), origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def curl_keeps_two_requests_on_one_tunnel(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = curl("--proxy", proxy(port), origin.url(), origin.url())
    assert (status, body) == (0, origin.body * 2), errors


@test
def curl_sees_connection_refused_as_reply_5(scope):
    _, port = scope.socks5()
    status, _, errors = curl("--proxy", proxy(port), f"http://127.0.0.1:{free_port()}/")
    assert status == 97 and "(5)" in errors, (status, errors)


@test
def curl_sees_an_unknown_name_as_host_unreachable(scope):
    _, port = scope.socks5()
    status, _, errors = curl("--proxy", proxy(port, "socks5h"), "http://no-such-host.invalid/")
    assert status == 97 and "(4)" in errors, (status, errors)


@test
def curl_goes_through_the_raw_relay(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.relay(origin.address)
    status, body, errors = curl(f"http://127.0.0.1:{port}/")
    assert (status, body) == (0, origin.body), errors


@test
def curl_goes_through_the_bare_relay_over_ipv6(scope):
    origin = scope.keep(HTTPOrigin("::1"))
    _, port = scope.relay(origin.address, "--bare", host="::1")
    status, body, errors = curl("--globoff", f"http://[::1]:{port}/")
    assert (status, body) == (0, origin.body), errors


@test
def curl_goes_through_a_unix_socket(scope):
    origin = scope.keep(HTTPOrigin())
    path = scope.path("relay.sock")
    app = scope.app("relay", "--listen", f"unix:{path}", "--to", address(*origin.address))
    eventually(lambda: os.path.exists(path) or app.process.poll() is not None, "the socket file appears")
    status, body, errors = curl("--unix-socket", path, "http://localhost/")
    assert (status, body) == (0, origin.body), errors + app.errors()


# ---- nc

@test
def nc_through_socks5_echoes(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.socks5(user=None)
    text = os.urandom(200_000)
    status, output, errors = run(
        [need("nc"), "-N", "-X", "5", "-x", f"127.0.0.1:{port}", "127.0.0.1", str(origin.port)], input=text)
    assert status == 0 and output == text, (status, len(output), errors)


@test
def nc_is_told_that_a_destination_refuses(scope):
    _, port = scope.socks5(user=None)
    status, _, errors = run([need("nc"), "-N", "-X", "5", "-x", f"127.0.0.1:{port}", "127.0.0.1", str(free_port())], input=b"")
    assert status != 0 and "refused" in errors.lower(), (status, errors)


@test
def nc_through_the_relay_sees_its_half_close_answered(scope):
    def count(connection):
        # Answers only after the client's FIN, so that a relay which swallows it hangs here.
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(str(total).encode())

    origin = scope.keep(Origin(count))
    _, port = scope.relay(origin.address)
    status, output, errors = run([need("nc"), "-N", "127.0.0.1", str(port)], input=bytes(300_000))
    assert status == 0 and output == b"300000", (status, output, errors)


# ---- ssh

def start_sshd(scope):
    """An sshd of our own on loopback, with keys made for this test; returns (port, client's arguments)."""
    sshd, keygen = need("sshd"), need("ssh-keygen")
    for name in ("host", "user"):
        status, _, errors = run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", scope.path(name)])
        assert status == 0, errors
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    with open(scope.path("user.pub")) as public, open(scope.path("authorized"), "w") as authorized:
        authorized.write(public.read())
    port = free_port()
    with open(scope.path("sshd.conf"), "w") as file:
        file.write(f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {scope.path('host')}
AuthorizedKeysFile {scope.path('authorized')}
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
UsePAM no
PidFile none
""")
    class Daemon:
        def __init__(self):
            self.log = open(scope.path("sshd.log"), "wb")
            self.process = subprocess.Popen([sshd, "-D", "-e", "-f", scope.path("sshd.conf")], stderr=self.log)

        def close(self):
            self.process.terminate()
            self.process.wait(5)
            self.log.close()

    daemon = scope.keep(Daemon())
    eventually(lambda: port in listening_ports("127.0.0.1") or daemon.process.poll() is not None, "sshd listens")
    if daemon.process.poll() is not None:
        with open(scope.path("sshd.log"), errors="replace") as log:
            raise Skip(f"sshd does not run here: {log.read().strip()[-200:]}")
    return port, [
        need("ssh"), "-F", "none", "-i", scope.path("user"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
        "-o", f"UserKnownHostsFile={scope.path('known')}", "-o", "LogLevel=ERROR", "-p", str(port),
    ]


@test
def ssh_proxycommand_through_socks5_runs_a_command_and_moves_bytes(scope):
    need("nc")
    port, ssh = start_sshd(scope)
    _, proxy_port = scope.socks5(user=None)
    data = os.urandom(8 << 20)
    command = f"nc -X 5 -x 127.0.0.1:{proxy_port} %h %p"
    status, output, errors = run([*ssh, "-o", f"ProxyCommand={command}", "127.0.0.1", "sha256sum"], input=data)
    assert status == 0 and output.split()[0].decode() == hashlib.sha256(data).hexdigest(), (status, output, errors)


@test
def ssh_through_the_raw_relay_runs_a_command(scope):
    port, ssh = start_sshd(scope)
    _, relay_port = scope.relay(("127.0.0.1", port))
    ssh[ssh.index("-p") + 1] = str(relay_port)
    status, output, errors = run([*ssh, "127.0.0.1", "echo", "through"])
    assert status == 0 and output == b"through\n", (status, output, errors)


# ---- PySocks

def pysocks_socket(port, user=(USER, PASSWORD), rdns=False, family=socket.AF_INET):
    connection = socks.socksocket(family)
    connection.set_proxy(socks.SOCKS5, "127.0.0.1", port, rdns, *(user or (None, None)))
    connection.settimeout(15)
    return connection


@test
def pysocks_with_password_echoes(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.socks5()
    with pysocks_socket(port) as connection:
        connection.connect(origin.address)
        connection.sendall(b"ping" * 100)
        received = b""
        while len(received) < 400:
            received += connection.recv(400)
        assert received == b"ping" * 100
        # BND.ADDR is the address that the proxy dialled from, so a true one is no wildcard.
        bound = connection.get_proxy_sockname()
        assert bound[0] in ("127.0.0.1", b"127.0.0.1") and bound[1] > 0, bound


@test
def pysocks_sends_a_name_for_the_proxy_to_resolve(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.socks5()
    with pysocks_socket(port, rdns=True) as connection:
        connection.connect(("localhost", origin.port))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


@test
def pysocks_reaches_an_ipv6_destination(scope):
    origin = scope.keep(Origin(echo, host="::1"))
    _, port = scope.socks5()
    with pysocks_socket(port, rdns=True) as connection:
        connection.connect(("::1", origin.port))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


@test
def pysocks_sees_a_wrong_password_as_an_authentication_error(scope):
    origin = scope.keep(Origin(echo))
    _, port = scope.socks5()
    for user in ((USER, "wrong"), ("nobody", PASSWORD)):
        try:
            with pysocks_socket(port, user=user) as connection:
                connection.connect(origin.address)
        except socks.ProxyError as error:
            assert "authentication failed" in str(error), error
            continue
        raise AssertionError(f"{user} was let in")
    assert origin.accepted == 0


@test
def pysocks_sees_the_reply_code_of_a_refused_connection(scope):
    _, port = scope.socks5()
    try:
        with pysocks_socket(port) as connection:
            connection.connect(("127.0.0.1", free_port()))
    except socks.ProxyError as error:
        assert "0x05" in str(error), error
    else:
        raise AssertionError("connected to nothing")


# ---- proxychains4

def proxychains(scope, port, *command, user=f"{USER} {PASSWORD}"):
    with open(scope.path("proxychains.conf"), "w") as file:
        file.write(f"strict_chain\nproxy_dns\ntcp_read_time_out 15000\ntcp_connect_time_out 8000\n[ProxyList]\n"
                   f"socks5 127.0.0.1 {port} {user}\n")
    return run([need("proxychains4"), "-q", "-f", scope.path("proxychains.conf"), *command])


@test
def proxychains4_sends_an_unknowing_curl_through(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, errors = proxychains(scope, port, need("curl"), "-sS", "--max-time", "15", origin.url())
    assert (status, body) == (0, origin.body), errors


@test
def proxychains4_with_a_wrong_password_gets_nothing(scope):
    origin = scope.keep(HTTPOrigin())
    _, port = scope.socks5()
    status, body, _ = proxychains(scope, port, need("curl"), "-sS", "--max-time", "15", origin.url(), user=f"{USER} wrong")
    assert status != 0 and body == b""
