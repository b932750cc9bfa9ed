"""What a process says of itself: its command line or title, and what we may know of its environment.

Formats: proc_pid_cmdline(5), proc_pid_environ(5).
"""

from collections.abc import Mapping

from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.redaction import COMMAND_LIMIT, bounded, redact_command, redact_text
from vramwatch.procfs.texts import cut, printable

ALLOWED_VARIABLES = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",  # which GPUs it was given, by CUDA
        "NVIDIA_VISIBLE_DEVICES",  # and by the container toolkit
        "CUDA_MPS_PIPE_DIRECTORY",  # which MPS server it is a client of
        "SLURM_JOB_ID",  # a job where Slurm keeps no control groups
        "SLURM_JOB_NAME",  # the job's name stands in no file
        "SLURM_JOB_USER",
        "SLURM_STEP_ID",
        "RANK",  # which rank of a distributed run, where no title tells (torchrun)
        "LOCAL_RANK",
        "VLLM_PROCESS_NAME_PREFIX",  # what vLLM's titles begin with
        "APHRODITE_PROCESS_NAME_PREFIX",  # and those of its fork
        "HOSTNAME",  # the container's host name, in a pod the pod's name
        "POD_NAME",  # the customary names of the downward API
        "POD_NAMESPACE",
        "OLLAMA_MODELS",  # where Ollama's blobs and manifests lie
        "OLLAMA_HOST",  # the address that Ollama answers on
        "NIM_MODEL_NAME",  # which model a NIM container serves
        "NIM_SERVED_MODEL_NAME",
        "PYTORCH_CUDA_ALLOC_CONF",  # that torch runs in it at all, and how its allocator is set
        "PYTORCH_ALLOC_CONF",
        "TORCHELASTIC_RUN_ID",
        "MODEL_ID",  # TGI's --model-id as a variable
        "LLAMA_ARG_MODEL",  # llama.cpp's --model and --hf-repo as variables
        "LLAMA_ARG_HF_REPO",
    }
)
"""The only variables that are ever kept: an environment is where secrets live."""

_COMMAND_READ = 4096
"""Bytes of a command line that are read: twice what is kept, for what redaction shortens."""
_ARGV_LIMIT = 2048
"""Bytes of the arguments that are kept: servers are recognised by options far behind the model's path."""
_ENVIRONMENT_READ = 1 << 17  # MAX_ARG_STRLEN of Linux; Kubernetes adds seven variables a service
_VALUE_LIMIT = 256
_VALUE_LOOKED_AT = 4096
"""Bytes of the longest value of which anything is kept: redaction takes a time that grows with their square,
and half a value may hold half a secret."""


def read_command(root: str, pid: int, redacts: bool = True) -> tuple[tuple[str, ...], str]:
    """Return argv and title of ``pid``, of at most 2 KiB and 256 bytes; empty where unknown.

    With ``redacts`` False what looks like a secret stands in both as the process wrote it.
    """
    return parse_command(read_bounded(f"{root}/{pid}/cmdline", _COMMAND_READ) or b"", redacts)


def parse_command(raw: bytes, redacts: bool = True) -> tuple[tuple[str, ...], str]:
    """Return argv and title from the bytes of /proc/PID/cmdline.

    setproctitle(3) overwrites the arguments with one string and fills the rest with NUL, so a single
    string is a title; it stands in argv as well, and the arguments that were there are lost.
    """
    was_cut = len(raw) >= _COMMAND_READ
    arguments = [printable(argument) for argument in raw.rstrip(b"\0").split(b"\0")]
    if was_cut and len(arguments) > 1:
        arguments.pop()  # half a secret could not be told from a name
    if arguments == [""]:
        return (), ""
    if len(arguments) == 1:
        title = cut(redact_text(arguments[0]) if redacts else arguments[0], COMMAND_LIMIT)
        return (title,), title
    argv = redact_command(arguments, _ARGV_LIMIT) if redacts else bounded(arguments, _ARGV_LIMIT)
    return argv, cut(" ".join(argv), COMMAND_LIMIT)


def read_environment(root: str, pid: int) -> Mapping[str, str]:
    """Return the allowed variables of ``pid``; empty where we may not read them, which is usual.

    Another user's environment takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to read.
    """
    return parse_environment(read_bounded(f"{root}/{pid}/environ", _ENVIRONMENT_READ) or b"")


def parse_environment(raw: bytes) -> Mapping[str, str]:
    """Return the allowed variables among the bytes of /proc/PID/environ, redacted and bounded."""
    variables: dict[str, str] = {}
    for entry in raw.split(b"\0"):
        raw_name, separator, value = entry.partition(b"=")
        name = raw_name.decode("ascii", "replace")
        is_wanted = name in ALLOWED_VARIABLES and name not in variables
        if separator and is_wanted and len(value) <= _VALUE_LOOKED_AT:
            variables[name] = cut(redact_text(printable(value)), _VALUE_LIMIT)
    return variables
