"""HTTP clients against the reverse and the forward proxy: curl, Python, wrk."""

import hashlib
import http.client
import http.server
import os
import re
import ssl
import threading
import urllib.request

from harness import PASSWORD, USER, HTTPOrigin, Origin, eventually, free_port, need, run, test


class WebOrigin:
    """Answers with what it saw: the method, the target, and the body's length and digest."""

    def __init__(self, context=None):
        self.requests = requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def body(self):
                if self.headers.get("transfer-encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    return body
                return self.rfile.read(int(self.headers.get("content-length", 0)))

            def answer(self):
                body = self.body()
                requests.append((self.command, self.path, self.headers))
                size = re.match(r"/bytes/(\d+)", self.path)
                if size:
                    content = hashlib.shake_256(b"web").digest(int(size.group(1)))
                else:
                    content = f"{self.command} {self.path} {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
                self.send_response(200)
                if self.path.startswith("/chunked"):
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    for start in range(0, len(content), 17):
                        part = content[start:start + 17]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 512

            def handle_error(self, request, client):
                pass  # the other side went; what it means is the test's to say

        self.server = Server(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host, self.port = self.server.server_address
        self.address = (self.host, self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def curl(*arguments, input=None):
    """(status, output, errors) of curl, whatever proxies the environment names."""
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return run([need("curl"), "-sS", "--max-time", "20", *arguments], input=input, env=environment)


def curl_ok(*arguments, input=None):
    status, output, errors = curl(*arguments, input=input)
    assert status == 0, f"curl {' '.join(arguments)}: status {status}: {errors}"
    return output


def through(port):
    """How curl is sent through the forward proxy with its user."""
    return ["-x", f"http://{USER}:{PASSWORD}@127.0.0.1:{port}"]


@test
def curl_reads_and_writes_through_the_reverse_proxy(scope):
    origin = scope.keep(WebOrigin())
    app, port = scope.reverse([origin.address])
    url = f"http://127.0.0.1:{port}"
    assert curl_ok(f"{url}/a?b=c").startswith(b"GET /a?b=c 0 ")
    assert curl_ok(f"{url}/chunked/x").startswith(b"GET /chunked/x 0 ")
    assert b"200 OK" in curl_ok("-I", f"{url}/head")
    big = hashlib.shake_256(b"upload").digest(5_000_000)
    digest = hashlib.sha256(big).hexdigest().encode()
    # With a length, which makes curl expect a 100, and chunked.
    assert digest in curl_ok("--data-binary", "@-", f"{url}/up", input=big)
    assert digest in curl_ok("-H", "expect: 100-continue", "--data-binary", "@-", f"{url}/up", input=big)
    assert digest in curl_ok("-H", "transfer-encoding: chunked", "--data-binary", "@-", f"{url}/up", input=big)
    assert curl_ok(f"{url}/bytes/3000000") == hashlib.shake_256(b"web").digest(3_000_000)
    assert curl_ok("--http1.0", f"{url}/old").startswith(b"GET /old 0 ")
    assert curl_ok("--http1.0", f"{url}/chunked/old").startswith(b"GET /chunked/old 0 ")
    assert curl_ok("-X", "DELETE", f"{url}/d").startswith(b"DELETE /d 0 ")


@test
def curl_keeps_its_connection_to_the_reverse_proxy(scope):
    origin = scope.keep(WebOrigin())
    _, port = scope.reverse([origin.address])
    url = f"http://127.0.0.1:{port}"
    status, _, errors = run([need("curl"), "-sv", "--noproxy", "*", *[f"{url}/{i}" for i in range(5)]])
    assert status == 0
    assert errors.count("Connected to") == 1 and errors.count("Re-using existing connection") == 4, errors


@test
def two_origins_are_taken_in_turn_and_one_that_is_down_is_passed_over(scope):
    def saying(word):
        def serve(connection):
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + word)
        return scope.keep(Origin(serve))

    one, two = saying(b"one"), saying(b"two")
    _, port = scope.reverse([one.address, two.address])
    answers = [curl_ok(f"http://127.0.0.1:{port}/") for _ in range(4)]
    assert sorted(answers) == [b"one", b"one", b"two", b"two"], answers
    one.close()
    assert {curl_ok(f"http://127.0.0.1:{port}/") for _ in range(6)} == {b"two"}


@test
def curl_asks_through_the_forward_proxy_in_both_ways(scope):
    origin = scope.keep(WebOrigin())
    app, port = scope.forward()
    url = f"http://127.0.0.1:{origin.port}"
    for way in ([], ["-p"]):
        assert curl_ok(*through(port), *way, f"{url}/x").startswith(b"GET /x 0 ")
        big = hashlib.shake_256(b"upload").digest(2_000_000)
        answer = curl_ok(*through(port), *way, "--data-binary", "@-", f"{url}/up", input=big)
        assert hashlib.sha256(big).hexdigest().encode() in answer
    direct, tunnelled = origin.requests[0][2], origin.requests[2][2]
    assert "via" in direct and "via" not in tunnelled
    for _, _, headers in origin.requests:
        assert "proxy-authorization" not in headers and "proxy-connection" not in headers, headers
    assert f"identity={USER}" in eventually(app.output, "log")


@test
def curl_is_challenged_and_refused_without_the_right_password(scope):
    origin = scope.keep(WebOrigin())
    _, port = scope.forward()
    url = f"http://127.0.0.1:{origin.port}/"
    for credentials in ([], ["-U", f"{USER}:wrong"]):
        proxy = ["-x", f"http://127.0.0.1:{port}", *credentials]
        assert b"407" in curl_ok(*proxy, "-o", "/dev/null", "-w", "%{http_code}", url)
        status, _, errors = curl(*proxy, "-p", url)
        assert status == 56 and "407" in errors, (status, errors)
    assert not origin.requests
    # curl that is told to look what the proxy wants finds Basic.
    answer = curl_ok("--proxy-anyauth", "-U", f"{USER}:{PASSWORD}", "-x", f"http://127.0.0.1:{port}", url)
    assert answer.startswith(b"GET / 0 ")


@test
def nobody_sends_mail_through_the_forward_proxy(scope):
    _, port = scope.forward()
    for way in ([], ["-p"]):
        _, output, errors = curl(*through(port), *way, "-o", "/dev/null", "-w", "%{http_code} %{http_connect}", "http://127.0.0.1:25/")
        assert b"403" in output, (output, errors)


@test
def curl_gets_https_through_a_tunnel(scope):
    key, certificate = scope.path("key.pem"), scope.path("certificate.pem")
    status, _, errors = run(
        [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days",
         "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
    assert status == 0, errors
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    origin = scope.keep(WebOrigin(context))
    _, port = scope.forward()
    answer = curl_ok(*through(port), "--cacert", certificate, f"https://127.0.0.1:{origin.port}/bytes/1000000")
    assert answer == hashlib.shake_256(b"web").digest(1_000_000)


@test
def python_talks_through_both(scope):
    origin = scope.keep(WebOrigin())
    _, reverse = scope.reverse([origin.address])
    connection = http.client.HTTPConnection("127.0.0.1", reverse, timeout=20)
    for number in range(20):
        connection.request("POST" if number % 2 else "GET", f"/{number}", body=b"x" * number if number % 2 else None)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read().split()[2] == str(number if number % 2 else 0).encode()
    _, forward = scope.forward()
    proxies = {"http": f"http://{USER}:{PASSWORD}@127.0.0.1:{forward}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    assert opener.open(f"http://127.0.0.1:{origin.port}/py", timeout=20).read().startswith(b"GET /py 0 ")
    tunnel = http.client.HTTPConnection("127.0.0.1", forward, timeout=20)
    tunnel.set_tunnel("127.0.0.1", origin.port, {"Proxy-Authorization": "Basic ZmllcmNlUmFiYml0OnNlY3JldFRoaWNrZXQ="})
    tunnel.request("GET", "/tunnel")
    assert tunnel.getresponse().read().startswith(b"GET /tunnel 0 ")


class TaggedOrigin(HTTPOrigin):
    """Counts its answers, and tags each."""

    def __init__(self):
        super().__init__()
        self.asked = asked = []
        handler = self.server.RequestHandlerClass

        def answer(self):
            asked.append((self.path, dict(self.headers)))
            body = b"answer %d\n" % len(asked)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("etag", '"%d"' % len(asked))
            self.end_headers()
            self.wfile.write(body)

        handler.do_GET = answer


def head_and_body(*arguments):
    """(status, fields, body) of the last response that curl shows."""
    head, _, body = curl_ok("-i", *arguments).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}, body


@test
def curl_sees_what_the_cache_keeps(scope):
    origin = scope.keep(TaggedOrigin())
    port = free_port()
    scope.app("server", "--user", f"{USER}:{PASSWORD}", "--reverse", f"127.0.0.1:{port}",
              "--origin", f"127.0.0.1:{origin.port}", ready=[("127.0.0.1", port)])
    url = f"http://127.0.0.1:{port}/cached/page"
    status, missed, body = head_and_body(url)
    assert (status, body, missed["x-cache-status"]) == (200, b"answer 1\n", "MISS") and "age" not in missed, missed
    status, hit, body = head_and_body(url)
    assert (status, body, hit["x-cache-status"]) == (200, b"answer 1\n", "HIT"), hit
    assert 0 <= int(hit["age"]) < 10 and hit["etag"] == '"1"' and hit["date"] == missed["date"], hit
    assert hit["via"] == missed["via"], (hit, missed)
    status, same, body = head_and_body("-H", 'if-none-match: "1"', url)
    assert (status, body, same["x-cache-status"]) == (304, b"", "HIT") and same["etag"] == '"1"', same
    status, _, body = head_and_body("-H", 'if-none-match: "other"', url)
    assert (status, body) == (200, b"answer 1\n")
    status, part, body = head_and_body("-r", "7-7", url)
    assert (status, body, part["content-range"]) == (206, b"1", "bytes 7-7/9"), part
    # curl keeps the tag, and asks with it the next time.
    tags = scope.path("etags")
    for expected in (b"answer 1\n", b""):
        assert curl_ok("--etag-save", tags, "--etag-compare", tags, url) == expected
    assert head_and_body("-H", "cache-control: no-cache", url)[1]["x-cache-status"] in ("MISS", "REVALIDATED")
    assert [path for path, _ in origin.asked] == ["/cached/page"] * 2, origin.asked


@test
def a_password_for_the_proxy_is_not_the_origins(scope):
    origin = scope.keep(TaggedOrigin())
    port = free_port()
    scope.app("server", "--user", f"{USER}:{PASSWORD}", "--reverse", f"127.0.0.1:{port}",
              "--origin", f"127.0.0.1:{origin.port}", ready=[("127.0.0.1", port)])
    url = f"http://127.0.0.1:{port}"
    assert head_and_body(f"{url}/protected")[0] == 401
    assert head_and_body("-u", f"{USER}:wrong", f"{url}/protected")[0] == 401
    for target in ("/protected", "/open"):
        assert head_and_body("-u", f"{USER}:{PASSWORD}", url + target)[0] == 200
    seen = {path: {k.lower() for k in fields} for path, fields in origin.asked}
    assert "authorization" not in seen["/protected"] and "authorization" in seen["/open"], origin.asked


@test
def wrk_sees_no_error_at_64_connections(scope):
    origin = scope.keep(HTTPOrigin(body=b"x" * 128))
    _, port = scope.reverse([origin.address], "--log", "off")
    status, output, errors = run([need("wrk"), "-t2", "-c64", "-d3s", f"http://127.0.0.1:{port}/"], timeout=60)
    text = output.decode()
    assert status == 0, errors
    assert "Socket errors" not in text and "Non-2xx" not in text, text
    assert int(re.search(r"(\d+) requests in", text).group(1)) > 100, text


@test
def one_client_cannot_have_more_connections_than_it_may(scope):
    origin = scope.keep(HTTPOrigin(body=b"x" * 128))
    app, port = scope.reverse([origin.address], "--max-connections-per-client", "8", "--log", "off")
    status, output, _ = run([need("wrk"), "-t1", "-c32", "-d1s", f"http://127.0.0.1:{port}/"], timeout=60)
    eventually(lambda: "has 8 connections open, and may have no more" in app.errors(), "the refusal is logged")
    assert app.errors().count("may have no more") <= 2, app.errors()
    # Whoever has a connection is served.
    assert int(re.search(rb"(\d+) requests in", output).group(1)) > 0, output
