"""A GPU's allocator as the SDK's protocol has it, and nothing else: figures that clearing moves."""

from vramwatch.sdk import Device

MIB = 2**20
UUID = "GPU-aaaaaaaa-0000-0000-0000-000000000000"


class Allocator:
    """``allocated`` is what tensors hold; what they leave lies in ``reserved`` until it is emptied."""

    def __init__(self, allocated=0, reserved=0):
        self.allocated, self.reserved = allocated, max(allocated, reserved)
        self.capturing = False
        self.emptied = 0

    def devices(self):
        return (Device(UUID, allocated=self.allocated, reserved=self.reserved),)

    def uuid_of(self, device):
        return UUID if device == "cuda:0" else None

    def is_capturing(self):
        return self.capturing

    def is_grad_enabled(self):
        return False

    def empty_cache(self):
        self.emptied += 1
        self.reserved = self.allocated

    def free(self, size):
        self.allocated -= size
