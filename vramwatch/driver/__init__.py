"""Reading real GPUs: a child process that alone maps the driver's library, and its keeper.

In the child: child, reader, inventory, devices, memory, lists, calls. In the parent: keeper, process,
lifecycle, roster, answers. Both: wire, which imports the standard library alone, as the child stays small.
"""
