"""The real daemon, as a service would run it: a process of its own, its store and its socket."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

VRAMWATCH = (sys.executable, "-m", "vramwatch")

PATIENCE = 30.0
"""Seconds that a daemon may take to start or to end on a busy machine."""


class House:
    """A place for one daemon in ``folder``, and the ``environment`` in which it finds its driver.

    ``interval``: between its polls, kept also while all is quiet; None: 1 s, and slower then, as by default.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], interval: str | None = None) -> None:
        self.store = folder / "vramwatch.db"
        self.log = folder / "daemon.log"
        self.environment = {**os.environ, **environment}
        self._config = folder / "config.yaml"
        rates = "{interval: 1s}" if interval is None else f"{{interval: {interval}, slowest: {interval}}}"
        self._config.write_text(
            f"poll: {rates}\n"
            f"store: {{path: {self.store}}}\n"
            f"control: {{socket: {folder / 'control.sock'}, group: null}}\n"
            "http: {listen: off}\n"
        )

    def command(self, *words: str) -> list[str]:
        return [*VRAMWATCH, *words, "--config", str(self._config)]

    def say(self, *words: str) -> str:
        """Return what a verb prints. Errors: CalledProcessError."""
        said = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, check=True
        )
        return said.stdout

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Give a running daemon, and end it as a service manager would."""
        with self.log.open("ab") as log:
            daemon = subprocess.Popen(self.command("run"), env=self.environment, stderr=log)
        try:
            yield daemon
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(PATIENCE)
            finally:
                daemon.kill()

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of ``query``, asked of the store as any reader would."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def wait_for_another_reading(self) -> None:
        """Wait until a poll was stored that was not there before. Errors: TimeoutError."""
        before = self.polls()
        until = time.monotonic() + PATIENCE
        while self.polls() <= before:
            if time.monotonic() > until:
                raise TimeoutError(f"no new reading in {self.store} after {PATIENCE:.0f} s; see {self.log}")
            time.sleep(LOOK)

    def polls(self) -> int:
        """Return the number of the newest poll that is stored, which counts on over restarts; 0: none is."""
        try:
            ((newest,),) = self.ask("SELECT coalesce(max(last_seq), 0) FROM tick")
        except sqlite3.OperationalError:
            return 0  # no store yet, or no table in it
        return int(str(newest))

    def wait_for_readings(self) -> float:
        """Return when (monotonic) the first stored value was seen. Errors: TimeoutError."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                if self.ask("SELECT sweep.id FROM sweep JOIN tick USING (hour) LIMIT 1"):
                    return time.monotonic()
            except sqlite3.OperationalError:
                pass  # no store yet, or no table in it
            time.sleep(LOOK)
        raise TimeoutError(f"no reading in {self.store} after {PATIENCE:.0f} s; see {self.log}")


LOOK = 0.005
"""Seconds between two looks at a store that is still empty: what a start is measured to."""
