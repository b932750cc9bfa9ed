/* Accounting mode: the largest use of each process, kept also after its exit. */
#include <string.h>

#include "library.h"

#define BUFFER_SIZE 4000U /* records that a driver keeps (nvml.h: nvmlDeviceGetAccountingBufferSize) */

static nvmlReturn_t enter_accounting(enum function function, nvmlDevice_t handle, struct device *device)
{
    nvmlReturn_t code = enter_gpu(function, handle, device);
    return !code && !device->gpu.accounting ? NVML_ERROR_NOT_SUPPORTED : code;
}

API nvmlReturn_t nvmlDeviceGetAccountingMode(nvmlDevice_t handle, unsigned *mode)
{
    struct device device;
    nvmlReturn_t code = enter_gpu(F_nvmlDeviceGetAccountingMode, handle, &device);
    if (code)
        return code;
    if (!mode)
        return NVML_ERROR_INVALID_ARGUMENT;
    *mode = device.gpu.accounting;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetAccountingBufferSize(nvmlDevice_t handle, unsigned *size)
{
    struct device device;
    nvmlReturn_t code = enter_accounting(F_nvmlDeviceGetAccountingBufferSize, handle, &device);
    if (code)
        return code;
    if (!size)
        return NVML_ERROR_INVALID_ARGUMENT;
    *size = BUFFER_SIZE;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetAccountingPids(nvmlDevice_t handle, unsigned *count, unsigned *pids)
{
    struct device device;
    nvmlReturn_t code = enter_accounting(F_nvmlDeviceGetAccountingPids, handle, &device);
    if (code)
        return code;
    if (!count || (*count > 0 && !pids))
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned room = *count;
    *count = device.gpu.record_count;
    if (*count > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        pids[i] = device.gpu.records[i].pid;
    return NVML_SUCCESS;
}

/* pynvml.py: c_nvmlAccountingStats_t */
typedef struct {
    uint32_t gpuUtilization, memoryUtilization;
    uint64_t maxMemoryUsage, time, startTime;
    uint32_t isRunning, reserved[5];
} nvmlAccountingStats_t;

API nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t handle, unsigned pid, nvmlAccountingStats_t *stats)
{
    struct device device;
    nvmlReturn_t code = enter_accounting(F_nvmlDeviceGetAccountingStats, handle, &device);
    if (code)
        return code;
    if (!stats)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < device.gpu.record_count; i++) {
        const struct record *record = &device.gpu.records[i];
        if (record->pid != pid)
            continue;
        memset(stats, 0, sizeof *stats);
        stats->maxMemoryUsage = record->peak;
        stats->isRunning = record->running;
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}
