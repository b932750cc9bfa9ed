"""Experiments with real models: PyTorch and transformers, in processes of their own."""
