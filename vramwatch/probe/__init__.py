"""Experiments with real models: PyTorch and transformers, in processes of their own.

What imports torch runs in a child: child, running, models, serving, tensors, meters, remains, here, dry_run
and meta. The rest is asked by the verbs and imports nothing beyond the standard library and the house.
"""
