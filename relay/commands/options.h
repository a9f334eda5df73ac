/* options.h - the command line of a sub-command, and the settings and the connection it asks for. */
#ifndef RELAY_COMMANDS_OPTIONS_H
#define RELAY_COMMANDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/settings.h"
#include "relay/sink/inspect.h"
#include "relay/sink/reader.h"
#include "relay/sink/sink.h"
#include "relay/source/operate.h"

#define OPTIONS_MAX_X 256

/* Which command reads its line: decides which options there are. */
enum options_of {
    OPTIONS_DEAD = 1,
    OPTIONS_RETRY = 2,
    OPTIONS_DISCARD = 4,
    OPTIONS_STATUS = 8,
    OPTIONS_DOCTOR = 16,
    OPTIONS_REPLAY = 32,
    OPTIONS_VERIFY = 64,
    OPTIONS_TRACE = 128,
    OPTIONS_INBOX_STATUS = 256,
    OPTIONS_INBOX_DEAD = 512,
    OPTIONS_INBOX_RETRY = 1024,
    OPTIONS_INBOX_DISCARD = 2048
};
#define OPTIONS_INBOX_ACTS (OPTIONS_INBOX_RETRY | OPTIONS_INBOX_DISCARD)
#define OPTIONS_INBOX (OPTIONS_INBOX_STATUS | OPTIONS_INBOX_DEAD | OPTIONS_INBOX_ACTS)
#define OPTIONS_MAX_LETTERS 1000

struct options {
    enum options_of of;
    const char *program; /* as error messages call it */
    const char *help;
    const char *config;
    const char *x[OPTIONS_MAX_X];
    size_t n_x;
    bool json, all, yes, dry_run, force_order;
    bool with_retrying, with_paused; /* discard */
    const char *reason;
    int64_t limit;
    int64_t from_id, to_id;    /* replay, verify; 0: not given */
    const char *since, *until; /* or NULL */
    bool probe_write;          /* doctor */
    unsigned char *key_bytes; /* of --key-hex; owned */
    const char *key, *key_hex;
    struct operate_choice choice; /* inbox dead: its states are of enum operate_letter_state */
    bool all_states;      /* dead, inbox dead */
    const char *consumer; /* inbox; or NULL */
    int64_t letter_ids[OPTIONS_MAX_LETTERS]; /* inbox retry, discard: each once */
    size_t n_letters;
    struct settings settings;
    struct sink_property *kafka; /* those kafka.<property>; owned, but for its texts */
    size_t n_kafka;
};

/* Fills *o, whose of and help are set and whose rest is zero; the choice gets the states that the
 * command deals in. Returns -1 to go on, or the exit code: the help was printed, or a mistake was
 * named. Borrows from argv; options_deinit in any case. */
int options_parse(struct options *o, int argc, char **argv);
void options_deinit(struct options *o);

/* Says what is wrong on stderr, on one line, and returns exit_code. */
__attribute__((format(printf, 3, 4))) int options_fail(const struct options *o, int exit_code,
                                                       const char *fmt, ...);

/* Reads the settings; `need`: of enum setting_need. EXIT_OK, or it was said what is wrong. */
int options_settings(struct options *o, unsigned need);
/* To the brokers, which are not asked yet. NULL: not possible, and err says why, with the place
 * (file and line, ...) of a setting that is wrong. */
struct reader *options_reader(const struct options *o, char *err, size_t err_size);
struct inspect *options_inspect(const struct options *o, char *err, size_t err_size);
/* The connection, not opened yet. NULL: out of memory, which was said. */
struct operate *options_operate(const struct options *o, bool only_reads);
/* Both, and connects to the database: to the outbox, or the inbox when the command is one of inbox's.
 * EXIT_OK, and *ret is to be freed with operate_free; or another exit code, and it was said why. */
int options_connect(struct options *o, unsigned need, bool only_reads, struct operate **ret);
/* A command that only looks at the database: parses, connects as above, calls it, and frees. The exit code. */
int options_look(struct options *o, unsigned need, int argc, char **argv,
                 int (*look)(struct options *o, struct operate *op));

/* The answer to a question that stands on stderr: -1 to go on, or EXIT_REFUSED, which was said. */
int options_answer(const struct options *o);
/* Somebody is there to be asked, and can see the question. */
bool options_has_person(void);

/* Which database that is, and which setting said so, in a line: "" when it is not known. */
void options_place(const struct options *o, const struct operate *op, char *to, size_t size);

/* What operate_error has to say, for the person. Returns exit_code. */
int options_fail_operate(const struct options *o, const struct operate *op, int exit_code);

/* All was written to stdout? EXIT_OK, or it is said that not. */
int options_finish_output(const struct options *o);

#endif
