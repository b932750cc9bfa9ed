"""A program: reads {urls, title, body, kind} as JSON, tells each URL through apprise, writes what came of it.

That is, for each URL in its order, {service, is_sent, log}; service null: apprise knows no such URL.
"""

import json
import logging
import sys
from typing import Any


class Kept(logging.Handler):
    """Keeps what is logged from WARNING on, as sentences."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def tell(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what came of each URL."""
    import apprise  # noqa: PLC0415 - slow and large, and an extra

    kept = Kept()
    logging.getLogger("apprise").addHandler(kept)
    found = []
    for url in told["urls"]:
        kept.said = []
        service = apprise.Apprise.instantiate(url)
        is_sent = bool(
            service
            and service.notify(
                title=told["title"], body=told["body"], notify_type=told["kind"], body_format="text"
            )
        )
        name = str(service.service_name) if service else None
        found.append({"service": name, "is_sent": is_sent, "log": kept.said})
    return found


if __name__ == "__main__":
    answered = sys.stdout
    sys.stdout = sys.stderr  # what a service prints is no answer
    answered.write(json.dumps(tell(json.load(sys.stdin))))
