#!/usr/bin/python3
"""A backend that is made to be killed: `backend.py PORT`. What it answers follows from the target alone.

  GET /length/SIZE/SEED    SIZE bytes with a content-length
  GET /chunked/SIZE/SEED   the same in chunks
"""

import asyncio
import hashlib
import random
import socket
import sys


def content(target):
    """The only right body for a target."""
    _, _, size, seed = target.split("/")
    return hashlib.shake_256(f"{size}/{seed}".encode()).digest(int(size))


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            body = content(target)
            if target.startswith("/length"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
                # In two parts with a turn between them, so that a kill finds answers that are half written.
                half = len(body) // 2
                writer.write(body[:half])
                if len(body) > 4096:
                    await writer.drain()
                    await asyncio.sleep(random.random() / 50)
                writer.write(body[half:])
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                for start in range(0, len(body), 5000):
                    part = body[start:start + 5000]
                    writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                    if len(body) > 4096:
                        await writer.drain()
                        await asyncio.sleep(random.random() / 200)
                writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = await asyncio.start_server(serve, sock=listener, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
