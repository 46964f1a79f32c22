#!/usr/bin/env python3
"""One real server that tells what it saw: `servers.py NAME PORT`.

Each complete request is a line of JSON on standard output: method, target, and the body in
Latin-1; the answer says the same, so that an answer can be told from that to another request.
"""

import asyncio
import json
import sys
import threading

lock = threading.Lock()


def saw(method, target, body):
    text = json.dumps({"method": method, "target": target, "body": body.decode("latin-1")})
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    return text.encode()


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    if len(body) < int(environ.get("CONTENT_LENGTH") or 0):
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []  # the client broke it off
    query = environ.get("QUERY_STRING")
    target = environ.get("RAW_URI") or environ["PATH_INFO"] + (f"?{query}" if query else "")
    text = saw(environ["REQUEST_METHOD"], target, body)
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"].removeprefix("lifespan.")
            await send({"type": f"lifespan.{kind}.complete"})
            if kind == "shutdown":
                return
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return  # the client broke it off
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    query = scope["query_string"].decode("latin-1")
    target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    text = saw(scope["method"], target, body)
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text})


def gunicorn(port):
    from gunicorn.app.base import BaseApplication

    class App(BaseApplication):
        def load_config(self):
            settings = {"bind": f"127.0.0.1:{port}", "worker_class": "gthread", "threads": 4}
            for name, value in {**settings, "loglevel": "critical", "keepalive": 60}.items():
                self.cfg.set(name, value)

        def load(self):
            return wsgi

    App().run()


def waitress(port):
    import waitress

    waitress.serve(wsgi, listen=f"127.0.0.1:{port}", threads=4, channel_timeout=60)


def cheroot(port):
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), wsgi, timeout=60).start()


def uvicorn(port, http):
    import uvicorn

    uvicorn.run(asgi, port=port, http=http, log_level="critical", timeout_keep_alive=60)


def hypercorn(port):
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind, config.keep_alive_timeout = [f"127.0.0.1:{port}"], 60
    config.errorlog = None
    asyncio.run(serve(asgi, config))


def aiohttp(port):
    from aiohttp import web

    async def answer(request):
        text = saw(request.method, request.raw_path, await request.read())
        return web.Response(body=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, keepalive_timeout=60, access_log=None)


def tornado(port):
    import logging

    from tornado.httpserver import HTTPServer

    logging.disable(logging.CRITICAL)

    def answer(request):
        from tornado.httputil import HTTPHeaders, ResponseStartLine

        text = saw(request.method, request.uri, request.body)
        headers = HTTPHeaders({"Content-Length": str(len(text))})
        body = b"" if request.method == "HEAD" else text
        request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, body)
        request.connection.finish()

    async def main():
        HTTPServer(answer).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())


def twisted(port):
    from twisted.internet import reactor
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Echo(Resource):
        isLeaf = True

        def render(self, request):
            body = request.content.read()
            text = saw(request.method.decode("latin-1"), request.uri.decode("latin-1"), body)
            request.setHeader(b"content-length", str(len(text)).encode())
            return b"" if request.method == b"HEAD" else text

    reactor.listenTCP(port, Site(Echo(), timeout=60), interface="127.0.0.1")
    reactor.run()


SERVERS = {
    "gunicorn": gunicorn,
    "waitress": waitress,
    "cheroot": cheroot,
    "uvicorn-h11": lambda port: uvicorn(port, "h11"),
    "uvicorn-httptools": lambda port: uvicorn(port, "httptools"),
    "hypercorn": hypercorn,
    "aiohttp": aiohttp,
    "tornado": tornado,
    "twisted": twisted,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
