"""What the proxies have in common: the job, for which each is set up as one who knows it would.

The job: /h2/ goes to two endpoints that speak HTTP/2; all else is split between a stable and a
canary pool by weights that move while it runs. All look at /health every second (500 ms, down after
2 failures, up after 1), take an endpoint out for a while after 3 failures in a row, connect within
1 s, wait 5 s for an answer, and try again when that is safe: any request if nothing of it was sent,
a GET also if no answer began. No POST may be tried again once it was sent: the endpoint may have
done it.
"""

import signal
import time
import urllib.request

from processes import SECONDS_MAX, Process, accepts, free_port


class Proxy:
    """A proxy with its configuration in its own folder."""

    quit_signal, version = signal.SIGTERM, "--version"

    def __init__(self, binary, workers, pools, folder):
        self.binary, self.workers, self.pools, self.folder = binary, workers, pools, folder
        self.port, self.admin = free_port(), free_port()
        folder.mkdir()
        self.canary = 10
        self.changes = 0

    def start(self):
        self.prepare()
        self.process = Process(self.name, self.command(), self.folder / "log")
        self.process.wait_for(self.ready)
        self.process.wait_for(lambda: accepts(self.port))

    def stop(self):
        self.process.ended(self.quit_signal)

    def shift(self):
        """Moves the weights by one step; the canary's share goes 10, 15, 5, 10 and so on."""
        self.canary = {10: 15, 15: 5, 5: 10}[self.canary]
        self.apply()

    def account(self):
        """Requests by code and failures by cause so far, of a proxy that is asked."""
        return {}, {}

    def wait_until_usable(self, pools):
        """Waits until it takes all endpoints of these pools for well."""
        self.process.must_run()
        until = time.monotonic() + SECONDS_MAX
        while any(self.usable(pool) != len(self.pools[pool]) for pool in pools):
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name} does not see that its endpoints are well")
            time.sleep(0.1)

    def put(self, name, text):
        """Replaces a file at once."""
        new = self.folder / f".{name}"
        new.write_text(text)
        new.rename(self.folder / name)

    def ask(self, path):
        address = f"http://127.0.0.1:{self.admin}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read().decode()

    def addresses(self, pool):
        return [f"127.0.0.1:{port}" for port in self.pools[pool]]
