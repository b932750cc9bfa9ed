"""Who takes part in the Multi-Process Service. Pure.

The kernel keeps 15 characters of a name, which the server and its control daemon share
("nvidia-cuda-mps"), so it is the command that tells them apart.
Source: NVIDIA Multi-Process Service documentation, Appendix: Tools and Interface Reference.
"""

from vramwatch.core.model import ProcessFacts

_SERVER = "nvidia-cuda-mps-server"
_CONTROL = "nvidia-cuda-mps-control"


def is_mps_server(facts: ProcessFacts) -> bool:
    """Whether the process holds memory on behalf of the clients of an MPS server: it is that server."""
    return _program(facts) == _SERVER


def is_mps_client(facts: ProcessFacts) -> bool:
    """Whether the process was told where its MPS server is.

    A client of the default server need not be told, and of another user's environment nothing may be
    known, so False is no proof; the driver's own list of MPS clients is.
    """
    return "CUDA_MPS_PIPE_DIRECTORY" in facts.environment and _program(facts) not in (_SERVER, _CONTROL)


def _program(facts: ProcessFacts) -> str:
    return facts.argv[0].rpartition("/")[2] if facts.argv else ""
