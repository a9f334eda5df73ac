/* nth_malloc.h - what the tests of failing allocations share: an allocator whose n-th allocation fails.
 *
 * A program that includes this brings its own malloc, calloc, realloc and strdup, which the dynamic linker
 * puts before libc's: so libpq's allocations and those that libc makes for us fail as well as our own.
 * Only what the test's thread allocates while `armed` counts, and of that only what the program,
 * libpq and libc ask for: librdkafka gives up by abort() when it gets no memory, on purpose.
 */
#ifndef TESTS_INTEGRATION_NTH_MALLOC_H
#define TESTS_INTEGRATION_NTH_MALLOC_H

#include <errno.h>
#include <link.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif
#ifdef SANITIZED
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *block, size_t size);

enum mode { ONE_FAILS, ALL_FAIL_FROM_THERE_ON, N_MODES };

static _Thread_local bool armed;
static enum mode mode;
static unsigned fail_at, n_calls, n_failed;
static bool libpq_counts = true;

enum { MAX_RANGES = 32 };
static struct range {
    uintptr_t from, to;
} range[MAX_RANGES];
static size_t n_ranges;

/* The code of the program (which has no name), libpq and libc. */
static int add_ranges(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    if (info->dlpi_name[0] != '\0' && strstr(info->dlpi_name, "/libc.so") == NULL &&
        !(libpq_counts && strstr(info->dlpi_name, "/libpq.so") != NULL))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && n_ranges < MAX_RANGES; i++) {
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X))
            range[n_ranges++] = (struct range){ from, from + info->dlpi_phdr[i].p_memsz };
    }
    return 0;
}

static bool fails(const void *caller)
{
    bool counts = false;

    if (!armed)
        return false;
    for (size_t i = 0; i < n_ranges; i++)
        counts |= (uintptr_t)caller >= range[i].from && (uintptr_t)caller < range[i].to;
    if (!counts)
        return false;
    n_calls++;
    if (n_calls != fail_at && (mode == ONE_FAILS || n_calls < fail_at))
        return false;
    n_failed++;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(calloc)(n, size);
}

void *realloc(void *block, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(realloc)(block, size);
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

static void arm(enum mode how, unsigned n)
{
    if (n_ranges == 0) {
        (void)dl_iterate_phdr(add_ranges, NULL);
        (void)getpwuid(getuid()); /* libpq asks; glibc itself crashes when its first time fails */
    }
    mode = how;
    fail_at = n;
    n_calls = n_failed = 0;
    armed = true;
}

/* Returns whether an allocation failed. */
static bool disarm(void)
{
    armed = false;
    return n_failed > 0;
}

#endif
