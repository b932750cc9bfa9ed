/* The gate: every call is counted, delayed and failed here, as FakeDriver wishes. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "library.h"

#define EVERYWHERE 0U /* the place that stands for every device, and for calls on none */

unsigned gpu_place(unsigned slot)
{
    return 1 + slot;
}

unsigned instance_place(unsigned slot, unsigned index)
{
    return 1 + GPUS + slot * INSTANCES + index;
}

static void sleep_for(uint64_t microseconds)
{
    struct timespec left = {(time_t)(microseconds / 1000000), (long)(microseconds % 1000000) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) != 0)
        ;
}

static void without_a_core_file(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

_Noreturn void crash(void)
{
    without_a_core_file();
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    abort();
}

static uint64_t hang_epoch(void)
{
    return __atomic_load_n(&shared()->hang_epoch, __ATOMIC_ACQUIRE);
}

/* Blocks until FakeDriver frees all that hang, which ends the epoch. */
static void hang(uint64_t epoch)
{
    const uint64_t look_again = 5000; /* microseconds */
    while (hang_epoch() == epoch)
        sleep_for(look_again);
}

/* The same as in uninterruptible sleep: nothing but SIGKILL ends the process, whichever thread is asked to. */
static void hang_unkillable(uint64_t epoch)
{
    static const int endings[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    const size_t count = sizeof endings / sizeof *endings;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before[sizeof endings / sizeof *endings];
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &mask);
    for (size_t i = 0; i < count; i++)
        sigaction(endings[i], &ignore, &before[i]);
    hang(epoch);
    for (size_t i = 0; i < count; i++)
        sigaction(endings[i], &before[i], NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* Takes one call from a fault's count and returns the fault as it was; 0: there is none. */
static uint64_t take(uint64_t *word)
{
    uint64_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE), next;
    do {
        uint32_t times = (uint32_t)now;
        if (times == 0)
            return 0;
        next = times == FOREVER ? now : times == 1 ? 0 : now - 1;
    } while (!__atomic_compare_exchange_n(word, &now, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return now;
}

static nvmlReturn_t suffer(uint64_t word, uint64_t epoch)
{
    switch (word >> 48) {
    case FAIL:
        return (nvmlReturn_t)(word >> 32 & 0xffff);
    case HANG:
        hang(epoch);
        return NVML_SUCCESS;
    case HANG_UNKILLABLE:
        hang_unkillable(epoch);
        return NVML_SUCCESS;
    case ABORT:
        without_a_core_file();
        abort();
    case SEGFAULT:
        crash();
    default:
        return NVML_SUCCESS;
    }
}

/* The most particular fault applies, and the longest delay. */
static nvmlReturn_t pass(enum function function, unsigned place, uint64_t epoch)
{
    struct state *state = shared();
    struct fault *faults[] = {
        &state->faults[function][place],
        &state->faults[function][EVERYWHERE],
        &state->faults[F_any][place],
        &state->faults[F_any][EVERYWHERE],
    };
    const size_t count = sizeof faults / sizeof *faults;
    uint64_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t delay = __atomic_load_n(&faults[i]->delay, __ATOMIC_RELAXED);
        longest = delay > longest ? delay : longest;
    }
    if (longest)
        sleep_for(longest);
    for (size_t i = 0; i < count; i++) {
        uint64_t word = take(&faults[i]->word);
        if (word)
            return suffer(word, epoch);
    }
    return NVML_SUCCESS;
}

/* The epoch is read before the call is counted: who has seen the count can free the call. */
static nvmlReturn_t enter_place(enum function function, unsigned place, bool needs_init)
{
    if (!shared())
        return needs_init ? NVML_ERROR_UNINITIALIZED : NVML_ERROR_DRIVER_NOT_LOADED;
    uint64_t epoch = hang_epoch();
    __atomic_fetch_add(&shared()->calls[function][place], 1, __ATOMIC_ACQ_REL);
    nvmlReturn_t code = needs_init ? standing() : NVML_SUCCESS;
    return code ? code : pass(function, place, epoch);
}

nvmlReturn_t enter_anyhow(enum function function)
{
    return enter_place(function, EVERYWHERE, false);
}

nvmlReturn_t enter(enum function function)
{
    return enter_place(function, EVERYWHERE, true);
}

nvmlReturn_t enter_slot(enum function function, unsigned slot)
{
    nvmlReturn_t code = enter_place(function, gpu_place(slot), true);
    if (code)
        return code;
    struct gpu gpu;
    read_gpu(slot, &gpu);
    return gpu.present ? (nvmlReturn_t)gpu.condition : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t enter_device(enum function function, nvmlDevice_t handle, struct device *device)
{
    nvmlReturn_t code = enter_place(function, handle_place(handle), true);
    if (code)
        return code;
    code = resolve(handle, device);
    return code ? code : (nvmlReturn_t)device->gpu.condition;
}

nvmlReturn_t enter_gpu(enum function function, nvmlDevice_t handle, struct device *device)
{
    nvmlReturn_t code = enter_device(function, handle, device);
    return !code && device->instance ? NVML_ERROR_NOT_SUPPORTED : code;
}
