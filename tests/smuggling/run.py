#!/usr/bin/env python3
"""A proxy in front of real servers: does each server see the requests that were meant?

Every payload of corpus.yaml and http2.yaml is sent through the proxy to each server of servers.py
and server.js. Behind it, in the same write, goes a request for /after-N, and then, on a connection
of its own, one for /probe-N. A server tells which requests it saw; answers name the request that
they answer.

Needs the packages of requirements.txt, and node for the server of that name.
Usage: run.py --serin target/debug/serin [--front serin|nginx|haproxy] [--server NAME]...
              [--name PART] [--details]
Exits with 1 if anything differs from what was meant.

What the letters in the table mean:
  D  desynchronised: the server saw a request that nobody meant, or an answer went to another one
  P  passed on: the server saw a whole request of a message that is to be refused
  L  lost or changed: the server did not see a request that was meant, or saw another body
  S  the server saw what was meant, but the client got another status, or the connection stayed
"""

import argparse
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SECONDS_MAX = 3  # how long an answer may take
QUIET = 0.2  # how long nothing must come for a message that is not complete


GIVEN = set()
GIVING = threading.Lock()


def free_ports(count):
    """Free ports, none of which any thread was given before."""
    ports = []
    with GIVING:
        while len(ports) < count:
            with socket.create_server(("127.0.0.1", 0)) as one:
                port = one.getsockname()[1]
            if port not in GIVEN:
                GIVEN.add(port)
                ports.append(port)
    return ports


def wait_for(port, process):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[:3]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args[:3]} does not listen")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Server:
    """A server, and what it saw."""

    def __init__(self, name, port):
        command = [sys.executable, HERE / "servers.py", name, str(port)]
        if name == "node":
            command = ["node", HERE / "server.js", str(port)]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def saw_until(self, target):
        """The requests before the one for this target; nothing if that never comes."""
        seen = []
        while True:
            try:
                seen.append(json.loads(self.lines.get(timeout=SECONDS_MAX)))
            except queue.Empty:
                return seen, False
            if seen[-1]["target"] == target:
                return seen[:-1], True


def serin_config(ports, upstream):
    return f"""
listeners: [{{ name: web, address: "127.0.0.1:{ports[0]}" }}]
admin: {{ address: "127.0.0.1:0" }}
drain: {{ delay: 0, timeout: 1s }}
pools: [{{ name: only, endpoints: ["127.0.0.1:{upstream}"] }}]
routes: [{{ name: all, split: [{{ to: only }}] }}]
"""


def nginx_config(ports, upstream, folder):
    places = "".join(
        f"{kind}_temp_path {folder}/{kind}; "
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{ access_log off; {places}
  upstream only {{ server 127.0.0.1:{upstream}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]} http2;
    location / {{ proxy_pass http://only; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_request_buffering off; }}
  }}
}}
"""


def haproxy_config(ports, upstream):
    return f"""global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 15s
  http-reuse always
frontend web
  bind 127.0.0.1:{ports[0]}
  bind 127.0.0.1:{ports[1]} proto h2
  default_backend only
backend only
  server one 127.0.0.1:{upstream}
"""


class Front:
    """The proxy, in front of one server."""

    def __init__(self, kind, serin, upstream, folder):
        self.ports = free_ports(2)
        config = folder / f"{kind}.{upstream}"
        if kind == "serin":
            self.ports[1] = self.ports[0]
            config.write_text(serin_config(self.ports, upstream))
            command = [serin, "run", "--config", config, "--workers", "1"]
        elif kind == "nginx":
            place = folder / f"nginx.{upstream}.d"
            place.mkdir()
            config.write_text(nginx_config(self.ports, upstream, place))
            command = ["nginx", "-c", config, "-e", place / "first.log"]
        else:
            config.write_text(haproxy_config(self.ports, upstream))
            command = ["haproxy", "-db", "-f", config]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.ports[0], self.process)

    def connect(self, version=1):
        return socket.create_connection(("127.0.0.1", self.ports[version - 1]), SECONDS_MAX)


class Answers:
    """Reads the answers on a connection by HTTP/1.1."""

    def __init__(self, client):
        self.client, self.bytes, self.ended = client, b"", False

    def more(self, seconds=SECONDS_MAX):
        self.client.settimeout(seconds)
        try:
            piece = self.client.recv(65536)
        except ConnectionError:
            piece = b""
        except TimeoutError:
            return False
        self.ended = not piece
        self.bytes += piece
        return bool(piece)

    def take(self, count):
        while len(self.bytes) < count:
            if not self.more():
                taken, self.bytes = self.bytes, b""
                return taken
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.bytes:
            if not self.more():
                return None
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def next(self, method="GET"):
        """The status and body of the next answer; nothing if there is none."""
        while True:
            first = self.line()
            if first is None:
                return None
            fields = {}
            while line := self.line():
                name, _, value = line.partition(b":")
                fields[name.lower()] = value.strip()
            status = first.split(b" ")[1] if first.startswith(b"HTTP/1.") else b"0"
            status = int(status) if status.isdigit() else 0
            if status < 100 or status >= 200 or status == 101:
                break
        if method == "HEAD" or status in (101, 204, 304):
            return status, b""
        if b"content-length" in fields:
            return status, self.take(int(fields[b"content-length"]))
        body = b""
        if fields.get(b"transfer-encoding") == b"chunked":
            while size := int(self.line() or b"0", 16):
                body += self.take(size + 2)[:-2]
            self.line()
            return status, body
        while self.more():
            pass
        body, self.bytes = self.bytes, b""
        return status, body


def meant(request):
    method, target, body = request.split(" ", 2)
    return {"method": method, "target": target, "body": body}


def fill(payload):
    text = payload["send"].replace("{long}", "x" * payload.get("long", 0))
    fields = "".join(f"x-{index}: y\r\n" for index in range(payload.get("fields", 0)))
    return text.replace("{fields}\r\n", fields).encode("latin-1")


def by_http1(front, payload, after):
    """Sends it, and says what is strange and crossed about the answers, and which requests they name."""
    requests = [meant(request) for request in payload.get("requests", [])]
    status = payload.get("status", [])
    statuses = status if isinstance(status, list) else [status]
    follow = not payload.get("alone")
    strange, crossed, answered = [], [], []
    with front.connect() as client:
        answers = Answers(client)
        text = fill(payload)
        try:
            client.sendall(text + (f"GET {after} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * follow))
        except OSError:
            pass  # refused before all of it was written
        if payload.get("waits"):
            if answers.more(QUIET):
                strange.append(f"not complete, but answered: {answers.bytes[:60]}")
            return strange, crossed, answered
        expected = list(requests)
        if follow and not statuses and not payload.get("closes"):
            expected.append({"method": "GET", "target": after, "body": ""})
        for request in expected:
            answer = answers.next(request["method"])
            if answer is None:
                strange.append(f"no answer to {request['target']}")
                break
            note(answer, answered)
            check_answer(request, answer, payload, strange, crossed)
            if answer[0] != 200 and not payload.get("optional"):
                break
        if statuses and not strange:
            answer = answers.next()
            if answer is None or answer[0] not in statuses:
                strange.append(f"{answer and answer[0]} where {statuses} was meant")
                note(answer, answered)
        if not statuses and not payload.get("closes"):
            try:
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        while (extra := answers.next()) is not None:
            strange.append(f"one more answer: {extra[0]}")
            note(extra, answered)
        if not answers.ended and (statuses or payload.get("closes")):
            strange.append("the connection stays open")
    return strange, crossed, answered


def check_answer(request, answer, payload, strange, crossed):
    status, body = answer
    if status != 200:
        if not payload.get("optional"):
            strange.append(f"{status} to {request['target']}")
    elif request["method"] != "HEAD" and payload.get("target", True):
        tell_crossed(answer, [request["target"]], crossed)


def named(answer):
    """The target of the request that an answer is to, as the server saw it."""
    try:
        return json.loads(answer[1])["target"]
    except (TypeError, ValueError, KeyError):
        return None


def note(answer, answered):
    if named(answer):
        answered.append(named(answer))


def tell_crossed(answer, targets, crossed):
    target = named(answer)
    if target is not None and target not in targets:
        crossed.append(f"an answer to {target} where one to {targets} was meant")


def by_http2(front, payload, after):
    import hpack
    from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame
    from hyperframe.frame import RstStreamFrame, SettingsFrame

    encoder, decoder = hpack.Encoder(), hpack.Decoder()

    def headers(stream, fields, flags):
        block = encoder.encode([(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields])
        return HeadersFrame(stream, data=block, flags=["END_HEADERS", *flags]).serialize()

    data, trailers = payload.get("data", []), payload.get("trailers")
    end = ["END_STREAM"]
    text = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
    text += headers(1, payload["fields"], [] if data or trailers else end)
    for index, piece in enumerate(data):
        last = index + 1 == len(data) and not trailers
        text += DataFrame(1, piece.encode("latin-1"), flags=end * last).serialize()
    if trailers:
        text += headers(1, trailers, [] if payload.get("open") else end)
    normal = [(":method", "GET"), (":scheme", "http"), (":path", after), (":authority", "a")]
    text += headers(3, normal, end)
    ends, statuses, bodies, strange, crossed = {}, {}, {1: b"", 3: b""}, [], []
    with front.connect(2) as client:
        try:
            client.sendall(text)
        except OSError:
            pass
        answers = Answers(client)
        while not ({1, 3} <= ends.keys()):
            head = answers.take(9)
            if len(head) < 9:
                ends.setdefault(1, "closed" if answers.ended else "silent")
                ends.setdefault(3, "closed" if answers.ended else "silent")
                break
            frame, length = Frame.parse_frame_header(memoryview(head))
            frame.parse_body(memoryview(answers.take(length)))
            if isinstance(frame, GoAwayFrame) and (frame.error_code or frame.last_stream_id < 3):
                for stream in (1, 3):
                    if stream > frame.last_stream_id or frame.error_code:
                        ends.setdefault(stream, "goaway")
            elif isinstance(frame, RstStreamFrame):
                if frame.error_code or statuses.get(frame.stream_id) is None:
                    ends.setdefault(frame.stream_id, "reset")
            elif isinstance(frame, HeadersFrame):
                for name, value in decoder.decode(frame.data):
                    if name == ":status":
                        statuses[frame.stream_id] = int(value)
            elif isinstance(frame, DataFrame):
                bodies[frame.stream_id] += frame.data
            if isinstance(frame, (HeadersFrame, DataFrame)) and "END_STREAM" in frame.flags:
                ends.setdefault(frame.stream_id, "end")
    refused = ends[1] in ("reset", "goaway", "closed") or statuses.get(1, 0) >= 400
    if payload.get("either"):
        pass
    elif "requests" in payload and (refused or statuses.get(1) != 200):
        strange.append(f"{ends[1]} {statuses.get(1)} where 200 was meant")
    elif "requests" not in payload and not refused:
        strange.append(f"{ends[1]} {statuses.get(1)} where a refusal was meant")
    if ends[1] == "silent" or ends[3] == "silent":
        strange.append("silence")
    for stream, targets in ((1, ["/x"]), (3, [after])):
        if statuses.get(stream) == 200:
            tell_crossed((200, bodies[stream]), targets, crossed)
    return strange, crossed, [named((200, bodies[1]))]


def judge(front, server, payload, number):
    """Nothing if all is as meant; else a letter and why."""
    after, probe = f"/after-{number}", f"/probe-{number}"
    send = by_http2 if "fields" in payload and "send" not in payload else by_http1
    try:
        strange, crossed, answered = send(front, payload, after)
    except (OSError, ValueError, IndexError) as error:
        strange, crossed, answered = [f"{type(error).__name__}: {error}"], [], []
    for _ in range(3):
        with front.connect() as client:
            client.sendall(f"GET {probe} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            answer = Answers(client).next()
        if answer and answer[0] == 200:
            break
    if not answer or answer[0] != 200:
        strange.append(f"the next connection's request got {answer}")
    else:
        tell_crossed(answer, [probe], crossed)
    seen, ended = server.saw_until(probe)
    if not ended:
        strange.append("the next connection's request was not seen")
    requests = [meant(request) for request in payload.get("requests", [])]
    known = [{"method": "GET", "target": after, "body": ""}, {"method": "GET", "target": probe, "body": ""}]
    got = [request for request in seen if request not in known]
    if not payload.get("target", True):
        got = [{**request, "target": requests[0]["target"]} for request in got]
    unmeant = [request for request in got if request not in requests]
    # What stands at the front of the payload is its own request, refused after it was passed on.
    sent = payload.get("send", "").split("\r\n\r\n")[0].split(" ")[1:2] + ["/x", "/y"]
    told = f"saw {got}" if got else "saw nothing"
    is_meant = got == requests or (not got and (payload.get("optional") or payload.get("either")))
    # What was passed on and answered as what it is, proxy and server at least understood alike.
    agreed = [request["target"] for request in seen if request["method"] != "HEAD"] == answered
    smuggled = [request for request in unmeant if request["target"] not in answered]
    lost = [request for request in smuggled if request["target"] in sent]
    if (crossed or len(smuggled) > len(lost)) and not agreed:
        return "D", [told, *crossed, *strange]
    if not is_meant:
        return ("P" if len(got) > len(requests) else "L"), [told, *strange]
    return ("S", strange) if strange else None


def own_mind(payload, name):
    """Why what this server does with it says nothing of the proxy."""
    return payload.get("except", {}).get(name)


def run(front_kind, serin, name, payloads, folder, found):
    [port] = free_ports(1)
    server = Server(name, port)
    front = None
    try:
        wait_for(port, server.process)
        front = Front(front_kind, serin, port, folder)
        for number, (group, payload) in enumerate(payloads):
            verdict = None if own_mind(payload, name) else judge(front, server, payload, number)
            found[group, name].append((payload["name"], verdict))
    finally:
        if front:
            stop(front.process)
        os.killpg(server.process.pid, signal.SIGTERM)
        stop(server.process)


def table(groups, names, found):
    width = max(map(len, groups)) + 1
    heads = [name.replace("uvicorn-", "uv-") for name in names]
    print(" " * width + "   n " + " ".join(f"{head:>13}" for head in heads))
    for group in groups:
        row = []
        for name in names:
            letters = [verdict[0] for _, verdict in found[group, name] if verdict]
            counts = [f"{letters.count(letter)}{letter}" for letter in "DPLS" if letter in letters]
            row.append(" ".join(counts) or "-")
        count = len(found[group, names[0]])
        print(f"{group:{width}}{count:4} " + " ".join(f"{cell:>13}" for cell in row))


def details(groups, names, found):
    for group in groups:
        for index, (payload, _) in enumerate(found[group, names[0]]):
            same = {}
            for name in names:
                verdict = found[group, name][index][1]
                if verdict:
                    same.setdefault((verdict[0], "; ".join(verdict[1])[:300]), []).append(name)
            for (letter, why), where in same.items():
                print(f"{letter} {group} / {payload}: {', '.join(where)}: {why}")


def main():
    import yaml
    from servers import SERVERS

    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--serin", type=pathlib.Path, default="target/debug/serin")
    arguments.add_argument("--front", choices=("serin", "nginx", "haproxy"), default="serin")
    arguments.add_argument("--server", action="append", help="only this one; may be repeated")
    arguments.add_argument("--name", default="", help="only payloads whose name or class has this")
    arguments.add_argument("--details", action="store_true", help="say what differs")
    arguments = arguments.parse_args()
    names = arguments.server or [*SERVERS, *(["node"] if shutil.which("node") else [])]
    payloads = []
    for file in ("corpus.yaml", "http2.yaml"):
        for group in yaml.safe_load((HERE / file).read_text()):
            for payload in group["payloads"]:
                if arguments.name in payload["name"] or arguments.name == group["class"]:
                    payloads.append((group["class"], payload))
    groups = list(dict.fromkeys(group for group, _ in payloads))
    found = {(group, name): [] for group in groups for name in names}
    serin = arguments.serin.resolve()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        threads = [
            threading.Thread(
                target=run,
                args=(arguments.front, serin, name, payloads, pathlib.Path(folder), found),
            )
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    complete = all(
        sum(len(found[group, name]) for group in groups) == len(payloads) for name in names
    )
    if not complete:
        sys.exit("a server or the proxy ended early")
    table(groups, names, found)
    wrong = sum(verdict is not None for results in found.values() for _, verdict in results)
    if arguments.details or wrong:
        details(groups, names, found)
    seconds = time.monotonic() - started
    total = len(payloads) * len(names)
    print(f"{len(payloads)} payloads, {len(names)} servers: {total - wrong} of {total} as meant", end="")
    print(f" ({seconds:.0f} s)")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
