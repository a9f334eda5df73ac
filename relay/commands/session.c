/* session.c - from a command line to a command under way: settings, the database, a question to the
 * person, and whether all of the output was written. See options.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/commands/options.h"
#include "relay/exit_codes.h"
#include "relay/source/source.h"

static int take_properties(struct options *o)
{
    const struct settings *set = &o->settings;

    o->kafka = calloc(set->n_kafka + 1, sizeof *o->kafka);
    if (o->kafka == NULL)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    for (size_t i = 0; i < set->n_kafka; i++)
        o->kafka[i] = (struct sink_property){ set->kafka[i].name, set->kafka[i].value };
    o->n_kafka = set->n_kafka;
    return EXIT_OK;
}

static int fail_mistakes(const struct options *o, char *err)
{
    for (char *line; (line = strsep(&err, "\n")) != NULL;)
        (void)options_fail(o, EXIT_CONFIGURATION, "%s", line);
    return EXIT_CONFIGURATION;
}

int options_settings(struct options *o, unsigned need)
{
    extern char **environ;
    const struct settings_from where = { o->config, environ, o->x, o->n_x };
    char err[SETTINGS_MISTAKES_SIZE], from[300];

    if (settings_read(&o->settings, &where, need, err, sizeof err) < 0)
        return fail_mistakes(o, err);
    if ((need & SETTINGS_NEED_DATABASE) && source_check_dsn(o->settings.dsn, err, sizeof err) < 0) {
        settings_origin(&o->settings, SETTING_ID_dsn, from, sizeof from);
        return options_fail(o, EXIT_CONFIGURATION, "%s: the setting dsn cannot be read: %s", from, err);
    }
    log_setup(o->settings.log_level, o->settings.log_format);
    return take_properties(o);
}

struct reader *options_reader(const struct options *o, char *err, size_t err_size)
{
    struct reader *reader = reader_new(o->kafka, o->n_kafka, err, err_size);

    if (reader == NULL)
        settings_name_place(&o->settings, err, err_size);
    return reader;
}

struct inspect *options_inspect(const struct options *o, char *err, size_t err_size)
{
    struct inspect *inspect = inspect_new(o->kafka, o->n_kafka, err, err_size);

    if (inspect == NULL)
        settings_name_place(&o->settings, err, err_size);
    return inspect;
}

struct operate *options_operate(const struct options *o, bool only_reads)
{
    const struct operate_options operate_options = {
        .dsn = o->settings.dsn,
        .statement_timeout_ms = o->settings.statement_timeout_ms,
        .tcp_user_timeout_ms = o->settings.tcp_user_timeout_ms,
        .skip_poison = o->settings.on_poison == ON_POISON_SKIP,
        .only_reads = only_reads,
    };
    struct operate *op = operate_new(&operate_options);

    if (op == NULL)
        options_fail(o, EXIT_INTERNAL, "out of memory");
    return op;
}

int options_connect(struct options *o, unsigned need, bool only_reads, struct operate **ret)
{
    int code = options_settings(o, need);

    if (code != EXIT_OK)
        return code;
    struct operate *op = options_operate(o, only_reads);
    if (op == NULL)
        return EXIT_INTERNAL;
    code = o->of & OPTIONS_INBOX ? operate_connect_inbox(op) : operate_connect(op);
    if (code != EXIT_OK) {
        options_fail_operate(o, op, code);
        operate_free(op);
        return code;
    }
    *ret = op;
    return EXIT_OK;
}

int options_look(struct options *o, unsigned need, int argc, char **argv,
                 int (*look)(struct options *o, struct operate *op))
{
    struct operate *op = NULL;
    int code = options_parse(o, argc, argv);

    if (code < 0) {
        code = options_connect(o, need, true, &op);
        if (code == EXIT_OK)
            code = look(o, op);
    }
    operate_free(op);
    options_deinit(o);
    return code;
}

void options_place(const struct options *o, const struct operate *op, char *to, size_t size)
{
    struct operate_place place = operate_place(op);
    char from[300];

    to[0] = '\0';
    if (place.dbname == NULL)
        return;
    settings_origin(&o->settings, SETTING_ID_dsn, from, sizeof from);
    snprintf(to, size, "database %s, host %s, port %s, user %s (from %s)", place.dbname, place.host, place.port,
             place.user, from);
}

bool options_has_person(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int options_answer(const struct options *o)
{
    char line[16];

    fflush(stderr);
    if (fgets(line, sizeof line, stdin) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (strcmp(line, "y") == 0 || strcmp(line, "Y") == 0 || strcmp(line, "yes") == 0)
        return -1;
    return options_fail(o, EXIT_REFUSED, "nothing was done");
}

int options_finish_output(const struct options *o)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    return options_fail(o, EXIT_INTERNAL, "stdout cannot be written: %s", strerror(errno));
}
