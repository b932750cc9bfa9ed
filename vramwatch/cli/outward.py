"""What doctor looks at of what leaves vramwatch: messages through channels, and what is done to processes."""

import os
import shutil
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vramwatch.cli import installing
from vramwatch.cli.findings import Finding, Grade
from vramwatch.config import Config
from vramwatch.control import control
from vramwatch.control.control import ControlError
from vramwatch.core.attempts import RemedyName
from vramwatch.core.texts import clean
from vramwatch.core.whereabouts import Whereabouts
from vramwatch.notifying import Notifier
from vramwatch.remedying import Remedy
from vramwatch.telling.reaching import unreachable, ways

FROM_HERE = "from this shell, not from the service"
"""Whose network was tried: that of the service may be another."""


def channels(config: Config, here: Whereabouts, troubled: Collection[str] = ()) -> Iterator[Finding]:
    """Yield how each channel's receiver takes connections; nothing is sent, and all are tried at once.

    ``here``: what the commands of remedies have to name. ``troubled``: subjects of what the daemon has found
    wrong; a channel of those is not said to be well.
    """
    notifiers = {name: channel.notifier for name, channel in config.channels.items()}
    if not notifiers:
        yield Finding("channels", Grade.OK, "none is configured: nobody is told, and status shows it all")
        return
    with ThreadPoolExecutor(len(notifiers)) as pool:
        reasons = dict(zip(notifiers, pool.map(unreachable, notifiers.values()), strict=True))
    for name, why in reasons.items():
        subject, trying = f"channel {name}", f"{here.asking(f'check --send {name}')} has the service try"
        if why:
            yield Finding(subject, Grade.WARN, f"{clean(why)}, {FROM_HERE}", trying)
        elif subject not in troubled:
            yield Finding(subject, Grade.OK, _well(notifiers[name], trying))


def _well(notifier: Notifier, trying: str) -> str:
    found = [clean(str(way)) for way in ways(notifier)]
    if not found:
        return f"no connection would tell whether it is heard; {trying}"
    one_of = "one of " if len(found) > 1 else ""
    return f"{one_of}{', '.join(found)} takes connections, {FROM_HERE}"


def remedies(config: Config, here: Whereabouts) -> Iterator[Finding]:
    """Yield in which mode each remedy is, and what it lacks; nothing is done to any process."""
    options = config.remedies
    present = options.remedies()
    if not present:
        yield Finding("remedies", Grade.OK, "none is configured: nothing is done to any process")
        return
    if off := _switched_off(config):
        on = f"{here.asking('remedies on')}, when it is time"
        yield Finding("remedies", Grade.WARN, f"off: {clean(off)}", on)
    yield from programs(config)


def programs(config: Config) -> Iterator[Finding]:
    """Yield in which mode each remedy is, or that its program cannot be run; and the same of the permit's."""
    options = config.remedies
    for each in options.remedies():
        yield _remedy(each)
    if options.permit and (lack := _lack_of(options.permit.argv[0])):
        yield Finding("remedies", Grade.WARN, f"nothing that costs service is permitted: {lack}", _PROGRAM)


_PROGRAM = "name a program by its absolute path that the service's user may run"


def _remedy(remedy: Remedy) -> Finding:
    subject = f"remedy {remedy.remedy.value}"
    mode = "dry_run: what would be done is kept and shown" if remedy.is_dry else "apply: it is carried out"
    argv: tuple[str, ...] = getattr(remedy, "argv", ())
    if argv and (lack := _lack_of(argv[0])):
        return Finding(subject, Grade.WARN, lack, _PROGRAM)
    return Finding(subject, Grade.OK, mode)


def _lack_of(program: str) -> str | None:
    """Return why this user could not run ``program``; None: it could."""
    if shutil.which(program):
        return None
    lack = "this user may not run it" if Path(program).exists() else "there is no such program"
    return f"{clean(program)}: {lack}"


def _switched_off(config: Config) -> str | None:
    """Return why remedies are off, by the daemon's word; None: they are on, or no daemon says so."""
    try:
        said = control.request(config.control.place(os.environ, os.geteuid()), "remedies", {})
    except ControlError:
        return None
    off = said.get("off")
    return str(off) if off else None


def drop_ins(config: Config, units: Path = installing.UNITS) -> Iterator[Finding]:
    """Yield which drop-ins the unit below ``units`` lacks for ``config``, and which it has too many."""
    if not (units / installing.UNIT).exists():
        return
    wanted = installing.drop_ins(config, installing.shipped_units() / f"{installing.UNIT}.d")
    for name, why in _NEEDS.items():
        stands = (units / f"{installing.UNIT}.d" / f"{name}.conf").exists()
        again = "vramwatch service install, which shows what it will do first"
        if name in wanted and not stands:
            yield Finding("service", Grade.WARN, f"without its drop-in {name}: {why}", again)
        elif stands and name not in wanted:
            text = f"it has the drop-in {name}, and the configuration needs it no longer"
            yield Finding("service", Grade.WARN, text, again)


_NEEDS = {
    "network": "it reaches no channel, no engine of another machine, and nobody reaches its http.listen",
    "remedies": f"the remedy {RemedyName.SIGNAL.value} may signal no process of another user",
    "workers": "it is not in the group of workers.group, so no worker of that group can enrol",
}
"""Drop-in -> what does not work without it."""
