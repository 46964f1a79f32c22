"""Compiles the relay, the endpoints and the clients, which are in C, and starts the endpoints."""

import pathlib
import shutil
import subprocess
import sys

from processes import Process, accepts, free_port
from proxy import Place

HERE = pathlib.Path(__file__).parent
TLS = ("-DWITH_TLS", "-l:libssl.so.3", "-l:libcrypto.so.3")


def compiled(name, folder, *more):
    """The program, or None if it can not be made of what is there."""
    program = folder / name
    command = ["cc", "-O2", "-o", program, HERE / f"{name}.c", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not more:
        sys.exit(f"{name}.c can not be compiled:\n{done.stderr}")
    return None if done.returncode else program


def build(folder):
    """The path of each program, and whether the clients know TLS."""
    if not shutil.which("cc"):
        sys.exit("missing: a C compiler, cc; on Debian: apt install gcc libc6-dev")
    programs = {name: compiled(name, folder) for name in ("relay", "upstream")}
    with_tls = compiled("load", folder, *TLS)
    programs["load"] = with_tls or compiled("load", folder)
    return programs, with_tls is not None


def make_certificate(folder):
    """A certificate on P-256 with its key, as most sites have; None if there is no openssl."""
    if not shutil.which("openssl"):
        return None
    certificate = folder / "shop.crt"
    key = certificate.with_suffix(".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=shop.example.com", "-addext", "subjectAltName=DNS:*.example.com",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o644)
    certificate.with_suffix(".both").write_text(certificate.read_text() + key.read_text())
    return certificate


def start(folder):
    """Where proxies are started, the endpoints' process, and whether TLS can be asked for."""
    built, with_tls = build(folder)
    certificate = make_certificate(folder)
    endpoints = {"stable": free_port(), "canary": free_port()}
    place = Place(folder, endpoints, built, certificate or folder / "none")
    command = [built["upstream"], *(f"{port}:{name}" for name, port in endpoints.items())]
    upstream = Process("upstream", command, folder / "upstream.log")
    for port in endpoints.values():
        upstream.wait_for(lambda port=port: accepts(port))
    return place, upstream, bool(with_tls and certificate)
