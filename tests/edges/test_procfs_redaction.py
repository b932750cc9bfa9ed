"""Secrets never leave a command line's owner; everything else stays as it was."""

import random
import shlex
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.procfs.commands import parse_command, parse_environment
from vramwatch.procfs.redaction import COMMAND_LIMIT, HIDDEN, is_secret_name, redact_command, redact_text

ROOMY = 1 << 20

ORDINARY = [
    "vllm serve meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4 --port 8000 --tensor-parallel-size 4 "
    "--gpu-memory-utilization 0.92 --max-num-batched-tokens 8192 --tokenizer-mode auto --seed 0",
    "/usr/bin/python3 -m vllm.entrypoints.openai.api_server --model /root/.cache/huggingface/hub/"
    "models--meta-llama--Llama-3.1-8B-Instruct/snapshots/0e9e39f249a16976918f6564b8830bc894c89659",
    """vllm serve x --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'""",
    "llama-server -m /models/DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf -c 32768 -ngl 99 --host 0.0.0.0 "
    "--port 8080 --api-key-file /etc/llama/keys -np 4 --no-webui",
    "/usr/lib/ollama/llama-server --model /usr/share/ollama/.ollama/models/blobs/"
    "sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa --port 39041 -c 8192",
    "ollama serve",
    "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-V2-Lite-Chat --tp 8 "
    "--max-total-tokens 10000 --hf-overrides {} --skip-tokenizer-init",
    "text-generation-launcher --model-id tiiuae/falcon-7b --num-shard 1 --max-input-tokens 1024",
    "tritonserver --model-repository=/models --http-port=8000 --log-verbose=1",
    "python train.py --eos-token-id 2 --eos-token </s> --revision 5206a32e0bd3067aef1ce90f5528ade7d866253f",
    "python main.py --device GPU-5a3f9c1e-77aa-4b2c-9d0e-1f2a3b4c5d6e --url http://localhost:8000/v1/models",
    "python Qwen2VLForConditionalGeneration.py --base TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ",
    "VLLM::Worker_TP0",
    "sglang::tokenizer_worker:4711",
    "nvidia-cuda-mps-server",
]


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_command_line_stays_as_it_is(line):
    argv = tuple(shlex.split(line))
    assert redact_command(argv, ROOMY) == argv
    assert redact_text(line) == line


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["x", "--api-key", "a b", "--port", "1"], ["x", "--api-key", "***", "--port", "1"]),
        (["x", "--api-key", "k1", "k2", "--port", "1"], ["x", "--api-key", "***", "***", "--port", "1"]),
        (["x", "--password=a,b;c"], ["x", "--password=***"]),
        (["x", "-hft", "abc"], ["x", "-hft", "***"]),
        (["x", "--password", "basic", "y"], ["x", "--password", "***", "y"]),
        (["env", "HF_TOKEN=abc", "vllm"], ["env", "HF_TOKEN=***", "vllm"]),
        (["sh", "-c", "vllm serve --token abc -x"], ["sh", "-c", "vllm serve --token *** -x"]),
        (["sh", "-c", "eval 'a --token abc'"], ["sh", "-c", "eval 'a --token ***'"]),
        (["x", "--args='--token abc' -x"], ["x", "--args='--token ***' -x"]),
        (["sh", "-c", "nice 'HF_TOKEN=abc vllm serve m'"], ["sh", "-c", "nice 'HF_TOKEN=*** vllm serve m'"]),
        (["curl", "-H", "Authorization: Bearer abc"], ["curl", "-H", "Authorization: Bearer ***"]),
        (["curl", "-H", "Authorization: Basic abc"], ["curl", "-H", "Authorization: Basic ***"]),
        (["curl", "-H", "X-Api-Key: abc"], ["curl", "-H", "X-Api-Key: ***"]),
        (["x", "postgres://u:p@ss/w@host/db"], ["x", "postgres://***@host/db"]),
        (["x", "http://h/v1?token=abc&n=1"], ["x", "http://h/v1?token=***&n=1"]),
        (["x", '{"api_key":"a,b","n":1}'], ["x", '{"api_key":***,"n":1}']),
        (["x", '{"n": 1, "api_key": "abc"}'], ["x", '{"n": 1, "api_key": ***']),
        (["x", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"], ["x", "***"]),
        (["x", "/data/k3J9xQ2mL7pT5vW8zR1aB4cD7eF0gH6s/model"], ["x", "/data/***/model"]),
    ],
)
def test_a_secret_is_hidden_in_every_form_that_servers_take_it(argv, shown):
    assert redact_command(argv, ROOMY) == tuple(shown)


SECRET = st.text(string.ascii_letters + string.digits + "!#%*+_.~^", min_size=6, max_size=40).map(
    "Zq7".__add__
)
SECRET_NAME = st.sampled_from(
    ["api-key", "token", "password", "secret", "hf_token", "auth-token", "OPENAI_API_KEY"]
)
WORD = st.text(string.ascii_lowercase, min_size=1, max_size=8)
WORDS = st.lists(WORD | WORD.map("--{}".format), max_size=4)


@given(
    WORDS, SECRET_NAME, SECRET, WORDS, st.sampled_from(["--{0} {1}", "--{0}={1}", "{0}={1}", "-H {0}:{1}"])
)
def test_a_planted_secret_never_survives(before, name, secret, after, form):
    planted = form.format(name, secret).split(" ")
    argv = [*before, *planted, *after]
    assert secret not in " ".join(redact_command(argv, ROOMY))
    assert secret not in redact_text(" ".join(argv))
    assert secret not in " ".join(redact_command(["sh", "-c", " ".join(argv)], ROOMY))


@given(SECRET.filter(lambda secret: "#" not in secret), WORD)
def test_the_user_of_a_url_never_survives(secret, host):
    assert secret not in redact_text(f"postgres://user:{secret}@{host}:5432/db")


@given(st.sampled_from(["hf_", "sk-", "ghp_", "xoxb-", "glpat-", "nvapi-"]), st.integers(0, 2**32))
def test_a_token_of_a_known_shape_never_survives_anywhere(prefix, seed):
    body = "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=36))
    assert body not in redact_text(f"run {prefix}{body} /x/{prefix}{body} a={prefix}{body}")


CHUNK = st.from_regex(r"[A-Z][0-9][a-z]{1,2}", fullmatch=True)


@given(st.lists(CHUNK, min_size=8, max_size=20).map("".join))
def test_a_long_word_that_changes_class_at_every_other_letter_never_survives(secret):
    assert secret not in redact_text(f"serve {secret} --flag=/tmp/{secret}")


def test_of_ten_thousand_random_tokens_of_forty_letters_none_survives():
    generator = random.Random(7)
    tokens = ["".join(generator.choices(string.ascii_letters + string.digits, k=40)) for _ in range(10_000)]
    assert [token for token in tokens if token in redact_text(token)] == []


@given(st.lists(st.text(max_size=200), max_size=20))
def test_a_command_line_is_bounded_whatever_it_holds(argv):
    assert len(" ".join(redact_command(argv)).encode()) <= COMMAND_LIMIT


@given(st.binary(max_size=5000))
def test_any_bytes_of_a_command_give_bounded_printable_text(raw):
    argv, title = parse_command(raw)
    assert len(" ".join(argv).encode()) <= COMMAND_LIMIT
    assert len(title.encode()) <= COMMAND_LIMIT
    assert "".join(argv).isprintable()


@pytest.mark.parametrize("piece", ['"', "'", "\"'", "a=", '{"a":', "a://", "eyJ-", "token=", " ", "--token "])
def test_a_command_line_made_to_be_hard_is_taken_like_any_other(piece):
    parse_command(piece.encode() * 4096)


def test_a_line_is_cut_between_two_characters():
    assert redact_command(["é" * 200]) == ("é" * (COMMAND_LIMIT // 2),)


def test_a_secret_that_was_cut_by_the_read_does_not_show_its_first_half():
    hidden = b"--token\0" + b"x" * 4000 + b"\0"
    raw = (hidden + b"hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345" * 9)[:4096]
    assert parse_command(raw)[0] == ("--token", "***")


@pytest.mark.parametrize(
    "raw", [b"VLLM::EngineCore", b"VLLM::EngineCore\0", b"VLLM::EngineCore" + b"\0" * 300]
)
def test_a_title_is_one_string_however_it_was_padded(raw):
    assert parse_command(raw) == (("VLLM::EngineCore",), "VLLM::EngineCore")


def test_a_kernel_thread_and_a_zombie_have_no_command():
    assert parse_command(b"") == ((), "")


def test_a_title_is_redacted_too():
    assert parse_command(b"worker --token abc\0")[1] == "worker --token ***"


def test_a_variable_that_is_allowed_is_redacted_all_the_same():
    raw = b"OLLAMA_HOST=http://me:pw@h:11434\0HF_TOKEN=x\0broken\0HOSTNAME=chat-0"
    assert parse_environment(raw) == {"OLLAMA_HOST": "http://***@h:11434", "HOSTNAME": "chat-0"}


def test_addresses_without_an_end_cost_time_by_their_length_alone():
    began = time.process_time()
    assert HIDDEN not in redact_text("ahttps://" * 14_000)
    assert time.process_time() - began < 3.0


def test_a_variable_that_is_as_long_as_an_environment_costs_no_time_and_is_not_kept():
    """At 128 KiB, the most that Linux takes, it cost 14 s of the processor, of the thread that polls."""
    endless = b"HOSTNAME=" + b"ahttps://" * 14_000
    began = time.process_time()
    assert parse_environment(endless) == {}
    assert parse_environment(b"\0".join([b"HOSTNAME=" + b"ahttps://" * 450] * 30)).keys() == {"HOSTNAME"}
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "name", ["tokenizer", "max-token", "eos_token_id", "ssl-keyfile", "routing-key", "monkey"]
)
def test_a_name_that_only_sounds_like_a_secret_is_none(name):
    assert not is_secret_name(name)
