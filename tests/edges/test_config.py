"""The configuration as its users meet it: what a file means, and what is said of a bad one."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr

from vramwatch.config import Basics, Config, effective, example, find, load, load_basics, sentence
from vramwatch.config.files import MAX_BYTES
from vramwatch.config.loading import MAX_FAULTS
from vramwatch.config.places import MAX_DEPTH, parse
from vramwatch.config.sections import OwnerMatch
from vramwatch.core.cadence import Rates
from vramwatch.core.errors import ConfigError
from vramwatch.core.incidents import Terms
from vramwatch.core.model import Instant
from vramwatch.core.owners import CONDITIONS, OwnerRule
from vramwatch.core.ports import Feed
from vramwatch.core.units import GIB, parse_bytes, parse_seconds
from vramwatch.families import discover
from vramwatch.quantities import duration_text, size_text

SOURCES = discover("vramwatch.sources")
DETECTORS = discover("vramwatch.detectors")


class File:
    """A configuration file that a test writes, and what is made of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"

    def load(self, text: str, environment: dict[str, str] | None = None, **overrides: object) -> Config:
        self.path.write_text(dedent(text))
        dotted = {name.replace("__", "."): value for name, value in overrides.items()}
        return load(self.path, environment or {}, dotted)

    def faults(self, text: str, environment: dict[str, str] | None = None, **overrides: object) -> list[str]:
        """Return the faults, one a line, without the folder that the file is in."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, environment, **overrides)
        assert caught.value.exit_code == 78
        return str(caught.value).replace(f"{self.path.parent}/", "").splitlines()

    def fault(self, text: str, environment: dict[str, str] | None = None, **overrides: object) -> str:
        (only,) = self.faults(text, environment, **overrides)
        return only


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


# --- what holds ---------------------------------------------------------------------------------


def test_without_a_file_every_option_has_its_default():
    config = load(None, {}, {})
    assert config.source_name == "nvml"
    assert config.poll.rates() == Rates()
    assert config.store.path is None
    assert config.owner_rules() == ()
    assert config.control.group == "vramwatch"
    assert str(config.http.listen) == "127.0.0.1:9478"
    assert config.log.level == "info"


@pytest.mark.parametrize(
    "text", ["", "# nothing but words\n", "---\n", "~", "poll:\nsource:\nowners: []\nlog: {}\n"]
)
def test_a_file_or_a_section_without_options_means_the_defaults(file: File, text: str):
    assert file.load(text) == load(None, {}, {})


def test_a_file_decides_over_the_defaults(file: File):
    config = file.load(
        """
        poll: {interval: 2s, slowest: 1m30s, driver_share: 0.01}
        store: {path: /data/vram.db}
        control: {socket: /run/x.sock, group: null}
        http: {listen: "[::1]:80"}
        log: {level: debug}
        """
    )
    assert (config.poll.interval, config.poll.slowest, config.poll.driver_share) == (2.0, 90.0, 0.01)
    assert config.store.path == Path("/data/vram.db")
    assert (config.control.socket, config.control.group) == (Path("/run/x.sock"), None)
    assert config.http.listen is not None
    assert (config.http.listen.host, config.http.listen.port) == ("::1", 80)
    assert config.log.level == "debug"


def test_a_duration_may_be_a_number_of_seconds(file: File):
    assert file.load("poll: {interval: 2, fastest: 0.5}").poll.fastest == 0.5


def test_owners_become_rules_in_their_order(file: File):
    config = file.load(
        """
        owners:
          - match: {unit: "llama@*.service", user: alice}
            name: chat
            team: assistants
            budget: 40GiB
          - match:
              image: "*/vllm:*"
            name: batch
        """
    )
    assert config.owner_rules() == (
        OwnerRule({"user": "alice", "unit": "llama@*.service"}, "chat", "assistants", parse_bytes("40GiB")),
        OwnerRule({"image": "*/vllm:*"}, "batch"),
    )


def test_an_owner_can_be_matched_by_each_condition_that_owners_know():
    assert OwnerMatch.model_fields.keys() == CONDITIONS.keys()


def test_an_anchor_may_be_used_again(file: File):
    config = file.load(
        """
        owners:
          - {match: &chat {user: alice}, name: one}
          - {match: *chat, name: two}
        """
    )
    assert [rule.match for rule in config.owner_rules()] == [{"user": "alice"}, {"user": "alice"}]


@pytest.mark.parametrize("text", ["off", "null", '"off"', "false", "~"])
def test_http_can_be_turned_off(file: File, text: str):
    assert file.load(f"http: {{listen: {text}}}").http.listen is None


# --- which place decides ------------------------------------------------------------------------


def test_the_command_line_decides_over_the_environment_and_that_over_the_file(file: File):
    environment = {"VRAMWATCH_POLL__INTERVAL": "3s", "VRAMWATCH_POLL__SLOWEST": "20s"}
    config = file.load(
        "poll: {interval: 2s, slowest: 10s, slow_interval: 40s}", environment, poll__interval="4s"
    )
    assert (config.poll.interval, config.poll.slowest, config.poll.slow_interval) == (4.0, 20.0, 40.0)


def test_an_option_that_the_command_line_does_not_give_changes_nothing(file: File):
    assert file.load("store: {path: /data/x.db}", store__path=None).store.path == Path("/data/x.db")


def test_a_path_of_the_command_line_counts_from_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert load(None, {}, {"store.path": Path("x.db")}).store.path == tmp_path / "x.db"


def test_only_names_with_two_underscores_are_configuration():
    assert load(None, {"VRAMWATCH_TEST": "x", "VRAMWATCH_CONFIG": "/x", "OTHER__X": "y"}, {}) == load(
        None, {}, {}
    )


def test_an_empty_variable_says_nothing(file: File):
    assert file.load("log: {level: error}", {"VRAMWATCH_LOG__LEVEL": ""}).log.level == "error"


def test_a_variable_is_text_unless_it_is_a_whole_list_or_mapping():
    environment = {
        "VRAMWATCH_HTTP__LISTEN": "[::1]:9000",
        "VRAMWATCH_SOURCE__REPLAY": "{files: [/a.csv, /b.csv]}",
        "VRAMWATCH_POLL__DRIVER_SHARE": "0.01",
    }
    config = load(None, environment, {})
    assert str(config.http.listen) == "[::1]:9000"
    assert config.source_name == "replay"
    assert config.poll.driver_share == 0.01


@pytest.mark.parametrize("text", ["source: simulated", "source: {simulated: }", "source: {simulated: {}}"])
def test_a_source_can_be_written_short(file: File, text: str):
    assert file.load(text).source_name == "simulated"


def test_options_of_the_same_source_are_merged_from_all_places(file: File):
    config = file.load(
        "source: {simulated: {seed: 7}}",
        {"VRAMWATCH_SOURCE__SIMULATED__SPEED": "60"},
        source="simulated",
        source__simulated__duration="1h",
    )
    source = config.source
    assert isinstance(source, SOURCES["simulated"])
    assert (source.seed, source.speed, source.duration) == (7, 60.0, 3600.0)


def test_another_source_replaces_the_one_of_the_file_with_all_its_options(file: File):
    config = file.load("source: {simulated: {seed: 7}}", source="replay", source__replay__files=["/a.csv"])
    assert config.source_name == "replay"


def test_a_fault_is_told_at_the_place_that_decided(file: File):
    text = "owners: [{match: {user: alice}, name: one}]\nlog: {level: loud}\n"
    fault = file.fault(text, {"VRAMWATCH_OWNERS__0__NAME": "two", "VRAMWATCH_LOG__LEVEL": "info"})
    assert fault.startswith("environment:VRAMWATCH_OWNERS__0__NAME: owners: not a list")


# --- what is said of a bad file -----------------------------------------------------------------


def test_every_fault_is_told_at_once_in_the_order_of_the_file_with_its_place(file: File):
    faults = file.faults(
        """\
        poll:
          intervall: 5s
          slowest: soon
        store:
          path: x.db
        owners:
          - match: {usr: alice}
            name: 5
        log: {level: on}
        """,
        {"VRAMWATCH_POLL__FASTEST": "9m"},
        control__group=7,
    )
    assert [fault.partition(": ")[0] for fault in faults] == [
        "config.yaml:2:3",
        "config.yaml:3:12",
        "config.yaml:5:9",
        "config.yaml:7:13",
        "config.yaml:8:11",
        "config.yaml:9:14",
        "command line",
        "environment:VRAMWATCH_POLL__FASTEST",
    ]
    assert faults[-1] == (
        "environment:VRAMWATCH_POLL__FASTEST: poll.fastest: "
        "9m is out of range; write a duration from 50ms to 1m"
    )


@pytest.mark.parametrize(
    ("text", "location", "guess"),
    [
        ("pol: {}", "pol", "poll"),
        ("poll: {intervall: 1s}", "poll.intervall", "interval"),
        ("interval: 1s", "interval", "poll.interval"),
        ("owners: [{match: {usr: a}, name: x}]", "owners[0].match.usr", "user"),
        ("source: nvm", "source.nvm", "nvml"),
        ("source: {simulated: {sped: 2}}", "source.simulated.sped", "speed"),
        ("log: {level: warn}", "log.level", "warning"),
    ],
)
def test_a_misspelt_word_gets_a_guess_at_what_was_meant(file: File, text: str, location: str, guess: str):
    fault = file.fault(text)
    assert f": {location}: " in fault
    assert fault.endswith(f"did you mean {guess}?")


def test_the_value_of_an_unknown_option_is_not_repeated(file: File):
    assert "hunter2" not in file.fault("log: {token: hunter2}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("poll:\n  fastest: 2s\n", "config.yaml:2:12: poll.fastest: 2s is above interval; write at most 1s"),
        (
            "poll:\n  interval: 10s\n",
            "config.yaml:2:13: poll.interval: 10s is above slowest; write at most 5s",
        ),
        ("poll:\n  interval: 100ms\n", "config.yaml:2:13: poll.interval: 100ms is below fastest"),
        ("poll:\n  interval: 2s\n  slowest: 1s\n", "config.yaml:3:12: poll.slowest: 1s is below interval"),
        (
            "poll:\n  list_interval: 1s\n",
            "config.yaml:2:18: poll.list_interval: 1s is below list_min_interval",
        ),
    ],
)
def test_options_that_do_not_go_together_are_told_at_the_one_that_was_written(
    file: File, text: str, place: str
):
    assert file.fault(text).startswith(place)


def test_two_pairs_that_do_not_go_together_are_both_told(file: File):
    faults = file.faults("poll: {interval: 2s, fastest: 3s, slowest: 1s}")
    assert [fault.split(": ")[1] for fault in faults] == ["poll.fastest", "poll.slowest"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poll: {interval: 1:30}", "YAML reads 1:30 as 90; write"),
        ("poll: {interval: 010}", "YAML reads 010 as 8; write"),
        ("control: {group: 010}", "YAML reads 010 as 8; write"),
        ("poll: {interval: 0x10}", "YAML reads 0x10 as 16; write"),
        ("poll: {interval: .nan}", "YAML reads .nan as nan; write"),
        ("poll: {interval: on}", "not a duration; write a duration from 100ms to 1m (YAML reads on"),
        ("control: {group: no}", "not text; put it in quotes (YAML reads on"),
        ("control: {group: 1000}", "not text; put it in quotes"),
        ("poll: {interval: " + "9" * 5000 + "}", "a number of 5000 characters"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_looks_is_refused_and_said(file: File, text: str, said: str):
    assert said in file.fault(text)


def test_a_duplicate_key_is_refused_with_the_place_of_the_first(file: File):
    fault = file.fault("poll:\n  interval: 1s\nlog: {}\npoll:\n  interval: 2s\n")
    assert fault == "config.yaml:4:1: poll: duplicate key, first at line 1 column 1; keep one of them"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poll:\n\tinterval: 1s\n", "config.yaml:2:1: not YAML: found character that cannot start any token"),
        ("poll: [1\n", "not YAML"),
        ("a: *nowhere\n", "not YAML: found undefined alias"),
        ("- poll\n", "config.yaml:1:1: a list or a single value; write sections"),
        ("poll: !!python/object:os.system {}\n", "config.yaml:1:7: a YAML tag; no option needs one"),
        ("poll: {<<: {interval: 1s}}\n", "config.yaml:1:8: poll: a key that is no name"),
        ("? [a]\n: 1\n", "a key that is no name"),
        ("poll: 5\n", "config.yaml:1:7: poll: not a mapping; write options below it, accepted: interval,"),
        ("owners: {name: x}\n", "config.yaml:1:9: owners: not a list; write one item a line"),
        ("log: {level: 'a\x07'}\n", "config.yaml:1:16: control character '\\x07'; remove it"),
        ("a: 1\n---\nb: 2\n", "not YAML: but found another document"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_where_it_begins_to_be_none(
    file: File, text: str, said: str
):
    assert said in "\n".join(file.faults(text))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "a: " + "{b: " * 50_000,
        "- " * 100_000,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "\n".join(
            ["a0: &a0 [x, x, x, x]"]
            + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        ),
        "x: [" + "1, " * 100_000 + "]",
    ],
    ids=[
        "brackets",
        "braces",
        "dashes",
        "itself in a list",
        "itself in a mapping",
        "alias bomb",
        "long list",
    ],
)
def test_a_file_that_would_cost_much_is_one_fault_and_costs_little(file: File, text: str):
    assert ("nested deeper than" in (fault := file.fault(text))) or "more than 20000 keys" in fault


def test_a_file_as_deep_as_an_option_may_be_is_read():
    text = "".join(f"{' ' * n}a:\n" for n in range(MAX_DEPTH - 1))
    assert not parse(text, "x").faults


def test_a_large_file_is_not_read_to_its_end(file: File):
    assert f"larger than {MAX_BYTES} bytes" in file.fault("# " + "x" * MAX_BYTES)


def test_a_file_of_nothing_but_faults_is_told_of_by_its_first_hundred(file: File):
    faults = file.faults("".join(f"x{n}: 1\n" for n in range(300)))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == "and 200 faults more; mend these first"


def test_a_file_that_is_missing_a_folder_or_no_text_says_so(tmp_path: Path):
    (tmp_path / "latin1.yaml").write_bytes(b"log: {}\n# caf\xe9\n")
    for path, said in (
        (tmp_path / "none.yaml", "none.yaml: cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "latin1.yaml", "latin1.yaml:2:1: not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=said):
            load(path, {}, {})


@pytest.mark.parametrize(
    "entry",
    ["{match: {}, name: x}", "{match: , name: x}", "{match: {user: ~}, name: x}"],
)
def test_a_rule_that_would_match_everything_is_refused(file: File, entry: str):
    assert "owners[0].match: no condition, so it would match everything" in file.fault(f"owners: [{entry}]")


def test_a_rule_needs_a_name_and_a_match(file: File):
    missing, matchless = file.faults("owners:\n  - match: {user: a}\n  - name: x\n")
    assert missing == "config.yaml:2:5: owners[0].name: missing; it has no default, write it"
    assert matchless == "config.yaml:3:5: owners[1].match: missing; it has no default, write it"


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("0.0.0.0:9478", "'0.0.0.0' can be reached from other machines"),
        ("'[::]:9478'", "'::' can be reached from other machines"),
        ("192.0.2.7:80", "can be reached from other machines"),
        ("example.org:80", "'example.org' is not an IP address"),
        ("9478", "not an address with a port"),
        ("localhost:x", "not an address with a port"),
        ("localhost:70000", "port 70000 is out of range"),
        ("on", "not an address with a port"),
    ],
)
def test_an_address_that_others_can_reach_or_that_is_none_is_refused(file: File, listen: str, said: str):
    assert said in file.fault(f"http: {{listen: {listen}}}")


def test_two_sources_are_refused(file: File):
    assert "source: not exactly one source" in file.fault("source: {nvml: {}, simulated: {}}")
    assert "source: not exactly one source" in file.fault(
        "", {"VRAMWATCH_SOURCE__NVML": "{}", "VRAMWATCH_SOURCE__SIMULATED__SPEED": "2"}
    )


@pytest.mark.parametrize("value", ["5", "[]", "[nvml]", "{}"])
def test_a_source_that_is_no_choice_is_refused(file: File, value: str):
    assert "accepted: nvml, replay, simulated" in file.fault(f"source: {value}")


def test_options_of_a_source_are_checked_by_it_and_placed(file: File):
    fault = file.fault("source:\n  nvml:\n    deadline: 0\n")
    assert fault.startswith(
        "config.yaml:3:15: source.nvml.deadline: 0 is out of range; write a duration from 100ms to 1m"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration")


@given(st.text(max_size=200))
def test_no_text_at_all_brings_anything_but_values_or_faults(text: str):
    document = parse(text, "x")
    assert all(str(fault) for fault in document.faults)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=9),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from(["poll", "owners", "match", "name", "nvml", "x"]), below, max_size=3
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_section_is_a_configuration_or_faults_with_places(folder: Path, value: object):
    path = folder / "config.yaml"
    sections = {"poll": value, "owners": [value], "source": value, "http": {"listen": value}}
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    try:
        load(path, {}, {})
    except ConfigError as error:
        lines = str(error).splitlines()
        assert all(re.match(rf"{re.escape(str(path))}:\d+:\d+: [a-z]+", line) for line in lines)


# --- quantities ---------------------------------------------------------------------------------


@given(st.integers(0, 10**10))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int):
    assert round(parse_seconds(duration_text(milliseconds / 1000)) * 1000) == milliseconds


@given(st.integers(0, 2**50) | st.integers(0, 2**20).map(lambda n: n * GIB))
def test_a_size_reads_back_as_it_was_written(size: int):
    assert parse_bytes(size_text(size)) == size


# --- what is printed ----------------------------------------------------------------------------


def test_the_example_in_the_repository_is_the_one_that_the_program_prints():
    kept = Path(__file__).parents[2] / "config.example.yaml"
    assert kept.read_text() == example(), "run: vramwatch check --example > config.example.yaml"


def test_the_example_writes_bounds_out_as_a_person_would():
    assert "1 to 1048576." in example()
    assert "e+" not in example()


def test_the_example_loads_as_it_stands_and_gives_the_defaults(file: File):
    assert file.load(example()) == load(None, {}, {})


def test_the_owner_in_the_example_loads_when_its_comment_signs_are_taken_away(file: File):
    lines = example().splitlines()
    begin, end = lines.index("# owners:"), lines.index("owners: []")
    config = file.load("\n".join(line.removeprefix("# ") for line in lines[begin:end]))
    (rule,) = config.owner_rules()
    assert rule.match.keys() == CONDITIONS.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_the_example_shows_every_source_with_every_option(file: File, name: str):
    text = example().partition("\nsource:\n")[2].partition("\n\n")[0]
    shown = yaml.safe_load(
        "\n".join(line.removeprefix("  ").removeprefix("# ") for line in text.splitlines())
    )
    assert (shown[name] or {}).keys() == SOURCES[name].model_fields.keys()


def test_no_line_of_the_example_is_too_long_for_a_terminal():
    assert max(len(line) for line in example().splitlines()) <= 110


@pytest.mark.parametrize("plugin", SOURCES.values(), ids=SOURCES)
def test_every_source_is_frozen_strict_and_describes_its_options(plugin: type[BaseModel]):
    assert plugin.model_config.get("frozen")
    assert plugin.model_config.get("extra") == "forbid"
    assert all(field.description for field in plugin.model_fields.values())


def test_the_effective_configuration_loads_again_as_it_was(file: File):
    config = file.load(
        """
        source: {simulated: {seed: 3, speed: .inf, start: 2h}}
        poll: {interval: 1500ms}
        owners: [{match: {user: "010"}, name: "on", budget: 1.5GB}]
        control: {group: null}
        http: {listen: off}
        detection: {warn_horizon: 3d, detectors: {spike: off, staircase: {z: 6}}}
        """
    )
    assert file.load(effective(config)) == config


# --- detection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["", " ~", " {}", " on", " 'null'"])
def test_nothing_below_a_detector_means_its_defaults(file: File, written: str):
    config = file.load(f"detection:\n  detectors:\n    staircase:{written}\n")
    assert config.detection == load(None, {}, {}).detection
    assert config.detection.detectors.on().keys() == DETECTORS.keys()


@pytest.mark.parametrize("written", ["off", "no", "false", "'off'"])
def test_off_switches_a_detector_off_and_leaves_the_others_as_they_are(file: File, written: str):
    detectors = file.load(f"detection: {{detectors: {{staircase: {written}}}}}").detection.detectors
    assert detectors.off() == ("staircase",)
    assert detectors.on().keys() == DETECTORS.keys() - {"staircase"}


def test_a_detector_can_be_switched_off_in_the_environment_and_on_the_command_line(file: File):
    config = file.load(
        "detection: {detectors: {spike: {days: 3}}}",
        {"VRAMWATCH_DETECTION__DETECTORS__SPILLED": "off"},
        detection__detectors__spike="off",
    )
    assert config.detection.detectors.off() == ("spike", "spilled")


def test_options_of_a_detector_are_laid_over_its_defaults(file: File):
    detectors = file.load("detection: {detectors: {spike: {days: 3}}}").detection.detectors
    assert detectors.on()["spike"] == DETECTORS["spike"](days=3)
    assert detectors.off() == ()


def test_the_terms_of_detection_are_those_of_the_house_unless_written_otherwise(file: File):
    assert load(None, {}, {}).detection.terms() == Terms()
    terms = file.load("detection: {warn_horizon: 2d, clear_after: 3d, reopen_within: 1h}").detection.terms()
    assert (terms.warn_horizon, terms.clear_after, terms.reopen_within) == (2 * 86400, 3 * 86400, 3600)
    assert terms.clear_latest == 3 * 86400  # it is never over before clear_after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "detection: {detectors: {staircase: 5}}",
            "config.yaml:1:36: detection.detectors.staircase: neither options nor off; write its options "
            "below it, or off to switch it off",
        ),
        (
            "detection: {detectors: {spike: {dayz: 3}}}",
            "config.yaml:1:33: detection.detectors.spike.dayz: no such option; accepted: days, standing, "
            "steady, rare; did you mean days?",
        ),
        (
            "detection: {detectors: {staircase: {z: 99}}}",
            "config.yaml:1:40: detection.detectors.staircase.z: must be less than or equal to 20",
        ),
        (
            "detection: {critical_within: 8d}",
            "config.yaml:1:30: detection.critical_within: 8d is above warn_horizon; write at most 7d, or "
            "raise warn_horizon",
        ),
        (
            "detection: {warn_horizon: 1h}",
            "config.yaml:1:27: detection.warn_horizon: 1h is below critical_within; write at least 2h, or "
            "lower critical_within",
        ),
    ],
)
def test_a_fault_in_detection_is_shown_with_its_place_and_what_to_write(file: File, text: str, said: str):
    assert file.fault(text) == said


def test_a_detector_that_is_not_there_is_named_with_the_closest_that_is(file: File):
    said = file.fault("detection: {detectors: {spyke: off}}")
    assert said.startswith("config.yaml:1:25: detection.detectors.spyke: no such option; accepted: ")
    assert said.endswith("; did you mean spike?")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", "looks for growth with every detector;"),
        ("{spike: off, staircase: off}", "looks for growth with spike, staircase switched off;"),
        (f"{{{', '.join(f'{name}: off' for name in DETECTORS)}}}", "every detector is switched off;"),
    ],
)
def test_the_sentence_at_start_says_which_detectors_are_off(file: File, written: str, said: str):
    assert said in sentence(file.load(f"detection: {{detectors: {written}}}"))
    recording = sentence(
        file.load(f"source: {{replay: {{files: [/x.csv]}}}}\ndetection: {{detectors: {written}}}")
    )
    assert said in recording


# --- secrets, and the sentence at start -----------------------------------------------------------


class Guarded(BaseModel):
    """A source that needs a secret, as a source over the network would."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    token: SecretStr

    def open(self, newest: Instant | None) -> Feed:
        raise NotImplementedError


def test_a_secret_is_in_nothing_that_is_printed():
    config = Config(source=Guarded(token=SecretStr("hunter2")))
    assert "token: '**********'" in effective(config)
    assert "hunter2" not in effective(config) + sentence(config) + repr(config)


def test_one_sentence_says_what_is_watched_told_and_touched(file: File):
    config = file.load("source: simulated\npoll: {interval: 2s}\nstore: {path: /d/x.db}\nhttp: {listen: off}")
    said = sentence(config)
    assert said.count("\n") == 0
    for part in ("source simulated every 2s", "tells incidents to nobody", "touches no process"):
        assert part in said
    assert "the store /d/x.db" in said


@pytest.mark.parametrize(
    ("alerting", "told"),
    [
        ("{}", "tells incidents to hook, ops, after a new service has observed for 7d"),
        ("{mode: tell}", "tells incidents to hook, ops; "),
    ],
)
def test_the_sentence_names_the_channels_and_whether_a_new_service_observes(
    file: File, alerting: str, told: str
):
    webhook = "{webhook: {url: 'http://127.0.0.1:9/hush'}}"
    config = file.load(
        f"source: simulated\nalerting: {alerting}\nchannels: {{hook: {webhook}, ops: {webhook}}}"
    )
    assert told in sentence(config)
    assert "hush" not in sentence(config)


# --- where things are ---------------------------------------------------------------------------


def test_the_first_file_that_there_is_counts(tmp_path: Path):
    system, user = tmp_path / "etc", tmp_path / "home"
    environment = {"CONFIGURATION_DIRECTORY": str(system), "XDG_CONFIG_HOME": str(user)}
    assert find(None, environment) is None
    (user / "vramwatch").mkdir(parents=True)
    (user / "vramwatch" / "config.yaml").touch()
    assert find(None, environment) == user / "vramwatch" / "config.yaml"
    system.mkdir()
    (system / "config.yaml").touch()
    assert find(None, environment) == system / "config.yaml"
    named = environment | {"VRAMWATCH_CONFIG": "/named.yaml"}
    assert find(None, named) == Path("/named.yaml")
    assert find(Path("given.yaml"), named) == Path("given.yaml")


@pytest.mark.parametrize(
    ("environment", "uid", "place"),
    [
        ({"RUNTIME_DIRECTORY": "/run/vramwatch:/run/other"}, 990, "/run/vramwatch/control.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/vramwatch/control.sock"),
        ({"XDG_RUNTIME_DIR": "/tmp/r"}, 1000, "/tmp/r/vramwatch/control.sock"),
        ({}, 1000, "/run/user/1000/vramwatch/control.sock"),
    ],
)
def test_the_control_socket_lies_where_the_system_keeps_such_things(
    environment: dict[str, str], uid: int, place: str
):
    assert load(None, {}, {}).control.place(environment, uid) == Path(place)


def test_a_control_socket_that_is_configured_lies_there(file: File):
    config = file.load("control: {socket: /srv/c.sock}")
    assert config.control.place({"RUNTIME_DIRECTORY": "/run/vramwatch"}, 0) == Path("/srv/c.sock")


# --- who may read over HTTP -----------------------------------------------------------------------


def test_an_address_that_others_can_reach_is_taken_with_a_token(file: File, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("s3same\n")
    token.chmod(0o640)
    config = file.load(f"http: {{listen: '0.0.0.0:9478', token_file: {token}}}")
    assert config.http.token_file is not None
    assert config.http.token_file.reveal() == "s3same"
    assert "to whoever has its token" in sentence(config)
    assert "s3same" not in effective(config)


def test_a_token_that_every_user_can_read_is_refused_with_what_to_do(file: File, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("s3same")
    token.chmod(0o644)
    said = file.fault(f"http: {{token_file: {token}}}")
    assert "can be read by every user" in said
    assert "chmod o-r token" in said
    assert "s3same" not in said


def test_a_token_file_that_is_not_there_is_named(file: File):
    assert "/no/such/token cannot be read" in file.fault("http: {token_file: /no/such/token}")


def test_the_sections_that_are_read_in_a_moment_are_those_of_the_whole(tmp_path):
    for name, field in Basics.model_fields.items():
        whole = Config.model_fields[name]
        assert (field.annotation, field.default) == (whole.annotation, whole.default)
    file = tmp_path / "config.yaml"
    file.write_text("store: {path: /srv/history.db}\nhost: {name: gpu7}\n")
    few, whole = load_basics(file, {}), load(file, {}, {})
    assert few is not None
    assert (few.store, few.host, few.control) == (whole.store, whole.host, whole.control)
    assert few.source_name == whole.source_name


@pytest.mark.parametrize(
    "text",
    ["detection: {clear_after: 2h}", "source: replay", "store: {path: relative.db}", "store: {", "a: b"],
)
def test_more_than_those_and_every_fault_is_left_to_the_whole(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text + "\n")
    assert load_basics(file, {}) is None
