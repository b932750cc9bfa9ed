/* Handles: how devices are found, and what becomes of a handle whose device has gone. */
#include <string.h>
#include <strings.h>

#include "library.h"

/* From the top: a mark (an address that is never mapped, so following it is a crash, as with the real one),
 * the driver's generation, the device's, the slot, and the MIG instance's index + 1. */
#define MARK 0x4e56UL
#define FIELD(handle, shift, bits) ((unsigned)((uintptr_t)(handle) >> (shift) & ((1UL << (bits)) - 1)))
#define SLOT(handle) FIELD(handle, 8, 8)
#define INDEX_PLUS_ONE(handle) FIELD(handle, 0, 8)
#define GENERATION_BITS 0xffffUL

static nvmlDevice_t make_handle(unsigned slot, unsigned index_plus_one, uint32_t generation)
{
    uintptr_t driver = __atomic_load_n(&shared()->scene.generation, __ATOMIC_ACQUIRE) & GENERATION_BITS;
    return (nvmlDevice_t)(MARK << 48 | driver << 32 | (generation & GENERATION_BITS) << 16 | (uintptr_t)slot << 8 |
                          index_plus_one);
}

nvmlDevice_t gpu_handle(unsigned slot, const struct gpu *gpu)
{
    return make_handle(slot, 0, gpu->generation);
}

nvmlDevice_t instance_handle(unsigned slot, unsigned index, const struct instance *instance)
{
    return make_handle(slot, index + 1, instance->generation);
}

static bool is_handle(nvmlDevice_t handle)
{
    return FIELD(handle, 48, 16) == MARK && SLOT(handle) < GPUS && INDEX_PLUS_ONE(handle) <= INSTANCES;
}

unsigned handle_place(nvmlDevice_t handle)
{
    if (!is_handle(handle))
        return 0;
    unsigned index = INDEX_PLUS_ONE(handle);
    return index ? instance_place(SLOT(handle), index - 1) : gpu_place(SLOT(handle));
}

static nvmlReturn_t refuse(nvmlReturn_t code)
{
    if (__atomic_load_n(&shared()->scene.bad_handles_crash, __ATOMIC_RELAXED))
        crash();
    return code;
}

nvmlReturn_t resolve(nvmlDevice_t handle, struct device *device)
{
    if (!is_handle(handle))
        return refuse(NVML_ERROR_INVALID_ARGUMENT);
    device->slot = SLOT(handle);
    device->instance = NULL;
    read_gpu(device->slot, &device->gpu);
    unsigned index = INDEX_PLUS_ONE(handle);
    if (!index)
        return handle == gpu_handle(device->slot, &device->gpu) ? NVML_SUCCESS : refuse(NVML_ERROR_GPU_IS_LOST);
    device->instance = &device->gpu.instances[index - 1];
    bool alive = device->gpu.present && device->gpu.mig == 1 && device->instance->present;
    bool same = handle == instance_handle(device->slot, index - 1, device->instance);
    return alive && same ? NVML_SUCCESS : refuse(NVML_ERROR_INVALID_ARGUMENT);
}

/* Calls `matches` on the GPUs that are plugged in, in index order; answers with the first that does. */
static bool find_gpu(bool (*matches)(const struct gpu *, unsigned index, const void *wanted), const void *wanted,
                     unsigned *slot, struct gpu *gpu)
{
    unsigned index = 0;
    for (*slot = 0; *slot < GPUS; (*slot)++) {
        read_gpu(*slot, gpu);
        if (!gpu->present)
            continue;
        if (matches(gpu, index, wanted))
            return true;
        index++;
    }
    return false;
}

static nvmlReturn_t give_handle(enum function function, bool found, unsigned slot, const struct gpu *gpu,
                                nvmlReturn_t missing, nvmlDevice_t *device)
{
    nvmlReturn_t code = found ? enter_slot(function, slot) : enter(function);
    if (code)
        return code;
    if (!found)
        return missing;
    *device = gpu_handle(slot, gpu);
    return NVML_SUCCESS;
}

static bool has_index(const struct gpu *gpu, unsigned index, const void *wanted)
{
    (void)gpu;
    return index == *(const unsigned *)wanted;
}

static bool has_uuid(const struct gpu *gpu, unsigned index, const void *wanted)
{
    (void)index;
    return strcmp(gpu->uuid, wanted) == 0;
}

static bool has_instance(const struct gpu *gpu, unsigned index, const void *wanted)
{
    (void)index;
    for (unsigned i = 0; gpu->mig == 1 && i < INSTANCES; i++)
        if (gpu->instances[i].present && strcmp(gpu->instances[i].uuid, wanted) == 0)
            return true;
    return false;
}

/* Tools write the domain with four or with eight digits. */
static bool has_bus_id(const struct gpu *gpu, unsigned index, const void *wanted)
{
    (void)index;
    size_t ours = strlen(gpu->pci), theirs = strlen(wanted);
    return theirs > 0 && theirs <= ours && strcasecmp(gpu->pci + (ours - theirs), wanted) == 0;
}

API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    nvmlReturn_t code = enter(F_nvmlDeviceGetCount_v2);
    if (code)
        return code;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = 0;
    for (unsigned slot = 0; slot < GPUS; slot++)
        *count += __atomic_load_n(&shared()->scene.gpus[slot].present, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device)
{
    unsigned slot = 0;
    struct gpu gpu;
    bool found = shared() && find_gpu(has_index, &index, &slot, &gpu);
    return give_handle(F_nvmlDeviceGetHandleByIndex_v2, found, slot, &gpu, NVML_ERROR_INVALID_ARGUMENT, device);
}

API nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
    unsigned slot = 0;
    struct gpu gpu;
    bool found = shared() && find_gpu(has_bus_id, bus_id, &slot, &gpu);
    return give_handle(F_nvmlDeviceGetHandleByPciBusId_v2, found, slot, &gpu, NVML_ERROR_NOT_FOUND, device);
}

API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    unsigned slot = 0;
    struct gpu gpu;
    bool of_instance = strncmp(uuid, "MIG-", 4) == 0;
    bool found = shared() && find_gpu(of_instance ? has_instance : has_uuid, uuid, &slot, &gpu);
    nvmlReturn_t code =
        give_handle(F_nvmlDeviceGetHandleByUUID, found, slot, &gpu, NVML_ERROR_NOT_FOUND, device);
    if (code || !of_instance)
        return code;
    for (unsigned i = 0; i < INSTANCES; i++)
        if (gpu.instances[i].present && strcmp(gpu.instances[i].uuid, uuid) == 0)
            *device = instance_handle(slot, i, &gpu.instances[i]);
    return NVML_SUCCESS;
}
