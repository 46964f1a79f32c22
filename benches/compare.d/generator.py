"""The job `generator`: the clients and endpoints without a proxy: do they tell the truth?"""

import shutil
import signal
import threading
import time

from load import say
from proxy import Setup

STALL, RATE, SECONDS = 0.2, 2000, 2  # seconds; requests a second; seconds


class Direct:
    """The endpoints in the place of a proxy."""

    name, setup = "endpoints", Setup()

    def __init__(self, place, process):
        self.port, self.process = place.endpoints["stable"], process

    def pids(self):
        return [self.process.popen.pid]


class Generator:
    """What the clients say against what is known, and against other clients."""

    name, what = "generator", "the clients and endpoints themselves, without a proxy"

    def needs(self):
        return []

    def run(self, place, load):
        """Each claim, what was seen, and whether it holds; None if it is only told."""
        endpoints = Direct(place, load.upstream)
        claims = [*self.failures(endpoints, load), self.stall(endpoints, load)]
        claims += self.others(endpoints, load)
        for claim, was, holds in claims:
            say(f"generator: {claim}: {was}{'' if holds is not False else ': WRONG'}")
        return claims

    def failures(self, endpoints, load):
        """Each failure is seen as what it is."""
        for what, settings, kind in (
            ("an answer that breaks off", {"path": "/cut"}, "cut off"),
            ("a status of 500", {"path": "/fail"}, "not 200"),
            ("a body of another length", {"path": "/bytes/99"}, "wrong length"),
        ):
            result = load.run(endpoints, seconds=0.2, **settings)
            yield (f"{what} is a failure", f"{result['failed']}, {result['requests']} good",
                   list(result["failed"]) == [kind] and not result["requests"])
        other = Direct(load.place, load.upstream)
        other.port = 1
        result = load.run(other, seconds=0.2)
        yield ("nobody there is a failure", f"{list(result['failed'])}",
               list(result["failed"]) == ["refused"])

    def stall(self, endpoints, load):
        """All who were due while nobody answered are charged for it."""
        halt = threading.Timer(1, self.halt, [load.upstream])
        halt.start()
        result = load.run(endpoints, rate=RATE, seconds=SECONDS, warmup=0.5)
        halt.join()
        p50, p99 = (result["latency_us"][name] / 1000 for name in ("p50", "p99"))
        whole = result["requests"] == RATE * SECONDS
        # A tenth of the requests were due meanwhile, evenly, so a hundredth waited for most of it.
        return (f"if endpoints stand still for {STALL * 1000:.0f} ms of {SECONDS} s, p99 is "
                f"{STALL * 900:.0f} ms", f"p50 {p50:.2f} ms, p99 {p99:.0f} ms",
                whole and 0.8 * STALL * 1000 < p99 < 2 * STALL * 1000)

    def halt(self, upstream):
        upstream.signal_all(signal.SIGSTOP)
        time.sleep(STALL)
        upstream.signal_all(signal.SIGCONT)

    def others(self, endpoints, load):
        """Other clients see about the same; they share the core, so it is not the same."""
        own = load.run(endpoints)
        yield ("our own clients, HTTP/1.1", f"{own['rps']:,.0f}/s", None)
        if shutil.which("wrk"):
            yield "wrk, the same", f"{load.wrk(endpoints, '/bytes/100'):,.0f}/s", None
        else:
            say("!! WITHOUT wrk, which would be a second opinion: on Debian: apt install wrk")
