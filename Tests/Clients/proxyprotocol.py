"""The PROXY protocol with HAProxy and nginx, in front of us and behind us."""

import os
import re
import socket

from harness import (
    PASSWORD, USER, Origin, echo, eventually, free_port, need, receive, socks5_connect, test)

# Where the real client connects from, so that nobody is taken for it.
CLIENT = "127.0.0.77"


def haproxy(scope, sections):
    port = free_port()
    path = scope.path(f"haproxy-{port}.cfg")
    with open(path, "w") as file:
        file.write("global\n  maxconn 100\ndefaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n")
        file.write(sections.format(port=port))
    scope.program([need("haproxy"), "-db", "-f", path], port, "haproxy")
    return port


def nginx(scope, sections):
    port = free_port()
    place = scope.path(f"nginx-{port}")
    os.makedirs(place)
    with open(f"{place}/nginx.conf", "w") as file:
        file.write("load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n")
        file.write("user root;\n" if os.getuid() == 0 else "")
        file.write(f"daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log;\nevents {{}}\n")
        file.write(sections.replace("PORT", str(port)).replace("PLACE", place))
    scope.program([need("nginx"), "-e", f"{place}/error.log", "-c", f"{place}/nginx.conf"], port, "nginx")
    return port


def connect(port):
    """A connection from the client's address: (socket, address and port as a log writes them)."""
    connection = socket.create_connection(("127.0.0.1", port), 20, source_address=(CLIENT, 0))
    return connection, "%s:%d" % connection.getsockname()


def expect_logged(app, client):
    eventually(lambda: f"client={client} " in app.output(), f"a line of the client {client}: {app.output()[-600:]}")


FRONT = """
listen front
  mode tcp
  bind 127.0.0.1:{{port}}
  server app 127.0.0.1:{app} {options}
"""


def check_front(scope, app, front):
    """Bytes pass, and the log names the client of the program in front."""
    connection, client = connect(front)
    connection.sendall(b"hello")
    assert receive(connection, 5) == b"hello"
    connection.close()
    expect_logged(app, client)


@test
def relay_believes_haproxy_in_both_versions(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--proxy-protocol-from", "127.0.0.1")
    for options in ("send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
        check_front(scope, app, haproxy(scope, FRONT.format(app=port, options=options)))
    assert "PROXY protocol" not in app.errors(), app.errors()


@test
def health_checks_of_haproxy_find_us_alive_and_are_no_complaint(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--proxy-protocol-from", "127.0.0.1")
    for options in ("send-proxy-v2 check inter 50 check-send-proxy", "send-proxy check inter 50"):
        front = haproxy(scope, FRONT.format(app=port, options=options))
        before = app.output().count("\n")
        check_front(scope, app, front)
        if "check-send-proxy" in options:
            eventually(lambda: app.output().count("\n") > before + 3, "checks were served")
        check_front(scope, app, front)
    assert "PROXY protocol" not in app.errors(), app.errors()


@test
def relay_believes_nginx(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--proxy-protocol-from", "127.0.0.0/8")
    front = nginx(scope, f"stream {{ server {{ listen 127.0.0.1:PORT; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }} }}\n")
    check_front(scope, app, front)


@test
def socks5_believes_haproxy(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.socks5("--proxy-protocol-from", "127.0.0.1")
    front = haproxy(scope, FRONT.format(app=port, options="send-proxy-v2"))
    connection, reply = socks5_connect(front, origin.address, (USER, PASSWORD))
    assert reply == 0
    connection.sendall(b"hello")
    assert receive(connection, 5) == b"hello"
    client = "%s:%d" % connection.getsockname()
    connection.close()
    expect_logged(app, client)


@test
def reverse_believes_haproxy_and_tells_the_origin(scope):
    seen = []

    def serve(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            if not data:
                return
            head += data
        seen.append(head.decode().lower())
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    origin = scope.keep(Origin(serve))
    app, port = scope.reverse([origin.address], "--proxy-protocol-from", "127.0.0.1")
    for options in ("send-proxy", "send-proxy-v2"):
        connection, client = connect(haproxy(scope, FRONT.format(app=port, options=options)))
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.close()
        expect_logged(app, client)
        assert f"x-forwarded-for: {CLIENT}\r\n" in seen[-1], seen[-1]
        assert f"forwarded: for={CLIENT};" in seen[-1], seen[-1]


@test
def without_its_header_a_listed_peer_is_closed_and_the_log_says_why(scope):
    origin = scope.keep(Origin(echo))
    app, port = scope.relay(origin.address, "--proxy-protocol-from", "127.0.0.1")
    connection, _ = connect(port)
    connection.close()  # not listed: its own address is CLIENT
    bare = haproxy(scope, FRONT.format(app=port, options=""))
    connection, _ = connect(bare)
    connection.sendall(b"hello")
    try:
        assert connection.recv(10) == b""
    except ConnectionResetError:
        pass
    eventually(lambda: "PROXY protocol" in app.errors(), "the log says why")
    assert "does not begin with a header" in app.errors() or "no listed peer" in app.errors(), app.errors()


# HAProxy and nginx behind us: each answers with the address that it was told.

BEHIND_HAPROXY = """
frontend behind
  mode http
  bind 127.0.0.1:{port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port]"
"""
BEHIND_NGINX = """
http {
  access_log off;
  client_body_temp_path PLACE/body; proxy_temp_path PLACE/proxy; fastcgi_temp_path PLACE/fastcgi;
  uwsgi_temp_path PLACE/uwsgi; scgi_temp_path PLACE/scgi;
  server {
    listen 127.0.0.1:PORT proxy_protocol;
    return 200 "$proxy_protocol_addr:$proxy_protocol_port";
  }
}
"""


def told(port):
    """(what the program behind was told, who the client was)."""
    connection, client = connect(port)
    connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    answer = b""
    while data := connection.recv(65536):
        answer += data
    connection.close()
    match = re.search(rb"\d+\.\d+\.\d+\.\d+:\d+", answer.split(b"\r\n\r\n", 1)[-1])
    assert match, answer
    return match.group().decode(), client


@test
def haproxy_and_nginx_behind_a_relay_learn_the_client(scope):
    for behind in (haproxy(scope, BEHIND_HAPROXY), nginx(scope, BEHIND_NGINX)):
        for version in ("v1", "v2"):
            _, port = scope.relay(("127.0.0.1", behind), "--send-proxy-protocol", version)
            was_told, client = told(port)
            assert was_told == client, (version, was_told, client)


@test
def haproxy_and_nginx_behind_a_reverse_proxy_learn_the_client_of_each_request(scope):
    for behind in (haproxy(scope, BEHIND_HAPROXY), nginx(scope, BEHIND_NGINX)):
        for version in ("v1", "v2"):
            _, port = scope.reverse([("127.0.0.1", behind)], "--send-proxy-protocol", version, "--workers", "1")
            for _ in range(3):
                was_told, client = told(port)
                assert was_told == client, (version, was_told, client)


@test
def a_client_between_two_balancers_keeps_its_address(scope):
    behind = haproxy(scope, BEHIND_HAPROXY)
    _, port = scope.relay(
        ("127.0.0.1", behind), "--proxy-protocol-from", "127.0.0.1", "--send-proxy-protocol", "v2")
    was_told, client = told(haproxy(scope, FRONT.format(app=port, options="send-proxy-v2")))
    assert was_told == client
