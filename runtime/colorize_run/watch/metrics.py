"""The HTTP port of a watch: metrics for Prometheus, and health."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from colorize_run.errors import OptionError, OutputError
from colorize_run.watch.log import BUCKETS, Telemetry

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Server(ThreadingHTTPServer):
    """Answers /metrics, /healthz and /readyz on the loopback interface. Errors: OSError."""

    daemon_threads = True

    def __init__(self, port: int, metrics: Callable[[], bytes], health: Callable[[], dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", port), _Pages)
        self.metrics, self.health = metrics, health


class _Pages(BaseHTTPRequestHandler):
    """Its three pages."""

    timeout = 5
    server: Server

    def do_GET(self) -> None:
        """Send the requested page."""
        health = self.server.health()
        if self.path == "/metrics":
            self._answer(200, self.server.metrics(), "text/plain; version=0.0.4")
        elif self.path in ("/healthz", "/readyz"):
            is_good = health["healthy"] if self.path == "/healthz" else health["ready"]
            self._answer(200 if is_good else 503, json.dumps(health).encode(), "application/json")
        else:
            self._answer(404, b"/metrics, /healthz, /readyz\n", "text/plain")

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Do not log requests."""


def serve(port: int, telemetry: Telemetry, health: Callable[[], dict[str, Any]]) -> Server:
    """Start a server on ``port``, in a thread. Errors: OptionError, OutputError."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ModuleNotFoundError as error:
        raise OptionError("--port needs prometheus-client: pip install 'colorize-run[watch]'.") from error

    class Collector:
        """Converts our counters into metrics of Prometheus."""

        def collect(self) -> "Iterator[Metric]":
            """The current metrics."""
            return _metrics(telemetry, health())

    registry = CollectorRegistry()
    registry.register(Collector())
    try:
        server = Server(port, lambda: generate_latest(registry), health)
    except OSError as error:
        raise OutputError(f"Port {port} cannot be opened: {error.strerror}.") from error
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server


def _metrics(telemetry: Telemetry, health: dict[str, Any]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = {"files": "state", "worker_restarts": "why", "blocks": "why"}
    families: dict[str, CounterMetricFamily] = {}
    for (name, label), value in list(telemetry.counters.items()):
        label_names = [labels[name]] if name in labels else []
        family = families.setdefault(name, CounterMetricFamily(f"colorize_{name}", f"{name} so far", labels=label_names))
        family.add_metric([label] if label_names else [], value)
    yield from families.values()
    for name in ("pending", "oldest_pending_s", "unaccounted", "output_free_bytes", "scan_seconds", "source_lost", "degraded",
                 "log_lines_dropped"):  # fmt: skip
        yield GaugeMetricFamily(f"colorize_{name}", name, value=float(health[name]))
    blocked = GaugeMetricFamily("colorize_blocked", "1 while work is held up", labels=["why"])
    for why in health["blocked"]:
        blocked.add_metric([why], 1)
    yield blocked
    provider = GaugeMetricFamily("colorize_provider_info", "requested device and device in use", labels=["requested", "actual"])
    provider.add_metric([health["provider"]["requested"], health["provider"]["actual"] or "none"], 1)
    yield provider
    stages = HistogramMetricFamily("colorize_stage_seconds", "time of a file by stage", labels=["stage"])
    for stage, counts in list(telemetry.stages.items()):
        running, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            running += count
            buckets.append((bound, running))
        stages.add_metric([stage], buckets, sum_value=telemetry.sums[stage])
    yield stages
