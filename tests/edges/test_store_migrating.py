"""A store of the first schema is brought to the present one and answers as before."""

import sqlite3
from contextlib import closing
from importlib.resources import files

import pytest

from tests.drifting import probe_run
from tests.polls import BOOT, START, gpu, instant
from vramwatch.core.model import Explanation, FaultKind
from vramwatch.core.poll import Pace
from vramwatch.core.units import GIB, MIB, Seconds
from vramwatch.store import History, Store
from vramwatch.store.desk import Desk
from vramwatch.store.migrations import APPLICATION_ID, VERSION

FIRST = (files("vramwatch.store.migrations") / "0001_first.sql").read_text()
FACTS = (
    '{"facts":{"state":"alive","state_since":0.0,"name":"python","title":"python serve.py","uid":null,'
    '"user":null,"parent_pid":null,"environment":{},"container":null,"pod":null,"unit":null,'
    '"unit_owner":null,"slurm":null,"namespace_pid":null,"started":null},"engine":null}'
)
POLLS = 7300  # two hours and a bit, a second apart

ROWS = f"""
INSERT INTO schema_version (version, program) VALUES (1, '0.1.0');
INSERT INTO run VALUES (1, '{BOOT}', 'nvml', '0.1.0', {START + 1}, NULL, 0);
INSERT INTO pace VALUES (1, 1.0, 5.0, NULL);
INSERT INTO gpu VALUES (1, '{gpu().uuid}', '0', '{gpu().name}', NULL, NULL, 0);
INSERT INTO owner VALUES (1, 'unit:llama.service', 'llama', 'unit', NULL, NULL);
INSERT INTO process VALUES (1, '{BOOT}', 7, 4242, 1, NULL, 'python serve.py', NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, '{FACTS}', 1, NULL);
INSERT INTO holding VALUES (1, 1, 1, NULL, 'compute', NULL, 'alive', 0.0);
INSERT INTO series VALUES (1, 1, 'gpu', '', 'used_bytes', 'bytes', NULL, NULL, NULL);
INSERT INTO series VALUES (2, 1, 'gpu', '', 'reserved_bytes', 'bytes', NULL, NULL, NULL);
INSERT INTO series VALUES (3, 1, 'gpu', '', 'total_bytes', 'bytes', NULL, NULL, NULL);
INSERT INTO series VALUES (4, 1, 'gpu', '', 'utilization_ratio', 'ratio', NULL, NULL, NULL);
INSERT INTO series VALUES (5, 1, 'process', '{BOOT}/7/4242', 'used_bytes', 'bytes', 1, 1, NULL);
INSERT INTO series VALUES (6, 1, 'unattributed', '', 'used_bytes', 'bytes', NULL, NULL, NULL);
INSERT INTO gap VALUES (1, NULL, 'driver_hung', 'no answer', NULL, NULL, 20, {START + 20}, 25, {START + 25});
INSERT INTO event VALUES (1, 3, {START + 3}, 'started', NULL, 'vramwatch started', NULL);
"""


@pytest.fixture
def path(tmp_path):
    """A store of schema 1: a process that grows by 2 MiB every fifth poll, as its list is read."""
    path = tmp_path / "vramwatch.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; {FIRST} {ROWS}"
        )
        seqs = range(1, POLLS + 1)
        connection.executemany(
            "INSERT INTO poll VALUES (?, ?, ?, 1, 1, 0.0012)", [(n, START + n, float(n)) for n in seqs]
        )
        lists = [n for n in seqs if n % 5 == 1 and not 20 <= n < 25]
        connection.executemany("INSERT INTO ledger VALUES (1, ?, 'v2', 'driver', ?)", [(n, n) for n in lists])
        constant = [(2, 1, 600 * MIB), (3, 1, 80 * GIB), (4, 1, 0.5), (6, 1, 10 * MIB)]
        grown = [(series, n, n * 2 * MIB + extra) for n in lists for series, extra in ((1, 10 * MIB), (5, 0))]
        connection.executemany("INSERT INTO sample VALUES (?, ?, ?)", constant + grown)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    return path


def newest_list(seq):
    n = seq - (seq - 1) % 5
    return n if not 20 <= n < 25 else 16


@pytest.mark.parametrize("is_tended", [False, True])
def test_a_store_of_the_first_schema_answers_as_before(path, is_tended):
    with closing(Store.open(path, "nvml", "0.2.0")) as store:
        assert store.next_seq() == POLLS + 1
        while is_tended and store.tend(instant(POLLS), Seconds(60.0)):
            pass
        with closing(History.open(path)) as history:
            assert history.span() == (START + 1, START + POLLS)
            for seq in (1, 4, 19, 26, 3600, POLLS):
                found = history.at(START + seq)
                (book,) = found.ledgers
                held = newest_list(seq) * 2 * MIB
                assert found.at == instant(seq)
                assert found.pace == Pace(1.0, 5.0, 0.0012)
                assert (book.holdings[0].held, book.memory.used) == (held, held + 10 * MIB)
                assert book.listed == instant(newest_list(seq))
                assert book.explanations == (Explanation.DRIVER,)
                assert book.reading.utilization == 0.5
            assert history.at(START + 22).missing[0].fault.kind is FaultKind.HUNG
            (row,) = history.series(pid=7)
            changes = [(point.wall - START, point.value) for point in history.samples([row], 0, 2e9)]
            lists = [n for n in range(1, POLLS + 1) if newest_list(n) == n]
            assert changes == [(n, n * 2 * MIB) for n in lists]
            assert [point.wall - START for point in history.readings([row], 0, 2e9)] == lists
            assert [each.wall for each in history.events(0, 2e9)] == [START + 3]


def test_a_migrated_store_keeps_runs_of_the_probe(path):
    with closing(Store.open(path, "nvml", "0.2.0")) as store:
        Desk(store).write_probe_run(probe_run(), POLLS)
    with closing(History.open(path)) as history:
        assert history.probe_runs() == [probe_run()]
        assert history.span() == (START + 1, START + POLLS)


def test_the_first_schemas_tables_are_gone_and_nothing_refers_to_them(path):
    Store.open(path, "nvml", "0.2.0").close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    assert not tables & {"poll", "ledger", "sample", "process_next"}
