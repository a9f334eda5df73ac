/* verdict_words.c - ages, sizes, counts, rates and transactions for people. See verdict.h. */
#include "relay/verdict_inside.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *verdict_age(double seconds, char *to, uint32_t to_size)
{
    static const struct {
        const char *name, *part;
        double size, part_size;
    } units[] = { { "d", "h", 86400, 3600 }, { "h", "min", 3600, 60 }, { "min", "s", 60, 1 } };

    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        if (seconds < units[u].size)
            continue;
        double whole = (double)(int64_t)(seconds / units[u].size);
        double part = (double)(int64_t)((seconds - whole * units[u].size) / units[u].part_size);
        if (part > 0 && whole < 10)
            snprintf(to, to_size, "%.0f %s %.0f %s", whole, units[u].name, part, units[u].part);
        else
            snprintf(to, to_size, "%.0f %s", whole, units[u].name);
        return to;
    }
    snprintf(to, to_size, seconds < 9.95 ? "%.1f s" : "%.0f s", seconds > 0 ? seconds : 0.0);
    return to;
}

const char *verdict_bytes(int64_t n, char *to, uint32_t to_size)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double x = (double)n;
    size_t u = 0;

    for (; x >= 999.5 && u + 1 < sizeof units / sizeof units[0]; u++)
        x /= 1024;
    snprintf(to, to_size, u == 0 || x >= 9.95 ? "%.0f %s" : "%.1f %s", x, units[u]);
    return to;
}

const char *verdict_count(int64_t n, char *to, uint32_t to_size)
{
    char digits[24];
    size_t len, at = 0;

    snprintf(digits, sizeof digits, "%" PRId64, n);
    len = strlen(digits);
    for (size_t i = 0; i < len && at + 2 < to_size; i++) {
        if (i > (digits[0] == '-' ? 1 : 0) && (len - i) % 3 == 0)
            to[at++] = ',';
        to[at++] = digits[i];
    }
    to[at < to_size ? at : to_size - 1] = '\0';
    return to;
}

const char *verdict_rate(double rate, char *to, uint32_t to_size)
{
    if (rate >= 9.95 || rate < VERDICT_NO_RATE)
        return verdict_count((int64_t)(rate + 0.5), to, to_size);
    snprintf(to, to_size, "%.1f", rate);
    return to;
}

const char *verdict_full_stop(const char *clause)
{
    size_t len = strlen(clause);

    return len > 0 && strchr(".?!", clause[len - 1]) != NULL ? "" : ".";
}

/* The role of the relay may do it to sessions of its own only. */
const char *verdict_end_session(int64_t pid, char *to, uint32_t to_size)
{
    snprintf(to, to_size, "let it end, or end it: `SELECT pg_terminate_backend(%" PRId64 ")`, as the same role, as a member of "
             "pg_signal_backend or as a superuser", pid);
    return to;
}

const char *verdict_level_name(enum verdict_level level)
{
    static const char *const names[] = {
        [VERDICT_GOOD] = "good", [VERDICT_WARN] = "warn", [VERDICT_BAD] = "bad"
    };

    return names[level];
}

/* Cut where it must be, never within a character. */
static void whole_characters(char *text)
{
    size_t n = strlen(text), back = 0;

    while (back < n && back < 3 && ((unsigned char)text[n - 1 - back] & 0xc0) == 0x80)
        back++;
    if (back < n) {
        unsigned char first = (unsigned char)text[n - 1 - back];
        size_t want = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
        if (want > back)
            text[n - 1 - back] = '\0';
    }
}

void verdict_append(char *text, size_t size, const char *format, ...)
{
    size_t n = strlen(text);
    va_list ap;

    va_start(ap, format);
    int added = vsnprintf(text + n, size - n, format, ap);
    va_end(ap);
    if (added >= 0 && (size_t)added >= size - n)
        whole_characters(text);
}

void verdict_append_blocker(char *text, size_t size, const struct verdict_blocker *b)
{
    if (b->pid > 0)
        verdict_append(text, size, "pid %" PRId64, b->pid);
    else
        verdict_append(text, size, "prepared");
    if (b->application != NULL)
        verdict_append(text, size, ", %.80s", b->application);
}

void verdict_append_end(char *text, size_t size, const struct verdict_blocker *b)
{
    char how[200];

    if (b->pid > 0)
        verdict_append(text, size, "; %s.", verdict_end_session(b->pid, how, sizeof how));
    else
        verdict_append(text, size, "; COMMIT PREPARED or ROLLBACK PREPARED, as whoever prepared it says.");
}
