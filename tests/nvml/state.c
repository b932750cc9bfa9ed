/* The shared memory: finding it, and reading it while it is being changed. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "library.h"

static struct state *mapped;
static pthread_once_t mapping = PTHREAD_ONCE_INIT;

static void map(void)
{
    const char *path = getenv("VRAMWATCH_TEST_NVML");
    if (!path)
        return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stat found;
    if (file < 0 || fstat(file, &found) != 0) {
        fprintf(stderr, "VRAMWATCH_TEST_NVML: %s cannot be opened: is its FakeDriver closed?\n", path);
    } else if (found.st_size != sizeof(struct state)) {
        fprintf(stderr, "VRAMWATCH_TEST_NVML: %s has another layout: run make in tests/nvml\n", path);
    } else {
        struct state *state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (state != MAP_FAILED && state->fingerprint == FINGERPRINT)
            mapped = state;
        else
            fprintf(stderr, "VRAMWATCH_TEST_NVML: %s has another layout: run make in tests/nvml\n", path);
    }
    if (file >= 0)
        close(file);
}

struct state *shared(void)
{
    pthread_once(&mapping, map);
    return mapped;
}

/* A sequence lock: the copy is taken again until nothing was written meanwhile. */
static void read_scene(const void *field, void *copy, size_t size)
{
    const uint64_t *sequence = &shared()->sequence;
    for (;;) {
        uint64_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
        if (before % 2 == 0) {
            memcpy(copy, field, size);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (__atomic_load_n(sequence, __ATOMIC_RELAXED) == before)
                return;
        }
        sched_yield();
    }
}

void read_gpu(unsigned slot, struct gpu *copy)
{
    read_scene(&shared()->scene.gpus[slot], copy, sizeof *copy);
}

void read_text(const char *field, char *copy, size_t size)
{
    read_scene(field, copy, size);
}

nvmlReturn_t give_text(const char *text, char *buffer, unsigned length)
{
    if (!buffer)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) + 1 > length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return NVML_SUCCESS;
}
