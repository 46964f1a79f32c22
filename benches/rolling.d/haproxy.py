"""HAProxy."""

import socket

from proxy import Proxy


class Haproxy(Proxy):
    """Its weights move by the runtime API, as no reload has to be feared then.

    Both pools are servers of one backend, so that a retry may change the pool and a pool without
    servers leaves its share to the other. Weights go to 256 a server: 4 * 90 and 2 * 20 are 90/10.
    `redispatch 1` tries elsewhere at once; by default only the last retry does, each after a
    second. `empty-response` is what tries a GET again; the manual says how to keep POSTs from it.
    `observe layer7` with `mark-down` is its outlier ejection, and the next good check brings the
    server back. That check comes after 500 ms (`fastinter`, `downinter`): with 1 s so many servers
    are away at a time that a retry finds only the one that failed, and HAProxy waits a second for
    it; with less, a server that fails but is well by its own word is back too soon. Of the two
    servers of `modern` none is marked down by its answers: nothing keeps HAProxy from doing that to
    both, and then hundreds of requests get 503.
    http-reuse stays at `safe`, the default: a client's first request never goes to a used
    connection. If a later one does and the connection turns out to be closed, HAProxy closes the
    client's without an answer, so that the client may try again; here that is `unanswered`.
    """

    name, version = "haproxy", "-v"

    def command(self):
        return [self.binary, "-db", "-f", self.folder / "haproxy.cfg"]

    def ready(self):
        self.tell("show info")

    def prepare(self):
        (self.folder / "haproxy.cfg").write_text(self.config())

    def weights(self):
        """The weight of each server of a pool: four of them share stable's part, two canary's."""
        return {"stable": 100 - self.canary, "canary": 2 * self.canary}

    def config(self):
        weights = self.weights()
        servers = "\n".join(
            f"  server {pool}-{index} {address} weight {weights[pool]}"
            for pool in weights
            for index, address in enumerate(self.addresses(pool))
        )
        modern = "\n".join(
            f"  server modern-{index} {address} proto h2 check-proto h2 on-error fastinter"
            for index, address in enumerate(self.addresses("modern"))
        )
        return f"""global
  nbthread {self.workers}
  maxconn 8000
  stats socket {self.folder}/socket level admin
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout http-keep-alive 60s
  timeout server 5s
  timeout queue 1s
  timeout check 500ms
  balance random
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr host shop.example.com
  http-check expect status 200
  default-server check inter 1s fastinter 500ms downinter 500ms fall 2 rise 1
  default-server observe layer7 error-limit 3 on-error mark-down
frontend web
  bind 127.0.0.1:{self.port} backlog 4096
  http-request disable-l7-retry if METH_POST
  use_backend modern if {{ path_beg /h2/ }}
  default_backend shop
backend shop
{servers}
backend modern
{modern}
"""

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"{self.folder}/socket")
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()

    def apply(self):
        answer = self.tell("; ".join(
            f"set server shop/{pool}-{index} weight {weight}"
            for pool, weight in self.weights().items()
            for index in range(len(self.pools[pool]))
        ))
        if answer:
            raise RuntimeError(f"haproxy refuses a weight: {answer}")
        self.changes += 1

    def taken(self):
        return self.changes

    def usable(self, pool):
        rows = [row.split(",") for row in self.tell("show stat").splitlines()]
        servers = [row for row in rows if len(row) > 17 and row[1].startswith(f"{pool}-")]
        return sum(server[17].startswith("UP") for server in servers)
