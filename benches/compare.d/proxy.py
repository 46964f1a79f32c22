"""What the proxies have in common: the job, for which each is set up as one who knows it would.

The job: each request goes to the pool `stable` or, one in ten by chance, to `canary`; both have one
endpoint, whose connections are kept. X-Forwarded-For, -Proto and -Host say who asked, and replace
what a client may have said. A client may change to WebSocket. No access log. One worker.
"""

import dataclasses
import os
import pathlib
import re
import signal

from processes import Process, accepts, free_port, started

PROXY_CORE, LOAD_CORE = 0, 1
SPARE_CORE = 2 if os.cpu_count() > 2 else LOAD_CORE
HOSTS, PREFIXES = 100, 100  # of many routes; each host has each prefix


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a proxy is to do."""

    http2: bool = False  # clients speak HTTP/2 without TLS; with it ALPN decides
    grpc: bool = False  # endpoints speak HTTP/2, too
    tls: bool = False
    many_routes: bool = False  # HOSTS times PREFIXES; else one for everything
    workers: int = 1
    cores: tuple = (PROXY_CORE,)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where proxies are started: their surroundings."""

    folder: pathlib.Path
    endpoints: dict  # the port of each pool's endpoint
    programs: dict  # what was compiled, by name
    certificate: pathlib.Path  # PEM, and next to it .key; both in .both


def routes():
    """The host and the prefix of each of many routes."""
    return [(f"s{host}.example.com", f"/r{prefix}")
            for host in range(HOSTS) for prefix in range(PREFIXES)]


class Proxy:
    """A proxy with its configuration in its own folder."""

    quit_signal, version, grpc, tls, many = signal.SIGTERM, "-v", True, True, True
    client_seen = "127.0.0.1"  # in X-Forwarded-For, for a client there
    count, process = 0, None

    def __init__(self, binary, setup, place):
        Proxy.count += 1
        self.binary, self.setup, self.place = binary, setup, place
        self.folder = place.folder / f"{self.name}-{Proxy.count}"
        self.folder.mkdir()
        self.port, self.admin = free_port(), free_port()

    @classmethod
    def can(cls, setup):
        """Whether the proxy knows how to do this at all."""
        return (cls.grpc or not setup.grpc) and (cls.tls or not setup.tls) and (
            cls.many or not setup.many_routes)

    def start(self):
        self.prepare()
        cores = ",".join(map(str, self.setup.cores))
        command = ["taskset", "-c", cores, *self.command()]
        self.process = Process(self.name, command, self.folder / "log")
        self.process.wait_for(lambda: accepts(self.port))
        self.process.wait_for(self.ready)

    def prepare(self):
        """Writes its configuration."""

    def ready(self):
        """Fails as long as it is not ready."""

    def stop(self):
        """Ends it, if it was started and has not ended by itself."""
        if self.process in started:
            self.process.ended(self.quit_signal)

    def pids(self):
        """Its processes, whose CPU time is counted."""
        group, found = self.process.popen.pid, []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:  # it has just ended
                continue
            if int(fields[2]) == group:
                found.append(int(stat.parent.name))
        return sorted(found)

    def memory(self):
        """Its memory in KiB; what processes share is counted once (PSS)."""
        self.process.must_run()
        total = 0
        for pid in self.pids():
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])
        return total

    def threads(self):
        """Each thread's id, name, CPU time, and time for which it waited for a core, in ns."""
        found = []
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                try:
                    spent, waited, _ = map(int, (task / "schedstat").read_text().split())
                    name = (task / "comm").read_text().strip()
                except OSError:  # it has just ended
                    continue
                found.append((int(task.name), name, spent, waited))
        return found

    def stopped(self, before):
        """For how long, in seconds, something else had a worker's core since `before`.

        What the proxy's own threads took is its own doing.
        """
        old = {thread: (spent, waited) for thread, _, spent, waited in before}
        new = [(spent - old[thread][0], waited - old[thread][1])
               for thread, _, spent, waited in self.threads() if thread in old]
        new.sort(reverse=True)
        workers, others = new[:self.setup.workers], new[self.setup.workers:]
        waited = max((waited for _, waited in workers), default=0)
        return max(0, waited - sum(spent for spent, _ in others)) / 1e9

    def put(self, name, text):
        """Replaces a file at once."""
        new = self.folder / f".{name}"
        new.write_text(text)
        new.rename(self.folder / name)

    def apart(self, names):
        """Moves its threads with these names to a spare core, or else to that of the load."""
        for thread, name, *_ in self.threads():
            if name.startswith(names):
                os.sched_setaffinity(thread, {SPARE_CORE})
