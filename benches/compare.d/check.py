"""Asks each proxy some requests before it is measured: does it do the job?"""

import http.client
import shutil
import ssl
import subprocess

REQUESTS = 400
CANARY_MIN, CANARY_MAX = 12, 80  # of 400; outside by chance once in 20,000 times


class Wrong(RuntimeError):
    """The proxy does something else."""


def check(proxy, path, host):
    """Fails if it does not split, forward or speak as it should; returns what it speaks."""
    if proxy.name == "relay":
        return "TCP"
    if proxy.setup.http2:
        return check_http2(proxy, host)
    return check_http1(proxy, path, host)


def expect(proxy, what, holds, seen):
    if not holds:
        raise Wrong(f"{proxy.name} does not {what}: {seen}")


def split_is_right(proxy, pools):
    expect(proxy, "answer all", len(pools) == REQUESTS, f"{len(pools)} of {REQUESTS}")
    expect(proxy, "split 90/10", CANARY_MIN <= pools.count("canary") <= CANARY_MAX,
           f"{pools.count('canary')} of {REQUESTS} to the canary")


def forwarded(proxy, text, host):
    """What the endpoint saw, which its answer repeats."""
    lines = text.lower().replace("\r", "").split("\n")
    scheme = "https" if proxy.setup.tls else "http"
    for name, value in (("x-forwarded-for", proxy.client_seen), ("x-forwarded-proto", scheme),
                        ("x-forwarded-host", host), ("host", host)):
        found = {line for line in lines if line.startswith(f"{name}: ")}
        right = found if value is None else f"{name}: {value}" in found
        expect(proxy, f"forward {name}: {value}", right, text[-500:])


def check_http1(proxy, path, host):
    spoken = "HTTP/1.1"
    if proxy.setup.tls:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["http/1.1"])
        connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=10,
                                                 context=context)
        connection.connect()
        socket = connection.sock
        expect(proxy, "speak TLS 1.3", socket.version() == "TLSv1.3", socket.version())
        expect(proxy, "agree on HTTP/1.1", socket.selected_alpn_protocol() == "http/1.1",
               socket.selected_alpn_protocol())
        spoken = f"TLS 1.3, {socket.cipher()[0]}"
    else:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    pools = []
    for _ in range(REQUESTS):
        connection.request("GET", path.replace("/bytes/", "/echo/"), headers={"Host": host})
        answer = connection.getresponse()
        head = answer.read().decode()
        expect(proxy, "answer 200", answer.status == 200, answer.status)
        pools.append(answer.headers["x-pool"])
    expect(proxy, "keep the connection", connection.sock is not None, "it was closed")
    forwarded(proxy, head, host)
    split_is_right(proxy, pools)
    return spoken


def check_http2(proxy, host):
    """By nghttp, which comes with h2load."""
    if not shutil.which("nghttp"):
        return "HTTP/2, not checked: there is no nghttp"
    url = f"http://127.0.0.1:{proxy.port}/echo"
    command = ["nghttp", "-v", f"-m{REQUESTS}", "-H", f":authority: {host}", url]
    if proxy.setup.grpc:
        body = proxy.folder / "body"
        body.write_bytes(b"\0\0\0\0\1x")
        command += ["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    pools = [line.rsplit(" ", 1)[1] for line in text.splitlines() if ") x-pool: " in line]
    if proxy.setup.grpc:
        trailers = text.count("grpc-status: 0")
        expect(proxy, "pass on trailers", trailers == REQUESTS, f"{trailers} of {REQUESTS}")
    else:
        forwarded(proxy, text, host)
    split_is_right(proxy, pools)
    return "gRPC over HTTP/2" if proxy.setup.grpc else "HTTP/2"
