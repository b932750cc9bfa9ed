/* Memory of a GPU or a MIG instance. */
#include "library.h"

/* pynvml.py: c_nvmlMemory_t; `used` includes what the driver reserves (nvml.h) */
typedef struct {
    uint64_t total, free, used;
} nvmlMemory_t;

/* pynvml.py: c_nvmlMemory_v2_t */
typedef struct {
    uint32_t version;
    uint64_t total, reserved, free, used;
} nvmlMemory_v2_t;

static nvmlMemory_v2_t figures(const struct device *device)
{
    const struct gpu *gpu = &device->gpu;
    const struct instance *instance = device->instance;
    nvmlMemory_v2_t memory = {
        .version = STRUCT_VERSION(nvmlMemory_v2_t, 2),
        .total = instance ? instance->total : gpu->total,
        .reserved = instance ? instance->reserved : gpu->reserved,
        .used = instance ? instance->used : gpu->used,
    };
    uint64_t taken = memory.used + memory.reserved;
    memory.free = memory.total > taken ? memory.total - taken : 0;
    return memory;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetMemoryInfo, handle, &device);
    if (code)
        return code;
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    nvmlMemory_v2_t now = figures(&device);
    *memory = (nvmlMemory_t){.total = now.total, .free = now.free, .used = now.used + now.reserved};
    return NVML_SUCCESS;
}

#if BRANCH >= 510
API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetMemoryInfo_v2, handle, &device);
    if (code)
        return code;
    if (!memory)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != STRUCT_VERSION(nvmlMemory_v2_t, 2))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    *memory = figures(&device);
    return NVML_SUCCESS;
}
#endif
