"""Envoy."""

import collections
import json

from proxy import Proxy, routes

TYPES = "type.googleapis.com/envoy"
MANAGER = "network.http_connection_manager.v3.HttpConnectionManager"
HTTP_OPTIONS = "extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(kind, **settings):
    return {"@type": f"{TYPES}.{kind}", **settings}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Envoy(Proxy):
    """What it does beyond the job by default is off: request ids and headers of its own.

    Its limits of requests and connections at one time are taken away. For clients on loopback it
    writes the machine's address into X-Forwarded-For instead of theirs.
    """

    name, version = "envoy", "--version"
    client_seen = None

    def command(self):
        workers = str(self.setup.workers)
        return [self.binary, "--disable-hot-restart", "--concurrency", workers, "-l", "error",
                "-c", self.folder / "envoy.json"]

    def prepare(self):
        (self.folder / "envoy.json").write_text(json.dumps(self.config()))

    def config(self):
        router = typed("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
        web = typed(
            f"extensions.filters.{MANAGER}",
            stat_prefix="web",
            codec_type="AUTO",
            use_remote_address=True,
            generate_request_id=False,
            upgrade_configs=[{"upgrade_type": "websocket"}],
            route_config={"name": "web", "virtual_hosts": self.hosts()},
            http_filters=[{"name": "envoy.filters.http.router", "typed_config": router}],
        )
        chain = {"filters": [{"name": "web", "typed_config": web}]}
        if self.setup.tls:
            certificate = self.place.certificate
            pair = {"certificate_chain": {"filename": str(certificate)},
                    "private_key": {"filename": str(certificate.with_suffix(".key"))}}
            context = {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair],
                       "tls_params": {"tls_minimum_protocol_version": "TLSv1_2",
                                      "tls_maximum_protocol_version": "TLSv1_3"}}
            kind = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls",
                                         "typed_config": typed(kind, common_tls_context=context)}
        listener = {"name": "web", "address": address(self.port), "filter_chains": [chain],
                    "tcp_backlog_size": 4096}
        return {"static_resources": {"listeners": [listener], "clusters": self.clusters()}}

    def hosts(self):
        split = {"weighted_clusters": {"clusters": [
            {"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]}}
        prefixes = collections.defaultdict(list)
        for host, prefix in routes() if self.setup.many_routes else [("*", "")]:
            prefixes[host].append({"match": {"prefix": f"{prefix}/"}, "route": split})
        forwarded = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                     "header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"}}
        return [{"name": host, "domains": [host], "routes": found,
                 "request_headers_to_add": [forwarded]} for host, found in prefixes.items()]

    def clusters(self):
        protocol = "http2_protocol_options" if self.setup.grpc else "http_protocol_options"
        most = {name: 100_000 for name in ("max_connections", "max_pending_requests",
                                           "max_requests")}
        return [{
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]},
            "typed_extension_protocol_options": {f"envoy.{HTTP_OPTIONS}": typed(
                HTTP_OPTIONS, explicit_http_config={protocol: {}})},
            "circuit_breakers": {"thresholds": [most]},
        } for name, port in self.place.endpoints.items()]
