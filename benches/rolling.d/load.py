"""The clients: requests at fixed times whatever became of those before, and what became of each.

Usage: load.py '{"port": 8080, "path": "/a/", "rate": 2000, "requests": 100000, "connections": 64}'
Prints one JSON object. Latencies count from the time at which a request was due, so a proxy that
stands still for a while is charged for all requests that were due meanwhile.
"""

import asyncio
import collections
import gc
import json
import re
import sys

BODY = b"b" * 2048
TURN = 10  # of so many requests in a row some have a body
FRESH = 20  # each so manieth request gets a new connection
CONNECTIONS_MAX = 2000  # beyond it, requests wait for one, and their time runs
SECONDS_MAX = 10  # how long a client waits for its answer
SHOWN_MAX = 50  # failures that are told one by one

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Request:
    """One request, from the time that it is due."""

    __slots__ = ("client", "done", "due", "method", "path")

    def __init__(self, number, due, prefix, posts):
        self.method = "POST" if number % TURN < posts else "GET"
        self.path = f"{prefix}{number}"
        self.due, self.done, self.client = due, False, None

    def text(self):
        head = f"{self.method} {self.path} HTTP/1.1\r\nhost: shop.example.com\r\n"
        if self.method == "GET":
            return (head + "\r\n").encode()
        return (head + f"content-length: {len(BODY)}\r\n\r\n").encode() + BODY


class Client(asyncio.Protocol):
    """One connection to the proxy."""

    def __init__(self, load):
        self.load, self.request, self.data = load, None, b""

    def connection_made(self, transport):
        self.transport = transport

    def send(self, request):
        self.request, request.client, self.data = request, self, b""
        self.transport.write(request.text())

    def data_received(self, data):
        self.data += data
        self.look(ended=False)

    def look(self, ended):
        """Ends the request if its answer is whole."""
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found or not self.request:
            return
        if length := LENGTH.search(head):
            whole = len(body) >= int(length[1])
        elif CHUNKED.search(head):
            whole = body.endswith(b"0\r\n\r\n")
        else:
            whole = ended
        if whole:
            request, self.request = self.request, None
            self.load.answered(request, head, body)
            if CLOSE.search(head):
                self.transport.close()
            else:
                self.load.give_back(self)

    def connection_lost(self, error):
        self.look(ended=error is None)
        if self.request:
            kind = "broken off" if self.data else "unanswered"
            how = type(error).__name__ if error else "closed"
            self.load.end(self.request, kind, f"{how} after {len(self.data)} bytes")
            self.request = None
        self.load.lost()


class Load:
    """All clients, and what became of their requests."""

    def __init__(self, port, path, rate, requests, connections, posts):
        self.port, self.path, self.rate, self.posts = port, path, rate, posts
        self.requests, self.connections = requests, connections
        self.idle = collections.deque()
        self.open = collections.deque()  # requests in the order in which they are due
        self.opened = 0
        self.connecting = set()
        self.waiting = collections.deque()  # for a connection
        self.latencies, self.lateness, self.shown = [], [], []
        self.codes, self.failures = collections.Counter(), collections.Counter()

    async def run(self):
        self.loop = asyncio.get_running_loop()
        for _ in range(self.connections):
            self.idle.append(await self.connect())
        gc.freeze()
        self.start = self.loop.time()
        self.number = 0
        self.send_due()
        while len(self.latencies) < self.requests:
            self.give_up()
            await asyncio.sleep(0.1)

    def send_due(self):
        now = self.loop.time()
        while self.number < self.requests:
            due = self.start + self.number / self.rate
            if due > now:
                self.loop.call_at(due, self.send_due)
                return
            self.lateness.append(now - due)
            self.send(Request(self.number, due, self.path, self.posts), self.number % FRESH == 0)
            self.number += 1

    def send(self, request, fresh):
        self.open.append(request)
        while not fresh and self.idle:
            client = self.idle.popleft()
            if not client.transport.is_closing():
                client.send(request)
                return
        if self.opened < CONNECTIONS_MAX:
            self.send_fresh(request)
        else:
            self.waiting.append(request)

    def send_fresh(self, request):
        task = self.loop.create_task(self.connect_and_send(request))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connect(self):
        self.opened += 1
        return (await self.loop.create_connection(lambda: Client(self), "127.0.0.1", self.port))[1]

    async def connect_and_send(self, request):
        try:
            client = await self.connect()
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self.end(request, "refused" if refused else "no connection", str(error))
            self.lost()
        else:
            if request.done:
                self.give_back(client)
            else:
                client.send(request)

    def next_waiting(self):
        while self.waiting:
            request = self.waiting.popleft()
            if not request.done:
                return request
        return None

    def give_back(self, client):
        """Takes a connection whose request was answered; those of a slow moment stay."""
        if request := self.next_waiting():
            client.send(request)
        else:
            self.idle.append(client)

    def lost(self):
        """Makes room for a connection in place of one that is gone."""
        self.opened -= 1
        if request := self.next_waiting():
            self.send_fresh(request)

    def give_up(self):
        """Ends the requests that wait for too long; the oldest are in front."""
        late = self.loop.time() - SECONDS_MAX
        while self.open and (self.open[0].done or self.open[0].due < late):
            request = self.open.popleft()
            if not request.done:
                self.end(request, "timeout", f"no answer in {SECONDS_MAX} s")
                if client := request.client:
                    client.request = None
                    client.transport.abort()

    def answered(self, request, head, body):
        code = head[9:12].decode("latin-1")
        self.codes[code] += 1
        if code != "200":
            self.end(request, code, body[:120].decode("latin-1"))
        elif not body.startswith(request.path.encode() + b" "):
            self.end(request, "another's answer", body[:120].decode("latin-1"))
        else:
            self.end(request, None, None)

    def end(self, request, kind, detail):
        request.done = True
        took = self.loop.time() - request.due
        self.latencies.append(round(took * 1e6))
        if kind:
            self.failures[f"{request.method} {kind}"] += 1
            if len(self.shown) < SHOWN_MAX:
                self.shown.append((request.due, took, f"{request.method} {kind}: {detail!r}"))


def main():
    load = Load(**json.loads(sys.argv[1]))
    asyncio.run(load.run())
    result = {name: getattr(load, name) for name in ("start", "codes", "failures", "shown")}
    late = sorted(load.lateness)
    result["late_p99"] = round(late[len(late) * 99 // 100] * 1e6)
    print(json.dumps({**result, "latencies": load.latencies}))


if __name__ == "__main__":
    main()
