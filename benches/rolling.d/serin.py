"""Serin, and what it says of the requests that failed."""

import contextlib
import json
import re
import signal
import time
import urllib.request

from proxy import Proxy

CARE = """
    health: { http: { path: /health }, interval: 1s, timeout: 500ms,
              unhealthyThreshold: 2, healthyThreshold: 1 }
    outlier: { consecutiveFailures: 3, baseEjectionTime: 2s, maxEjectionPercent: 50 }"""


class Serin(Proxy):
    """Its weights move by a new file."""

    name, quit_signal = "serin", signal.SIGINT
    plain = False  # without health checks, ejection and retries of what broke off

    def command(self):
        file = self.folder / "serin.yaml"
        return [self.binary, "run", "--workers", str(self.workers), "--config", file]

    def ready(self):
        self.ask("/readyz")

    def prepare(self):
        self.apply()

    def apply(self):
        self.put("serin.yaml", self.config())

    def config(self):
        care = "" if self.plain else CARE
        on = "connectFailure" if self.plain else "connectFailure, reset, refusedStream"
        elsewhere = "" if self.plain else ", pool: fallback"
        timeouts = "{ connect: 1s, backendRequest: 5s }"
        return f"""listeners: [{{ name: web, address: "127.0.0.1:{self.port}" }}]
admin: {{ address: "127.0.0.1:{self.admin}" }}
pools:
  - name: stable
    endpoints: {json.dumps(self.addresses("stable"))}{care}
  - name: canary
    endpoints: {json.dumps(self.addresses("canary"))}{care}
  - name: modern
    endpoints: {json.dumps(self.addresses("modern"))}
    protocol: h2{care}
routes:
  - name: modern
    matches: [{{ path: {{ prefix: /h2 }} }}]
    split: [{{ to: modern }}]
    timeouts: {timeouts}
    retry: {{ attempts: 2, on: [{on}] }}
  - name: shop
    split: [{{ to: {{ stable: {100 - self.canary}, canary: {self.canary} }} }}]
    fallback: stable
    timeouts: {timeouts}
    retry: {{ attempts: 2, on: [{on}]{elsewhere} }}
"""

    def taken(self):
        """How many changes it has taken in."""
        return int(self.totals("serin_config_reloads_total", "result").get("accepted", 0))

    def account(self):
        """Requests by code and failures by cause, once no request is in flight any more."""
        until = time.monotonic() + 10
        while any(self.totals("serin_requests_in_flight", "route").values()):
            if time.monotonic() > until:
                raise RuntimeError("serin has requests in flight without clients")
            time.sleep(0.05)
        return (
            self.totals("serin_requests_total", "code"),
            self.totals("serin_errors_total", "cause"),
        )

    def usable(self, pool):
        # An endpoint that was taken out comes back by a request.
        for path in ("/", "/h2/"):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10).read()
        return self.totals("serin_endpoints", "state", f'pool="{pool}"').get("usable", 0)

    def totals(self, metric, label, among=""):
        """A metric's sums by one of its labels, among the series that have another."""
        sums = {}
        for line in self.ask("/metrics").splitlines():
            if line.startswith(metric + "{") and among in line:
                value = re.search(rf'{label}="([^"]*)"', line)[1]
                sums[value] = sums.get(value, 0) + int(float(line.rsplit(" ", 1)[1]))
        return sums
