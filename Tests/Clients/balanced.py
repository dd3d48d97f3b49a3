#!/usr/bin/python3
"""Backends to be balanced, killed and stopped, in one process for each list of ports: `balanced.py LEDGER PORT[:MS]…`.

MS: every answer of this port takes so long, and four are made at a time; without it answers are made at once.

  GET /health     200
  GET /work       200, its port
  POST /ID        200; the ID is added to LEDGER, so that one that came twice is found
"""

import asyncio
import os
import re
import socket
import sys


class Backend:
    def __init__(self, port, seconds, ledger):
        self.port, self.seconds, self.ledger = port, seconds, ledger
        self.turn = asyncio.Semaphore(4)

    async def serve(self, reader, writer):
        try:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                method, target = head.split(b" ", 2)[:2]
                if target != b"/health" and self.seconds:
                    async with self.turn:
                        await asyncio.sleep(self.seconds)
                if method == b"POST":
                    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                    await reader.readexactly(int(length.group(1)))
                    # One write, which the kernel does whole: what was answered is there, whatever happens next.
                    os.write(self.ledger, target[1:] + b"\n")
                body = b"%d" % self.port
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def main(ledger, ports):
    ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    servers = []
    for word in ports:
        port, _, milliseconds = word.partition(":")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(port)))
        backend = Backend(int(port), float(milliseconds or 0) / 1000, ledger)
        servers.append(await asyncio.start_server(backend.serve, sock=listener, backlog=1024))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
