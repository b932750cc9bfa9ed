"""What `vramwatch service` plans to write, to leave and to go back to, on a file system of its own."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from vramwatch.cli import installing, main, rolling_back
from vramwatch.cli.installing import CONFIGURATION, UNIT, UNITS, Deed, Root
from vramwatch.config import load
from vramwatch.core.errors import VramwatchError
from vramwatch.store.copies import COPIES_KEPT, copies, keep_copy

PROGRAM = "/opt/elsewhere/bin/vramwatch"


def configured(tmp_path, text=""):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return load(file, {}, {})


def install(root, config):
    """Plan and carry out, as the verb does; returns path -> what became of it."""
    wanted = installing.wanted(config, installing.shipped_units(), PROGRAM)
    written = root.written()
    paths = {item.path for item in wanted} | set(map(Path, written))
    plan = installing.to_install(wanted, root.standing(paths), written)
    root.carry_out(plan)
    return {item.path: item.deed for item in plan}


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def test_the_unit_starts_the_program_that_installs_it(root, tmp_path):
    install(root, configured(tmp_path))
    assert f"ExecStart={PROGRAM} run\n" in root.place(UNITS / UNIT).read_text()


def test_a_second_install_changes_nothing(root, tmp_path):
    install(root, configured(tmp_path))
    assert set(install(root, configured(tmp_path)).values()) == {Deed.KEEP}


def test_a_file_that_somebody_changed_is_left_and_one_that_nobody_did_is_replaced(
    root, tmp_path, monkeypatch
):
    install(root, configured(tmp_path))
    root.place(CONFIGURATION).write_text("poll: {interval: 2s}\n")
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", "/opt/newer/bin/vramwatch")
    done = install(root, configured(tmp_path))
    assert done[CONFIGURATION] is Deed.LEAVE
    assert done[UNITS / UNIT] is Deed.REPLACE
    assert root.place(CONFIGURATION).read_text() == "poll: {interval: 2s}\n"


def test_a_file_that_stood_there_before_is_left(root, tmp_path):
    place = root.place(UNITS / UNIT)
    place.parent.mkdir(parents=True)
    place.write_text("[Service]\n# mine\n")
    assert install(root, configured(tmp_path))[UNITS / UNIT] is Deed.LEAVE


def test_what_is_written_to_a_link_does_not_reach_where_it_leads(root, tmp_path):
    install(root, configured(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text(root.place(CONFIGURATION).read_text())
    root.place(CONFIGURATION).unlink()
    root.place(CONFIGURATION).symlink_to(victim)
    root.carry_out([installing.Item(CONFIGURATION, Deed.REPLACE, "new\n")])
    assert victim.read_text() != "new\n"


def test_channels_need_the_network_and_nothing_else_does(root, tmp_path):
    channels = "channels: {hook: {webhook: {url: 'http://192.0.2.1/'}}}\n"
    drop_in = UNITS / f"{UNIT}.d" / "network.conf"
    assert drop_in not in install(root, configured(tmp_path))
    assert install(root, configured(tmp_path, channels))[drop_in] is Deed.WRITE
    assert install(root, configured(tmp_path))[drop_in] is Deed.REMOVE
    assert not root.place(drop_in).parent.exists()


@pytest.mark.parametrize(
    ("options", "drop_in", "line"),
    [
        ("engines: {urls: [{owner: chat, url: 'http://10.0.0.5:8000'}]}", "network", "IPAddressAllow=any"),
        ("remedies: {signal: {}}", "remedies", "AmbientCapabilities=CAP_KILL"),
        ("workers: {group: inference}", "workers", "SupplementaryGroups=inference"),
    ],
)
def test_what_the_configuration_asks_for_beyond_the_unit_is_a_drop_in(root, tmp_path, options, drop_in, line):
    install(root, configured(tmp_path, options))
    assert line in root.place(UNITS / f"{UNIT}.d" / f"{drop_in}.conf").read_text().splitlines()


def test_the_profile_identify_brings_a_helper_of_its_own_and_its_end_takes_it_away(root, tmp_path):
    def plan(identifies):
        config, shipped = configured(tmp_path), installing.shipped_units()
        wanted = installing.wanted(config, shipped, PROGRAM, identifies=identifies)
        written = root.written()
        standing = root.standing({item.path for item in wanted} | set(map(Path, written)))
        return installing.to_install(wanted, standing, written)

    root.carry_out(plan(True))
    unit = root.place(UNITS / "vramwatch-identify.service").read_text()
    assert "ExecStart=/opt/elsewhere/bin/python -I -m vramwatch.procfs.identify\n" in unit
    removed = {item.path.name for item in plan(False) if item.deed is Deed.REMOVE}
    assert removed == set(installing.IDENTIFY)


def test_a_schedule_brings_the_timer_of_the_probe_with_its_bounds_and_its_end_takes_it_away(root, tmp_path):
    scheduled = configured(tmp_path, "probe: {every: 12h, timeout: 10m, memory: 6GiB}")
    install(root, scheduled)
    timer, service = (root.place(UNITS / name).read_text() for name in installing.PROBE)
    assert "\nOnUnitInactiveSec=43200s\n" in timer
    assert "\nTimeoutStartSec=600s\n" in service
    assert f"\nMemoryMax={6 * 1024**3}\n" in service
    assert f"\nExecStart={PROGRAM} probe --scheduled\n" in service
    assert "\nMemoryMax=256M\n" in root.place(UNITS / UNIT).read_text()
    done = install(root, configured(tmp_path))
    assert {done[UNITS / name] for name in installing.PROBE} == {Deed.REMOVE}


def test_uninstalling_removes_what_was_written_and_leaves_what_was_changed(root, tmp_path):
    install(root, configured(tmp_path))
    root.place(CONFIGURATION).write_text("# mine\n")
    written = root.written()
    paths = set(map(Path, written))
    root.carry_out(installing.to_remove(paths, root.standing(paths), written))
    assert not root.place(UNITS / UNIT).exists()
    assert root.place(CONFIGURATION).read_text() == "# mine\n"


# --- copies and the way back -------------------------------------------------------------------------


def store_of(path, schema):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS told (value)")
        connection.execute(f"INSERT INTO told VALUES ({schema})")
        connection.execute(f"PRAGMA user_version = {schema}")
        connection.commit()


def keep(path, schema):
    with closing(sqlite3.connect(path)) as connection:
        keep_copy(connection, path, schema)


def test_a_copy_of_each_upgrade_is_kept_and_of_the_newest_three_alone(tmp_path):
    path = tmp_path / "vramwatch.db"
    for schema in range(1, COPIES_KEPT + 3):
        store_of(path, schema)
        keep(path, schema)
    kept = copies(path)
    assert [each.schema for each in kept] == [5, 4, 3]
    assert {oct(each.path.stat().st_mode)[-3:] for each in kept} == {"640"}


def test_without_room_no_copy_is_made_and_it_is_said(tmp_path, monkeypatch, caplog):
    path = tmp_path / "vramwatch.db"
    store_of(path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    keep(path, 1)
    assert copies(path) == []
    assert "no copy before the migration" in caplog.text


def version(folder, name, schema):
    """A version beside the link: its python says which schema it reads."""
    program = folder / f"vramwatch-{name}" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho {schema}\n")
    program.chmod(0o755)
    return program.parents[1]


@pytest.fixture
def versions(tmp_path):
    """0.1.0, which reads schema 3, and 0.2.0, which reads 4 and is in use."""
    old, new = version(tmp_path, "0.1.0", 3), version(tmp_path, "0.2.0", 4)
    os.utime(old, (1, 1))
    link = tmp_path / "vramwatch"
    link.symlink_to(new)
    return link, old


def test_the_way_back_takes_the_copy_and_keeps_the_present_history_aside(versions, tmp_path):
    link, old = versions
    path = tmp_path / "vramwatch.db"
    store_of(path, 3)
    keep(path, 3)
    store_of(path, 4)
    plan = rolling_back.plan(link, path)
    assert "what was kept since" in plan.loss()
    rolling_back.carry_out(plan)
    assert link.resolve() == old.resolve()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM told").fetchall() == [(3,)]
    (aside,) = tmp_path.glob("vramwatch.db.rolled-back.*")
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT value FROM told").fetchall() == [(3,), (4,)]


def test_a_history_that_both_read_stays(versions, tmp_path):
    link, _ = versions
    store_of(tmp_path / "vramwatch.db", 3)
    plan = rolling_back.plan(link, tmp_path / "vramwatch.db")
    assert plan.copy is None
    assert plan.loss().startswith("nothing is lost")


def test_the_version_and_the_copy_to_go_back_to_can_be_named(versions, tmp_path):
    link, _ = versions
    oldest = version(tmp_path, "0.0.9", 2)
    os.utime(oldest, (0, 0))
    path = tmp_path / "vramwatch.db"
    for schema in (2, 3):
        store_of(path, schema)
        keep(path, schema)
    store_of(path, 4)
    plan = rolling_back.plan(link, path, to="0.0.9")
    assert (plan.program, plan.copy.schema) == (oldest, 2)
    assert rolling_back.plan(link, path, day=plan.copy.day).copy.schema == 3
    with pytest.raises(VramwatchError, match=r"no version 7\.0 stands there; there: 0\.0\.9, 0\.1\.0"):
        rolling_back.plan(link, path, to="7.0")
    with pytest.raises(VramwatchError, match=r"and of 2001-01-01 is beside it; there: \d{4}"):
        rolling_back.plan(link, path, day="2001-01-01")


@pytest.mark.parametrize("lacking", ["copy", "version", "link"])
def test_where_there_is_no_way_back_it_is_said_why_and_nothing_is_touched(versions, tmp_path, lacking):
    link, old = versions
    store_of(tmp_path / "vramwatch.db", 4)
    if lacking == "version":
        shutil.rmtree(old)
    if lacking == "link":
        link.unlink()
    with pytest.raises(VramwatchError, match="no copy" if lacking == "copy" else "version"):
        rolling_back.plan(link, tmp_path / "vramwatch.db")


# --- an old systemd ----------------------------------------------------------------------------------


def with_systemd(folder, monkeypatch, version):
    """A machine whose systemctl says that it is of that version."""
    program = folder / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'systemd {version} ({version}.1-1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("vramwatch.cli.systemctl.BOOTED", folder)


def test_an_old_systemd_is_told_by_what_it_ignores_and_a_new_one_by_nothing(tmp_path):
    items = installing.wanted(configured(tmp_path), installing.shipped_units(), PROGRAM, identifies=True)
    assert installing.lacking(items, 252) == []
    assert installing.lacking(items, 247) == ["PrivateIPC"]
    assert installing.lacking(items, 241) == [
        "PrivateIPC", "ProtectClock", "ProtectHostname", "ProtectKernelLogs", "RestrictSUIDSGID",
    ]  # fmt: skip


def test_a_systemd_that_makes_no_directories_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    with_systemd(tmp_path, monkeypatch, 234)
    done = CliRunner().invoke(main, ["service", "install", "--yes", "--no-start"])
    assert done.exit_code == 1
    assert "systemd 234 is too old: the service needs 235" in done.output
    assert "write" not in done.output


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(tmp_path, monkeypatch):
    with_systemd(tmp_path, monkeypatch, 255)
    monkeypatch.setattr("vramwatch.cli.service.subprocess", None)  # nothing may be run
    written = []
    monkeypatch.setattr(Root, "carry_out", lambda self, plan: written.append(plan))
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    result = CliRunner().invoke(main, ["service", "install", "--dry-run", "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert f"{UNITS / UNIT}" in result.stdout
    assert "run      systemctl daemon-reload" in result.stdout
    assert result.stderr.endswith("nothing was done (--dry-run)\n")
    assert not written


def test_a_dry_run_shows_what_would_be_done_where_systemd_does_not_run_too(tmp_path, monkeypatch):
    monkeypatch.setattr("vramwatch.cli.systemctl.BOOTED", tmp_path / "missing")
    config = tmp_path / "config.yaml"
    config.write_text("{}")
    arguments = ["service", "install", "--config", str(config)]
    shown = CliRunner().invoke(main, [*arguments, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert f"write    {UNITS / UNIT}" in shown.stdout
    assert "nothing was done (--dry-run); systemd does not run here" in shown.stderr
    refused = CliRunner().invoke(main, [*arguments, "--yes"])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "systemd does not run here" in refused.stderr


def words(steps):
    return [" ".join(step) for step in steps]


def test_what_is_wanted_no_longer_is_stopped_before_its_files_are_removed(tmp_path):
    every = "probe: {every: 12h}"
    units = [str(UNITS / name) for name in (*installing.IDENTIFY, *installing.PROBE)]
    before, after = installing.steps(configured(tmp_path), units, identifies=False, starts=True)
    assert words(before) == [
        "systemctl disable --now --quiet "
        "vramwatch-identify.socket vramwatch-identify.service vramwatch-probe.timer"
    ]
    assert words(after)[-2:] == ["systemctl enable --quiet vramwatch.service",
                                 "systemctl restart vramwatch.service"]  # fmt: skip
    before, _ = installing.steps(configured(tmp_path, every), units, identifies=True, starts=True)
    assert before == []


def test_the_socket_of_the_helper_is_there_before_the_service_and_the_timer_after_it(tmp_path):
    scheduled = configured(tmp_path, "probe: {every: 12h}")
    _, after = installing.steps(scheduled, [], identifies=True, starts=True)
    assert words(after) == [
        "systemd-sysusers /etc/sysusers.d/vramwatch.conf",
        "chown root:vramwatch /etc/vramwatch/config.yaml",
        "systemctl daemon-reload",
        "systemctl enable --quiet --now vramwatch-identify.socket",
        "systemctl enable --quiet vramwatch.service",
        "systemctl restart vramwatch.service",
        "systemctl enable --quiet --now vramwatch-probe.timer",
    ]
    _, unstarted = installing.steps(scheduled, [], identifies=True, starts=False)
    assert unstarted == after[:3]
