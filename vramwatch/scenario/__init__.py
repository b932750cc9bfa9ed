"""The simulated server: processes and their memory as pure functions of a seed and a time."""
