/* options.c - the command line of a sub-command: which options it has, what they may say, what goes with what.
 * See options.h; what is done with them is in session.c.
 */
#include "relay/commands/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/hex.h"
#include "relay/commands/commands.h"
#include "relay/exit_codes.h"
#include "relay/source/operate_inbox.h"
#include "relay/text.h"

#define DEFAULT_LIMIT 50
#define MAX_LIMIT 1000000
#define MAX_REASON 500 /* bytes; as long as the errors that the relay keeps */
#define MAX_TOPIC 249

int options_fail(const struct options *o, int exit_code, const char *fmt, ...)
{
    char text[1536];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "%s: ", o->program);
    text_put(stderr, text, sizeof text);
    putc('\n', stderr);
    if (exit_code == EXIT_USAGE)
        fprintf(stderr, "Try '%s --help'.\n", o->program);
    return exit_code;
}

int options_fail_operate(const struct options *o, const struct operate *op, int exit_code)
{
    return options_fail(o, exit_code, "%s", operate_error(op));
}

/* -- values ----------------------------------------------------------------------------------- */

static bool is_uuid(const char *text)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    if (strlen(text) != sizeof shape - 1)
        return false;
    for (size_t i = 0; i < sizeof shape - 1; i++)
        if (shape[i] == 'x' ? !isxdigit((unsigned char)text[i]) : text[i] != '-')
            return false;
    return true;
}

static int add_setting(struct options *o, const char *value)
{
    if (o->n_x == OPTIONS_MAX_X)
        return options_fail(o, EXIT_USAGE, "too many -X options; use a file: %s", value);
    o->x[o->n_x++] = value;
    return -1;
}

static bool is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static int set_event_id(struct options *o, const char *value)
{
    if (o->choice.event_id != NULL)
        return options_fail(o, EXIT_USAGE, "%s: one event at a time; --topic or --all for many",
                            value);
    if (!is_uuid(value))
        return options_fail(o, EXIT_USAGE, "%s: is not an event's UUID; --id %s takes the number of "
                            "an event", value, is_number(value) ? value : "N");
    o->choice.event_id = value;
    return -1;
}

static int set_number(const struct options *o, const char *dashes, const char *name, const char *value,
                      int64_t most, int64_t *ret_number)
{
    char *rest;

    errno = 0;
    long long n = strtoll(value, &rest, 10);
    if (errno != 0 || !isdigit((unsigned char)*value) || *rest != '\0' || n < 1 || n > most)
        return options_fail(o, EXIT_USAGE, "%s%s %s: must be a whole number from 1 to %lld", dashes, name,
                            value, (long long)most);
    *ret_number = n;
    return -1;
}

/* Of a dead letter. */
static int add_letter(struct options *o, const char *value)
{
    int64_t id;
    int code = set_number(o, "", "ID", value, INT64_MAX, &id);

    for (size_t i = 0; code < 0 && i < o->n_letters; i++)
        if (o->letter_ids[i] == id)
            return -1;
    if (code < 0 && o->n_letters == OPTIONS_MAX_LETTERS)
        return options_fail(o, EXIT_USAGE, "more than %d dead letters; use --consumer, or several commands",
                            OPTIONS_MAX_LETTERS);
    if (code < 0)
        o->letter_ids[o->n_letters++] = id;
    return code;
}

static int set_topic(struct options *o, const char *value)
{
    size_t len = strlen(value);

    if (len == 0 || len > MAX_TOPIC || !text_is_utf8(value, len))
        return options_fail(o, EXIT_USAGE, "--topic %s: is not the name of a topic (1 to %d bytes)",
                            value, MAX_TOPIC);
    o->choice.topic = value;
    return -1;
}

static int set_reason(struct options *o, const char *value)
{
    size_t len = strlen(value);

    if (len == 0 || len > MAX_REASON || !text_is_utf8(value, len))
        return options_fail(o, EXIT_USAGE, "--reason: must be 1 to %d bytes of UTF-8, is %zu",
                            MAX_REASON, len);
    if (strncmp(value, "--", 2) == 0) /* what is discarded does not come back */
        return options_fail(o, EXIT_USAGE, "--reason %s: looks like an option, not like a reason", value);
    o->reason = value;
    return -1;
}

static int set_state(struct options *o, const char *value)
{
    static const struct {
        enum options_of of;
        const char *name;
        unsigned state;
    } states[] = {
        { OPTIONS_DEAD, "retrying", OPERATE_RETRYING },
        { OPTIONS_DEAD, "blocked", OPERATE_BLOCKED },
        { OPTIONS_DEAD, "paused", OPERATE_PAUSED },
        { OPTIONS_DEAD, "scheduled", OPERATE_SCHEDULED },
        { OPTIONS_DEAD, "dead", OPERATE_DEAD },
        { OPTIONS_DEAD, "discarded", OPERATE_DISCARDED },
        { OPTIONS_INBOX_DEAD, "dead", OPERATE_LETTER_DEAD },
        { OPTIONS_INBOX_DEAD, "retry", OPERATE_LETTER_RETRY },
        { OPTIONS_INBOX_DEAD, "discarded", OPERATE_LETTER_DISCARDED },
    };
    char names[100] = "";

    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (states[i].of != o->of)
            continue;
        if (strcmp(value, states[i].name) == 0) {
            o->choice.states |= states[i].state;
            return -1;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", names[0] != '\0' ? ", " : "",
                 states[i].name);
    }
    return options_fail(o, EXIT_USAGE, "--state %s: must be one of %s", value, names);
}

static int set_key_hex(struct options *o)
{
    const char *hex = o->key_hex;
    size_t len = strlen(hex);

    o->key_bytes = malloc(len / 2 + 1);
    if (o->key_bytes == NULL)
        return options_fail(o, EXIT_INTERNAL, "out of memory");
    for (size_t i = 0; i + 1 < len; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0)
            break;
        o->key_bytes[i / 2] = (unsigned char)(high << 4 | low);
    }
    if (len % 2 != 0 || strspn(hex, "0123456789abcdefABCDEF") != len)
        return options_fail(o, EXIT_USAGE, "--key-hex %s: must be pairs of hexadecimal digits, such "
                            "as 6b31", hex);
    o->choice.key = o->key_bytes;
    o->choice.key_len = len / 2;
    return -1;
}

/* -- the line --------------------------------------------------------------------------------- */

#define ACTS (OPTIONS_RETRY | OPTIONS_DISCARD)
#define RANGES (OPTIONS_REPLAY | OPTIONS_VERIFY)
#define EVERY                                                                                      \
    (OPTIONS_DEAD | ACTS | RANGES | OPTIONS_STATUS | OPTIONS_DOCTOR | OPTIONS_TRACE | \
     OPTIONS_INBOX)

/* What becomes of an option's value. */
enum kind {
    IS_FLAG,   /* it has none: the member is true */
    IS_TEXT,   /* borrowed; looked at when the line has been read */
    IS_NUMBER, /* from 1 to `most` */
    IS_TAKEN,  /* take() looks at it at once */
    IS_HELP
};

struct spec {
    const char *name;
    char letter; /* the short form; '\0': none */
    unsigned of; /* the commands that have it */
    enum kind kind;
    size_t at; /* its member of struct options */
    int64_t most;
    int (*take)(struct options *o, const char *value);
};

#define FLAG(member) IS_FLAG, offsetof(struct options, member), 0, NULL
#define TEXT(member) IS_TEXT, offsetof(struct options, member), 0, NULL
#define NUMBER(member, most) IS_NUMBER, offsetof(struct options, member), most, NULL
#define TAKEN(take) IS_TAKEN, 0, 0, take

static const struct spec specs[] = {
    { "config", 'c', EVERY, TEXT(config) },
    { "help", 'h', EVERY, IS_HELP, 0, 0, NULL },
    { "json", 0, EVERY, FLAG(json) },
    { "topic", 0, OPTIONS_DEAD | ACTS | RANGES | OPTIONS_INBOX_DEAD | OPTIONS_INBOX_ACTS, TAKEN(set_topic) },
    { "consumer", 0, OPTIONS_INBOX, TEXT(consumer) },
    { "limit", 0, OPTIONS_DEAD | OPTIONS_VERIFY | OPTIONS_STATUS | OPTIONS_INBOX_DEAD, NUMBER(limit, MAX_LIMIT) },
    { "state", 0, OPTIONS_DEAD | OPTIONS_INBOX_DEAD, TAKEN(set_state) },
    { "all-states", 0, OPTIONS_DEAD | OPTIONS_INBOX_DEAD, FLAG(all_states) },
    { "id", 0, ACTS | OPTIONS_TRACE, NUMBER(choice.id, INT64_MAX) },
    { "key", 0, ACTS | OPTIONS_REPLAY, TEXT(key) },
    { "key-hex", 0, ACTS | OPTIONS_REPLAY, TEXT(key_hex) },
    { "all", 0, ACTS | OPTIONS_INBOX_ACTS, FLAG(all) },
    { "yes", 0, ACTS | OPTIONS_REPLAY | OPTIONS_INBOX_ACTS, FLAG(yes) },
    { "dry-run", 0, ACTS | OPTIONS_REPLAY | OPTIONS_INBOX_ACTS, FLAG(dry_run) },
    { "force-order", 0, OPTIONS_RETRY, FLAG(force_order) },
    { "reason", 0, OPTIONS_DISCARD | OPTIONS_INBOX_DISCARD, TAKEN(set_reason) },
    { "retrying", 0, OPTIONS_DISCARD, FLAG(with_retrying) },
    { "paused", 0, OPTIONS_DISCARD, FLAG(with_paused) },
    { "from-id", 0, RANGES, NUMBER(from_id, INT64_MAX) },
    { "to-id", 0, RANGES, NUMBER(to_id, INT64_MAX) },
    { "since", 0, RANGES, TEXT(since) },
    { "until", 0, RANGES, TEXT(until) },
    { "probe-write", 0, OPTIONS_DOCTOR, FLAG(probe_write) },
};
#define N_SPECS (sizeof specs / sizeof specs[0])

/* What getopt_long returns for it. */
static int value_of(const struct spec *spec)
{
    return spec->letter != '\0' ? spec->letter : UCHAR_MAX + 1 + (int)(spec - specs);
}

static int takes_value(enum kind kind)
{
    return kind == IS_FLAG || kind == IS_HELP ? no_argument : required_argument;
}

static int take_spec(struct options *o, const struct spec *spec, const char *value)
{
    void *member = (char *)o + spec->at;

    switch (spec->kind) {
    case IS_FLAG:
        *(bool *)member = true;
        break;
    case IS_TEXT:
        *(const char **)member = value;
        break;
    case IS_NUMBER:
        return set_number(o, "--", spec->name, value, spec->most, member);
    case IS_TAKEN:
        return spec->take(o, value);
    case IS_HELP:
        fputs(o->help, stdout);
        return EXIT_OK;
    }
    return -1;
}

/* One option: -1 to go on, or the exit code. */
static int take(struct options *o, int opt, const char *value)
{
    if (opt == 'X')
        return add_setting(o, value);
    for (size_t i = 0; i < N_SPECS; i++)
        if (opt == value_of(&specs[i]))
            return take_spec(o, &specs[i], value);
    fprintf(stderr, "Try '%s --help'.\n", o->program); /* getopt has named the mistake */
    return EXIT_USAGE;
}

static int take_key(struct options *o)
{
    if (o->key != NULL && o->key_hex != NULL)
        return options_fail(o, EXIT_USAGE, "--key and --key-hex: give one of them");
    if ((o->key != NULL || o->key_hex != NULL) && o->choice.topic == NULL)
        return options_fail(o, EXIT_USAGE, "--key: needs --topic, because a key belongs to one");
    if (o->key_hex != NULL)
        return set_key_hex(o);
    if (o->key != NULL) {
        o->choice.key = o->key;
        o->choice.key_len = strlen(o->key);
    }
    return -1;
}

/* One way of naming the events, and no more. */
static int check_named(const struct options *o)
{
    int n = (o->choice.event_id != NULL) + (o->choice.id != 0) + (o->choice.topic != NULL) + o->all;

    if (n == 1)
        return -1;
    return options_fail(o, EXIT_USAGE, "%s one of EVENT_ID, --id N, --topic T [--key K] and --all",
                        n == 0 ? "which events? Give" : "give only");
}

static int check_letters(const struct options *o)
{
    if (o->choice.topic != NULL && o->consumer == NULL)
        return options_fail(o, EXIT_USAGE, "--topic: needs --consumer, whose dead letters they are");
    if ((o->n_letters > 0) + (o->consumer != NULL) + o->all == 1)
        return -1;
    return options_fail(o, EXIT_USAGE, "which dead letters? Give one of ID..., --consumer C [--topic T] and --all");
}

/* All that is given must hold for an event. */
static int check_range(const struct options *o)
{
    bool any = o->from_id != 0 || o->to_id != 0 || o->since != NULL || o->until != NULL ||
               o->choice.key != NULL;

    if (o->to_id != 0 && o->to_id < o->from_id)
        return options_fail(o, EXIT_USAGE, "--to-id %lld lies before --from-id %lld",
                            (long long)o->to_id, (long long)o->from_id);
    if (o->of == OPTIONS_REPLAY && !any)
        return options_fail(o, EXIT_USAGE, "which events? Give --from-id A --to-id B, --since TIME "
                            "--until TIME, or --topic T --key K");
    return -1;
}

static int check_one(const struct options *o)
{
    if ((o->choice.event_id != NULL) + (o->choice.id != 0) == 1)
        return -1;
    return options_fail(o, EXIT_USAGE, "which event? Give its EVENT_ID or --id N");
}

static int check_line(struct options *o)
{
    int code = take_key(o);

    if (code < 0 && (o->of & ACTS))
        code = check_named(o);
    if (code < 0 && (o->of & OPTIONS_INBOX_ACTS))
        code = check_letters(o);
    if (code < 0 && (o->of & RANGES))
        code = check_range(o);
    if (code < 0 && o->of == OPTIONS_TRACE)
        code = check_one(o);
    if (code >= 0)
        return code;
    if ((o->of & (OPTIONS_DISCARD | OPTIONS_INBOX_DISCARD)) && o->reason == NULL)
        return options_fail(o, EXIT_USAGE, "--reason TEXT is missing; it is kept with the event");
    return -1;
}

static void default_choice(struct options *o)
{
    if (o->of == OPTIONS_INBOX_DEAD)
        o->choice.states = o->all_states ? OPERATE_LETTER_ALL : o->choice.states != 0 ? o->choice.states
                                                                                              : OPERATE_LETTER_DEAD;
    else if (o->all_states)
        o->choice.states = OPERATE_ALL_STATES;
    else if (o->of == OPTIONS_RETRY || o->with_retrying)
        o->choice.states = OPERATE_DEAD | OPERATE_RETRYING;
    else if (o->choice.states == 0)
        o->choice.states = OPERATE_DEAD;
    if (o->with_paused)
        o->choice.states |= OPERATE_PAUSED;
    if (o->limit == 0)
        o->limit = DEFAULT_LIMIT;
    o->choice.upto = INT64_MAX;
}

int options_parse(struct options *o, int argc, char **argv)
{
    struct option options[N_SPECS + 1] = { { NULL, 0, NULL, 0 } };
    size_t n = 0;
    int code = -1;

    o->program = argv[0];
    for (size_t i = 0; i < N_SPECS; i++)
        if (specs[i].of & o->of)
            options[n++] = (struct option){ specs[i].name, takes_value(specs[i].kind), NULL,
                                            value_of(&specs[i]) };
    for (int opt; code < 0 && (opt = getopt_long(argc, argv, "c:X:h", options, NULL)) != -1;) {
        if (opt == '?' && optopt == 0)
            command_hint_option(o->program, options, argv[optind - 1]);
        code = take(o, opt, optarg);
    }
    for (; code < 0 && optind < argc; optind++)
        code = o->of & (ACTS | OPTIONS_TRACE) ? set_event_id(o, argv[optind])
               : o->of & OPTIONS_INBOX_ACTS   ? add_letter(o, argv[optind])
                            : options_fail(o, EXIT_USAGE, "%s: an argument that means nothing here",
                                           argv[optind]);
    if (code < 0)
        code = check_line(o);
    if (code < 0)
        default_choice(o);
    return code;
}

void options_deinit(struct options *o)
{
    free(o->key_bytes);
    o->key_bytes = NULL;
    free(o->kafka);
    settings_free(&o->settings);
}
