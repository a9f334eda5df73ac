/* progress.c - see progress.h. */
#include "relay/commands/progress.h"

#include <inttypes.h>
#include <unistd.h>

#define BAR 30
#define DRAW_MS 200
#define LINE_MS 10000

void progress_begin(struct progress *p, const char *program, const char *verb, uint64_t now_ms)
{
    bool terminal = isatty(STDERR_FILENO) == 1;

    *p = (struct progress){ .program = program, .verb = verb, .terminal = terminal,
                            .began_ms = now_ms, .next_ms = now_ms + (terminal ? DRAW_MS : LINE_MS) };
}

void progress_show(struct progress *p, uint64_t now_ms, int64_t done, int64_t total, int64_t n)
{
    int percent = total > 0 ? (int)(100.0 * (double)done / (double)total) : 100;

    if (now_ms < p->next_ms)
        return;
    p->next_ms = now_ms + (p->terminal ? DRAW_MS : LINE_MS);
    double seconds = (double)(now_ms - p->began_ms) / 1000;
    if (p->terminal) {
        int filled = percent * BAR / 100;
        fprintf(stderr, "\r[%.*s%*s] %3d%%  %s %" PRId64 ", %.0f a second ", filled,
                "##############################", BAR - filled, "", percent, p->verb, n,
                (double)n / seconds);
        fflush(stderr);
        p->drawn = true;
    } else {
        fprintf(stderr, "%s: %d%%, %s %" PRId64 ", %.0f a second\n", p->program, percent, p->verb, n,
                (double)n / seconds);
    }
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr); /* the bar has said all it had to say */
    p->drawn = false;
}
