"""Facts about a pid: identity, control group, container, pod, unit, job; and who holds the devices."""

from vramwatch.procfs.dmem import GroupMemories, GroupMemory, counts_gpu_memory, read_group_memory
from vramwatch.procfs.holders import Holder, Holders, find_holders
from vramwatch.procfs.identify import IdentifySocket
from vramwatch.procfs.mps import is_mps_client, is_mps_server
from vramwatch.procfs.table import ProcessTable

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
