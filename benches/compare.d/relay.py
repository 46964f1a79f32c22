"""A bare TCP relay (relay.c), the floor: it moves bytes and knows nothing of requests."""

from proxy import Proxy


class Relay(Proxy):
    """Instead of requests it splits connections, 90/10."""

    name, tls, many = "relay", False, False

    def command(self):
        ports = [self.port, self.place.endpoints["stable"], self.place.endpoints["canary"]]
        return [self.binary, *map(str, ports)]
