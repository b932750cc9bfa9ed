/* MIG: a GPU that is divided into instances. */
#include <string.h>

#include "library.h"

API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned *current, unsigned *pending)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetMigMode, handle, &device);
    if (code)
        return code;
    if (!current || !pending)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.gpu.mig < 0)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = (unsigned)device.gpu.mig;
    return NVML_SUCCESS;
}

/* Zero where MIG is not supported or not enabled (nvml.h). */
API nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned *count)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetMaxMigDeviceCount, handle, &device);
    if (code)
        return code;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = device.gpu.mig == 1 ? INSTANCES : 0;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned index, nvmlDevice_t *mig)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetMigDeviceHandleByIndex, handle, &device);
    if (code)
        return code;
    if (!mig || index >= INSTANCES)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.gpu.mig < 0)
        return NVML_ERROR_NOT_SUPPORTED;
    const struct instance *instance = &device.gpu.instances[index];
    if (device.gpu.mig == 0 || !instance->present)
        return NVML_ERROR_NOT_FOUND;
    *mig = instance_handle(device.slot, index, instance);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned *is_mig)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceIsMigDeviceHandle, handle, &device);
    if (code)
        return code;
    if (!is_mig)
        return NVML_ERROR_INVALID_ARGUMENT;
    *is_mig = device.instance != NULL;
    return NVML_SUCCESS;
}

static nvmlReturn_t enter_instance(enum function function, nvmlDevice_t handle, struct device *device)
{
    nvmlReturn_t code = enter_device(function, handle, device);
    return !code && !device->instance ? NVML_ERROR_INVALID_ARGUMENT : code;
}

API nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t handle, nvmlDevice_t *parent)
{
    struct device device;
    nvmlReturn_t code = enter_instance(F_nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle, &device);
    if (code)
        return code;
    if (!parent)
        return NVML_ERROR_INVALID_ARGUMENT;
    *parent = gpu_handle(device.slot, &device.gpu);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t handle, unsigned *id)
{
    struct device device;
    nvmlReturn_t code = enter_instance(F_nvmlDeviceGetGpuInstanceId, handle, &device);
    if (code)
        return code;
    if (!id)
        return NVML_ERROR_INVALID_ARGUMENT;
    *id = device.instance->gpu_instance;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned *id)
{
    struct device device;
    nvmlReturn_t code = enter_instance(F_nvmlDeviceGetComputeInstanceId, handle, &device);
    if (code)
        return code;
    if (!id)
        return NVML_ERROR_INVALID_ARGUMENT;
    *id = device.instance->compute_instance;
    return NVML_SUCCESS;
}

/* pynvml.py: c_nvmlDeviceAttributes */
typedef struct {
    uint32_t multiprocessorCount, sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount;
    uint32_t sharedJpegCount, sharedOfaCount, gpuInstanceSliceCount, computeInstanceSliceCount;
    uint64_t memorySizeMB;
} nvmlDeviceAttributes_t;

API nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetAttributes_v2, handle, &device);
    if (code)
        return code;
    if (!attributes)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!device.instance)
        return NVML_ERROR_NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpuInstanceSliceCount = attributes->computeInstanceSliceCount = 1;
    attributes->memorySizeMB = device.instance->total >> 20;
    return NVML_SUCCESS;
}
