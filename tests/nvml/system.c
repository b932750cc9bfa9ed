/* Starting, stopping, and what is asked of no device. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "library.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned starts;     /* nvmlInit is counted; the last nvmlShutdown lets go */
static uint32_t generation; /* the driver that was attached to at the first start */

static uint32_t driver_generation(void)
{
    return __atomic_load_n(&shared()->scene.generation, __ATOMIC_ACQUIRE);
}

nvmlReturn_t standing(void)
{
    pthread_mutex_lock(&lock);
    bool started = starts > 0, current = started && generation == driver_generation();
    pthread_mutex_unlock(&lock);
    if (!started)
        return NVML_ERROR_UNINITIALIZED;
    return current ? NVML_SUCCESS : (nvmlReturn_t)shared()->scene.reload_code;
}

/* A client that was killed leaves its place to the next. */
static bool enrol(uint32_t *client, uint32_t pid)
{
    uint32_t holder = __atomic_load_n(client, __ATOMIC_ACQUIRE);
    bool free = holder == 0 || holder == pid || kill((pid_t)holder, 0) != 0;
    return free && __atomic_compare_exchange_n(client, &holder, pid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static nvmlReturn_t attach(void)
{
    uint32_t pid = (uint32_t)getpid();
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (enrol(&shared()->clients[i], pid)) {
            generation = driver_generation();
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_INSUFFICIENT_RESOURCES;
}

static void detach(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        uint32_t pid = (uint32_t)getpid();
        __atomic_compare_exchange_n(&shared()->clients[i], &pid, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
}

static nvmlReturn_t start(enum function function)
{
    nvmlReturn_t code = enter_anyhow(function);
    if (code)
        return code;
    pthread_mutex_lock(&lock);
    if (starts == 0)
        code = attach();
    if (code == NVML_SUCCESS)
        starts++;
    pthread_mutex_unlock(&lock);
    return code;
}

API nvmlReturn_t nvmlInit_v2(void)
{
    return start(F_nvmlInit_v2);
}

API nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags; /* NO_GPUS and NO_ATTACH change nothing here: there is always a driver, GPUs attach by handle */
    return start(F_nvmlInitWithFlags);
}

API nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t code = enter_anyhow(F_nvmlShutdown);
    if (code)
        return code;
    pthread_mutex_lock(&lock);
    if (starts == 0)
        code = NVML_ERROR_UNINITIALIZED;
    else if (--starts == 0)
        detach();
    pthread_mutex_unlock(&lock);
    return code;
}

/* pynvml.py: NVMLError._errcode_to_string, by code */
static const char *const error_strings[] = {
    "Success",
    "Uninitialized",
    "Invalid Argument",
    "Not Supported",
    "Insufficient Permissions",
    "Already Initialized",
    "Not Found",
    "Insufficient Size",
    "Insufficient External Power",
    "Driver Not Loaded",
    "Timeout",
    "Interrupt Request Issue",
    "NVML Shared Library Not Found",
    "Function Not Found",
    "Corrupted infoROM",
    "GPU is lost",
    "GPU requires restart",
    "The operating system has blocked the request.",
    "RM has detected an NVML/RM version mismatch.",
};

API const char *nvmlErrorString(unsigned code)
{
    return code < sizeof error_strings / sizeof *error_strings ? error_strings[code] : "Unknown Error";
}

API nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    nvmlReturn_t code = enter(F_nvmlSystemGetDriverVersion);
    if (code)
        return code;
    char text[sizeof shared()->scene.driver_version];
    read_text(shared()->scene.driver_version, text, sizeof text);
    return give_text(text, version, length);
}

API nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length)
{
    nvmlReturn_t code = enter_anyhow(F_nvmlSystemGetNVMLVersion);
    if (code)
        return code;
    char text[sizeof shared()->scene.nvml_version];
    read_text(shared()->scene.nvml_version, text, sizeof text);
    return give_text(text, version, length);
}

static nvmlReturn_t cuda_version(enum function function, int *version)
{
    nvmlReturn_t code = enter_anyhow(function);
    if (code)
        return code;
    if (!version)
        return NVML_ERROR_INVALID_ARGUMENT;
    *version = __atomic_load_n(&shared()->scene.cuda_version, __ATOMIC_RELAXED);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    return cuda_version(F_nvmlSystemGetCudaDriverVersion, version);
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return cuda_version(F_nvmlSystemGetCudaDriverVersion_v2, version);
}
