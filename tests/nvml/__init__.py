"""A libnvidia-ml.so.1 for tests: the unmodified pynvml runs over it, and a FakeDriver changes it live."""
