/* settings.h - what the user has set: from the file, systemd's credentials, the environment and -X;
 * later wins.
 *
 * The settings themselves, with their defaults, limits and meaning, are the rows of settings.def.
 * Besides those there is kafka.<property> for every property of librdkafka, handed over as it is,
 * except the few that the relay's guarantees rest on. Secrets are masked wherever settings are
 * shown, and refused where every user of the machine could read them: on the command line and in
 * files that others may read.
 */
#ifndef RELAY_SETTINGS_H
#define RELAY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "relay/log.h"
#include "relay/sink/envelope.h"

/* What becomes of the later rows of a key when one of it is dead. */
enum on_poison { ON_POISON_BLOCK, ON_POISON_SKIP };
enum mark_commit { MARK_COMMIT_SYNC, MARK_COMMIT_ASYNC };
enum takeover_tail { TAKEOVER_TAIL_AUTO, TAKEOVER_TAIL_OFF };

enum setting_flags {
    SETTING_DSN = 1,      /* a libpq connection string: passwords in it are masked */
    SETTING_NOT_EMPTY = 2,
    SETTING_RELOAD = 4,   /* a change takes effect with SIGHUP; numbers and choices only */
    SETTING_OFF = 8,      /* of a duration: may be "off", which is 0 in the struct */
    SETTING_LISTEN = 16   /* HOST:PORT or off */
};

enum setting_from {
    FROM_DEFAULT,
    FROM_FILE,
    FROM_CREDENTIAL,       /* a file of $CREDENTIALS_DIRECTORY with the name of the setting */
    FROM_ENVIRONMENT,
    FROM_ENVIRONMENT_FILE, /* OUTBOX_RELAY_..._FILE names the file */
    FROM_COMMAND_LINE
};

struct setting_origin {
    enum setting_from from;
    unsigned line;   /* of the file */
    bool beats_file; /* the file sets it as well, and this wins */
    bool wrong;      /* what was given last could not be taken */
};

/* One property of librdkafka: the name without `kafka.`. */
struct setting_kv {
    char *name, *value;
    struct setting_origin origin;
};

enum setting_id {
#define SETTING(type, field, key, dflt, least, most, flags, doc) SETTING_ID_##field,
#define CHOICE(type, field, key, dflt, names, flags, doc) SETTING_ID_##field,
#include "relay/settings.def"
#undef SETTING
#undef CHOICE
    N_SETTINGS
};

#define SETTING_TYPE_STRING char *
#define SETTING_TYPE_DURATION uint64_t
#define SETTING_TYPE_SIZE uint64_t
#define SETTING_TYPE_COUNT uint32_t
#define SETTING_TYPE_BOOL bool

/* lease.owner has so many bytes at most: two names that were cut to one would both lead. */
#define SETTINGS_OWNER_MAX 159

struct settings {
#define SETTING(type, field, key, dflt, least, most, flags, doc) SETTING_TYPE_##type field;
#define CHOICE(type, field, key, dflt, names, flags, doc) type field;
#include "relay/settings.def"
#undef SETTING
#undef CHOICE
    struct setting_kv *kafka; /* each name once, in the order in which they were last set */
    size_t n_kafka;
    char *file; /* NULL: none was read */
    bool wrong_brokers; /* what was given for them could not be taken */
    struct setting_origin origin[N_SETTINGS];
};

/* What a command cannot do without: see settings_require. */
enum setting_need { SETTINGS_NEED_DATABASE = 1, SETTINGS_NEED_KAFKA = 2 };

/* Where settings come from: the file (may be NULL), the environment (NULL-terminated, may be NULL: OUTBOX_RELAY_
 * variables and CREDENTIALS_DIRECTORY) and the arguments of -X ("key=value"). Borrowed. */
struct settings_from {
    const char *file;
    char *const *environment;
    const char *const *x_args;
    size_t n_x;
};

/* Room for all mistakes that are told at once. */
#define SETTINGS_MISTAKES_SIZE 8192

/* Fill *s from the defaults and from there, and see whether all that a command needs (enum setting_need) is set.
 * Nothing is borrowed.
 * Returns 0; or -1 with a line in err for each mistake (place, key, value, what is allowed), and what could be taken
 * in *s. settings_free either way. */
int settings_read(struct settings *s, const struct settings_from *from, unsigned need, char *err, size_t err_size);
/* The same with nothing needed, and with *s as after settings_free when it is -1. */
int settings_load(struct settings *s, const char *file, char *const *environment,
                  const char *const *x_args, size_t n_x, char *err, size_t err_size);

/* A setting that is another one in what was loaded; good during the call of the note. */
struct settings_change {
    const char *prefix, *key; /* prefix: SETTING_KAFKA or "" */
    const char *was, *value;  /* in one line, secrets masked; NULL: not set, or no memory to say it */
    bool in_force;            /* it was taken over, else it needs a restart */
    bool only_secret;         /* they differ in what is masked alone */
};

/* Take over from fresh what may change while the relay runs (SETTING_RELOAD). note is called for each
 * setting that differs. 0; or -1 with err, nothing taken over and note not called, when the values would
 * not go together. */
typedef void settings_note(void *arg, const struct settings_change *change);
int settings_reload(struct settings *s, const struct settings *fresh, settings_note *note, void *arg,
                    char *err, size_t err_size);

/* Puts the place of a property of librdkafka before a message that begins with its key, as the sink's do:
 * "relay.conf:4: kafka.linger.ms: ...". One that begins with "kafka.*: ", for librdkafka names no property there, gets
 * those that were set and are concerned, and what mends it. Leaves other messages as they are. */
void settings_name_place(const struct settings *s, char *err, size_t err_size);

/* Are the settings given that have no default? `need`: of enum setting_need. 0, or -1 with a line in err for each. */
int settings_require(const struct settings *s, unsigned need, char *err, size_t err_size);

/* Where the brokers are, under either of the names that librdkafka has for it; NULL: it is not set. */
const char *settings_brokers(const struct settings *s);

/* Accepts NULL and a zeroed struct. */
void settings_free(struct settings *s);

/* Where that one is from, in words. */
void settings_origin(const struct settings *s, enum setting_id id, char *to, size_t size);

/* The value in force of every setting, and where it is from; a settings file again, but for the
 * secrets. */
void settings_print(const struct settings *s, FILE *out);

/* The settings section of --help. */
void settings_help(FILE *out);

/* The manual page of the settings, in the language of scdoc(5). */
void settings_write_man(FILE *out);

/* A settings file with every setting explained and commented out. */
void settings_write_sample(FILE *out);

#endif
