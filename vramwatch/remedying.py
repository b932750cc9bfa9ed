"""What every remedy is: its options, what it can do for an incident, and how that is carried out."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from pydantic import Field

from vramwatch.core.attempts import Apply, RemedyName
from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.metric_pages import Told
from vramwatch.core.model import ProcessKey
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.ports import Workers
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.credentials import Secret
from vramwatch.options import Section
from vramwatch.quantities import Duration

OUTPUT_KEPT = 400
"""Characters of what a program says that are kept: its first words."""

OUTPUT_READ = 64 * 1024
"""Bytes of it that are held; what follows is read and let go of."""

ENDS_WITHIN = 5.0
"""Seconds that a program has to end once it is asked to (SIGTERM), before it is killed."""

PREFIX = "VRAMWATCH_"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
"""Of the daemon's environment; the rest of it may hold secrets."""


@dataclass(frozen=True, slots=True)
class Voice:
    """An engine at this moment. ``url``: where it answered; ``token``: what it wants there, None: nothing."""

    url: str
    told: tuple[Told, ...]
    token: Secret | None = None


class Voices(Protocol):
    """Engines that are asked on the thread of an attempt; their gauges ask the same way."""

    def hear(self, engine: str, targets: Collection[ProcessKey], url: str | None = None) -> Voice | str:
        """Return what the ``engine`` of ``targets`` says now, at ``url`` or where it proves to listen itself.

        That its user holds the socket and that the page has the engine's names is proven at each call. Else
        why nobody knows.
        """
        ...


class NoVoices:
    """Nobody is asked: ``engines.enabled`` is false, or nobody here is among what the source shows."""

    def hear(self, engine: str, targets: Collection[ProcessKey], url: str | None = None) -> Voice | str:
        return (
            "engines are not asked for their figures here (engines.enabled), so nobody knows that it is idle"
        )


@dataclass(frozen=True, slots=True)
class Hands:
    """What remedies work with. ``open_courier`` is called on the thread of the attempt."""

    workers: Workers
    open_courier: Callable[[Reach, Iterable[str]], Courier]
    voices: Voices = field(default_factory=NoVoices)


@dataclass(frozen=True, slots=True)
class Report:
    """What came of carrying it out; whether memory came back is for the driver to say.

    ``fault`` None: it was done. ``refused``: whoever was asked would not.
    """

    fault: str | None = None
    refused: bool = False


DONE = Report()


class Remedy(Section):
    """One way to have memory given back. A subclass in ``vramwatch.remedies`` is found by its file's name."""

    mode: Literal["dry_run", "apply"] = Field(
        "dry_run", description="dry_run: what would be done is recorded and shown, but not done."
    )
    cooldown: Annotated[Seconds, Duration("1m", "30d")] = Field(
        Seconds(600.0), description="How long this remedy leaves an owner alone after an attempt."
    )
    within: Annotated[Seconds, Duration("1s", "1h")] = Field(
        Seconds(30.0), description="How long the driver's figure may take to fall afterwards."
    )

    @property
    def remedy(self) -> RemedyName:
        """Its file's name."""
        return RemedyName(type(self).__module__.rpartition(".")[2])

    @property
    def is_dry(self) -> bool:
        return self.mode == "dry_run"

    @property
    def patience(self) -> float:
        """Seconds for which busy workers are waited for; 0: it reaches none."""
        return 0.0

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        """Return what it can do for an incident now. Pure."""
        raise NotImplementedError

    def carry_out(self, apply: Apply, hands: Hands) -> Report:
        """Do it. Called on a thread of its own; may take as long as its options say."""
        raise NotImplementedError


def told(apply: Apply, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program that acts on ``apply``, or permits it."""
    passed = {name: environment[name] for name in PASSED_ON if name in environment}
    facts = {
        **apply.facts,
        "ATTEMPT": apply.id,
        "REMEDY": apply.remedy.value,
        "PIDS": " ".join(str(key.pid) for key in apply.targets),
        "HELD_BYTES": str(apply.before),
        "WANTED_BYTES": str(apply.wanted),
    }
    return passed | {PREFIX + name: text for name, text in facts.items()}


def run_program(
    argv: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    begun: "Callable[[subprocess.Popen[bytes]], None]" = lambda program: None,
) -> str | None:
    """Run a program without a shell and wait for it; return why it did not exit with 0, None: it did.

    It has no input, a session of its own, and of the environment what is handed in alone: that of the daemon
    may hold secrets. When the time is over its whole process group is ended. ``begun`` is handed the program,
    so that it can be ended before (``end_group``).
    """
    try:
        program = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
            cwd="/",
        )
    except (OSError, ValueError) as error:
        return f"{argv[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
    begun(program)
    said = bytearray()
    reader = threading.Thread(target=_read, args=(program, said), name="output", daemon=True)
    reader.start()
    try:
        status: int | None = program.wait(timeout)
    except subprocess.TimeoutExpired:
        status = None
    end_group(program)
    reader.join(ENDS_WITHIN)
    if status == 0:
        return None
    words = clean(said.decode(errors="replace"))[:OUTPUT_KEPT]
    said_words = f": {words}" if words else ""
    if status is None:
        return f"{argv[0]} did not end within {show_seconds(timeout)}{said_words}"
    how = f"exited with {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
    return f"{argv[0]} {how}{said_words}"


def _read(program: "subprocess.Popen[bytes]", said: bytearray) -> None:
    if program.stdout is None:
        return
    with program.stdout as output:
        while part := output.read1(4096):  # type: ignore[attr-defined]
            said += part[: max(0, OUTPUT_READ - len(said))]


def end_group(program: "subprocess.Popen[bytes]") -> None:
    """End a program that is still there, first kindly, with all that it has started in its group."""
    if program.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(program.pid, number)
        except ProcessLookupError:
            return
        try:
            program.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            continue
        return
