/* The process lists: three kinds, in rows of 16, 24 or 32 bytes as drivers have written them. */
#include <string.h>

#include "library.h"

/* The longest row. Its first 24 bytes are c_nvmlProcessInfo_v2_t of pynvml.py, the first 16 the row of the
 * unversioned lists; all 32 were written by the _v3 lists of R535 (nvitop#79). */
struct row_out {
    uint32_t pid;
    uint64_t usedGpuMemory;
    uint32_t gpuInstanceId, computeInstanceId;
    uint64_t usedGpuCcProtectedMemory;
};

#define V1_ROW 16U
#define V2_ROW 24U

static bool stands_on(const struct row *row, const struct device *device)
{
    const struct instance *instance = device->instance;
    return !instance || (row->gpu_instance == instance->gpu_instance &&
                         row->compute_instance == instance->compute_instance);
}

static unsigned count_rows(const struct device *device, uint32_t kinds)
{
    unsigned count = 0;
    for (unsigned i = 0; i < device->gpu.row_count; i++)
        count += device->gpu.rows[i].kinds & kinds && stands_on(&device->gpu.rows[i], device);
    return count;
}

static void write_rows(const struct device *device, uint32_t kinds, size_t row_size, char *to)
{
    for (unsigned i = 0; i < device->gpu.row_count; i++) {
        const struct row *row = &device->gpu.rows[i];
        if (!(row->kinds & kinds) || !stands_on(row, device))
            continue;
        struct row_out out;
        memset(&out, 0, sizeof out);
        out.pid = row->pid;
        out.usedGpuMemory = row->used;
        out.gpuInstanceId = row->gpu_instance;
        out.computeInstanceId = row->compute_instance;
        memcpy(to, &out, row_size);
        to += row_size;
    }
}

static nvmlReturn_t list(enum function function, nvmlDevice_t handle, uint32_t kinds, size_t row_size,
                         unsigned *count, void *rows)
{
    struct device device;
    nvmlReturn_t code = enter_device(function, handle, &device);
    if (code)
        return code;
    if (!count || (*count > 0 && !rows))
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned room = *count;
    *count = count_rows(&device, kinds);
    if (*count > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    write_rows(&device, kinds, row_size, rows);
    return NVML_SUCCESS;
}

#define LIST(name, kinds, row_size)                                                                 \
    API nvmlReturn_t name(nvmlDevice_t handle, unsigned *count, void *rows)                         \
    {                                                                                               \
        return list(F_##name, handle, kinds, row_size, count, rows);                                \
    }

LIST(nvmlDeviceGetComputeRunningProcesses, COMPUTE, V1_ROW)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE, V2_ROW)
LIST(nvmlDeviceGetGraphicsRunningProcesses, GRAPHICS, V1_ROW)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS, V2_ROW)
LIST(nvmlDeviceGetMPSComputeRunningProcesses, MPS, V1_ROW)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS, V2_ROW)
#ifdef V3_ROW
_Static_assert(V3_ROW <= sizeof(struct row_out), "a row is longer than what there is to write");
LIST(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE, V3_ROW)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS, V3_ROW)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS, V3_ROW)
#endif

#if BRANCH >= 580
/* pynvml.py: c_nvmlProcessDetailList_v1_t; a row is c_nvmlProcessDetail_v1_t, laid out as struct row_out */
typedef struct {
    uint32_t version, mode, numProcArrayEntries;
    struct row_out *procArray;
} nvmlProcessDetailList_v1_t;

/* By mode: NVML_PROCESS_MODE_COMPUTE, GRAPHICS, MPS, and ALL, which came after R580. */
static const uint32_t kinds_of_mode[] = {
    COMPUTE,
    GRAPHICS,
    MPS,
#if BRANCH >= 610
    COMPUTE | GRAPHICS | MPS,
#endif
};

API nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t handle, nvmlProcessDetailList_v1_t *out)
{
    struct device device;
    nvmlReturn_t code = enter_device(F_nvmlDeviceGetRunningProcessDetailList, handle, &device);
    if (code)
        return code;
    if (!out || out->mode >= sizeof kinds_of_mode / sizeof *kinds_of_mode)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (out->version != STRUCT_VERSION(nvmlProcessDetailList_v1_t, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    uint32_t kinds = kinds_of_mode[out->mode];
    unsigned room = out->procArray ? out->numProcArrayEntries : 0;
    out->numProcArrayEntries = count_rows(&device, kinds);
    if (out->numProcArrayEntries > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    write_rows(&device, kinds, sizeof(struct row_out), (char *)out->procArray);
    return NVML_SUCCESS;
}
#endif
