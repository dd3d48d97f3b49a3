"""What the reverse proxy forwards is read by other parsers (h11, nginx) as what the client sent: method, target, fields, body.

Messages are made up from odd but legal parts, and half of them are then damaged. h11 reads what the client sends and says what
it means. The proxy either refuses, or what h11 (or nginx, and h11 behind it) reads on the other side is the same.
"""

import random
import re
import socket
import subprocess
import threading

import h11

from harness import Origin, eventually, free_port, limit, listening_ports, need, test

SENTINEL = b"GET /sentinel HTTP/1.1\r\nHost: sentinel.example\r\nConnection: close\r\n\r\n"
# What ends at each hop or is written by the proxy, and is no matter of this comparison.
OF_THE_WAY = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"content-length", b"upgrade",
    b"expect", b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"date", b"server",
}


class Reading:
    """Requests as an h11 connection reads them."""

    def __init__(self, connection):
        self.connection, self.request, self.body = connection, None, b""

    def next(self):
        """The next whole request: (method, target, host, fields, body), or None while it is not complete."""
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Request):
                self.request, self.body = event, b""
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return meaning(self.request, self.body)
            else:  # NEED_DATA, PAUSED, ConnectionClosed
                return None

    def is_kept_http10(self):
        """h11 never keeps an HTTP/1.0 connection; the proxy does, for clients that ask and take it for an origin."""
        options = {word.strip().lower() for n, v in self.request.headers if n == b"connection" for word in v.split(b",")}
        return (
            self.request.http_version == b"1.0" and b"keep-alive" in options and b"close" not in options
            and self.request.target.startswith((b"/", b"*")))


def meaning(request, body):
    headers = [(bytes(name).lower(), bytes(value)) for name, value in request.headers]
    listed = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    target = re.sub(rb"^http://[^/?]*", b"", bytes(request.target), flags=re.I)
    if not target.startswith(b"/") and target != b"*":
        target = b"/" + target
    host = [value for name, value in headers if name == b"host"]
    kept = sorted((n, v) for n, v in headers if n not in OF_THE_WAY and n not in listed and n != b"host")
    return bytes(request.method), target, host[0] if host else None, kept, body


def meant(stream):
    """What h11 takes the client's bytes for: whole requests in order, until one closes, is incomplete or is refused."""
    requests = []
    try:
        while True:
            connection = h11.Connection(h11.SERVER)
            # One empty line before a request is borne (RFC 9112, 2.2); h11 bears none.
            connection.receive_data(stream.removeprefix(b"\r\n"))
            read = Reading(connection)
            request = read.next()
            if request is None:
                return requests
            requests.append(request)
            stream = connection.trailing_data[0]
            if read.is_kept_http10():
                continue
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
    except h11.ProtocolError:
        return requests


class Recorder(Origin):
    """An origin that reads with h11. What h11 refuses is a finding: nothing of that kind may be forwarded."""

    def __init__(self):
        self.requests, self.refused = [], []
        self.lock = threading.Lock()
        super().__init__(self.answer)

    def answer(self, connection):
        raw = b""
        parser = h11.Connection(h11.SERVER)
        read = Reading(parser)
        try:
            while parser.our_state is not h11.MUST_CLOSE:
                while (request := read.next()) is None:
                    if parser.they_are_waiting_for_100_continue:
                        connection.sendall(parser.send(h11.InformationalResponse(status_code=100, headers=[])))
                    data = connection.recv(65536)
                    if not data:
                        return
                    raw += data
                    parser.receive_data(data)
                with self.lock:
                    self.requests.append(request)
                raw = b""
                answer = parser.send(h11.Response(status_code=200, headers=[("content-length", "2")]))
                if request[0] != b"HEAD":
                    answer += parser.send(h11.Data(data=b"ok"))
                connection.sendall(answer + parser.send(h11.EndOfMessage()))
                if parser.our_state is h11.DONE:
                    parser.start_next_cycle()
        except h11.RemoteProtocolError as error:
            with self.lock:
                self.refused.append((str(error), raw))

    def take(self):
        with self.lock:
            taken, self.requests = self.requests, []
        return taken


# ---- what is sent

NAMES = ["X-A", "x-b", "ACCEPT", "User-Agent", "a!#$%&'*+-.^`|~9", "Cookie", "X-Under_score", "Authorization", "Range", "Link"]
VALUES = ["", "a", "a, b", "\ta b \t", '"quoted, (thing)"', "a:b;c=d", "x" * 300, "caf\u00e9", "//", "\\", "a\tb"]
PATHS = ["/", "/a/b?c=d", "/a%20b", "//x/../y", "/?", "/a;b=c,d", "/?a\\b{}|^`", "/" + "long/" * 60, "/~!$&'()*+,=:@"]


def made_up(rng, for_nginx):
    """A request that is legal, in one of the many ways to write it. nginx takes no `*`, no method in lower case, and some
    fields once only."""
    method = rng.choice(["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "brew", "M-SEARCH"])
    if for_nginx:
        method = method.upper()
    host = rng.choice(["a.example", "A.example:8080", "192.0.2.1", "[2001:db8::1]:80"])
    target = rng.choice(PATHS)
    if rng.random() < 0.2:
        target = f"http://{host}{target}"
    elif method == "OPTIONS" and rng.random() < 0.5 and not for_nginx:
        target = "*"
    version = "1.0" if rng.random() < 0.1 else "1.1"
    fields = [(rng.choice(["Host", "host", "HOST"]), host)]
    count = rng.randrange(6)
    for name in rng.sample(NAMES, count) if for_nginx else rng.choices(NAMES, k=count):
        fields.append((name, rng.choice(VALUES)))
    if rng.random() < 0.2:
        fields += [("Connection", rng.choice(["keep-alive", "X-Hop", "x-hop, keep-alive"])), ("X-Hop", "1"), ("Keep-Alive", "5")]
    if rng.random() < 0.2:
        fields.append(("TE", "trailers"))
    body = b""
    if method in ("POST", "PUT", "PATCH") or rng.random() < 0.1:
        data = rng.randbytes(rng.choice([0, 1, 5, 100, 5000]))
        if rng.random() < 0.5 and version == "1.1":
            fields.append(("Transfer-Encoding", rng.choice(["chunked", "Chunked"])))
            while data:
                length = rng.randrange(1, len(data) + 1)
                extension = rng.choice([b"", b"", b";a", b';a="b c"'])
                body += rng.choice([b"%x", b"%X", b"00%x"]) % length + extension + b"\r\n" + data[:length] + b"\r\n"
                data = data[length:]
            body += b"0\r\n" + rng.choice([b"", b"X-Trailer: 1\r\n"]) + b"\r\n"
        else:
            fields.append(("Content-Length", str(len(data))))
            body = data
        if rng.random() < 0.1 and version == "1.1" and data:
            fields.append(("Expect", "100-continue"))
    rng.shuffle(fields)
    lines = [name + ":" + rng.choice(["", " ", "  ", "\t"]) + value + rng.choice(["", "", " ", "\t "]) for name, value in fields]
    head = f"{method} {target} HTTP/{version}\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n"
    return rng.choice([b"", b"", b"", b"\r\n"]) + head.encode("latin-1") + body


INSERTED = [
    b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b"\x0b", b":", b",", b";", b"_", b"0", b"x", b"\xff", b"\r\n ", b"\n\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"content-length:+1\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Host: other\r\n", b"0\r\n\r\n",
    b"Content_Length: 4\r\n", b"Connection: content-length\r\n", b"HTTP/1.1\r\n", b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
]


def damaged(rng, message):
    for _ in range(rng.randrange(1, 3)):
        # Where lines begin and end is where it hurts.
        ends = [found.start() for found in re.finditer(rb"\r\n|:|;", message)]
        at = rng.choice(ends) if ends and rng.random() < 0.7 else rng.randrange(len(message))
        at += rng.choice([0, 0, 1, 2])
        kind = rng.randrange(3)
        if kind == 0:
            message = message[:at] + rng.choice(INSERTED) + message[at:]
        elif kind == 1:
            message = message[:at] + message[at + 1:]
        else:
            message = message[:at] + rng.choice(INSERTED)[:1] + message[at + 1:]
    return message


def converse(port, stream, seconds):
    """Sends the stream and reads until the proxy closes, or for so long. All that came."""
    came = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(stream)
            connection.settimeout(seconds)
            while data := connection.recv(65536):
                came += data
        except (TimeoutError, ConnectionError):
            pass
    return came


def answers(came):
    """(status, whether nginx gave it) of each answer but the interim ones."""
    heads = re.findall(rb"HTTP/1\.1 (\d\d\d) (.*?)\r\n\r\n", came, re.S)
    return [(int(status), b"server: nginx" in head.lower()) for status, head in heads if status != b"100"]


def compare(port, recorder, count, seed, for_nginx=False):
    rng = random.Random(seed)
    forwarded = refused = 0
    for number in range(count):
        message = made_up(rng, for_nginx)
        is_damaged = number % 2 == 1
        if is_damaged:
            message = damaged(rng, message)
        stream = message + SENTINEL
        expected = meant(stream)
        ends = bool(expected) and expected[-1][1] == b"/sentinel"
        recorder.take()
        came = converse(port, stream, 10 if ends else 0.5)
        got = recorder.take()
        given = answers(came)
        shown = f"{message[:600]!r}"
        assert not recorder.refused, f"forwarded what h11 refuses: {recorder.refused[0]}, of {shown}"
        if for_nginx:
            # nginx refuses a few methods and repeated fields that are legal: those never reach the recorder.
            backend_refused = {i for i, (status, by_nginx) in enumerate(given) if by_nginx and status >= 400}
            assert is_damaged or not backend_refused, f"nginx refuses what is legal: {shown}: {came[:300]!r}"
            expected = [request for i, request in enumerate(expected) if i not in backend_refused]
        for position, request in enumerate(got):
            assert position < len(expected), f"forwarded {request}, which h11 does not see in {shown}"
            wanted = expected[position]
            if wanted[2] is None:  # HTTP/1.0 may leave the host out, and the proxy adds one
                request = (*request[:2], None, *request[3:])
            assert request == wanted, f"{shown}:\nmeant     {wanted}\nforwarded {request}"
        if len(got) < len(expected):
            assert given and given[-1][0] in (400, 413, 414, 431, 501, 505), f"{shown}: {len(got)} of {len(expected)}: {came!r}"
            assert is_damaged, f"refused what is legal: {shown}: {came[:300]!r}"
            refused += 1
        forwarded += len(got)
    assert forwarded > count // 2 and refused > count // 20, f"{forwarded} forwarded, {refused} refused: that compares little"


def reverse(scope, origin_port, *options):
    port = free_port()
    to = f"127.0.0.1:{origin_port}"
    scope.app("reverse", "--listen", f"127.0.0.1:{port}", "--to", to, *options, ready=[("127.0.0.1", port)])
    return port


@test
@limit(240)
def h11_behind_the_reverse_proxy_reads_what_the_client_sent(scope):
    recorder = scope.keep(Recorder())
    compare(reverse(scope, recorder.port), recorder, 2000, seed=3)


class Nginx:
    """nginx as the backend, in front of a recorder: what the recorder gets is what nginx has read."""

    def __init__(self, scope, origin_port):
        self.port = free_port()
        directory = scope.path("nginx")
        configuration = scope.path("nginx.conf")
        with open(configuration, "w") as file:
            file.write(f"""
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  underscores_in_headers on; ignore_invalid_headers off; merge_slashes off; large_client_header_buffers 4 32k;
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://127.0.0.1:{origin_port};
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
""")
        subprocess.run(["mkdir", "-p", directory], check=True)
        self.process = subprocess.Popen(
            [need("nginx"), "-e", f"{directory}/error.log", "-c", configuration], stdin=subprocess.DEVNULL)
        eventually(lambda: self.port in listening_ports("127.0.0.1"), "nginx listens")

    def close(self):
        self.process.terminate()
        self.process.wait(10)


@test
@limit(240)
def nginx_behind_the_reverse_proxy_reads_what_the_client_sent(scope):
    recorder = scope.keep(Recorder())
    nginx = scope.keep(Nginx(scope, recorder.port))
    compare(reverse(scope, nginx.port), recorder, 600, seed=4, for_nginx=True)


# ---- and back

def answer_made_up(rng):
    status = rng.choice([200, 200, 201, 204, 304, 404, 500, 599])
    fields = [(rng.choice(["Server", "set-cookie", "X-A", "Link", "Vary"]), rng.choice(VALUES)) for _ in range(rng.randrange(5))]
    data = rng.randbytes(rng.choice([0, 1, 50, 5000]))
    body = b""
    if status in (204, 304):
        pass
    elif (kind := rng.randrange(3)) == 0:
        fields.append(("Content-Length", str(len(data))))
        body = data
    elif kind == 1:
        fields.append(("transfer-encoding", "chunked"))
        while data:
            length = rng.randrange(1, len(data) + 1)
            body += b"%x" % length + rng.choice([b"", b";a=b"]) + b"\r\n" + data[:length] + b"\r\n"
            data = data[length:]
        body += b"0\r\n\r\n"
    else:
        fields.append(("Connection", "close"))
        body = data
    rng.shuffle(fields)
    lines = [name + ":" + rng.choice(["", " ", "\t "]) + value + rng.choice(["", " "]) for name, value in fields]
    reason = rng.choice(["OK", "", "Any thing \t at all"])
    return f"HTTP/1.1 {status} {reason}\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode("latin-1") + body


def understood(bytes_of_answer):
    """(status, fields, body, whole) as h11 reads it, the connection ending behind it; None for what is no answer."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    response, body = None, b""
    try:
        client.receive_data(bytes_of_answer)
        client.receive_data(b"")
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        if response is None:
            return None
        return response.status_code, None, body, False
    kept = sorted((bytes(n).lower(), bytes(v)) for n, v in response.headers if bytes(n).lower() not in OF_THE_WAY)
    return response.status_code, kept, body, True


@test
@limit(240)
def h11_in_front_of_the_reverse_proxy_reads_what_the_origin_sent(scope):
    sent = []

    def answer(connection):
        while b"\r\n\r\n" not in connection.recv(65536):
            pass
        connection.sendall(sent[0])

    origin = scope.keep(Origin(answer))
    port = reverse(scope, origin.port, "--bare")
    rng = random.Random(5)
    whole = refused = cut = 0
    for number in range(400):
        message = answer_made_up(rng)
        if number % 2 == 1:
            message = damaged(rng, message)
        sent[:] = [message]
        came = converse(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 10)
        wanted, got = understood(message), understood(came)
        if got is None:
            # Cut by a reset, which takes with it what the client had not read yet.
            assert number % 2 == 1, f"no answer to what is legal: {message[:600]!r}: {came[:600]!r}"
            cut += 1
            continue
        if got[0] == 502 and got[3]:
            assert number % 2 == 1, f"refused what is legal: {message[:600]!r}: {came[:600]!r}"
            refused += 1
        elif got[3]:
            assert wanted and wanted[3], f"a whole answer was made of {message[:600]!r}: {came[:600]!r}"
            assert got[:3] == wanted[:3], f"{message[:600]!r}:\nmeant     {wanted}\nforwarded {got}"
            whole += 1
        else:
            # What is broken within the body reaches the client as a cut, too.
            assert number % 2 == 1, f"cut what is legal: {message[:600]!r}: {came[:600]!r}"
            cut += 1
    assert whole > 200 and refused > 20 and cut > 2, f"{whole} whole, {refused} refused, {cut} cut: that compares little"
