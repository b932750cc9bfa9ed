"""Workers that have enrolled: what they consent to, and what they report. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from vramwatch.core.layers import excess
from vramwatch.core.model import Gauge, ProcessKey
from vramwatch.core.units import Bytes
from vramwatch.sdk.wire import Device, Hello, Report


@dataclass(frozen=True, slots=True)
class Worker:
    """One enrolled process. The kernel says who it is; ``hello`` and ``report`` are its own words.

    ``since`` and ``reported_at`` are boot time in seconds; ``report`` None: none has come yet.
    ``namespace_pid``: the pid as it sees itself; None: the same as ours.
    """

    key: ProcessKey
    uid: int
    hello: Hello
    since: float
    report: Report | None = None
    reported_at: float | None = None
    namespace_pid: int | None = None

    def consents_to(self, remedy: str) -> bool:
        """Whether it accepts ``remedy``: "ask", or "signal:SIGURG"."""
        return remedy in self.hello.remedies

    @property
    def requests_running(self) -> int | None:
        return self.report.requests_running if self.report else None

    def gauges(self, gpu: str) -> tuple[Gauge, ...]:
        """Return what its newest report says of itself on ``gpu`` (UUID); empty: it says nothing of it.

        One that tells of no GPU at all, as without PyTorch, tells its requests all the same.
        """
        if self.report is None:
            return ()
        devices = self.report.devices or (Device(gpu),)
        device = next((each for each in devices if each.uuid == gpu), None)
        if device is None:
            return ()
        told = _told(self.report, device)
        return tuple(
            Gauge(self.key.pid, quantity, float(value))
            for quantity, value in told
            if value is not None and value >= 0
        )

    def excess(self, gpu: str, held: Bytes | None) -> Bytes | None:
        """Return by how much more it says that it has on ``gpu`` than the ``held`` of the driver; see layers.

        None: its word can be true. A worker's word never changes the books.
        """
        told = {gauge.quantity: gauge.value for gauge in self.gauges(gpu)}
        more = None if held is None else excess(held, told)
        return None if more is None else Bytes(round(more))


def _told(report: Report, device: Device) -> Iterator[tuple[str, int | None]]:
    """Yield quantities and values; the storages behind a cache are what it takes of ``allocated``."""
    yield "torch_reserved_bytes", device.reserved
    yield "torch_allocated_bytes", device.allocated
    yield "engine_kv_bytes", device.kv_logical if device.kv_resident is None else device.kv_resident
    yield "kv_logical_bytes", device.kv_logical
    yield "kv_retained_bytes", device.kv_retained
    yield "requests_running", report.requests_running
    yield "requests_waiting", report.requests_waiting
    yield "requests_total", report.requests_total
    yield "alloc_retries_total", device.alloc_retries
    yield "ooms_total", device.ooms
    yield "kv_requires_grad", int(report.kv_requires_grad) if device.kv_logical is not None else None
