/* What a device is, and its values of the moment. */
#include <stdio.h>
#include <string.h>

#include "library.h"

API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *uuid, unsigned length)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetUUID, handle, &device);
    if (code)
        return code;
    return give_text(device.instance ? device.instance->uuid : device.gpu.uuid, uuid, length);
}

API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *name, unsigned length)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetName, handle, &device);
    if (code)
        return code;
    return give_text(device.instance ? device.instance->name : device.gpu.name, name, length);
}

/* Of a MIG instance: its index on its GPU. */
API nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned *index)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetIndex, handle, &device);
    if (code)
        return code;
    if (!index)
        return NVML_ERROR_INVALID_ARGUMENT;
    *index = 0;
    if (device.instance)
        *index = (unsigned)(device.instance - device.gpu.instances);
    else
        for (unsigned slot = 0; slot < device.slot; slot++)
            *index += __atomic_load_n(&shared()->scene.gpus[slot].present, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

/* pynvml.py: nvmlPciInfo_t */
typedef struct {
    char busIdLegacy[16];
    uint32_t domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

#define H100_PCI_ID 0x233010deU /* device 2330 of vendor 10de; pci-ids.ucw.cz, "GH100 [H100 SXM5 80GB]" */

API nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *info)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetPciInfo_v3, handle, &device);
    if (code)
        return code;
    if (!info)
        return NVML_ERROR_INVALID_ARGUMENT;
    memset(info, 0, sizeof *info);
    if (sscanf(device.gpu.pci, "%x:%x:%x", &info->domain, &info->bus, &info->device) != 3)
        return NVML_ERROR_UNKNOWN;
    snprintf(info->busIdLegacy, sizeof info->busIdLegacy, "%04X:%02X:%02X.0", info->domain & 0xffff,
             info->bus & 0xff, info->device & 0xff);
    snprintf(info->busId, sizeof info->busId, "%s", device.gpu.pci);
    info->pciDeviceId = H100_PCI_ID;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t handle, unsigned *minor)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetMinorNumber, handle, &device);
    if (code)
        return code;
    if (!minor)
        return NVML_ERROR_INVALID_ARGUMENT;
    *minor = device.slot;
    return NVML_SUCCESS;
}

/* pynvml.py: c_nvmlUtilization_t */
typedef struct {
    uint32_t gpu, memory; /* percent; `memory` is of the bandwidth */
} nvmlUtilization_t;

API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *utilization)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetUtilizationRates, handle, &device);
    if (code)
        return code;
    if (!utilization)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (device.gpu.mig == 1)
        return NVML_ERROR_NOT_SUPPORTED;
    *utilization = (nvmlUtilization_t){device.gpu.utilization, device.gpu.memory_utilization};
    return NVML_SUCCESS;
}

#define NVML_TEMPERATURE_GPU 0 /* pynvml.py; the one sensor there is */

API nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, int sensor, unsigned *celsius)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetTemperature, handle, &device);
    if (code)
        return code;
    if (!celsius || sensor != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = device.gpu.temperature;
    return NVML_SUCCESS;
}

#if BRANCH >= 580
/* pynvml.py: c_nvmlTemperature_v1_t */
typedef struct {
    uint32_t version, sensorType;
    int32_t temperature;
} nvmlTemperature_v1_t;

API nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_v1_t *temperature)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetTemperatureV, handle, &device);
    if (code)
        return code;
    if (!temperature || temperature->sensorType != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (temperature->version != STRUCT_VERSION(nvmlTemperature_v1_t, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    temperature->temperature = (int32_t)device.gpu.temperature;
    return NVML_SUCCESS;
}
#endif

API nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned *milliwatts)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetPowerUsage, handle, &device);
    if (code)
        return code;
    if (!milliwatts)
        return NVML_ERROR_INVALID_ARGUMENT;
    *milliwatts = device.gpu.power;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, unsigned *mode)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetPersistenceMode, handle, &device);
    if (code)
        return code;
    if (!mode)
        return NVML_ERROR_INVALID_ARGUMENT;
    *mode = device.gpu.persistence;
    return NVML_SUCCESS;
}
