/* fuzz_settings.c - settings from a file, a variable and -X: what is taken can be printed and
 * loaded again and is then the same; no secret is printed, and none was taken from the command
 * line.
 *
 * Input: the file, the variable (behind OUTBOX_RELAY_) and the argument of -X, 0xff between them;
 * the last two may be missing. The byte 01 stands for a secret.
 */
#include <ctype.h>
#include <libpq-fe.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/mask.h"
#include "relay/settings.h"
#include "tests/fuzz/fuzz.h"

/* A file in memory, for settings_load opens by name. */
static const char *file_of(int *fd, const char *name, const char *text, size_t len)
{
    static char path[2][40];
    static int turn;
    char *p = path[turn = !turn];

    if (*fd < 0)
        *fd = memfd_create(name, 0);
    REQUIRE(*fd >= 0 && ftruncate(*fd, 0) == 0);
    REQUIRE(pwrite(*fd, text, len, 0) == (ssize_t)len);
    snprintf(p, sizeof path[0], "/proc/self/fd/%d", *fd);
    return p;
}

static char *printed(const struct settings *s, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = must(open_memstream(&text, ret_len));

    settings_print(s, out);
    REQUIRE(fclose(out) == 0);
    return text;
}

/* The lines that are no comments, without the dsn, in which passwords are masked. */
static char *values_of(const char *text)
{
    char *values = must(calloc(1, strlen(text) + 1)), *to = values;

    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        n += text[n] == '\n';
        if (*text != '#' && strncmp(text, "dsn ", 4) != 0) {
            memcpy(to, text, n);
            to += n;
        }
        text += n;
    }
    return values;
}

static bool has_password(const char *dsn)
{
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    bool found = false;

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        found |= strchr(o->dispchar, '*') != NULL && o->val != NULL && *o->val != '\0';
    PQconninfoFree(options);
    return found;
}

static bool is_marked(const char *text)
{
    return strstr(text, MARKER) != NULL;
}

/* Is the secret nowhere but in values that are secret as a whole? */
static bool is_hidden(const struct settings *s)
{
    if (is_marked(s->dsn) || is_marked(s->source) || is_marked(s->lease_owner) || is_marked(s->http_listen))
        return false;
    for (size_t i = 0; i < s->n_kafka; i++)
        if (is_marked(s->kafka[i].name) ||
            (is_marked(s->kafka[i].value) && !mask_is_secret(s->kafka[i].name)))
            return false;
    return true;
}

static bool has_control(const char *text)
{
    while (*text != '\0' && !iscntrl((unsigned char)*text))
        text++;
    return *text != '\0';
}

static void check_command_line(const struct settings *s)
{
    if (s->origin[SETTING_ID_dsn].from == FROM_COMMAND_LINE)
        REQUIRE(!has_password(s->dsn));
    for (size_t i = 0; i < s->n_kafka; i++)
        if (s->kafka[i].origin.from == FROM_COMMAND_LINE)
            REQUIRE(!mask_is_secret(s->kafka[i].name));
}

/* What was printed, as a file. */
static void check_printed(const char *text, size_t len)
{
    static int fd = -1;
    struct settings again;
    char err[1024] = "", *text2, *values, *values2;
    size_t len2 = 0;
    const char *path = file_of(&fd, "again", text, len);
    int rc = settings_load(&again, path, NULL, NULL, 0, err, sizeof err);
    if (rc < 0)
        fprintf(stderr, "%s, of:\n%s\n", err, text);
    REQUIRE(rc == 0);
    text2 = printed(&again, &len2);
    values = values_of(text);
    values2 = values_of(text2);
    REQUIRE(strcmp(values, values2) == 0);
    settings_free(&again);
    free(values);
    free(values2);
    free(text2);
}

static void check_taken(const struct settings *s, bool with_variable)
{
    size_t len = 0;
    char *text = printed(s, &len);

    REQUIRE(s->inflight_rows >= 2 && s->batch_rows >= 1 && s->poll_max_ms >= s->poll_min_ms);
    check_command_line(s);
    if (is_hidden(s))
        REQUIRE(!is_marked(text));
    /* The blanks of a variable are kept, those of a file are not. What is shown for a control character is a
     * question mark, behind which a connection string may mean something else: with a password in it. */
    if (!with_variable && !has_control(s->dsn))
        check_printed(text, len);
    free(text);
}

/* A line for each mistake. */
static void check_refused(const struct settings *s, const char *err)
{
    static const struct settings none;

    REQUIRE(memcmp(s, &none, sizeof none) == 0);
    REQUIRE(*err != '\0' && *err != '\n');
    for (; *err != '\0'; err++)
        REQUIRE(*err == '\n' ? err[1] != '\0' && err[1] != '\n' : !iscntrl((unsigned char)*err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct input in = { data, data + size };
    struct settings s;
    char err[1024] = "";
    size_t file_len, len, x_len;
    char *file = take_marked_field(&in, &file_len);
    char *tail = take_marked_field(&in, &len), *x = take_marked_field(&in, &x_len);
    char *variable = must(malloc(len + 20));
    char *const environment[] = { variable, NULL };
    const char *const x_args[] = { x };

    sprintf(variable, "OUTBOX_RELAY_%s", tail);
    if (settings_load(&s, file_of(&fd, "settings", file, file_len), len > 0 ? environment : NULL,
                      x_args, x_len > 0, err, sizeof err) == 0) {
        check_taken(&s, len > 0);
        (void)settings_require(&s, SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA, err, sizeof err);
        settings_free(&s);
    } else {
        check_refused(&s, err);
    }
    free(variable);
    free(tail);
    free(x);
    free(file);
    return 0;
}
