"""Runs the clients, our own (load.c), h2load and wrk, and tells what a proxy did meanwhile.

CPU time is read from the clocks of the processes, in ns, at the first and the last moment that is
counted: without the warm-up, and without what comes after.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

from processes import Process, cpu_of_others

WARMUP = 0.15  # seconds before anything is counted
# What h2load says when it begins to count, and when it ends.
BORDERS = ("Main benchmark duration is started", "Main benchmark duration is over")


def say(text):
    print(text, file=sys.stderr, flush=True)


def clock(pid):
    """The CPU time of a process in ns, that of threads that have ended included."""
    return time.clock_gettime_ns(~pid << 3 | 2)


class Load:
    """The clients of a run, and the endpoints, whose part of the core is told, too."""

    def __init__(self, place, upstream, connections, seconds):
        self.place, self.upstream = place, upstream
        self.connections, self.seconds = connections, seconds

    @contextlib.contextmanager
    def endpoints_first(self):
        """Lets the endpoints have the core that they share with the clients whenever they need it.

        Else each waits now and then until the other has used up its slice of some milliseconds, and
        that is the p99 of whatever proxy is between them.
        """
        try:
            os.sched_setscheduler(self.upstream.popen.pid, os.SCHED_RR, os.sched_param(1))
        except PermissionError:
            say("!! NOT ROOT, so p99 has slices of time in it for which endpoints wait for clients")
        try:
            yield
        finally:
            os.sched_setscheduler(self.upstream.popen.pid, os.SCHED_OTHER, os.sched_param(0))

    def command(self, proxy, **settings):
        chosen = {"port": proxy.port, "connections": self.connections, "seconds": self.seconds,
                  "warmup": WARMUP, "tls": int(proxy.setup.tls), **settings}
        pids = [*proxy.pids(), self.upstream.popen.pid, 0]
        chosen["pids"] = ",".join(map(str, pids))
        return [self.place.programs["load"], *(f"{name}={chosen[name]}" for name in chosen)]

    def start(self, proxy, **settings):
        return Process("load", self.command(proxy, **settings), self.place.folder / "load.log",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, proxy, **settings):
        """One part with our own clients."""
        began, others = time.monotonic(), cpu_of_others()
        result = json.loads(self.start(proxy, **settings).output())
        proxy.process.must_run()
        return seen(result, began, others)

    def h2load(self, proxy, path, body, streams, seconds):
        """One part with h2load at full speed."""
        connections = max(1, self.connections // 16)
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds),
                   f"--warm-up-time={WARMUP * 1000:.0f}ms", f"http://127.0.0.1:{proxy.port}{path}"]
        if body:
            file = self.place.folder / "message"
            file.write_bytes(bytes(4) + bytes([body - 5]) + b"x" * (body - 5))
            command += ["-d", file, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        began, others = time.monotonic(), cpu_of_others()
        process = Process("h2load", command, self.place.folder / "load.log",
                          stdout=subprocess.PIPE, text=True, bufsize=1)
        pids = [*proxy.pids(), self.upstream.popen.pid, process.popen.pid]
        text, moments = "", []
        for line in process.popen.stdout:
            text += line
            if line.startswith(BORDERS):
                moments.append((time.monotonic(), [clock(pid) for pid in pids]))
        process.output()
        proxy.process.must_run()
        if len(moments) != 2:
            raise RuntimeError(f"h2load does not say when it counts:\n{text}")
        (first, before), (last, after) = moments
        total, done, good = map(int, re.search(
            r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded", text).groups())
        return seen({
            "requests": good,
            "seconds": last - first,
            "cpu_ns": [new - old for new, old in zip(after, before)],
            "failed": {"not succeeded": total - good} if total > good else {},
            "latency_us": {},
        }, began, others)

    def wrk(self, proxy, path):
        """Requests a second and p50 as wrk counts them."""
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{self.seconds}s", "--latency",
                   f"http://127.0.0.1:{proxy.port}{path}"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def seen(result, began, others):
    """A part's result, with what is computed of it."""
    *proxy, upstream, clients = result.pop("cpu_ns")
    elapsed = time.monotonic() - began
    result["cpu_us"] = sum(proxy) / 1000 / max(1, result["requests"])
    result["rps"] = result["requests"] / result["seconds"]
    # Parts of a core.
    result["proxy_core"] = sum(proxy) / 1e9 / result["seconds"]
    result["upstream_core"] = upstream / 1e9 / result["seconds"]
    result["load_core"] = clients / 1e9 / result["seconds"]
    result["others"] = (cpu_of_others() - others) / elapsed
    return result
