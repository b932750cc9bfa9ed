"""Facts about a pid: identity, control group, container, pod, unit, job; and who holds the devices."""

from typing import TYPE_CHECKING

from vramwatch.lazy import lazily

if TYPE_CHECKING:
    from vramwatch.procfs.dmem import GroupMemories, GroupMemory, counts_gpu_memory, read_group_memory
    from vramwatch.procfs.holders import Holder, Holders, find_holders
    from vramwatch.procfs.identify import IdentifySocket
    from vramwatch.procfs.mps import is_mps_client, is_mps_server
    from vramwatch.procfs.table import ProcessTable
else:
    __getattr__ = lazily(
        __name__,
        {
            "dmem": ("GroupMemories", "GroupMemory", "counts_gpu_memory", "read_group_memory"),
            "holders": ("Holder", "Holders", "find_holders"),
            "identify": ("IdentifySocket",),
            "mps": ("is_mps_client", "is_mps_server"),
            "table": ("ProcessTable",),
        },
    )

__all__ = [
    "GroupMemories",
    "GroupMemory",
    "Holder",
    "Holders",
    "IdentifySocket",
    "ProcessTable",
    "counts_gpu_memory",
    "find_holders",
    "is_mps_client",
    "is_mps_server",
    "read_group_memory",
]
