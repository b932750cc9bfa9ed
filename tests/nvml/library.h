/* The inside of the test libnvidia-ml.so.1.
 *
 * Names, values and struct layouts of the interface are those of pynvml.py (nvidia-ml-py 13.615.71), which
 * follows nvml.h; each is cited where it is declared. The state behind it is shared with
 * FakeDriver (driver.py) and declared in state.py.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "state.h"

#define API __attribute__((visibility("default")))

/* pynvml.py: NVML_SUCCESS, NVML_ERROR_* */
typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_INSUFFICIENT_RESOURCES = 23,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
} nvmlReturn_t;

typedef void *nvmlDevice_t; /* pynvml.py: c_nvmlDevice_t, an opaque pointer */

/* A struct's version field: its size and its number (pynvml.py: nvmlMemory_v2 = 0x02000028). */
#define STRUCT_VERSION(type, number) ((uint32_t)(sizeof(type) | ((number) << 24)))

/* What a call works on: a copy of the GPU at one instant, and the MIG instance on it, if the handle is one. */
struct device {
    unsigned slot;
    struct gpu gpu;
    const struct instance *instance; /* into gpu.instances; NULL: the GPU itself */
};

/* state.c: the shared memory, and what this process has of it */
struct state *shared(void); /* NULL: no FakeDriver to be found, or of another layout */
void read_gpu(unsigned slot, struct gpu *copy);
void read_text(const char *field, char *copy, size_t size);
nvmlReturn_t give_text(const char *text, char *buffer, unsigned length);

/* gate.c: every call comes in here; what returns other than NVML_SUCCESS is the call's answer */
nvmlReturn_t enter(enum function function);                     /* on no device, library initialised */
nvmlReturn_t enter_anyhow(enum function function);              /* the same, initialised or not */
nvmlReturn_t enter_slot(enum function function, unsigned slot); /* about to hand out a GPU's handle */
nvmlReturn_t enter_device(enum function function, nvmlDevice_t handle, struct device *device);
nvmlReturn_t enter_gpu(enum function function, nvmlDevice_t handle, struct device *device); /* no MIG instance */
unsigned gpu_place(unsigned slot);
unsigned instance_place(unsigned slot, unsigned index);
_Noreturn void crash(void);

/* system.c */
nvmlReturn_t standing(void); /* whether this process may call the driver at all */

/* handles.c: a handle is a number that tells what it stood for when it was given */
nvmlDevice_t gpu_handle(unsigned slot, const struct gpu *gpu);
nvmlDevice_t instance_handle(unsigned slot, unsigned index, const struct instance *instance);
nvmlReturn_t resolve(nvmlDevice_t handle, struct device *device);
unsigned handle_place(nvmlDevice_t handle);
