"""The job `idle`: 10,000 connections on which nothing happens any more."""

import json
import statistics
import time

from check import check
from contest import turns
from load import clock, say
from processes import cpu_of_others
from proxy import Setup

CONNECTIONS = 10_000
GOAL_KIB = 2


class Idle:
    """Memory for each idle HTTP/1.1 connection, and CPU time while all are idle.

    Each connection has had one answer, and gets another at the end, which shows that it was still
    there. Each round has a new process, so that no memory of the last round is used again.
    """

    name, what = "idle", f"{CONNECTIONS:,} idle HTTP/1.1 connections, each after one request"

    def needs(self):
        return []

    def run(self, kinds, place, load, rounds):
        """The rounds of each proxy, by name."""
        kinds = {kind: binary for kind, binary in kinds.items() if kind.name != "relay"}
        rows = {kind.name: [] for kind in kinds}
        for number in range(rounds):
            for kind in turns(list(kinds), number):
                proxy = kind(kinds[kind], Setup(), place)
                try:
                    proxy.start()
                    result = self.measure(proxy, load)
                finally:
                    proxy.stop()
                rows[kind.name].append(result)
                say(f"idle, round {number + 1}, {kind.name}: {result['connection_kib']:.2f} KiB "
                    f"for each connection, {result['idle_ms']:.1f} ms of CPU a second")
        return rows

    def measure(self, proxy, load):
        began, others = time.monotonic(), cpu_of_others()
        check(proxy, "/bytes/100", "shop.example.com")
        load.run(proxy, seconds=0.5)  # so that what is made once is there
        time.sleep(0.5)
        rest = proxy.memory()
        clients = load.start(proxy, connections=CONNECTIONS, idle=1)
        if clients.popen.stdout.readline() != b"open\n":
            raise clients.failure("can not open its connections")
        time.sleep(1)
        pids = proxy.pids()
        full, before, then = proxy.memory(), sum(map(clock, pids)), time.monotonic()
        time.sleep(load.seconds)
        spent, elapsed = sum(map(clock, pids)) - before, time.monotonic() - then
        clients.popen.stdin.write(b"\n")
        result = json.loads(clients.output())
        failed = dict(result["failed"])
        if result["opened"] > CONNECTIONS:
            failed["closed while idle"] = result["opened"] - CONNECTIONS
        return {
            "rest_kib": rest,
            "full_kib": full,
            "connection_kib": (full - rest) / CONNECTIONS,
            "idle_ms": spent / 1e6 / elapsed,
            "requests": result["requests"],
            "failed": failed,
            "others": (cpu_of_others() - others) / (time.monotonic() - began),
        }


def median(rounds, figure):
    return statistics.median(one[figure] for one in rounds)
