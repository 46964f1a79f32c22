"""A gRPC service and its client by grpcio, the reference implementation, for tests/proxy/interop.rs.

    grpc_real.py serve                            a service on a free port, which it prints
    grpc_real.py call ADDRESS [NAME CA]           every kind of call; exit code 1 if one is wrong
    grpc_real.py kill ADDRESS [NAME CA]           the same, and then one that ends the service

Messages are bytes, so that no code has to be generated.
"""

import os
import sys
import threading
import time
from concurrent import futures

import grpc

MIB = 1024 * 1024
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
BINARY = bytes(range(256))


class Service:
    """The methods of `test.Echo`."""

    def __init__(self):
        self.cancelled = {}

    def unary(self, request, context):
        sent = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-head", sent.get("x-asked", "none")), ("x-bin", BINARY)])
        context.set_trailing_metadata([("x-tail", "end"), ("x-tail-bin", sent.get("x-sent-bin", b""))])
        return request

    def collect(self, requests, context):
        return b"+".join(requests)

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def converse(self, requests, context):
        for request in requests:
            yield b"<" + request + b">"

    def fail(self, request, context):
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "für 100 % so\nand so")

    def fail_midway(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "no more")

    def wait(self, request, context):
        """Says nothing, and notes that the call was cancelled."""
        name = request.decode()
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)
        self.cancelled[name] = self.cancelled.get(name, 0) + 1
        return b""

    def drip(self, request, context):
        """Says something now and then until cancelled, and notes that."""
        name = request.decode()
        # A stream that is cancelled while something is sent is not asked for more.
        context.add_callback(lambda: self.cancelled.update({name: 1}))
        while context.is_active():
            yield b"drop"
            time.sleep(0.02)

    def was_cancelled(self, request, context):
        return b"%d" % self.cancelled.get(request.decode(), 0)

    def blob(self, request, context):
        return b"\x07" * int(request)

    def die(self, request, context):
        yield b"last words"
        time.sleep(0.3)
        os._exit(0)


def serve():
    service = Service()
    kinds = {
        grpc.unary_unary_rpc_method_handler: [
            service.unary, service.fail, service.wait, service.was_cancelled, service.blob,
        ],
        grpc.stream_unary_rpc_method_handler: [service.collect],
        grpc.unary_stream_rpc_method_handler: [
            service.count, service.fail_midway, service.drip, service.die,
        ],
        grpc.stream_stream_rpc_method_handler: [service.converse],
    }
    methods = {method.__name__: kind(method) for kind, of in kinds.items() for method in of}
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=ANY_SIZE)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", methods)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    # Ends with the test, which closes this pipe.
    sys.stdin.read()
    os._exit(0)


class Calls:
    """The calls, through whatever is at the address."""

    def __init__(self, channel):
        self.channel = channel

    def path(self, method, service="test.Echo"):
        return f"/{service}/{method}"

    def unary(self, method, request=b"", service="test.Echo", **more):
        more.setdefault("timeout", 20)
        return self.channel.unary_unary(self.path(method, service)).with_call(request, **more)

    def error(self, method, request=b"", **more):
        try:
            self.unary(method, request, **more)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"{method} did not fail")

    def eventually(self, method, request, answer):
        for _ in range(400):
            if self.unary(method, request)[0] == answer:
                return
            time.sleep(0.02)
        raise AssertionError(f"{method}({request}) never was {answer}")

    # Each of these is one case.

    def a_unary_call_with_metadata_both_ways(self):
        metadata = [("x-asked", "a"), ("x-sent-bin", BINARY)]
        answer, call = self.unary("unary", b"hello", metadata=metadata)
        assert answer == b"hello", answer
        head, tail = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert head["x-head"] == "a" and head["x-bin"] == BINARY, head
        assert tail["x-tail"] == "end" and tail["x-tail-bin"] == BINARY, tail

    def an_empty_message(self):
        assert self.unary("unary", b"")[0] == b""

    def a_stream_of_requests(self):
        parts = [b"%d" % number for number in range(1000)]
        answer = self.channel.stream_unary(self.path("collect"))(iter(parts), timeout=20)
        assert answer == b"+".join(parts)

    def a_stream_of_answers(self):
        answers = list(self.channel.unary_stream(self.path("count"))(b"1000", timeout=20))
        assert answers == [b"%d" % number for number in range(1000)]

    def a_conversation_in_turns(self):
        said = []
        heard = threading.Semaphore(1)

        def ask():
            for number in range(50):
                heard.acquire()
                yield b"%d" % number

        for answer in self.channel.stream_stream(self.path("converse"))(ask(), timeout=20):
            said.append(answer)
            heard.release()
        assert said == [b"<%d>" % number for number in range(50)], said

    def large_messages_both_ways(self):
        large = os.urandom(9 * MIB)
        assert self.unary("unary", large)[0] == large
        assert len(self.unary("blob", b"%d" % (16 * MIB))[0]) == 16 * MIB

    def an_error_with_its_words_and_metadata(self):
        error = self.error("fail")
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "für 100 % so\nand so", error.details()
        assert dict(error.trailing_metadata())["x-why"] == "because"

    def an_error_after_an_answer(self):
        answers = self.channel.unary_stream(self.path("fail_midway"))(b"", timeout=20)
        assert next(answers) == b"one"
        try:
            next(answers)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DATA_LOSS, error
            return
        raise AssertionError("it did not fail")

    def a_method_that_the_service_does_not_have(self):
        error = self.error("nothing")
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

    def a_deadline_ends_the_call_on_both_sides(self):
        name = b"deadline %d" % time.time_ns()
        started = time.monotonic()
        error = self.error("wait", name, timeout=0.3)
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        assert time.monotonic() - started < 3
        self.eventually("was_cancelled", name, b"1")

    def a_deadline_ends_a_stream_on_both_sides(self):
        name = b"dripping %d" % time.time_ns()
        answers = self.channel.unary_stream(self.path("drip"))(name, timeout=0.5)
        try:
            for answer in answers:
                assert answer == b"drop"
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        else:
            raise AssertionError("it did not fail")
        self.eventually("was_cancelled", name, b"1")

    def a_cancelled_call_is_cancelled_at_the_service(self):
        name = b"cancelled %d" % time.time_ns()
        answers = self.channel.unary_stream(self.path("drip"))(name, timeout=20)
        assert next(answers) == b"drop"
        answers.cancel()
        self.eventually("was_cancelled", name, b"1")

    def many_calls_at_one_time(self):
        method = self.channel.unary_unary(self.path("unary"))
        calls = [method.future(b"%d" % number, timeout=20) for number in range(500)]
        assert [call.result() for call in calls] == [b"%d" % number for number in range(500)]

    def what_the_proxy_can_not_deliver(self):
        for service, code, details in [
            ("test.Gone", grpc.StatusCode.UNAVAILABLE, "the service can not be reached"),
            ("test.Silent", grpc.StatusCode.DEADLINE_EXCEEDED, "the service did not answer in time"),
            ("test.Unknown", grpc.StatusCode.UNIMPLEMENTED, "no route matches this request"),
            ("test.Small", grpc.StatusCode.RESOURCE_EXHAUSTED, "the request body is too large"),
        ]:
            error = self.error("unary", b"x" * 100_000, service=service)
            assert (error.code(), error.details()) == (code, details), error

    # Comes last in the alphabet, because the service does not survive it.
    def z_a_service_that_dies_inside_a_stream(self):
        answers = self.channel.unary_stream(self.path("die"))(b"", timeout=20)
        assert next(answers) == b"last words"
        try:
            next(answers)
        except grpc.RpcError as error:
            lost = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED
            assert error.code() in lost, error
        else:
            raise AssertionError("it did not fail")
        assert self.error("unary").code() == grpc.StatusCode.UNAVAILABLE


def call(address, deadly, authority=None, authorities=None):
    options = list(ANY_SIZE)
    if authorities is None:
        channel = grpc.insecure_channel(address, options=options)
    else:
        with open(authorities, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options.append(("grpc.ssl_target_name_override", authority))
        channel = grpc.secure_channel(address, credentials, options=options)
    calls = Calls(channel)
    failed = 0
    for name in sorted(vars(Calls)):
        if not name.startswith(("a_", "an_", "large", "many", "what", "z_")):
            continue
        if name.startswith("z_") and not deadly:
            continue
        try:
            getattr(calls, name)()
            print(f"ok {name}")
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED {name}: {error!r}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        sys.exit(call(sys.argv[2], sys.argv[1] == "kill", *sys.argv[3:]))
