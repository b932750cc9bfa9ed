"""A container's port as it is published on this machine: told by Docker's proxy, and by root's alone."""

import pytest

from vramwatch.procfs.listening import own_listeners
from vramwatch.procfs.published import find_published

ENGINE, PROXY = 100, 200
INSIDE, OUTSIDE = 7001, 7002
ADDRESS = "172.17.0.2"

ROW = "   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:0 0 {uid} 0 {inode} 1 0 100\n"

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
        |-- 172.17.0.2
           /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
"""
"""Composed in the form of net/ipv4/fib_trie.c, fib_trie_seq_show, of Linux 6.12."""


class Tree:
    """A /proc with an engine in a container's network, and a proxy in ours."""

    def __init__(self, root):
        self.root = root
        self.process(ENGINE, "vllm", 1000, ["vllm", "serve", "m"])
        self.listens(ENGINE, 8000, 1000, INSIDE)
        (root / str(ENGINE) / "net" / "fib_trie").write_text(FIB_TRIE)

    def process(self, pid, name, uid, argv):
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        (folder / "net").mkdir(exist_ok=True)
        (folder / "stat").write_text(f"{pid} ({name}) S 1 {'0 ' * 17}500 0 0\n")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}\n")
        (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in argv) + b"\0")

    def listens(self, pid, port, uid, inode, *, in_ours=False):
        row = "header\n" + ROW.format(port=port, uid=uid, inode=inode)
        folders = [self.root / str(pid) / "net", *([self.root / "self" / "net"] if in_ours else [])]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "tcp").write_text(row)
        (self.root / str(pid) / "fd" / "3").symlink_to(f"socket:[{inode}]")

    def publishes(self, uid=0, ip=ADDRESS, port=8000, proto="tcp"):
        words = f"-proto {proto} -host-ip 0.0.0.0 -host-port 18000 -container-ip {ip} -container-port {port}"
        self.process(PROXY, "docker-proxy", uid, ["/usr/bin/docker-proxy", *words.split()])
        self.listens(PROXY, 18000, uid, OUTSIDE, in_ours=True)

    def published(self, port=None):
        inside = own_listeners(str(self.root), (ENGINE,), port)
        return [(each.pid, each.listener.port) for each in find_published(str(self.root), ENGINE, inside)]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_published_port_is_found_by_the_address_and_the_port_of_the_container(tree):
    tree.publishes()
    assert tree.published() == [(PROXY, 18000)]
    assert tree.published(8000) == [(PROXY, 18000)]


@pytest.mark.parametrize(
    "other", [{"uid": 1000}, {"ip": "172.17.0.3"}, {"ip": "127.0.0.1"}, {"port": 8001}, {"proto": "udp"}]
)
def test_a_proxy_of_another_user_or_of_another_container_or_port_counts_for_nothing(tree, other):
    tree.publishes(**other)
    assert tree.published() == []


def test_a_proxy_that_does_not_hold_the_port_that_it_names_counts_for_nothing(tree):
    tree.publishes()
    (tree.root / str(PROXY) / "fd" / "3").unlink()
    assert tree.published() == []
