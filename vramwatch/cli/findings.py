"""What doctor finds: a subject, how grave it is, what was seen, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    grade: Grade
    text: str
    remedy: str = ""
