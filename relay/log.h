/* log.h - one event per line on stderr: logfmt or JSON. The only logger of the relay.
 *
 *   log_info("source", "connected", "server", version, "epoch", log_i64(epoch));
 *
 * Of one message (component and text) at most 100 lines are written in 10 s; the next one that is written
 * says how many were not (suppressed=n). Debug lines are not counted. When stderr is the journal each
 * line begins with its priority.
 *
 * A call takes a component, a message and pairs of key and value, all strings; a NULL value leaves
 * the pair out. Never a payload or a row's key. Used by the loop thread only.
 */
#ifndef RELAY_LOG_H
#define RELAY_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

void log_setup(enum log_level level, enum log_format format);

__attribute__((sentinel)) void log_write(enum log_level level, const char *component,
                                         const char *msg, ...);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, (char *)0)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__, (char *)0)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__, (char *)0)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, (char *)0)

/* The last warnings and errors, newest first, whatever the level of logging; returns how many. */
#define LOG_RECENT 20

struct log_line {
    int64_t unix_ms; /* when it was said last */
    uint32_t times;  /* in a row */
    enum log_level level;
    char component[16];
    char text[360]; /* the message, then its pairs, key=value or key="value", nothing escaped; may be cut */
};

size_t log_recent(struct log_line *to, size_t n);

/* A number as a value; the text is good until the sixteenth next call. */
const char *log_i64(int64_t n);

#endif
