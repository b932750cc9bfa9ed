"""A real llama-server on a CPU, with a model of random weights that is made here.

Format: docs/gguf.md of ggml-org/ggml, version 3; names: gguf-py/gguf/constants.py of ggml-org/llama.cpp.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.ports import free_port
from tests.waiting import wait_until

BUILT = Path(__file__).parents[2] / "build" / "services" / "usr" / "bin"

_UINT32, _FLOAT32, _STRING, _ARRAY, _INT32 = 4, 6, 8, 9, 5  # gguf_metadata_value_type
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # llama_token_type
_ALIGNMENT = 32
WIDTH, INNER, LAYERS, HEADS, CONTEXT = 64, 128, 2, 2, 32_768


def program() -> str | None:
    return shutil.which("llama-server", path=f"{os.environ.get('PATH', '')}:{BUILT}")


def write_model(place: Path) -> Path:
    """Write a model of the architecture "llama" whose tokens are bytes; returns ``place``."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    facts = [
        _fact("general.architecture", _STRING, "llama"),
        _fact("llama.block_count", _UINT32, LAYERS),
        _fact("llama.context_length", _UINT32, CONTEXT),
        _fact("llama.embedding_length", _UINT32, WIDTH),
        _fact("llama.feed_forward_length", _UINT32, INNER),
        _fact("llama.attention.head_count", _UINT32, HEADS),
        _fact("llama.attention.layer_norm_rms_epsilon", _FLOAT32, 1e-5),
        _fact("tokenizer.ggml.model", _STRING, "llama"),
        _list("tokenizer.ggml.tokens", _STRING, tokens),
        _list("tokenizer.ggml.scores", _FLOAT32, [0.0] * len(tokens)),
        _list("tokenizer.ggml.token_type", _INT32, kinds),
        _fact("tokenizer.ggml.bos_token_id", _UINT32, 1),
        _fact("tokenizer.ggml.eos_token_id", _UINT32, 2),
    ]
    tensors = {"token_embd.weight": (WIDTH, len(tokens)), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes = {
            **dict.fromkeys(("attn_norm", "ffn_norm"), (WIDTH,)),
            **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH)),
            **dict.fromkeys(("ffn_gate", "ffn_up"), (WIDTH, INNER)),
            "ffn_down": (INNER, WIDTH),
        }
        tensors |= {f"blk.{layer}.{name}.weight": shape for name, shape in shapes.items()}
    chance, heads, data = Random(7), b"", b""
    for name, shape in tensors.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        heads += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += struct.pack(f"<{count}f", *(chance.gauss(0.0, 0.1) for _ in range(count)))
        data += bytes(-len(data) % _ALIGNMENT)
    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts)) + b"".join(facts) + heads
    place.write_bytes(start + bytes(-len(start) % _ALIGNMENT) + data)
    return place


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: object) -> bytes:
    codes = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}
    return _text(str(value)) if kind == _STRING else struct.pack(codes[kind], value)


def _fact(name: str, kind: int, value: object) -> bytes:
    return _text(name) + struct.pack("<I", kind) + _value(kind, value)


def _list(name: str, kind: int, values: list) -> bytes:
    head = struct.pack("<IIQ", _ARRAY, kind, len(values))
    return _text(name) + head + b"".join(_value(kind, each) for each in values)


@dataclass(frozen=True)
class LlamaServer:
    pid: int
    port: int

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return answer.read().decode()

    @contextlib.contextmanager
    def generating(self, tokens: int) -> Iterator[None]:
        """Have it generate, from its first token on until the end of the block."""
        with self.asking_for(tokens) as connection:
            assert connection.recv(64).startswith(b"HTTP/1.1 200")
            yield

    @contextlib.contextmanager
    def asking_for(self, tokens: int) -> Iterator[socket.socket]:
        """Ask it to generate, until the end of the block."""
        body = json.dumps({"prompt": "a b c", "n_predict": tokens, "stream": True, "ignore_eos": True})
        head = "POST /completion HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            yield connection


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[LlamaServer]:
    """Run it on a model of its own until the end of the block."""
    model, port = write_model(folder / "tiny.gguf"), free_port()
    words = [str(program()), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*words, *options], stdout=log, stderr=subprocess.STDOUT)
        server = LlamaServer(process.pid, port)
        try:
            wait_until(lambda: _answers(server, process, folder), "llama-server has loaded its model")
            yield server
        finally:
            process.kill()
            process.wait()


def _answers(server: LlamaServer, process: subprocess.Popen, folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()[-2000:]
    try:
        return "ok" in server.get("/health")
    except OSError:
        return False
