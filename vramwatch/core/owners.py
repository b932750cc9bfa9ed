"""Finds the Owner of a process: the first of ten kinds of names that applies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from vramwatch.core.commandline import lineage, working_command
from vramwatch.core.model import EngineFacts, Owner, OwnerKind, ProcessFacts, ProcessState, Tenant
from vramwatch.core.recognition import PROGRAM_ROLE
from vramwatch.core.units import Bytes
from vramwatch.core.workloads import unit_group, workload_name

Texts = tuple[str | None, ...]


def _users(facts: ProcessFacts, _: EngineFacts | None) -> Texts:
    return (facts.user, None if facts.uid is None else str(facts.uid))


def _commands(facts: ProcessFacts, _: EngineFacts | None) -> Texts:
    """With those of the ancestors, for a rank may say no more of itself than its title."""
    return tuple(text for each in lineage(facts) for text in (" ".join(each.argv), each.title))


def _containers(facts: ProcessFacts, _: EngineFacts | None) -> Texts:
    name = facts.container.name if facts.container else None
    return (name, facts.pod.container if facts.pod else None)


def _slurm_jobs(facts: ProcessFacts, _: EngineFacts | None) -> Texts:
    return (facts.slurm.name, facts.slurm.job) if facts.slurm else ()


CONDITIONS: Mapping[str, Callable[[ProcessFacts, EngineFacts | None], Texts]] = {
    "user": _users,
    "unit": lambda facts, _: (facts.unit,),
    "command": _commands,
    "container": _containers,
    "image": lambda facts, _: (facts.container.image if facts.container else None,),
    "pod": lambda facts, _: (facts.pod.name if facts.pod else None,),
    "namespace": lambda facts, _: (facts.pod.namespace if facts.pod else None,),
    "engine": lambda _, engine: (engine.engine if engine else None,),
    "model": lambda _, engine: (engine.model if engine else None,),
    "slurm_job": _slurm_jobs,
}
"""Condition of a rule -> the texts it is compared with, of which any may match. ``user`` is a name or a
uid, ``slurm_job`` a name or a number, ``container`` also the container's name within its pod."""


@dataclass(frozen=True, slots=True)
class OwnerRule:
    """A configured Owner. ``match``: condition -> glob pattern; all of them must match.

    Conditions are those of ``CONDITIONS``; patterns are as in ``fnmatch``, case-sensitive, over the whole
    text. Errors: ValueError for a rule without any condition, or with one that is unknown.
    """

    match: Mapping[str, str]
    name: str
    team: str | None = None
    budget: Bytes | None = None

    def __post_init__(self) -> None:
        unknown = sorted(self.match.keys() - CONDITIONS.keys())
        if unknown or not self.match:
            wrong = f"unknown condition {', '.join(unknown)}" if unknown else "no condition is given"
            raise ValueError(f"owner {self.name!r}: {wrong}; accepted: {', '.join(CONDITIONS)}")

    def matches(self, facts: ProcessFacts, engine: EngineFacts | None) -> bool:
        """Return whether every condition matches something that is known of the process."""
        return all(
            any(fnmatchcase(text, pattern) for text in CONDITIONS[condition](facts, engine) if text)
            for condition, pattern in self.match.items()
        )

    def may_match(self, facts: ProcessFacts, engine: EngineFacts | None) -> bool:
        """Return whether it would match a process with fitting arguments."""
        others = {condition: pattern for condition, pattern in self.match.items() if condition != "command"}
        return not others or replace(self, match=others).matches(facts, engine)


def owner_of(facts: ProcessFacts, engine: EngineFacts | None, rules: Iterable[OwnerRule] = ()) -> Owner:
    """Return the Owner of a process, by the first that applies; never raises.

    A configured rule; the key that a recording tells; Slurm job name + user; systemd unit; namespace +
    workload + container; compose project + service, or container name; engine + model; uid + program;
    the pid, if that is all that is known. Keys: "rule:chat", "slurm:alice/train", "unit:llama.service",
    "workload:prod/chat/server", "service:shop/api", "container:name", "engine:1000/vllm/Llama-3-8B",
    "program:1000/train.py", "pid:4242".
    """
    return (
        next((_by_rule(rule) for rule in rules if rule.matches(facts, engine)), None)
        or told_owner(facts.owner_key or "")
        or _by_slurm(facts)
        or _by_unit(facts)
        or _by_workload(facts)
        or _by_container(facts)
        or _by_engine(facts, engine)
        or _by_program(facts)
        or _by_pid(facts)
    )


def renewed(owner: Owner, rules: Iterable[OwnerRule]) -> Owner:
    """Return ``owner`` with the team and the budget that the first rule of its name says now.

    An Owner that no rule named, or whose rule is gone, stays as it is.
    """
    if owner.kind is not OwnerKind.RULE:
        return owner
    return next((told for told in map(_by_rule, rules) if told.key == owner.key), owner)


@dataclass(frozen=True, slots=True)
class Reassigned:
    """``in_doubt``: the rule that would have to be compared with arguments that nobody kept; None: none."""

    owner: Owner
    in_doubt: OwnerRule | None = None


def reassign(tenant: Tenant, rules: Iterable[OwnerRule]) -> Reassigned:
    """Return the Owner that ``rules`` give a process of which the store tells, and whether that is sure.

    What is stored of a process lacks its arguments and its ancestors (see ``ProcessFacts``): its title has to
    stand for them, and a rule on commands that does not match it is in doubt. Where no rule matches the Owner
    stays as it was stored, unless a rule gave it that no longer stands.
    """
    engine, stored = tenant.engine, tenant.owner
    facts = replace(tenant.facts, argv=tenant.facts.argv or tuple(tenant.facts.title.split()))
    in_doubt = None
    kept = False
    for rule in rules:
        if rule.matches(facts, engine):
            return Reassigned(_by_rule(rule), in_doubt)
        if "command" in rule.match and rule.may_match(facts, engine):
            in_doubt = in_doubt or rule
            kept |= stored.key == _by_rule(rule).key
    if stored.kind is OwnerKind.RULE and not kept:
        return Reassigned(owner_of(facts, engine), in_doubt)
    return Reassigned(stored, in_doubt)


def told_owner(key: str) -> Owner | None:
    """Return the Owner whose key ``owner_of`` once wrote, named as it named it; None: this is no such key."""
    kind, _, rest = key.partition(":")
    if kind not in _KINDS or not rest:
        return None
    return Owner(key, _NAMES.get(kind, str)(rest) or rest, _KINDS[kind])


_KINDS = {
    "rule": OwnerKind.RULE,
    "slurm": OwnerKind.SLURM,
    "unit": OwnerKind.UNIT,
    "workload": OwnerKind.WORKLOAD,
    "service": OwnerKind.SERVICE,
    "container": OwnerKind.SERVICE,
    "engine": OwnerKind.ENGINE,
    "program": OwnerKind.PROGRAM,
    "pid": OwnerKind.UNKNOWN,
}
"""How a key begins -> which rule wrote it."""

_NAMES: Mapping[str, Callable[[str], str]] = {
    "workload": lambda rest: "/".join(rest.split("/")[:2]),  # namespace/workload, without the container
    "engine": lambda rest: " ".join(rest.split("/", 2)[1:]),  # without the uid
    "program": lambda rest: rest.partition("/")[2],  # without the uid
    "pid": lambda rest: f"pid {rest}",
}
"""What people call the owner, of the rest of its key; where it is not named, the rest itself."""


def _by_rule(rule: OwnerRule) -> Owner:
    return Owner(f"rule:{rule.name}", rule.name, OwnerKind.RULE, rule.team, rule.budget)


def _by_slurm(facts: ProcessFacts) -> Owner | None:
    """A job whose name is not known goes by its number, which at least holds its ranks together."""
    if facts.slurm is None:
        return None
    job = facts.slurm.name or facts.slurm.job
    user = facts.slurm.user or facts.user or _uid(facts)
    return Owner(f"slurm:{user}/{job}", f"{user}/{job}", OwnerKind.SLURM) if job else None


def _by_unit(facts: ProcessFacts) -> Owner | None:
    unit = unit_group(facts.unit)
    if unit is None:
        return None
    name = f"{facts.unit_owner}/{unit}" if facts.unit_owner else unit
    return Owner(f"unit:{name}", name, OwnerKind.UNIT)


def _by_workload(facts: ProcessFacts) -> Owner | None:
    pod = facts.pod
    if pod is None or not pod.name:
        return None
    name = f"{pod.namespace or ''}/{workload_name(pod.name)}"
    key = f"{name}/{pod.container}" if pod.container else name
    return Owner(f"workload:{key}", name, OwnerKind.WORKLOAD)


def _by_container(facts: ProcessFacts) -> Owner | None:
    """A container without a name is passed over: its id changes whenever it is made anew."""
    container = facts.container
    if container is None:
        return None
    if container.compose_project and container.compose_service:
        name = f"{container.compose_project}/{container.compose_service}"
        return Owner(f"service:{name}", name, OwnerKind.SERVICE)
    if container.name:
        return Owner(f"container:{container.name}", container.name, OwnerKind.SERVICE)
    return None


def _by_engine(facts: ProcessFacts, engine: EngineFacts | None) -> Owner | None:
    if engine is None or engine.role == PROGRAM_ROLE:
        return None
    words = [engine.engine, engine.model] if engine.model else [engine.engine]
    return Owner(f"engine:{_uid(facts)}/{'/'.join(words)}", " ".join(words), OwnerKind.ENGINE)


def _by_program(facts: ProcessFacts) -> Owner | None:
    program = working_command(facts).program or facts.name
    return Owner(f"program:{_uid(facts)}/{program}", program, OwnerKind.PROGRAM) if program else None


def _by_pid(facts: ProcessFacts) -> Owner:
    pid = facts.key.pid
    why = "gone" if facts.state is ProcessState.GONE else "not visible"
    return Owner(f"pid:{pid}", f"pid {pid} ({why})", OwnerKind.UNKNOWN)


def _uid(facts: ProcessFacts) -> str:
    return "?" if facts.uid is None else str(facts.uid)
