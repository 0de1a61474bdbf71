"""What /metrics tells of one application, in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "scbch_requests", "Answers by path and status.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "scbch_request_seconds", "From request to answer.", ("path",), registry=registry
        )
        self.batches = Histogram(
            "scbch_batch_rows",
            "Rows of a batch.",
            ("kind",),
            buckets=[2**power for power in range(11)],
            registry=registry,
        )
        self.waiting = Gauge(
            "scbch_waiting_rows", "Rows that wait for a batch.", ("kind",), registry=registry
        )
        self.buffered = Gauge(
            "scbch_buffered_bytes", "Bytes of large bodies that are held.", registry=registry
        )
