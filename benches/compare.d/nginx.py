"""nginx."""

from proxy import HOSTS, PREFIXES, Proxy

FORWARDED = (("Host", "$host"), ("X-Forwarded-For", "$remote_addr"),
             ("X-Forwarded-Proto", "$scheme"), ("X-Forwarded-Host", "$host"))


class Nginx(Proxy):
    """Bodies of requests and responses go through memory, never through files as by default.

    Buffers of 64 KiB make answers of 1 MiB four times as cheap as with its default, uploads twice.
    Its limits on requests of a connection, of clients and of endpoints, are taken away.
    """

    name = "nginx"

    def command(self):
        log = self.folder / "error.log"
        return [self.binary, "-e", log, "-p", self.folder, "-c", self.folder / "nginx.conf"]

    def prepare(self):
        (self.folder / "nginx.conf").write_text(self.config())

    def config(self):
        temporary = " ".join(f"{kind}_temp_path {self.folder}/{kind};"
                             for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        kind = "grpc" if self.setup.grpc else "proxy"
        headers = FORWARDED
        if kind == "proxy":
            headers += (("Upgrade", "$http_upgrade"), ("Connection", "$connection_upgrade"))
        headers = "\n  ".join(f"{kind}_set_header {name} {value};" for name, value in headers)
        pools = "\n  ".join(
            f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 512; "
            "keepalive_requests 1000000000; }"
            for name, port in self.place.endpoints.items())
        passed = "grpc_pass grpc://$pool;" if self.setup.grpc else "proxy_pass http://$pool;"
        listen = f"listen 127.0.0.1:{self.port}{self.protocols()}"
        servers = f"server {{ {listen} backlog=4096; location / {{ {passed} }} }}"
        if self.setup.many_routes:
            locations = "".join(f"location /r{prefix}/ {{ {passed} }}\n"
                                for prefix in range(PREFIXES))
            servers = f"server {{ {listen} backlog=4096 default_server; return 404; }}\n" + "".join(
                f"server {{ {listen}; server_name s{host}.example.com;\n{locations}}}\n"
                for host in range(HOSTS))
        certificate = ""
        if self.setup.tls:
            file = self.place.certificate
            certificate = f"ssl_certificate {file}; ssl_certificate_key {file.with_suffix('.key')};"
        return f"""daemon off; worker_processes {self.setup.workers};
pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; {temporary}
  keepalive_requests 1000000000; keepalive_timeout 300s;
  {certificate}
  ssl_protocols TLSv1.2 TLSv1.3;
  server_names_hash_max_size 4096;
  split_clients $request_id $pool {{ 10% canary; * stable; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  {pools}
  proxy_http_version 1.1;
  proxy_max_temp_file_size 0; proxy_request_buffering off;
  proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;
  {headers}
  {servers}
}}
"""

    def protocols(self):
        """What `listen` says of TLS and HTTP/2, which it can not tell apart without TLS."""
        return (" ssl" if self.setup.tls else "") + (
            " http2" if self.setup.http2 or self.setup.tls else "")
