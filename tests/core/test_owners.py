"""Which workload a process counts for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.commandline import model_name, option, parse, working_command
from vramwatch.core.model import (
    Ancestor,
    Container,
    EngineFacts,
    Owner,
    OwnerKind,
    Pod,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    SlurmJob,
    Tenant,
)
from vramwatch.core.owners import CONDITIONS, OwnerRule, Reassigned, owner_of, reassign, told_owner
from vramwatch.core.units import GIB, Bytes
from vramwatch.core.workloads import unit_group, workload_name

VLLM = EngineFacts("vllm", model="Llama-3-8B")
SPAWNED = (
    "python3",
    "-c",
    "from multiprocessing.spawn import spawn_main; spawn_main()",
    "--multiprocessing-fork",
)


def process(*argv: str, **facts: object) -> ProcessFacts:
    named = ProcessFacts(
        ProcessKey("boot", 4242, 77), argv=argv, title=" ".join(argv), uid=1000, user="alice"
    )
    return replace(named, **facts)


def test_the_first_name_that_applies_is_taken() -> None:
    facts = process(
        "python",
        "train.py",
        slurm=SlurmJob("17", name="train", user="bob"),
        unit="llama.service",
        pod=Pod("uid", "chat-66b6c48dd5-x7k2p", "prod", "server"),
        container=Container("c0ffee", "docker", "shop-api-1", "shop/api:2", "shop", "api"),
    )
    rules = (OwnerRule({"user": "alice"}, "chat", "search", Bytes(20 * GIB)),)
    found = [owner_of(facts, VLLM, rules)]
    for known in ("slurm", "unit", "pod", "container"):
        found.append(owner_of(facts, VLLM))
        facts = replace(facts, **{known: None})
    found += [owner_of(facts, VLLM), owner_of(facts, None)]
    assert found == [
        Owner("rule:chat", "chat", OwnerKind.RULE, "search", Bytes(20 * GIB)),
        Owner("slurm:bob/train", "bob/train", OwnerKind.SLURM),
        Owner("unit:llama.service", "llama.service", OwnerKind.UNIT),
        Owner("workload:prod/chat/server", "prod/chat", OwnerKind.WORKLOAD),
        Owner("service:shop/api", "shop/api", OwnerKind.SERVICE),
        Owner("engine:1000/vllm/Llama-3-8B", "vllm Llama-3-8B", OwnerKind.ENGINE),
        Owner("program:1000/train.py", "train.py", OwnerKind.PROGRAM),
    ]


def test_two_users_of_one_model_are_two_owners() -> None:
    assert owner_of(process(uid=1001), VLLM).key != owner_of(process(uid=1000), VLLM).key


def test_an_engine_without_a_known_model_goes_by_its_name() -> None:
    assert owner_of(process("tritonserver"), EngineFacts("triton")).key == "engine:1000/triton"


def test_a_container_outside_compose_goes_by_its_name() -> None:
    owner = owner_of(process(container=Container("c0ffee", "docker", "chat")), None)
    assert (owner.key, owner.name) == ("container:chat", "chat")


def test_a_container_without_a_name_is_passed_over_for_its_id_changes() -> None:
    assert owner_of(process("app", container=Container("c0ffee", "docker")), None).key == "program:1000/app"


def test_a_pod_that_runtime_files_do_not_name_is_passed_over() -> None:
    assert owner_of(process("app", pod=Pod("uid")), None).key == "program:1000/app"


def test_a_slurm_job_without_a_name_goes_by_its_number() -> None:
    assert owner_of(process(slurm=SlurmJob("17")), None).key == "slurm:alice/17"


def test_a_unit_of_a_user_carries_the_user() -> None:
    owner = owner_of(process(unit="llama.service", unit_owner="alice"), None)
    assert (owner.key, owner.name) == ("unit:alice/llama.service", "alice/llama.service")


def test_a_hidden_process_is_owned_by_its_pid() -> None:
    hidden = ProcessFacts(ProcessKey("boot", 4242, 0), ProcessState.HIDDEN)
    assert owner_of(hidden, None) == Owner("pid:4242", "pid 4242 (not visible)", OwnerKind.UNKNOWN)


def test_a_process_that_was_gone_before_it_was_seen_is_owned_by_its_pid() -> None:
    gone = ProcessFacts(ProcessKey("boot", 4242, 0), ProcessState.GONE)
    assert owner_of(gone, None).name == "pid 4242 (gone)"


def test_a_zombie_is_owned_by_the_program_that_its_comm_names() -> None:
    zombie = process(state=ProcessState.ZOMBIE, name="trainer")
    assert owner_of(zombie, None).key == "program:1000/trainer"


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("chat-66b6c48dd5-x7k2p", "chat"),  # Deployment
        ("llama-3-66b6c48dd5-x7k2p", "llama-3"),
        ("chat-0", "chat"),  # StatefulSet
        ("llama-3-12", "llama-3"),
        ("embed-x7k2p", "embed"),  # DaemonSet, Job
        ("batch-28930471-x7k2p", "batch"),  # CronJob
        ("llama-predictor-00002-deployment-66b6c48dd5-x7k2p", "llama-predictor"),  # Knative
        ("chat", "chat"),
        ("chat-server", "chat-server"),
        ("llama-3-8b", "llama-3-8b"),
        ("-x7k2p", "-x7k2p"),
    ],
)
def test_a_pods_generated_suffixes_are_no_part_of_the_workload(pod: str, workload: str) -> None:
    assert workload_name(pod) == workload


@pytest.mark.parametrize(
    ("unit", "group"),
    [
        ("llama.service", "llama.service"),
        ("llama@7.service", "llama@.service"),
        ("user@1000.service", None),
        ("session-3.scope", None),
        ("docker-c0ffee.scope", None),
        ("docker.service", None),
        ("cron.service", None),
        ("run-u123.service", None),
        ("run-p77-i78.service", None),
        ("run-training.service", "run-training.service"),
        (None, None),
    ],
)
def test_units_are_grouped_by_template_and_generated_ones_are_no_owners(
    unit: str | None, group: str | None
) -> None:
    assert unit_group(unit) == group


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        ({"user": "al*"}, True),
        ({"user": "1000"}, True),
        ({"user": "Alice"}, False),
        ({"unit": "llama@*.service"}, True),
        ({"command": "*train.py*"}, True),
        ({"command": "train.py"}, False),
        ({"command": "*torchrun*"}, True),
        ({"container": "server"}, True),
        ({"container": "api-?"}, True),
        ({"image": "shop/*"}, True),
        ({"pod": "chat-*", "namespace": "prod"}, True),
        ({"pod": "chat-*", "namespace": "test"}, False),
        ({"engine": "vllm", "model": "Llama-*"}, True),
        ({"slurm_job": "17"}, True),
        ({"slurm_job": "train"}, True),
    ],
)
def test_a_rule_matches_when_all_its_conditions_do(match: dict[str, str], hits: bool) -> None:
    facts = process(
        "python",
        "train.py",
        unit="llama@7.service",
        ancestors=(Ancestor(1, "torchrun", ("torchrun", "train.py"), "torchrun train.py"),),
        container=Container("c0ffee", "docker", "api-1", "shop/api:2"),
        pod=Pod("uid", "chat-0", "prod", "server"),
        slurm=SlurmJob("17", name="train"),
    )
    assert OwnerRule(match, "named").matches(facts, VLLM) is hits


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_a_rule_never_matches_what_is_not_known(condition: str) -> None:
    assert not OwnerRule({condition: "*"}, "named").matches(ProcessFacts(ProcessKey("boot", 1, 1)), None)


def test_the_first_matching_rule_counts() -> None:
    rules = (
        OwnerRule({"user": "bob"}, "a"),
        OwnerRule({"user": "*"}, "b"),
        OwnerRule({"user": "alice"}, "c"),
    )
    assert owner_of(process(), None, rules).key == "rule:b"


@pytest.mark.parametrize(
    ("match", "sentence"),
    [
        ({}, "no condition is given; accepted: user"),
        ({"usr": "alice"}, "unknown condition usr; accepted: user"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(match: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        OwnerRule(match, "chat")


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (("python3", "train.py", "--lr", "1"), "train.py"),
        (("/usr/bin/python3.12", "-u", "-X", "dev", "-W", "error", "/srv/train.py"), "train.py"),
        (("python", "-um", "pkg.train", "--lr"), "pkg.train"),
        (("python", "-mpkg.train"), "pkg.train"),
        (("python", "/srv/app/__main__.py"), "app"),
        (("python", "/opt/venv/bin/vllm", "serve"), "vllm"),
        (("python", "-c", "import torch"), "python"),
        (("python",), "python"),
        (("python", "-"), "python"),
        (("/opt/My App/bin/infer", "x"), "infer"),
        (("./infer",), "infer"),
        (("nginx: worker process",), "nginx"),
        (("VLLM::EngineCore",), "VLLM::EngineCore"),
        ((), ""),
    ],
)
def test_a_program_is_named_by_its_script_or_module_rather_than_its_interpreter(
    argv: tuple[str, ...], program: str
) -> None:
    assert parse(argv).program == program


def test_a_child_of_multiprocessing_counts_for_the_program_that_spawned_it() -> None:
    parents = (
        Ancestor(3, "python3", SPAWNED, ""),
        Ancestor(2, "python3", ("python3", "train.py"), ""),
        Ancestor(1, "bash", ("bash",), ""),
    )
    assert working_command(process(*SPAWNED, ancestors=parents)).program == "train.py"
    assert owner_of(process(*SPAWNED), None).key == "program:1000/python3"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--model", "a"), "a"),
        (("--model=a",), "a"),
        (("--other", "--model", "a"), "a"),
        (("--model", "--port"), None),
        (("--model=--port",), "--port"),
        (("--model",), None),
        (("--model=",), None),
        (("-m", "b"), "b"),
        (("-m", "b", "--model", "a"), "a"),
    ],
)
def test_an_option_is_read_in_either_spelling(arguments: tuple[str, ...], value: str | None) -> None:
    assert option(arguments, "--model", "-m") == value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("meta-llama/Llama-3-8B", "Llama-3-8B"),
        ("/models/Llama-3-8B/", "Llama-3-8B"),
        ("/models/x.gguf", "x.gguf"),
        ("/cache/hub/models--Qwen--Qwen3-8B/snapshots/0f1e2d", "Qwen3-8B"),
        ("/cache/hub/models--gpt2/snapshots/0f1e2d", "gpt2"),
        ("", None),
        ("/", None),
        (None, None),
    ],
)
def test_a_model_is_named_without_folder_and_organisation(text: str | None, name: str | None) -> None:
    assert model_name(text) == name


@given(st.text(alphabet="bcdfghjklmnpqrstvwxz2456789", min_size=5, max_size=5))
def test_every_replica_of_a_deployment_has_one_workload(suffix: str) -> None:
    assert workload_name(f"chat-66b6c48dd5-{suffix}") == "chat"


@given(st.lists(st.text(max_size=12), max_size=5))
def test_no_argv_is_too_odd_to_be_parsed(argv: list[str]) -> None:
    command = parse(argv)
    assert len(command.arguments) <= len(argv)


# --- told by a recording ------------------------------------------------------------------------

NAMED = [
    process(slurm=SlurmJob("17", name="train", user="bob")),
    process(unit="llama@7.service"),
    process(unit="llama.service", unit_owner="bob"),
    process(pod=Pod("uid", "chat-66b6c48dd5-x7k2p", "prod", "server")),
    process(pod=Pod("uid", "chat-66b6c48dd5-x7k2p", "prod")),
    process(container=Container("c0ffee", "docker", "shop-api-1", "shop/api:2", "shop", "api")),
    process(container=Container("c0ffee", "docker", "chat")),
    process("python", "train.py"),
]


@pytest.mark.parametrize("facts", NAMED)
@pytest.mark.parametrize(
    "engine", [None, VLLM, EngineFacts("vllm", model="meta/Llama-3-8B"), EngineFacts("tgi")]
)
def test_an_owner_that_is_told_by_its_key_is_the_same_owner(
    facts: ProcessFacts, engine: EngineFacts | None
) -> None:
    owner = owner_of(facts, engine)
    assert told_owner(owner.key) == owner
    assert owner_of(ProcessFacts(ProcessKey("other", 1, 1), owner_key=owner.key), None) == owner


def test_a_rule_decides_over_an_owner_that_is_told() -> None:
    facts = process("python", "train.py", owner_key="unit:llama.service")
    assert owner_of(facts, None).key == "unit:llama.service"
    assert owner_of(facts, None, [OwnerRule({"user": "alice"}, "chat")]).key == "rule:chat"


@given(st.text())
def test_what_is_no_key_tells_no_owner(text: str) -> None:
    owner = told_owner(text)
    assert owner is None or (owner.key == text and owner.name)


@pytest.mark.parametrize("text", ["", "chat", "unit:", "unit", "owner:chat"])
def test_a_name_is_no_key(text: str) -> None:
    assert told_owner(text) is None


# --- of what is stored --------------------------------------------------------------------------


def stored(owner: Owner, *argv: str, **facts: object) -> Tenant:
    """A process as the store tells of it: without its arguments, with its title."""
    return Tenant(replace(process(*argv, **facts), argv=()), owner)


TRAIN = Owner("program:1000/train.py", "train.py", OwnerKind.PROGRAM)
RULED = Owner("rule:training", "training", OwnerKind.RULE)


def test_a_stored_process_counts_for_the_first_rule_that_what_is_stored_matches() -> None:
    rules = [
        OwnerRule({"user": "bob"}, "bobs"),
        OwnerRule({"user": "alice", "command": "*train*"}, "training"),
    ]
    assert reassign(stored(TRAIN, "python", "train.py"), rules) == Reassigned(RULED)


def test_a_stored_process_that_no_rule_matches_keeps_the_owner_that_it_had() -> None:
    elsewhere = Owner("unit:old.service", "old", OwnerKind.UNIT)
    assert reassign(stored(elsewhere, "python", "train.py"), [OwnerRule({"user": "bob"}, "bobs")]) == (
        Reassigned(elsewhere)
    )


def test_an_owner_that_a_rule_gave_goes_with_the_rule() -> None:
    assert reassign(stored(RULED, "/usr/bin/python3", "train.py"), ()) == Reassigned(TRAIN)


def test_a_rule_on_commands_that_the_title_does_not_match_is_in_doubt_and_takes_nobody_away() -> None:
    rule = OwnerRule({"command": "*--resume*", "user": "alice"}, "training")
    assert reassign(stored(TRAIN, "python", "train.py"), [rule]) == Reassigned(TRAIN, rule)
    assert reassign(stored(RULED, "python", "train.py"), [rule]) == Reassigned(RULED, rule)
    foreign = replace(rule, match={"command": "*--resume*", "user": "bob"})
    assert reassign(stored(TRAIN, "python", "train.py"), [foreign]) == Reassigned(TRAIN)
