"""Envoy."""

import json

from proxy import Proxy

TYPES = "type.googleapis.com/envoy"


def typed(name, kind, **settings):
    return {"name": name, "typed_config": {"@type": f"{TYPES}.{kind}", **settings}}


class Envoy(Proxy):
    """Its weights move by a new file of routes (RDS), put in place by a rename.

    Retries go to another host. `reset-before-request` tries again only what was not sent, so it is
    safe for POSTs; `reset` is for GETs. Three defaults do not go well with endpoints that come and
    go, and are changed as its manual says: changes of hosts are told to the workers once a second
    (`update_merge_window`; with it hundreds of requests go to a host that is ejected already), a
    cluster without traffic is checked once a minute (`no_traffic_interval`), and 3 retries may be
    under way at one time (`max_retries`). A host that was ejected for its answers stays away for
    its time, though /health be fine.
    An aggregate cluster would give the canary's share somewhere to go when all of the canary is
    away. It is left out: no scenario takes both endpoints at once, and no fewer requests failed.
    """

    name = "envoy"

    def command(self):
        file = self.folder / "envoy.json"
        options = ["--disable-hot-restart", "--concurrency", str(self.workers), "-l", "warning"]
        return [self.binary, *options, "-c", file]

    def ready(self):
        self.ask("/ready")

    def prepare(self):
        self.apply()
        (self.folder / "envoy.json").write_text(json.dumps(self.config(), indent=1))

    def config(self):
        routes = {"path_config_source": {"path": f"{self.folder}/routes.json"}}
        web = typed(
            "envoy.filters.network.http_connection_manager",
            "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="web",
            rds={"route_config_name": "web", "config_source": routes},
            http_filters=[
                typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")
            ],
        )
        listener = {
            "name": "web",
            "address": address(self.port),
            "filter_chains": [{"filters": [web]}],
        }
        clusters = [self.cluster(pool) for pool in self.pools]
        return {
            "node": {"id": "rolling", "cluster": "rolling"},
            "admin": {"address": address(self.admin)},
            "static_resources": {"listeners": [listener], "clusters": clusters},
        }

    def cluster(self, pool):
        modern = pool == "modern"
        protocol = {"http2_protocol_options" if modern else "http_protocol_options": {}}
        hosts = [{"endpoint": {"address": address(port)}} for port in self.pools[pool]]
        check = {"path": "/health", "codec_client_type": "HTTP2" if modern else "HTTP1"}
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        return {
            "name": pool,
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "LEAST_REQUEST",
            "common_lb_config": {"update_merge_window": "0s"},
            "load_assignment": {"cluster_name": pool, "endpoints": [{"lb_endpoints": hosts}]},
            "typed_extension_protocol_options": {
                options: {"@type": f"{TYPES}.{options[6:]}", "explicit_http_config": protocol}
            },
            "circuit_breakers": {
                "thresholds": [
                    {
                        "max_connections": 8000,
                        "max_pending_requests": 8000,
                        "max_requests": 8000,
                        "max_retries": 1000,
                    }
                ]
            },
            "health_checks": [
                {
                    "interval": "1s",
                    "timeout": "0.5s",
                    "unhealthy_threshold": 2,
                    "healthy_threshold": 1,
                    "no_traffic_interval": "1s",
                    "http_health_check": check,
                }
            ],
            "outlier_detection": {
                "consecutive_5xx": 3,
                "interval": "1s",
                "base_ejection_time": "2s",
                "max_ejection_percent": 50,
                "successful_active_health_check_uneject_host": False,
            },
        }

    def routes(self):
        split = {
            "weighted_clusters": {
                "clusters": [
                    {"name": "stable", "weight": 100 - self.canary},
                    {"name": "canary", "weight": self.canary},
                ]
            }
        }
        get = {"name": ":method", "string_match": {"exact": "GET"}}
        safe = "connect-failure,refused-stream,reset-before-request"
        pairs = [
            ({"prefix": "/h2/", "headers": [get]}, {"cluster": "modern"}, f"{safe},reset"),
            ({"prefix": "/h2/"}, {"cluster": "modern"}, safe),
            ({"prefix": "/", "headers": [get]}, split, f"{safe},reset"),
            ({"prefix": "/"}, split, safe),
        ]
        return [
            {"match": match, "route": {**to, "timeout": "5s", "retry_policy": retry(on)}}
            for match, to, on in pairs
        ]

    def apply(self):
        host = {"name": "all", "domains": ["*"], "routes": self.routes()}
        kind = f"{TYPES}.config.route.v3.RouteConfiguration"
        self.changes += 1
        self.put("routes.json", json.dumps({
            "version_info": str(self.changes),
            "resources": [{"@type": kind, "name": "web", "virtual_hosts": [host]}],
        }))

    def taken(self):
        return int(self.ask("/stats?filter=rds.web.update_success").rsplit(" ", 1)[1])

    def usable(self, pool):
        states = [line for line in self.ask("/clusters").splitlines() if "::health_flags::" in line]
        return sum(line.startswith(f"{pool}::") and line.endswith("::healthy") for line in states)


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def retry(on):
    return {
        "retry_on": on,
        "num_retries": 3,
        "retry_host_predicate": [
            typed(
                "envoy.retry_host_predicates.previous_hosts",
                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": 5,
    }
