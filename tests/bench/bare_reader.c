/* bare_reader.c - the ceiling for the relay's reading: the source module alone, rows thrown away.
 *
 *   bare_reader DSN PAGE_ROWS
 *
 * Reads everything from the saved cursor on, prints rows= and seconds=. Takes the lease
 * under the name "bench" and marks nothing.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/source/source.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: bare_reader DSN PAGE_ROWS\n", stderr);
        return 64;
    }
    struct source_config cfg = { .dsn = argv[1], .owner = "bench", .lease_ttl_ms = 60000,
                                 .statement_timeout_ms = 30000, .tcp_user_timeout_ms = 10000,
                                 .retry_base_ms = 100, .retry_max_ms = 1000, .seed = 1 };
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    struct source *s = source_new(&cfg);
    uint32_t page_rows = (uint32_t)strtoul(argv[2], NULL, 10);
    uint64_t began = 0, n = 0, page = 1;

    for (;;) {
        struct source_event e;
        struct pollfd fds[SOURCE_MAX_FDS];

        while (source_next(s, loop_now_ms(), &e)) {
            switch (e.type) {
            case SOURCE_UP:
                source_acquire(s, loop_now_ms());
                break;
            case SOURCE_LEASE:
                if (!e.ours)
                    return 69;
                began = loop_now_ms();
                source_read(s, began, page_rows, 64 << 20, page++);
                break;
            case SOURCE_PAGE:
                for (uint32_t i = 0; i < e.n_rows; i++)
                    free(e.rows[i]);
                n += e.n_rows;
                if (e.full) {
                    source_read(s, loop_now_ms(), page_rows, 64 << 20, page++);
                    break;
                }
                double seconds = (double)(loop_now_ms() - began) / 1000;
                printf("rows=%llu seconds=%.4f\n", (unsigned long long)n, seconds);
                source_free(s);
                return 0;
            default:
                return 69;
            }
        }
        loop_wait(fds, source_pollfds(s, fds), source_deadline(s));
    }
}
