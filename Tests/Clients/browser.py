"""A browser behind the proxies: a page whose script opens a WebSocket says itself whether it worked."""

import base64
import hashlib
import os
import struct
import threading

from harness import Origin, limit, need, receive, run, test

PAGE = b"""<!doctype html>
<title>waiting</title>
<p id="result">nothing yet</p>
<script>
  const said = [];
  const socket = new WebSocket(`ws://${location.host}/echo`);
  socket.onopen = () => { for (const text of ["one", "two", "x".repeat(70000)]) socket.send(text); };
  socket.onmessage = async (event) => {
    said.push(event.data.length);
    if (said.length < 3) return;
    const answer = await fetch("/data", { method: "POST", body: "from the page" });
    document.title = "done";
    document.getElementById("result").textContent = `echoed ${said.join(", ")}; fetched ${await answer.text()}`;
    await fetch("/done", { method: "POST" });
  };
  socket.onerror = () => { document.getElementById("result").textContent = "the WebSocket failed"; };
</script>
<img src="/when-done">
"""


class PageOrigin(Origin):
    """The page, its data, and a WebSocket that echoes (RFC 6455). The image comes when the page is done, so that the page is
    loaded no earlier."""

    def __init__(self):
        self.done = threading.Event()
        self.heads = []
        super().__init__(self.speak)

    def speak(self, connection):
        connection.settimeout(60)
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            lines = head.decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
            self.heads.append((method, target, fields))
            length = int(fields.get("content-length", 0))
            while len(buffer) < length:
                buffer += connection.recv(65536)
            body, buffer = buffer[:length], buffer[length:]
            if target == "/echo" and fields.get("upgrade", "").lower() == "websocket":
                return self.echo_frames(connection, fields["sec-websocket-key"], buffer)
            answer = {"/": PAGE, "/data": b"%d bytes" % len(body)}.get(target, b"")
            if target == "/done":
                self.done.set()
            if target == "/when-done":
                self.done.wait(25)
            kind = b"text/html" if target == "/" else b"text/plain"
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(answer), answer))

    @staticmethod
    def echo_frames(connection, key, ahead):
        token = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: " + base64.b64encode(token) + b"\r\n\r\n")
        assert not ahead, "a browser waits for the handshake"
        while True:
            first, second = receive(connection, 2)
            length = second & 127
            if length == 126:
                length = struct.unpack("!H", receive(connection, 2))[0]
            elif length == 127:
                length = struct.unpack("!Q", receive(connection, 8))[0]
            mask = receive(connection, 4)
            data = receive(connection, length)
            if first & 15 == 8:
                return
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
            if len(text) < 126:
                size = bytes([len(text)])
            elif len(text) < 65536:
                size = b"\x7e" + struct.pack("!H", len(text))
            else:
                size = b"\x7f" + struct.pack("!Q", len(text))
            connection.sendall(bytes([first]) + size + text)


def load(scope, url, *options):
    """The page as it stands when it is loaded."""
    chromium = need("chromium")
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    status, output, errors = run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         f"--user-data-dir={scope.path('profile')}", "--timeout=40000", *options, "--dump-dom", url],
        timeout=100, env={**environment, "HOME": scope.path("home")})
    assert status == 0, errors[-800:]
    return output.decode(errors="replace")


def expect_done(page, errors=""):
    assert "<title>done</title>" in page, page[-600:] + errors
    assert "echoed 3, 3, 70000; fetched 13 bytes" in page, page[-600:]


@test
@limit(120)
def a_browser_loads_a_page_with_a_WebSocket_through_the_reverse_proxy(scope):
    origin = scope.keep(PageOrigin())
    app, port = scope.reverse([origin.address])
    expect_done(load(scope, f"http://127.0.0.1:{port}/"), app.errors())
    upgrades = [fields for _, target, fields in origin.heads if target == "/echo"]
    assert len(upgrades) == 1 and "via" in upgrades[0] and upgrades[0]["connection"].lower() == "upgrade", origin.heads


@test
@limit(120)
def a_browser_loads_a_page_with_a_WebSocket_through_the_forward_proxy(scope):
    origin = scope.keep(PageOrigin())
    app, port = scope.forward(user=None)
    # A browser goes to loopback addresses directly unless it is told not to.
    page = load(
        scope, f"http://127.0.0.1:{origin.port}/", f"--proxy-server=http://127.0.0.1:{port}",
        "--proxy-bypass-list=<-loopback>")
    expect_done(page, app.errors())
    log = app.output()
    assert "method=CONNECT" in log and f"target=http://127.0.0.1:{origin.port}/ " in log, log
