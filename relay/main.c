/* main.c - the command line to a command, its result to the exit code. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "include/outbox.h"
#include "relay/commands/commands.h"
#include "relay/driver/driver.h"
#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/loop.h"
#include "relay/metrics.h"
#include "relay/settings.h"

#define MAX_X 256

struct command_line {
    const char *config;
    const char *x[MAX_X];
    size_t n_x;
    bool once, check_config, print_config, sample_config;
};

static void print_help(void)
{
    fputs("Usage: outbox-relay [run] [OPTION]...\n"
          "       outbox-relay COMMAND [OPTION]...\n"
          "Publish the events of a transactional outbox in PostgreSQL to Kafka: each committed row\n"
          "at least once, the rows of a key in order, marked sent after the broker confirmed it.\n"
          "\n"
          "  -c, --config FILE     read settings from FILE (`key = value` lines)\n"
          "  -X KEY=VALUE          set one setting; may be repeated\n"
          "      --once            publish and mark what is committed now, then exit\n"
          "      --check-config    check the settings and exit: 0 good, 78 not\n"
          "      --print-config    print every setting in force and where it is from\n"
          "      --sample-config   print a settings file with every setting explained\n"
          "      --metrics-help    print every metric and what it means\n"
          "      --version         print the version, and those of librdkafka and libpq\n"
          "  -h, --help            print this\n"
          "\n"
          "Commands, each with a --help of its own, the same settings, and --json:\n",
          stdout);
    for (const struct command *c = commands; c->name != NULL; c++)
        printf("  %-9s %s\n", c->name, c->summary);
    fputs("\n"
          "Examples:\n"
          "  outbox-relay -X dsn=postgresql:///shop -X kafka.bootstrap.servers=localhost:9092\n"
          "  outbox-relay --config /etc/outbox-relay.conf\n"
          "  OUTBOX_RELAY_DSN=service=shop outbox-relay --config relay.conf --once\n"
          "\n"
          "SIGTERM and SIGINT: read nothing more, wait for confirmations, mark, give the lease back,\n"
          "exit 0. A second one ends the process; nothing is lost, rows may go twice.\n"
          "SIGHUP: load the settings again; a bad file changes nothing.\n"
          "\n"
          "Exit codes: 0 clean, 64 usage, 69 unavailable (--once; or confirmed rows that could\n"
          "not be marked before the end, which go again), 70 internal error,\n"
          "77 a right is missing, 78 settings or schema.\n"
          "\n",
          stdout);
    settings_help(stdout);
}

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "outbox-relay: %s%s\nTry 'outbox-relay --help'.\n", what, which);
    return EXIT_USAGE;
}

enum { OPT_ONCE = 256, OPT_CHECK, OPT_PRINT, OPT_SAMPLE, OPT_METRICS, OPT_MAN, OPT_VERSION };

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "once", no_argument, NULL, OPT_ONCE },
    { "check-config", no_argument, NULL, OPT_CHECK },
    { "print-config", no_argument, NULL, OPT_PRINT },
    { "sample-config", no_argument, NULL, OPT_SAMPLE },
    { "metrics-help", no_argument, NULL, OPT_METRICS },
    { "settings-man", no_argument, NULL, OPT_MAN }, /* for the build: relay/man */
    { "version", no_argument, NULL, OPT_VERSION },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

/* As getopt_long(), up to the first word that is neither an option nor "run". */
static int next_option(int argc, char **argv)
{
    int opt = getopt_long(argc, argv, "+c:X:h", options, NULL);

    while (opt == -1 && optind < argc && strcmp(argv[optind], "run") == 0) {
        optind++;
        opt = getopt_long(argc, argv, "+c:X:h", options, NULL);
    }
    return opt;
}

/* What an option prints that needs no settings, or the mistake that getopt has named. The exit code. */
static int print_and_end(int opt)
{
    switch (opt) {
    case OPT_METRICS: metrics_help(stdout); break;
    case OPT_MAN: settings_write_man(stdout); break;
    case OPT_VERSION:
        printf("outbox-relay %s (librdkafka %s, libpq %s)\n", OUTBOX_VERSION_STRING, driver_libraries().librdkafka,
               driver_libraries().libpq);
        break;
    case 'h': print_help(); break;
    default:
        fputs("Try 'outbox-relay --help'.\n", stderr);
        return EXIT_USAGE;
    }
    return EXIT_OK;
}

/* One option: -1 to go on, or the exit code. */
static int take(struct command_line *cl, int opt)
{
    switch (opt) {
    case 'X':
        if (cl->n_x == MAX_X)
            return usage("too many -X options; use a file: ", optarg);
        cl->x[cl->n_x++] = optarg;
        break;
    case 'c': cl->config = optarg; break;
    case OPT_ONCE: cl->once = true; break;
    case OPT_CHECK: cl->check_config = true; break;
    case OPT_PRINT: cl->print_config = true; break;
    case OPT_SAMPLE: cl->sample_config = true; break;
    default: return print_and_end(opt);
    }
    return -1;
}

static int fail_word(const char *word)
{
    const char *meant = command_nearest(word);

    fprintf(stderr, "outbox-relay: unknown command or argument: %s", word);
    if (meant != NULL)
        fprintf(stderr, "; did you mean %s?", meant);
    fputs("\nTry 'outbox-relay --help'.\n", stderr);
    return EXIT_USAGE;
}

/* Returns -1 to go on, or the exit code. */
static int parse(int argc, char **argv, struct command_line *cl)
{
    int code = -1;

    for (int opt; code < 0 && (opt = next_option(argc, argv)) != -1;) {
        if (opt == '?' && optopt == 0)
            command_hint_option("outbox-relay", options, argv[optind - 1]);
        code = take(cl, opt);
    }
    if (code >= 0)
        return code;
    if (optind < argc && command_find(argv[optind]) != NULL)
        return usage("the command comes first: outbox-relay ", argv[optind]);
    return optind < argc ? fail_word(argv[optind]) : -1;
}

/* A line for each; who checks wants those of libpq and librdkafka with them. */
static int fail_mistakes(const struct command_line *cl, const struct settings *set, char *mistakes)
{
    for (char *line; (line = strsep(&mistakes, "\n")) != NULL;)
        fprintf(stderr, "outbox-relay: %s\n", line);
    if (cl->check_config && set->dsn != NULL) { /* else there was no memory for a setting */
        log_setup(set->log_level, set->log_format);
        (void)driver_check(set, false);
    }
    return EXIT_CONFIGURATION;
}

static int run(const struct command_line *cl, struct settings *set, const struct settings_from *from)
{
    if (cl->print_config) {
        settings_print(set, stdout);
        return EXIT_OK;
    }
    log_setup(set->log_level, set->log_format);
    if (cl->check_config) {
        int code = driver_check(set, true);
        if (code == EXIT_OK)
            puts("the settings are good");
        return code;
    }
    if (loop_signals() < 0) {
        log_error("relay", "signals cannot be handled");
        return EXIT_INTERNAL;
    }
    return driver_run(set, from, cl->once);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    char program[32];

    snprintf(program, sizeof program, "outbox-relay %s", command->name);
    argv[1] = program;
    return command->run(argc - 1, argv + 1);
}

/* Where one of 0 to 2 is closed, a connection would get it, and what is written to standard error. Here neither reading
 * nor writing works. */
static void keep_standard(void)
{
    int fd;

    while ((fd = open("/dev/null", O_PATH)) >= 0 && fd <= STDERR_FILENO)
        continue;
    if (fd >= 0)
        close(fd);
}

/* What was asked for and could not be written was not done. */
static int end_output(int code)
{
    if (code != EXIT_OK || (fflush(stdout) == 0 && !ferror(stdout)))
        return code;
    fprintf(stderr, "outbox-relay: stdout cannot be written: %s\n", strerror(errno));
    return EXIT_INTERNAL;
}

int main(int argc, char **argv)
{
    extern char **environ;
    const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;

    keep_standard();
    if (command != NULL)
        return run_command(command, argc, argv);

    struct command_line cl = { .config = NULL };
    struct settings set;
    char err[SETTINGS_MISTAKES_SIZE];
    int code = parse(argc, argv, &cl);

    if (code >= 0)
        return end_output(code);
    if (cl.sample_config) {
        settings_write_sample(stdout);
        return end_output(EXIT_OK);
    }
    const struct settings_from from = { cl.config, environ, cl.x, cl.n_x };
    const unsigned need = cl.print_config ? 0 : SETTINGS_NEED_DATABASE | SETTINGS_NEED_KAFKA;
    if (settings_read(&set, &from, need, err, sizeof err) == 0)
        code = run(&cl, &set, &from);
    else
        code = fail_mistakes(&cl, &set, err);
    settings_free(&set);
    return end_output(code);
}
