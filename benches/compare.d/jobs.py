"""The jobs: what clients ask for, and what Serin has to reach in each."""

import contextlib
import dataclasses
import random
import threading

import ratio
from proxy import LOAD_CORE, PROXY_CORE, Setup, routes

PEERS = ("nginx", "haproxy", "envoy")
RATE_PART = 0.5  # of saturation, at which latencies are measured
# Whose saturation sets the rate for all; one that is slower gets half of its own.
SETTERS = ("serin", "nginx", "haproxy")
AT_FIXED_RATE = ("p99", "cpu_us_fixed")  # figures


@dataclasses.dataclass
class Contestant:
    """A proxy that is measured in a job, under the name of its row."""

    name: str
    kind: type
    setup: Setup
    full_speed: bool = True  # whether it is measured so, too


@dataclasses.dataclass
class Goal:
    """What Serin's figure is divided by, and what may come of it."""

    what: str
    limit: float
    figure: str  # of a row
    against: tuple = PEERS  # the best of these rows
    row: str = "serin"

    def best(self, rows):
        """The name of the best of those that it is compared with, None without any."""
        if self.row not in rows:
            return None
        names = [name for name in self.against
                 if name in rows and rows[name].median(self.figure)]
        if self.figure in AT_FIXED_RATE:  # at another rate they say nothing
            names = [name for name in names if rows[name].rate == rows[self.row].rate]
        return min(names, key=lambda name: rows[name].median(self.figure), default=None)

    def value(self, rows):
        """The ratio of medians with its interval; None if something is missing."""
        best = self.best(rows)
        own = best and rows[self.row].parts(self.figure)
        return ratio.of_medians(own, rows[best].parts(self.figure)) if own else None

    def met(self, value):
        return round(value, 2) <= round(self.limit, 2)


class Job:
    """Requests at full speed, and then at a fixed rate below saturation, with each proxy."""

    relay, h2load, fixed = True, None, True
    quiet_only = True  # whether parts are left out in which something else had the proxy's core
    setup, settings, share = Setup(), {}, 1
    path, host = "/bytes/100", "shop.example.com"
    limit = 1.0  # of the best peer's CPU time per request; None for no goal
    seconds_factor = 1.5  # how much longer than at full speed it is measured at the fixed rate
    part_seconds = 0.2  # of a part at the fixed rate

    def __init__(self, name, what, **more):
        self.name, self.what = name, what
        for key, value in more.items():
            setattr(self, key, value)

    def needs(self):
        """The tools that it can not be done without."""
        return ["h2load"] if self.h2load else []

    def contestants(self, kinds):
        for kind in kinds:
            if kind.can(self.setup) and (self.relay or kind.name != "relay"):
                yield Contestant(kind.name, kind, self.setup)

    def prepare(self, place):
        """Makes what it needs beside the proxies."""

    def load(self, connections):
        """What the clients are told, beside the rate."""
        return {"path": self.path, "host": self.host,
                "connections": max(1, connections // self.share), **self.settings}

    @contextlib.contextmanager
    def around(self, proxy, contestant, row):
        """What is done to the proxy while it is measured at the fixed rate."""
        yield

    def rates(self, rows):
        """The fixed rate of each row: half of saturation, the same for all but much slower ones."""
        speeds = {name: row.median("rps") for name, row in rows.items() if row.full}
        common = [speed for name, speed in speeds.items() if rows[name].kind in SETTERS]
        common = min(common or speeds.values())
        return {name: RATE_PART * min(common, speeds.get(name, common)) for name in rows}

    def goals(self):
        if self.limit is not None:
            yield Goal("CPU per request", self.limit, "cpu_us")
        if self.fixed:
            yield Goal("p99 at half of saturation", 1.0, "p99")


class Small(Job):
    """The job that is told first.

    At full speed who is the slowest of a chain wakes the others up all the time, and the relay,
    which is not, has that for nothing; at a fixed rate all wake up as often. Envoy has a lower one.
    """

    def goals(self):
        for what, figure in (("", "cpu_us"), (" at half of saturation", "cpu_us_fixed")):
            yield Goal(f"CPU per request{what}", 0.90, figure, ("nginx", "haproxy"))
            yield Goal(f"CPU per request{what}", 1.25, figure, ("relay",))
        yield Goal("CPU per request", 0.33, "cpu_us", ("envoy",))
        yield Goal("p99 at half of saturation", 1.0, "p99")


class Http2(Job):
    """Clients speak HTTP/2, endpoints HTTP/1.1."""

    def goals(self):
        yield Goal("CPU per request", 1.0, "cpu_us", ("haproxy",))
        yield Goal("CPU per request", 0.6, "cpu_us", ("nginx",))
        yield Goal("CPU per request", 0.33, "cpu_us", ("envoy",))
        yield Goal("p99 at half of saturation", 1.0, "p99")


class Routes(Job):
    """The same requests with one route and with 10,000, of which so many are asked for in turn."""

    fixed, relay, targets_asked = False, False, 1
    path, host = "/r7/bytes/100", "s7.example.com"

    def contestants(self, kinds):
        for one in super().contestants(kinds):
            yield Contestant(f"{one.name}, 1 route", one.kind, Setup())
            yield Contestant(f"{one.name}, 10,000 routes", one.kind, Setup(many_routes=True))

    def prepare(self, place):
        self.targets = place.folder / "targets"
        chosen = random.Random(6).sample(routes(), self.targets_asked)
        self.targets.write_text("".join(f"{prefix}/bytes/100 {host}\n" for host, prefix in chosen))

    def load(self, connections):
        return {**super().load(connections), "targets": self.targets}

    def goals(self):
        yield Goal("CPU per request", 1.03, "cpu_us", ("serin, 1 route",), "serin, 10,000 routes")


STILL, BESIDE = "serin, no reload", "serin, no reload, control apart"
RELOADING = "serin, a reload each second"
RELOADING_BESIDE = "serin, a reload each second, control apart"


class Reload(Routes):
    """A new document of 10,000 routes each second, under load.

    In two ways: with all of Serin on one core, where the reload takes its time from the worker; and
    with the threads that reload on a spare core. On two cores that is the clients' core: look at
    how late they are before you blame the worker.
    """

    fixed, seconds_factor, part_seconds, targets_asked = True, 6, 4, 1000
    quiet_only = False  # who has the worker's core is to be Serin itself

    def contestants(self, kinds):
        for kind in kinds:
            if kind.name == "serin":
                for name in (STILL, RELOADING, BESIDE, RELOADING_BESIDE):
                    yield Contestant(name, kind, Setup(many_routes=True), name == STILL)

    @contextlib.contextmanager
    def around(self, proxy, contestant, row):
        if contestant.name in (BESIDE, RELOADING_BESIDE):
            proxy.apart(("config", "control", "notify"))
        if contestant.name in (STILL, BESIDE):
            yield
            return
        over = threading.Event()
        proxy.prepare_changes()
        before = proxy.reloads()
        thread = threading.Thread(target=self.rewrite, args=(proxy, over, row))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        row.notes["reloads taken in"] += proxy.reloads() - before

    def rewrite(self, proxy, over, row):
        number = 0
        while not over.wait(1):
            number += 1
            proxy.rewrite(row.notes["files put in place"] + number)
        row.notes["files put in place"] += number

    def goals(self):
        for row, against in ((RELOADING, STILL), (RELOADING_BESIDE, BESIDE)):
            apart = ", control apart" if against == BESIDE else ""
            yield Goal(f"p99 with reloads{apart}", 1.1, "p99", (against,), row)


class Workers(Job):
    """One worker, and two on cores of their own; CPU accounting.

    Load and endpoints share the second worker's core, so requests a second say nothing here. If two
    workers share nothing, a request costs the same with both, so 2 / ratio is how many times the
    requests of one they would answer. What a request costs depends on how many come at a time, too:
    compare at full speed; at the fixed rate, a quarter of saturation for each worker, waking up is
    most of the cost, and a worker beside the load wakes up less often.
    """

    relay, limit = False, None

    def contestants(self, kinds):
        two = Setup(workers=2, cores=(PROXY_CORE, LOAD_CORE))
        for one in super().contestants(kinds):
            yield Contestant(f"{one.name}, 1 worker", one.kind, Setup())
            yield Contestant(f"{one.name}, 2 workers", one.kind, two)

    def rates(self, rows):
        """A quarter of one worker's saturation for each worker."""
        return {name: rows[f"{row.kind}, 1 worker"].median("rps") / (4 if "1 w" in name else 2)
                for name, row in rows.items()}

    @contextlib.contextmanager
    def around(self, proxy, contestant, row):
        before = {thread: spent for thread, _, spent, _ in proxy.threads()}
        yield
        threads = proxy.threads()
        spent = sorted(now - before.get(thread, now) for thread, _, now, _ in threads)[::-1]
        for number, part in enumerate(spent[:contestant.setup.workers]):
            row.notes[f"ms of CPU of the worker that does the {('most', 'least')[number]}"] += (
                round(part / 1e6))

    def goals(self):
        yield Goal("CPU per request of 2 workers (2 / 1.9)", 2 / 1.9, "cpu_us",
                   ("serin, 1 worker",), "serin, 2 workers")


GRPC = Setup(http2=True, grpc=True)
TLS = Setup(tls=True)
ONE_MIB = 1 << 20


def all_jobs():
    """Every job but those that keep connections idle and try the clients themselves."""
    return [
        Small("small", "HTTP/1.1, answers of 100 bytes, connections kept"),
        Job("16k", "HTTP/1.1, answers of 16 KiB", path="/bytes/16384",
            settings={"expect": 16384}),
        Job("1m", "HTTP/1.1, answers of 1 MiB", path=f"/bytes/{ONE_MIB}", share=4,
            settings={"expect": ONE_MIB}),
        Job("upload", "HTTP/1.1, requests of 64 KiB", settings={"body": 65536}),
        Job("connections", "HTTP/1.1, a new connection for each request", settings={"fresh": 1}),
        Http2("http2", "HTTP/2 of clients, 64 streams on each connection; HTTP/1.1 to endpoints",
              setup=Setup(http2=True), relay=False, h2load=64, share=16,
              settings={"mode": "http2", "streams": 64}),
        Job("grpc", "gRPC unary calls, messages of 100 bytes both ways, 64 streams on each "
            "connection, HTTP/2 on both sides", setup=GRPC, h2load=64, share=16,
            settings={"mode": "http2", "streams": 64, "body": 105, "expect": 105}),
        Job("tls", "HTTPS with TLS 1.3, HTTP/1.1, answers of 100 bytes, connections kept",
            setup=TLS),
        Job("handshakes", "HTTPS with TLS 1.3, a full handshake for each request (ECDSA P-256)",
            setup=TLS, settings={"fresh": 1}),
        Job("resumed", "HTTPS with TLS 1.3, a resumed session for each request", setup=TLS,
            settings={"fresh": 1, "tls": 2}),
        Job("websocket", "WebSocket, messages of 100 bytes and their echo", limit=None,
            settings={"mode": "websocket"}),
        Routes("routes", "HTTP/1.1, answers of 100 bytes; one route, and 10,000 (100 hosts with "
               "100 prefixes each), one of which is asked for"),
        Routes("routes-1000", "the same, but 1,000 of the routes are asked for in turn",
               targets_asked=1000),
        Reload("reload", "the same with 10,000 routes, a new document each second", limit=None),
        Workers("workers", "HTTP/1.1, answers of 100 bytes; two workers with twice the requests"),
    ]
