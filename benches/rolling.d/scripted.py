"""A small endpoint that is told by its standard input how to answer: well, slow, reset or 500.

Usage: scripted.py PORT FILE, where FILE gets the paths of the POSTs that came, one a line.
"""

import asyncio
import re
import socket
import struct
import sys

from endpoints import BODY

SLOW_SECONDS = 1
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection, whose requests are answered one after the other."""

    mode = "well"  # of all connections
    seen = None

    def connection_made(self, transport):
        self.transport = transport
        self.data = b""

    def data_received(self, data):
        self.data += data
        while request := self.next_request():
            self.answer(*request)

    def next_request(self):
        """Takes a whole request off what has come: its method and path."""
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return None
        if length := LENGTH.search(head):
            end = int(length[1])
        else:  # chunked without trailers, or nothing
            end = rest.find(b"0\r\n\r\n") + 5 if b"chunked" in head.lower() else 0
            if end == 4:
                return None
        if len(rest) < end:
            return None
        self.data = rest[end:]
        return head.decode("latin-1").split(" ")[:2]

    def answer(self, method, path):
        if method == "POST":
            self.seen.write(f"{path}\n")
        if self.mode == "reset":
            linger = struct.pack("ii", 1, 0)
            peer = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        elif self.mode == "slow":
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self.write, 200, path)
        elif self.mode == "500" and path != "/health":
            # Well by its own word and failing all the same: only who looks at answers sees it.
            self.write(500, path)
        else:
            self.write(200, path)

    def write(self, status, path):
        body = f"{path} {BODY}"
        self.transport.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )


def read_mode():
    line = sys.stdin.readline()
    if not line:
        sys.exit()  # whoever started this is gone
    Connection.mode = line.strip()


async def main():
    port, seen = sys.argv[1:]
    Connection.seen = open(seen, "a", buffering=1)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, read_mode)
    server = await loop.create_server(Connection, "127.0.0.1", int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
