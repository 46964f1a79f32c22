"""The endpoints: nginx, each its own process, and a scripted one for what nginx can not do."""

import signal
import subprocess
import sys

from pathlib import Path

from processes import Process, accepts

BODY = "x" * 400  # after the request's own path, by which clients know their answer


class Endpoint:
    """What listens on one port of a pool, and is started there again and again."""

    def __init__(self, name, port, folder):
        self.name, self.port = name, port
        self.folder = folder / f"{name}-{type(self).__name__.lower()}-{port}"
        self.folder.mkdir(exist_ok=True)
        self.seen = self.folder / "seen"  # the paths of the POSTs that came here, one a line

    def launch(self, command, **more):
        self.process = Process(self.name, command, self.folder / "log", **more)
        self.process.wait_for(lambda: accepts(self.port))

    def kill(self):
        self.process.kill()

    def stop(self):
        """Lets it finish what it has begun, and waits for its end."""
        if not self.process.ended(self.quit_signal):
            raise RuntimeError(f"{self.name} did not end")


class Nginx(Endpoint):
    """An nginx with its own prefix, port and pid."""

    quit_signal = signal.SIGQUIT
    listen, more = "", "keepalive_timeout 75s; keepalive_requests 1000;"

    def start(self):
        file = self.folder / "nginx.conf"
        file.write_text(self.config())
        log = self.folder / "error.log"
        self.launch(["nginx", "-e", log, "-p", self.folder, "-c", file])

    def config(self):
        temporary = " ".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""daemon off; worker_processes 1; pid {self.folder}/pid;
error_log {self.folder}/error.log; worker_shutdown_timeout 5s;
events {{ worker_connections 4096; }}
http {{
  {temporary}
  map $request_method $is_post {{ POST 1; default 0; }}
  log_format path $request_uri;
  {self.more}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096 {self.listen};
    default_type text/plain;
    access_log {self.seen} path if=$is_post;
    location = /health {{ access_log off; return 200; }}
    location / {{ return 200 "$request_uri {BODY}"; }}
  }}
}}
"""


class Closing(Nginx):
    """Closes its connections about when they are used again, and often."""

    more = "keepalive_timeout 20ms; keepalive_requests 10;"


class Http2(Nginx):
    """Speaks HTTP/2 without TLS, and says GOAWAY after every 10 requests of a connection."""

    listen, more = "http2", "keepalive_timeout 75s; keepalive_requests 10;"


class Scripted(Endpoint):
    """scripted.py: is slow, resets connections or answers 500 while it is told to."""

    quit_signal = signal.SIGTERM

    def start(self):
        script = Path(__file__).with_name("scripted.py")
        command = [sys.executable, script, str(self.port), self.seen]
        self.launch(command, stdin=subprocess.PIPE, text=True, bufsize=1)

    def tell(self, mode):
        self.process.popen.stdin.write(f"{mode}\n")


def done_twice(endpoints, prefix):
    """How many POSTs below this path came to endpoints more than once, although they must not."""
    seen, twice = set(), set()
    for endpoint in endpoints:
        if endpoint.seen.exists():
            for path in endpoint.seen.read_text().split():
                (twice if path in seen else seen).add(path)
    return sum(path.startswith(prefix) for path in twice)
