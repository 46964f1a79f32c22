"""Serin, with all that it does by default."""

import os
import signal
import urllib.request

from proxy import Proxy, routes


class Serin(Proxy):
    """It finds out by itself whether a client speaks HTTP/1.1 or HTTP/2.

    Ejection, limits, timeouts, metrics and balance are on, as they are by default.
    """

    name, version, quit_signal = "serin", "--version", signal.SIGINT
    canary = 10

    def command(self):
        return [self.binary, "run", "--workers", str(self.setup.workers), "--log", "warn",
                "--config", self.folder / "serin.yaml"]

    def prepare(self):
        self.put("serin.yaml", self.config(self.canary))

    def ready(self):
        self.ask("/readyz")

    def ask(self, path):
        address = f"http://127.0.0.1:{self.admin}{path}"
        # Not through a proxy that the environment names.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, timeout=10) as answer:
            return answer.read().decode()

    def reloads(self):
        """How many changes it has taken in."""
        for line in self.ask("/metrics").splitlines():
            if line.startswith('serin_config_reloads_total{result="accepted"}'):
                return int(float(line.rsplit(" ", 1)[1]))
        return 0

    def config(self, canary):
        certificate = self.place.certificate
        tls = (f", tls: {{ certificates: [{{ certFile: {certificate}, "
               f"keyFile: {certificate.with_suffix('.key')} }}] }}") if self.setup.tls else ""
        protocol = "\n    protocol: h2" if self.setup.grpc else ""
        pools = "".join(f"""
  - name: {name}
    endpoints: ["127.0.0.1:{port}"]{protocol}""" for name, port in self.place.endpoints.items())
        split = f"""
    split: [{{ to: {{ stable: {100 - canary}, canary: {canary} }} }}]
    fallback: stable"""
        if self.setup.many_routes:
            text = "".join(f"""
  - name: route-{number}
    hostnames: [{host}]
    matches: [{{ path: {{ prefix: {prefix} }} }}]{split}"""
                           for number, (host, prefix) in enumerate(routes()))
        else:
            text = f"\n  - name: web{split}"
        return f"""listeners: [{{ name: web, address: "127.0.0.1:{self.port}"{tls} }}]
admin: {{ address: "127.0.0.1:{self.admin}" }}
pools:{pools}
routes:{text}
"""

    def rewrite(self, number):
        """Moves the weights of all routes a little, by a new file, of which nothing is written.

        Whoever calls this shares a core with the clients and the endpoints.
        """
        new = self.folder / ".new"
        new.unlink(missing_ok=True)
        os.link(self.changed if number % 2 else self.first, new)
        new.rename(self.folder / "serin.yaml")

    def prepare_changes(self):
        """Writes down beforehand, and once, what `rewrite` puts in place."""
        self.first, self.changed = self.folder / "first", self.folder / "changed"
        if self.first.exists():
            return
        self.first.write_text(self.config(self.canary))
        self.changed.write_text(self.config(self.canary + 1))
