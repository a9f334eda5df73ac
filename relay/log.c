/* log.c - see log.h. */
#include "relay/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/shared/restraint.h"
#include "relay/text.h"

static enum log_level threshold = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_LOGFMT;
static bool journal; /* stderr is the journal: prefix the priority */
static struct log_line recent[LOG_RECENT]; /* a ring */
static size_t n_recent;                    /* said so far */

static const struct {
    const char *name;
    int priority; /* syslog's */
} levels[] = {
    [LOG_LEVEL_ERROR] = { "error", 3 },
    [LOG_LEVEL_WARN] = { "warn", 4 },
    [LOG_LEVEL_INFO] = { "info", 6 },
    [LOG_LEVEL_DEBUG] = { "debug", 7 },
};

/* A message that is said again and again is cut off here: a broken peer must not fill the disk. */
#define REPEATS_MAX 100
#define REPEATS_WINDOW_MS 10000
#define N_REPEATS 32

static struct repeats {
    char key[80]; /* component and message */
    struct restraint restraint;
} repeats[N_REPEATS];

/* Is stderr the journal that JOURNAL_STREAM (DEVICE:INODE) speaks of? The variable is inherited by
 * processes whose stderr goes elsewhere. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;

    return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_setup(enum log_level level, enum log_format fmt)
{
    threshold = level;
    format = fmt;
    journal = is_journal();
}

/* The place of a message; that of the one which began longest ago when all are taken. */
static struct repeats *repeats_of(const char *component, const char *msg)
{
    struct repeats *oldest = &repeats[0];
    char key[sizeof oldest->key];

    snprintf(key, sizeof key, "%s: %s", component, msg);
    for (int i = 0; i < N_REPEATS; i++) {
        if (strcmp(repeats[i].key, key) == 0)
            return &repeats[i];
        if (repeats[i].restraint.since_ms < oldest->restraint.since_ms)
            oldest = &repeats[i];
    }
    *oldest = (struct repeats){ .key = "" };
    memcpy(oldest->key, key, sizeof key);
    return oldest;
}

/* May the line be written? *ret_suppressed: so many like it were not, before. */
static bool admit(const char *component, const char *msg, uint32_t *ret_suppressed)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return restraint_admits(&repeats_of(component, msg)->restraint,
                            (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000, REPEATS_MAX,
                            REPEATS_WINDOW_MS, ret_suppressed);
}

const char *log_i64(int64_t n)
{
    static char text[16][24];
    static unsigned next;

    char *t = text[next++ % 16];
    snprintf(t, sizeof text[0], "%" PRId64, n);
    return t;
}

/* U+0080 to U+009F: some of them are to a terminal what ESC and a bracket are. */
static bool is_c1(const char *s)
{
    return (unsigned char)s[0] == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] <= 0x9f;
}

/* What is no UTF-8, such as the first words of a server with another locale, is taken for Latin-1: as it stands it
 * would not be JSON. */
static void put_quoted(FILE *out, const char *s)
{
    bool utf8 = text_is_utf8(s, strlen(s));

    putc('"', out);
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            fprintf(out, "\\%c", ch);
        else if (ch == '\n')
            fputs("\\n", out);
        else if (utf8 && is_c1(s))
            fprintf(out, "\\u%04x", (unsigned char)*++s);
        else if (ch < 0x20 || ch == 0x7f || (ch >= 0x80 && !utf8))
            fprintf(out, "\\u%04x", ch);
        else
            putc(ch, out);
    }
    putc('"', out);
}

static bool is_plain(const char *s)
{
    const char *start = s;

    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s == 0x7f || is_c1(s))
            return false;
    return text_is_utf8(start, (size_t)(s - start));
}

static void put_pair(FILE *out, enum log_format fmt, const char *key, const char *value)
{
    if (fmt == LOG_FORMAT_JSON) {
        fprintf(out, ",\"%s\":", key);
        put_quoted(out, value);
        return;
    }
    fprintf(out, " %s=", key);
    if (is_plain(value))
        fputs(value, out);
    else
        put_quoted(out, value);
}

static int64_t now_unix_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void put_time(FILE *out)
{
    struct timespec ts;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(out, format == LOG_FORMAT_JSON ? "{\"ts\":\"%s.%03ldZ\"" : "ts=%s.%03ldZ", text,
            ts.tv_nsec / 1000000);
}

/* The message alone, straight to stderr, which has no buffer. */
static void no_memory(enum log_level level, const char *msg)
{
    bool json = format == LOG_FORMAT_JSON;

    fputs(json ? "{\"log\":\"out of memory\"" : "log=\"out of memory\"", stderr);
    put_pair(stderr, format, "level", levels[level].name);
    put_pair(stderr, format, "msg", msg);
    fputs(json ? "}\n" : "\n", stderr);
}

size_t log_recent(struct log_line *to, size_t n)
{
    size_t i = 0;

    for (; i < n && i < n_recent && i < LOG_RECENT; i++)
        to[i] = recent[(n_recent - 1 - i) % LOG_RECENT];
    return i;
}

/* A line of its own, unless it is the last one again. */
static void keep(enum log_level level, const char *component, const char *msg, va_list ap)
{
    struct log_line line = { .times = 1, .level = level };
    struct log_line *last = n_recent > 0 ? &recent[(n_recent - 1) % LOG_RECENT] : NULL;
    FILE *out = fmemopen(line.text, sizeof line.text, "w"); /* ends it with a NUL, cut or not */

    if (out == NULL)
        return;
    fputs(msg, out);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        if (value != NULL) /* escaped by whoever shows it, and once is enough */
            fprintf(out, is_plain(value) ? " %s=%s" : " %s=\"%s\"", key, value);
    }
    fclose(out);
    line.text[sizeof line.text - 1] = '\0';
    snprintf(line.component, sizeof line.component, "%s", component);
    line.unix_ms = now_unix_ms();
    if (last != NULL && last->level == level && strcmp(last->text, line.text) == 0) {
        last->times++;
        last->unix_ms = line.unix_ms;
    } else {
        recent[n_recent++ % LOG_RECENT] = line;
    }
}

static void put_line(FILE *out, enum log_level level, const char *component, const char *msg, uint32_t suppressed,
                     va_list ap)
{
    if (journal)
        fprintf(out, "<%d>", levels[level].priority);
    put_time(out);
    put_pair(out, format, "level", levels[level].name);
    put_pair(out, format, "msg", msg);
    put_pair(out, format, "component", component);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);
        if (value != NULL)
            put_pair(out, format, key, value);
    }
    if (suppressed > 0)
        put_pair(out, format, "suppressed", log_i64(suppressed));
    fputs(format == LOG_FORMAT_JSON ? "}\n" : "\n", out);
}

void log_write(enum log_level level, const char *component, const char *msg, ...)
{
    char *line = NULL;
    size_t len = 0;
    uint32_t suppressed = 0;
    va_list ap;

    if (level > threshold && level > LOG_LEVEL_WARN)
        return;
    if (level < LOG_LEVEL_DEBUG && !admit(component, msg, &suppressed))
        return;
    if (level <= LOG_LEVEL_WARN) {
        va_start(ap, msg);
        keep(level, component, msg, ap);
        va_end(ap);
    }
    if (level > threshold)
        return;
    FILE *out = open_memstream(&line, &len); /* one write per line, whoever else writes to stderr */
    if (out == NULL) {
        no_memory(level, msg);
        return;
    }
    va_start(ap, msg);
    put_line(out, level, component, msg, suppressed, ap);
    va_end(ap);
    if (fclose(out) == 0 && line != NULL)
        (void)!fwrite(line, 1, len, stderr);
    else
        no_memory(level, msg);
    free(line);
}
