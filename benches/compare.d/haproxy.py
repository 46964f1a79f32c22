"""HAProxy."""

from proxy import Proxy, routes


class Haproxy(Proxy):
    """`http-reuse always` shares the connections of endpoints, as the others do.

    Buffers stay at 16 KiB: 64 are better for answers of 1 MiB alone, and worse for all else.
    Without TLS it needs no word about HTTP/2: it sees the preface. Many routes are a map.
    """

    name = "haproxy"

    def command(self):
        return [self.binary, "-db", "-f", self.folder / "haproxy.cfg"]

    def prepare(self):
        (self.folder / "haproxy.cfg").write_text(self.config())
        self.put("routes.map", "".join(f"{host}{prefix}/ known\n" for host, prefix in routes()))

    def config(self):
        tls = f" ssl crt {self.place.certificate.with_suffix('.both')} alpn h2,http/1.1"
        protocol = " proto h2" if self.setup.grpc else ""
        known = ""
        if self.setup.many_routes:
            found = f"base,map_beg({self.folder}/routes.map)"
            known = f"  http-request deny deny_status 404 unless {{ {found} -m found }}"
        pools = "\n".join(
            f"backend {name}\n  server one 127.0.0.1:{port} pool-max-conn 512{protocol}"
            for name, port in self.place.endpoints.items())
        return f"""global
  nbthread {self.setup.workers}
  maxconn 16384
  no strict-limits
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 1s
  timeout client 5m
  timeout http-keep-alive 5m
  timeout server 15s
  timeout tunnel 5m
  http-reuse always
frontend web
  bind 127.0.0.1:{self.port} backlog 4096{tls if self.setup.tls else ""}
{known}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto {"https" if self.setup.tls else "http"}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  use_backend canary if {{ rand(100) lt 10 }}
  default_backend stable
{pools}
"""
