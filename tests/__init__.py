"""The tests; a package, so that they can share the test driver in tests/nvml."""
