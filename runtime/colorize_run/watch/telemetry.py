"""What can be seen of a watch from outside: log lines, health file, counters, an HTTP port for all of them."""

import json
import os
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorize_run.errors import OptionError, OutputError
from colorize_run.watch.lines import Lines

if TYPE_CHECKING:
    from prometheus_client.core import Metric

BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # seconds
_ON_TERMINAL = {
    "quarantined", "blocked", "healed", "source_lost", "source_back", "worker_died", "degraded", "model_refused", "bug",
    "ledger_rebuilt",
}  # fmt: skip


def shown(name: bytes) -> str:
    """A file name as it may be printed: control characters and undecodable bytes escaped."""
    text = os.fsdecode(name)
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1] for c in text)


class Telemetry:
    """Counters by (name, label), histograms by stage, and log lines on stderr: JSON, or a live line on a terminal."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self.stages: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._drawn = 0.0
        self._lines, self._told = Lines(), 0

    @property
    def dropped(self) -> int:
        """Log lines that nobody took."""
        return self._lines.dropped

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """Add to a counter."""
        self.counters[name, label] += by

    def observe(self, stage: str, seconds: float) -> None:
        """Add one duration to a stage's histogram."""
        counts = self.stages.setdefault(stage, [0] * (len(BUCKETS) + 1))
        counts[sum(seconds > bound for bound in BUCKETS)] += 1
        self.sums[stage] = self.sums.get(stage, 0.0) + seconds

    def event(self, event: str, name: bytes | None = None, **fields: Any) -> None:
        """One line in the log, whatever becomes of it: a log that cannot be written stops nothing."""
        if self._terminal:
            if event not in _ON_TERMINAL:
                return
            told = ", ".join(str(fields[key]) for key in ("err_class", "why", "err") if fields.get(key))
            line = f"\r\x1b[K{event.replace('_', ' ')}: {shown(name) + ': ' if name is not None else ''}{told}"
        else:
            named = {} if name is None else {"name": os.fsdecode(name)}
            line = json.dumps({"time": round(time.time(), 3), "event": event, **named, **fields})
        self._write(line + "\n")

    def live(self, line: Callable[[], str], *, last: bool = False) -> None:
        """Draw the live line of a terminal, four times a second at most."""
        now = time.monotonic()
        if self._terminal and (last or now - self._drawn > 0.25):
            self._drawn = now
            self._write(f"\r\x1b[K{line()}" + ("\n" if last else ""))

    def close(self) -> None:
        """The last line is written."""
        self._lines.close()

    def _write(self, text: str) -> None:
        dropped = self.dropped
        if self._lines.write(text) and dropped > self._told and not self._terminal:
            self._told = dropped
            self._lines.write(json.dumps({"time": round(time.time(), 3), "event": "log_dropped", "lines": dropped}) + "\n")


def write_health(path: Path, health: dict[str, Any]) -> None:
    """Replace the health file at once; it need not survive a power cut. Errors: OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(health, indent=1) + "\n")
    os.replace(temporary, path)


class Server(ThreadingHTTPServer):
    """Answers /metrics, /healthz and /readyz on the loopback interface. Errors: OSError."""

    daemon_threads = True

    def __init__(self, port: int, metrics: Callable[[], bytes], health: Callable[[], dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", port), _Pages)
        self.metrics, self.health = metrics, health


class _Pages(BaseHTTPRequestHandler):
    """Three pages, read only."""

    timeout = 5
    server: Server

    def do_GET(self) -> None:
        """The page that was asked for."""
        found = self.server.health()
        if self.path == "/metrics":
            self._answer(200, self.server.metrics(), "text/plain; version=0.0.4")
        elif self.path in ("/healthz", "/readyz"):
            good = found["healthy"] if self.path == "/healthz" else found["ready"]
            self._answer(200 if good else 503, json.dumps(found).encode(), "application/json")
        else:
            self._answer(404, b"/metrics, /healthz, /readyz\n", "text/plain")

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Requests are not logged."""


def serve(port: int, telemetry: Telemetry, health: Callable[[], dict[str, Any]]) -> Server:
    """Begin to answer on ``port``, in a thread. Errors: OptionError, OutputError."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ModuleNotFoundError as error:
        raise OptionError("--port needs prometheus-client: pip install 'colorize-run[watch]'.") from error

    class Collector:
        """Turns our counters into Prometheus's, when asked."""

        def collect(self) -> "Iterator[Metric]":
            """All metrics of this moment."""
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
        wanted = [labels[name]] if name in labels else []
        family = families.setdefault(name, CounterMetricFamily(f"colorize_{name}", f"{name} so far", labels=wanted))
        family.add_metric([label] if wanted else [], value)
    yield from families.values()
    for name in ("pending", "oldest_pending_s", "unaccounted", "output_free_bytes", "scan_seconds", "source_lost", "degraded",
                 "log_lines_dropped"):  # fmt: skip
        yield GaugeMetricFamily(f"colorize_{name}", name, value=float(health[name]))
    blocked = GaugeMetricFamily("colorize_blocked", "1 while work is held up", labels=["why"])
    for why in health["blocked"]:
        blocked.add_metric([why], 1)
    yield blocked
    provider = GaugeMetricFamily("colorize_provider_info", "device asked for and in use", labels=["requested", "actual"])
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
