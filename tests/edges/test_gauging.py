"""Engines asked over real HTTP, at addresses found from real processes; the time is handed in."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.asking_engines import ENGINES, GAUGED, VLLM, Asking, asking_ourselves, ours
from tests.engine_pages import page, serving
from tests.ports import free_port
from tests.receivers import answering, receiving
from tests.waiting import wait_until
from vramwatch.core.model import Ancestor, Tenant
from vramwatch.core.recognition import recognise
from vramwatch.credentials import Secret
from vramwatch.gauging import Place
from vramwatch.gauging.fetching import PAGE_MOST, PAGE_WITHIN
from vramwatch.gauging.gauging import BACK_OFF_MOST
from vramwatch.gauging.services import own_pids
from vramwatch.procfs.identity import read_stat
from vramwatch.procfs.listening import Listener, children, find_listeners, listening_inodes, still_listens

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


def test_an_engine_is_found_at_the_port_of_the_command_above_the_process_on_the_gpu(tmp_path):
    command = ("vllm", "serve", "m", "--port", str(free_port()))
    with serving(tmp_path, *command, pages=VLLM, child="VLLM::EngineCore") as server:
        asking = Asking()
        asking.meet(server.inner)
        assert asking.told()[server.inner]["engine_kv_ratio"] == 0.9875


def test_an_engine_is_found_by_its_own_sockets_where_its_command_names_no_port(tmp_path):
    pages = {"/metrics": page("tgi-3.txt")}
    with serving(tmp_path, "text-generation-launcher", pages=pages) as server:
        asking = Asking()
        asking.meet(server.pid)
        assert asking.told()[server.pid]["requests_waiting"] == 7


def test_a_port_without_that_engines_names_counts_for_nothing(tmp_path):
    with serving(tmp_path, "vllm", "serve", "m", pages={"/metrics": page("tgi-3.txt")}) as server:
        asking = Asking()
        asking.meet(server.pid)
        assert asking.told() == {}


def test_a_port_that_another_process_of_the_same_user_holds_counts_for_nothing(tmp_path):
    with serving(tmp_path / "other", "vllm", "serve", "m", pages=VLLM) as other:
        (tmp_path / "vllm").write_text("import time; time.sleep(60)")
        command = [sys.executable, str(tmp_path / "vllm"), "serve", "m", "--port", str(other.port)]
        with subprocess.Popen(command) as process:
            try:
                asking = Asking()
                asking.meet(process.pid)
                assert asking.tenants[process.pid].engine.engine == "vllm"
                assert asking.told() == {}
            finally:
                process.kill()


@AS_ROOT
def test_a_port_that_another_user_holds_is_not_even_asked():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:  # holds the port as root
        command = ["vllm", "-c", "read nothing; :", "--port", str(receiver.port)]
        with subprocess.Popen(
            command, executable="/bin/sh", stdin=subprocess.PIPE, user=65534, group=65534, cwd="/"
        ) as process:
            try:
                asking = Asking()
                asking.meet(process.pid)
                assert asking.tenants[process.pid].engine.engine == "vllm"
                assert asking.told() == {}
            finally:
                process.kill()
        assert receiver.connections == 0


def redirecting(exchange):
    exchange.say("HTTP/1.1 302 Found\nLocation: /elsewhere\nContent-Length: 0\n\n")


def flooding(exchange):
    exchange.say("HTTP/1.1 200 OK\nContent-Type: text/plain\n\n")
    exchange.flood(b"vllm:num_requests_running 1\n" * 1000)


def boasting(exchange):
    exchange.say(f"HTTP/1.1 200 OK\nContent-Length: {PAGE_MOST * 100}\n\n")
    exchange.flood(b"vllm:num_requests_running 1\n" * 1000)


def heading(exchange):
    exchange.say("HTTP/1.1 200 OK\n")
    exchange.flood(b"X-A: " + b"a" * 1000 + b"\r\n")


def dripping(exchange):
    exchange.drip("HTTP/1.1 200 OK\nContent-Length: 100000\n\n" + "a" * 100000, 0.01)


def hanging(exchange):
    exchange.hang()


def raving(exchange):
    exchange.say(b"\x00\xff\r\n\r\n" * 100)


def breaking_off(exchange):
    exchange.say("HTTP/1.1 200 OK\nContent-Length: 9999\n\nvllm:num_requests_running 1\n")


@pytest.mark.parametrize(
    "script",
    [redirecting, flooding, boasting, heading, dripping, hanging, raving, breaking_off],
    ids=lambda script: script.__name__,
)
def test_whatever_answers_costs_bounded_time_and_tells_nothing(script):
    with receiving(script) as receiver:
        asking = asking_ourselves(receiver)
        begun = time.monotonic()
        assert asking.told() == {}
        assert time.monotonic() - begun < PAGE_WITHIN + 1.5
        assert receiver.connections == 1


def test_an_engine_that_tells_what_nobody_foresaw_is_asked_again_later_and_the_log_names_the_place(
    monkeypatch, caplog
):
    with receiving(answering(200, VLLM["/metrics"])) as receiver, monkeypatch.context() as failing:
        failing.setattr(type(GAUGED["vllm"]), "read", lambda self, pages: pages["SECRET"])
        asking = asking_ourselves(receiver)
        assert asking.told() == {}
        assert "page not understood engine=vllm" in caplog.text
        assert "KeyError" in caplog.text
        assert "SECRET" not in caplog.text.partition("KeyError")[2]
        failing.undo()
        asking.now += BACK_OFF_MOST
        assert asking.told()[os.getpid()]


def test_what_is_told_is_asked_of_no_one_and_so_delays_no_poll():
    with receiving(hanging) as receiver:
        asking = asking_ourselves(receiver)
        gauging = asking.gauging.start()
        begun = time.monotonic()
        for _ in range(200):
            asking.told(look=False)
        assert time.monotonic() - begun < 1.0
        gauging.close()


def test_an_engine_is_asked_once_an_interval_and_after_failures_ever_more_rarely():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        asking = asking_ourselves(receiver)
        for _ in range(20):
            asking.told()
            asking.now += 1.0
        assert receiver.connections == 4
        receiver.script = answering(503, "no")
        asked = []
        for _ in range(1500):
            before = receiver.connections
            asking.told()
            if receiver.connections > before:
                asked.append(asking.now)
            asking.now += 1.0
        gaps = [after - before for before, after in pairwise(asked)]
        assert gaps == sorted(gaps)
        assert gaps[0] == 10.0
        assert gaps[-1] == BACK_OFF_MOST
        receiver.script = answering(200, VLLM["/metrics"])
        asking.now += BACK_OFF_MOST
        assert asking.told()[os.getpid()]["requests_running"] == 12


def test_an_answer_that_is_too_old_is_no_longer_known():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        asking = asking_ourselves(receiver)
        assert asking.told()
        asking.now += 14.0
        assert asking.told(look=False)
        asking.now += 2.0
        assert asking.told(look=False) == {}


def test_figures_are_of_the_processes_that_are_there_and_of_no_others():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        asking = asking_ourselves(receiver)
        assert asking.told()
        asking.tenants = {os.getpid(): ours(("python", "train.py"))}
        assert asking.told() == {}


def test_an_operators_address_is_asked_with_his_token_and_found_ones_without():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        place = Place("ch?t", receiver.url, Secret("s3cret-token"))
        asking = asking_ourselves(receiver, place, argv=("vllm", "serve", "m"))
        assert asking.told()
        assert receiver.got[-1].headers["authorization"] == "Bearer s3cret-token"
        asking = asking_ourselves(receiver, Place("somebody else", receiver.url, Secret("s3cret-token")))
        assert asking.told()
        assert "authorization" not in receiver.got[-1].headers


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    with receiving(answering(200, VLLM["/metrics"])) as receiver, receiving(answering(200, "x")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert asking_ourselves(receiver).told()
        assert proxy.connections == 0


def titled(one, pid, title):
    facts = replace(one.facts, key=replace(one.facts.key, pid=pid), title=title, argv=(title,))
    return Tenant(facts, one.owner, recognise(ENGINES.values(), facts))


def test_each_data_parallel_rank_has_its_own_figures_and_one_that_cannot_be_told_has_none():
    with receiving(answering(200, page("vllm-0.33-dp2.txt"))) as receiver:
        asking = asking_ourselves(receiver, Place("chat", receiver.url))
        (one,) = asking.tenants.values()
        titles = {
            11: "VLLM::Worker_DP0_TP0",
            12: "VLLM::Worker_DP0_TP1",
            13: "VLLM::EngineCore_DP1",
            14: "VLLM::Worker",
        }
        asking.tenants = {pid: titled(one, pid, title) for pid, title in titles.items()}
        told = {pid: each["engine_kv_ratio"] for pid, each in asking.told().items()}
        assert told == {11: 0.9875, 13: 0.25}  # of two ranks of one engine on one GPU one tells
        assert receiver.connections == 1


def below(one, pid, title, *above):
    """Return a process with that title, and those titles above it."""
    line = tuple(Ancestor(1000 + pid + n, each[:15], (each,), each) for n, each in enumerate(above))
    tenant = titled(one, pid, title)
    return replace(tenant, facts=replace(tenant.facts, ancestors=line))


def test_a_worker_that_names_no_rank_has_that_of_its_engine_core():
    with receiving(answering(200, page("vllm-0.33-dp2.txt"))) as receiver:
        asking = asking_ourselves(receiver, Place("chat", receiver.url))
        (one,) = asking.tenants.values()
        asking.tenants = {
            11: below(one, 11, "VLLM::Worker_TP0", "VLLM::EngineCore_DP0"),
            12: below(one, 12, "VLLM::Worker_TP0", "VLLM::EngineCore_DP1"),
        }
        told = {pid: each["engine_kv_ratio"] for pid, each in asking.told().items()}
        assert told == {11: 0.9875, 12: 0.25}


def test_a_page_of_one_rank_tells_nothing_of_another():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        asking = asking_ourselves(receiver, Place("chat", receiver.url))
        (one,) = asking.tenants.values()
        titles = {11: "VLLM::EngineCore_DP1", 12: "VLLM::EngineCore_DP0"}
        asking.tenants = {pid: titled(one, pid, title) for pid, title in titles.items()}
        assert asking.told().keys() == {12}


def test_a_front_end_beside_its_engine_on_one_gpu_does_not_tell_the_same_again():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        asking = asking_ourselves(receiver, Place("chat", receiver.url))
        (one,) = asking.tenants.values()
        titles = {11: "VLLM::APIServer_0", 12: "VLLM::EngineCore"}
        asking.tenants = {pid: titled(one, pid, title) for pid, title in titles.items()}
        assert asking.told().keys() == {12}


def test_sockets_that_an_engine_keeps_for_itself_are_no_hindrance():
    with (
        receiving(hanging) as silent,
        receiving(raving),
        receiving(answering(200, VLLM["/metrics"])) as pages,
    ):
        asking = asking_ourselves(pages, argv=("vllm", "serve", "m"))
        assert asking.told()[os.getpid()]["requests_running"] == 12
        before = silent.connections
        asking.now += 5.0
        assert asking.told()
        assert silent.connections == before  # once found, the others are left alone


def test_an_engine_that_comes_back_at_another_port_is_found_there():
    asking = Asking()
    with receiving(answering(200, VLLM["/metrics"])) as first:
        asking.tenants = {os.getpid(): ours(("vllm", "serve", "m", "--port", str(first.port)))}
        assert asking.told()
    with receiving(answering(200, page("vllm-0.8.txt"))) as second:
        asking.tenants = {os.getpid(): ours(("vllm", "serve", "m", "--port", str(second.port)))}
        asking.now += 5.0
        asking.told()
        asking.now += 10.0
        assert asking.told()[os.getpid()]["engine_kv_ratio"] == 0.5


@contextlib.contextmanager
def as_nobody():
    """Read /proc as a daemon does that is neither root nor has its capabilities."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def as_root():
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(65534)


def told_at(server, port):
    with as_nobody():
        return [each.port for each in find_listeners("/proc", [server.pid], port)]


@AS_ROOT
def test_without_rights_a_port_in_the_command_counts_if_its_user_listens_there_and_no_other(tmp_path):
    with serving(tmp_path, "vllm", "serve", "m", pages=VLLM) as server:
        assert told_at(server, server.port) == [server.port]
        assert told_at(server, None) == []
        (listener,) = find_listeners("/proc", [server.pid], server.port)
        with as_nobody():
            assert still_listens("/proc", [server.pid], listener.inode)
            assert not still_listens("/proc", [server.pid], listener.inode + 1)


@AS_ROOT
def test_a_child_of_another_user_brings_no_port_of_that_user_to_its_parent(tmp_path):
    """As sudo that waits for a password is root's: else root's engine would be taken for its starter's."""
    roots = serving(tmp_path, "vllm", "serve", "m", pages=VLLM)
    with roots as engine, subprocess.Popen(["sleep", "60"], user=65534) as parent:
        told = find_listeners("/proc", [parent.pid, engine.pid], engine.port)
        parent.kill()
    assert told == ()


@AS_ROOT
def test_where_the_helper_tells_the_sockets_no_command_needs_to_name_a_port(tmp_path):
    with serving(tmp_path, "vllm", "serve", "m", pages=VLLM) as server:
        asked = []

        def ask(pid, start_ticks):
            asked.append((pid, start_ticks))
            with as_root():
                return listening_inodes("/proc", pid)

        with as_nobody():
            (listener,) = find_listeners("/proc", [server.pid], None, ask)
            assert listener.port == server.port
            assert find_listeners("/proc", [server.pid], None, lambda *_: ()) == ()
            assert find_listeners("/proc", [server.pid], server.port, lambda *_: ()) == ()
            assert not still_listens("/proc", [server.pid], listener.inode, lambda *_: ())
        assert set(asked) == {(server.pid, read_stat("/proc", server.pid).start_ticks)}


@AS_ROOT
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a network of its own takes unshare")
def test_a_process_in_a_network_of_its_own_is_not_found_at_the_same_port_of_ours():
    with receiving() as receiver, subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        try:
            ours_is = Path("/proc/self/ns/net").readlink()
            wait_until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != ours_is, "it is apart")
            assert told_at(process, receiver.port) == []
        finally:
            process.kill()


def test_the_children_of_a_launcher_may_be_those_that_listen():
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        try:
            assert child.pid in children("/proc", os.getpid())
        finally:
            child.kill()


def test_a_server_that_is_bound_to_another_interface_is_not_asked():
    assert Listener("10.0.0.5", 8000, 0, 1).loopback is None
    assert Listener("0.0.0.0", 8000, 0, 1).loopback == "127.0.0.1"
    assert Listener("::", 8000, 0, 1).loopback == "::1"
    assert Listener("127.0.0.2", 8000, 0, 1).loopback == "127.0.0.2"


def test_listeners_of_ipv6_are_found_with_their_address():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        (found,) = find_listeners("/proc", [os.getpid()], port)
        assert (found.host, found.port) == ("::1", port)


def test_an_ancestor_that_is_no_engine_lends_a_process_none_of_its_sockets():
    facts = ours(("VLLM::EngineCore",)).facts
    shell = Ancestor(os.getppid(), "bash", ("bash", "-c", "x"), "bash -c x")
    assert own_pids(replace(facts, ancestors=(shell,)), GAUGED["vllm"]) == (os.getpid(),)
    server = Ancestor(os.getppid(), "vllm", ("vllm", "serve", "m"), "vllm serve m")
    assert own_pids(replace(facts, ancestors=(server, shell)), GAUGED["vllm"]) == (os.getpid(), os.getppid())


def test_servers_below_one_router_are_not_taken_for_one_another():
    facts = ours(("llama-server", "--port", "40001", "-m", "a.gguf")).facts
    command = ("llama-server", "--models-dir", "/models")
    router = Ancestor(os.getppid(), command[0], command, " ".join(command))
    assert own_pids(replace(facts, ancestors=(router,)), GAUGED["llama_cpp"]) == (os.getpid(),)


def test_comfyui_is_asked_for_its_statistics_where_it_sees_one_gpu_alone(tmp_path):
    pages = {
        "/system_stats": page("comfyui-002c3fb9a-system_stats.json"),
        "/prompt": page("comfyui-0.3.64-prompt.json"),
    }
    with serving(tmp_path / "ComfyUI", "main.py", "--cuda-device", "0", pages=pages) as one:
        asking = Asking()
        asking.meet(one.pid)
        assert "torch_reserved_bytes" in asking.told()[one.pid]
    with serving(tmp_path / "ComfyUI2", "main.py", "--cuda-device", "0,1", pages=pages) as several:
        asking = Asking()
        asking.meet(several.pid)
        assert asking.told()[several.pid] == {"requests_running": 1.0, "requests_waiting": 2.0}


@pytest.mark.parametrize(
    ("options", "per_token"),
    [
        # Qwen3-8B: 36 layers of 8 KV heads of 128 numbers, keys and values, two bytes each
        ((), 36 * 2 * 8 * 128 * 2),
        (("--tensor-parallel-size", "2"), 36 * 2 * 4 * 128 * 2),
        (("--kv-cache-dtype", "fp8"), 36 * 2 * 8 * 128),
        (("--pipeline-parallel-size", "2"), None),
        (("--prefill-context-parallel-size", "2"), None),
        (("--kv-cache-dtype", "nvfp4"), None),
    ],
)
def test_a_pool_of_vllm_has_bytes_where_the_model_and_how_it_is_kept_are_known(options, per_token):
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        command = ("vllm", "serve", "Qwen/Qwen3-8B", *options, "--port", str(receiver.port))
        told = asking_ourselves(receiver, argv=command).told()[os.getpid()]
    assert told.get("engine_pool_bytes") == (None if per_token is None else 262_144 * per_token)
    assert told["engine_kv_ratio"] == 0.9875


def test_a_pool_of_a_model_that_nobody_knows_has_no_bytes():
    with receiving(answering(200, VLLM["/metrics"])) as receiver:
        assert "engine_pool_bytes" not in asking_ourselves(receiver).told()[os.getpid()]
