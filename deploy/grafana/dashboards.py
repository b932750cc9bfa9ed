"""Writes the dashboards of this folder: python deploy/grafana/dashboards.py

A dashboard is rows of panels; a panel is a question in PromQL, the unit of its answer and how it is shown.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
"""Columns of Grafana's grid."""

BYTES, SHARE, SECONDS, RATE, COUNT = "bytes", "percentunit", "s", "binBps", "short"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """``queries``: legend -> PromQL; a legend in braces takes labels. ``kind``: timeseries, stat or table."""

    title: str
    queries: Mapping[str, str]
    unit: str = COUNT
    kind: str = "timeseries"
    stacked: bool = False
    columns: Sequence[str] = ()  # labels that a table shows, in their order
    help: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    metric: str
    label: str
    many: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    name: str
    title: str
    variables: Sequence[Variable]
    rows: Sequence[tuple[int, Sequence[Panel]]]  # height of the row in grid units, its panels

    def as_json(self) -> Json:
        return {
            "uid": f"vramwatch-{self.name}",
            "title": f"vramwatch / {self.title}",
            "tags": ["vramwatch", "gpu"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "time": {"from": "now-6h", "to": "now"},
            "refresh": "30s",
            "templating": {"list": [_datasource(), *map(_variable, self.variables)]},
            "links": [_links()],
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        top, id = 0, 1
        for height, panels in self.rows:
            width = WIDTH // len(panels)
            for place, panel in enumerate(panels):
                grid = {"x": place * width, "y": top, "w": width, "h": height}
                yield {"id": id, "gridPos": grid, **_panel(panel)}
                id += 1
            top += height


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _links() -> Json:
    """The other dashboards, with what was chosen here."""
    return {
        "type": "dashboards",
        "title": "vramwatch",
        "tags": ["vramwatch"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
    }


def _variable(each: Variable) -> Json:
    query = f"label_values({each.metric}, {each.label})"
    everything = {"includeAll": True, "multi": True, "allValue": ".*"} if each.many else {}
    return {
        "name": each.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": each.name},
        "refresh": 2,
        "sort": 1,
        **everything,
    }


def _panel(panel: Panel) -> Json:
    is_table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            **({"instant": True, "format": "table"} if is_table else {}),
            **({"instant": True} if panel.kind == "stat" else {}),
        }
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "title": panel.title,
        "description": panel.help,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, **_style(panel)}, "overrides": []},
        **({"transformations": [_columns(panel)]} if is_table else {}),
    }


def _style(panel: Panel) -> Json:
    if panel.kind == "table":
        there = "/d/vramwatch-incident?var-incident=${__data.fields.incident}&${datasource:queryparam}"
        return {"links": [{"title": "this incident", "url": there}]} if "incident" in panel.columns else {}
    if panel.kind == "stat":
        return {}
    stacking = {"mode": "normal"} if panel.stacked else {"mode": "none"}
    return {"custom": {"stacking": stacking, "fillOpacity": 30 if panel.stacked else 0, "spanNulls": False}}


def _columns(panel: Panel) -> Json:
    order = [*panel.columns, "Value"]
    return {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, "__name__": True, "job": True},
            "indexByName": {name: place for place, name in enumerate(order)},
            "renameByName": {"Value": panel.title},
        },
    }


INSTANCES = Variable("instance", "vramwatch_up", "instance")
HERE = 'instance=~"$instance"'
INCIDENT_COLUMNS = (
    *("instance", "gpu", "owner", "subject", "severity", "state", "cause", "pattern", "incident", "uuid"),
)
WHO = "{{instance}} GPU {{gpu}} {{owner}}"
RESULTS, FREED = "vramwatch_remedy_results_total", "vramwatch_remedy_freed_bytes_total"
WITHHELD = "vramwatch_remedy_withheld_total"
ERRORS, OWNED = "vramwatch_nvml_errors_total", "vramwatch_owner_memory_used_bytes"
GHOST, UNATTRIBUTED = "vramwatch_gpu_memory_ghost_bytes", "vramwatch_gpu_memory_unattributed_bytes"


def _incidents(selector: str) -> Panel:
    return Panel(
        "Open incidents",
        {"incident": f"vramwatch_incident{{{selector}}}"},
        kind="table",
        columns=INCIDENT_COLUMNS,
        help="On the server: vramwatch why INCIDENT",
    )


def _time_left(selector: str) -> Panel:
    bounds = {"early": "_low", "median": "", "late": "_high"}
    return Panel(
        "Until memory runs out",
        {f"{WHO} {word}": f"vramwatch_exhaustion{end}_seconds{{{selector}}}" for word, end in bounds.items()},
        SECONDS,
        help="With the interval that holds it at 80 %. No line: no forecast can be made.",
    )


def _growth(selector: str) -> Panel:
    bounds = {"least": "_low", "median": "", "most": "_high"}
    return Panel(
        "Growth",
        {
            f"{WHO} {word}": f"vramwatch_growth{end}_bytes_per_second{{{selector}}}"
            for word, end in bounds.items()
        },
        RATE,
        help="Of open incidents, with the interval that holds it at 80 %.",
    )


FLEET = Dashboard(
    "fleet",
    "fleet",
    (INSTANCES,),
    (
        (
            4,
            (
                Panel("Servers that see", {"": "sum(vramwatch_up)"}, kind="stat"),
                Panel("Blind", {"": "count(vramwatch_up) - sum(vramwatch_up)"}, kind="stat"),
                Panel(
                    "Critical",
                    {"": 'count(vramwatch_incident{state="firing",severity="critical"}) or vector(0)'},
                    kind="stat",
                ),
                Panel(
                    "Warnings",
                    {"": 'count(vramwatch_incident{state="firing",severity="warning"}) or vector(0)'},
                    kind="stat",
                ),
                Panel(
                    "Memory in use",
                    {"": "sum(vramwatch_gpu_memory_used_bytes) / sum(vramwatch_gpu_memory_total_bytes)"},
                    SHARE,
                    kind="stat",
                ),
                Panel("Held by ghosts", {"": "sum(vramwatch_gpu_memory_ghost_bytes)"}, BYTES, kind="stat"),
            ),
        ),
        (9, (_incidents(HERE),)),
        (
            9,
            (
                Panel(
                    "Fullest GPU of each server",
                    {
                        "{{instance}}": "max by (instance) "
                        f"((vramwatch_gpu_memory_used_bytes{{{HERE}}}"
                        f" + vramwatch_gpu_memory_reserved_bytes{{{HERE}}})"
                        f" / vramwatch_gpu_memory_total_bytes{{{HERE}}})"
                    },
                    SHARE,
                ),
                Panel(
                    "Largest owners",
                    {"{{owner}}": f"topk(10, sum by (owner) (vramwatch_owner_memory_used_bytes{{{HERE}}}))"},
                    BYTES,
                ),
            ),
        ),
        (
            9,
            (
                _time_left(HERE),
                Panel(
                    "Held by ghosts, or by nobody who is known",
                    {
                        "{{instance}} ghosts": f"sum by (instance) ({GHOST}{{{HERE}}})",
                        "{{instance}} unattributed": f"sum by (instance) ({UNATTRIBUTED}{{{HERE}}})",
                    },
                    BYTES,
                ),
            ),
        ),
    ),
)

ONE = 'instance="$instance"'
HOST = Dashboard(
    "host",
    "host",
    (Variable("instance", "vramwatch_up", "instance", many=False),),
    (
        (
            9,
            (
                Panel(
                    "Memory by owner",
                    {
                        "GPU {{gpu}} {{owner}}": f"sum by (gpu, owner) ({OWNED}{{{ONE}}})",
                        "GPU {{gpu}} unattributed": f"vramwatch_gpu_memory_unattributed_bytes{{{ONE}}}",
                        "GPU {{gpu}} reserved": f"vramwatch_gpu_memory_reserved_bytes{{{ONE}}}",
                    },
                    BYTES,
                    stacked=True,
                ),
                Panel("Free", {"GPU {{gpu}}": f"vramwatch_gpu_memory_free_bytes{{{ONE}}}"}, BYTES),
            ),
        ),
        (8, (_incidents(ONE),)),
        (
            8,
            (
                Panel("Utilisation", {"GPU {{gpu}}": f"vramwatch_gpu_utilization_ratio{{{ONE}}}"}, SHARE),
                Panel(
                    "Temperature", {"GPU {{gpu}}": f"vramwatch_gpu_temperature_celsius{{{ONE}}}"}, "celsius"
                ),
                Panel("Power", {"GPU {{gpu}}": f"vramwatch_gpu_power_watts{{{ONE}}}"}, "watt"),
            ),
        ),
        (
            8,
            (
                Panel(
                    "What remedies came to", {"{{remedy}} {{result}}": f"increase({RESULTS}{{{ONE}}}[1h])"}
                ),
                Panel("Freed by remedies", {"{{remedy}}": f"increase({FREED}{{{ONE}}}[1h])"}, BYTES),
                Panel("Remedies withheld", {"{{hindrance}}": f"increase({WITHHELD}{{{ONE}}}[1h])"}),
            ),
        ),
        (
            8,
            (
                Panel(
                    "Polls that read, share",
                    {
                        "": f"rate(vramwatch_read_polls_total{{{ONE}}}[$__rate_interval])"
                        f" / rate(vramwatch_polls_total{{{ONE}}}[$__rate_interval])"
                    },
                    SHARE,
                ),
                Panel("Not to be read", {"GPU {{gpu}} {{reason}}": f"vramwatch_gpu_unreadable{{{ONE}}}"}),
                Panel(
                    "Errors of the driver",
                    {"{{function}} {{code}}": f"increase({ERRORS}{{{ONE}}}[$__rate_interval])"},
                ),
                Panel("Time inside the driver", {"": f"vramwatch_driver_time_ratio{{{ONE}}}"}, SHARE),
            ),
        ),
        (
            8,
            (
                Panel(
                    "vramwatch's own memory",
                    {"": f'process_resident_memory_bytes{{job="vramwatch",{ONE}}}'},
                    BYTES,
                ),
                Panel(
                    "vramwatch's own CPU",
                    {"": f'rate(process_cpu_seconds_total{{job="vramwatch",{ONE}}}[$__rate_interval])'},
                    SHARE,
                ),
                Panel(
                    "How late polls begin, and how often they come",
                    {
                        "late": f"vramwatch_poll_lag_seconds{{{ONE}}}",
                        "every": f"vramwatch_poll_interval_seconds{{{ONE}}}",
                    },
                    SECONDS,
                ),
                Panel("Messages that wait", {"{{channel}}": f"vramwatch_outbox_messages{{{ONE}}}"}),
            ),
        ),
    ),
)

THEIRS = f'owner="$owner",{HERE}'
WHERE = "{{instance}} GPU {{gpu}} {{pod}}"
OWNER = Dashboard(
    "owner",
    "owner",
    (
        INSTANCES,
        Variable("owner", f"{OWNED}{{{HERE}}}", "owner", many=False),
    ),
    (
        (
            9,
            (
                Panel(
                    "Memory", {WHERE: f"vramwatch_owner_memory_used_bytes{{{THEIRS}}}"}, BYTES, stacked=True
                ),
                Panel("Processes", {WHERE: f"vramwatch_owner_processes{{{THEIRS}}}"}),
            ),
        ),
        (
            9,
            (
                Panel(
                    "Layers",
                    {
                        f"{WHERE} {word}": f"vramwatch_owner_{quantity}{{{THEIRS}}}"
                        for word, quantity in (
                            ("driver", "memory_used_bytes"),
                            ("reserved by PyTorch", "torch_reserved_bytes"),
                            ("tensors", "torch_allocated_bytes"),
                            ("KV cache", "engine_kv_bytes"),
                            ("KV cache of requests that are over", "kv_retained_bytes"),
                        )
                    },
                    BYTES,
                    help="Driver - reserved: outside PyTorch. Reserved - tensors: cached, or fragmentation.",
                ),
                Panel(
                    "Requests",
                    {
                        f"{WHERE} running": f"vramwatch_owner_requests_running{{{THEIRS}}}",
                        f"{WHERE} waiting": f"vramwatch_owner_requests_waiting{{{THEIRS}}}",
                    },
                ),
            ),
        ),
        (9, (_growth(THEIRS), _time_left(THEIRS))),
        (8, (_incidents(THEIRS),)),
    ),
)

THIS = 'incident="$incident"'
ABOUT = f"group_left (incident) max by (instance, uuid, owner, incident) (vramwatch_incident{{{THIS}}})"
THERE = f"group_left (incident) max by (instance, uuid, incident) (vramwatch_incident{{{THIS}}})"
INCIDENT = Dashboard(
    "incident",
    "incident",
    (Variable("incident", "vramwatch_incident", "incident", many=False),),
    (
        (6, (_incidents(THIS),)),
        (9, (_growth(THIS), _time_left(THIS))),
        (
            9,
            (
                Panel(
                    "Whom it is about",
                    {WHERE: f"vramwatch_owner_memory_used_bytes * on (instance, uuid, owner) {ABOUT}"},
                    BYTES,
                    stacked=True,
                ),
                Panel(
                    "Its GPU",
                    {
                        word: f"vramwatch_gpu_memory_{word}_bytes * on (instance, uuid) {THERE}"
                        for word in ("used", "free", "reserved", "unattributed", "ghost")
                    },
                    BYTES,
                ),
            ),
        ),
    ),
)

DASHBOARDS = (FLEET, HOST, OWNER, INCIDENT)


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.as_json(), indent=1) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"{each.name}.json").write_text(text_of(each), encoding="utf-8")
