/* commands.h - the sub-commands of outbox-relay besides `run`. A command is one row of the table in
 * commands.c. Commands print what was asked for on stdout, all else on stderr, and return the exit
 * code; they know neither SQL nor Kafka.
 */
#ifndef RELAY_COMMANDS_COMMANDS_H
#define RELAY_COMMANDS_COMMANDS_H

struct command {
    const char *name;
    const char *summary; /* for --help */
    int (*run)(int argc, char **argv); /* argv[0]: how error messages call the program */
};

/* Ends with a row whose name is NULL. */
extern const struct command commands[];

/* NULL: there is none of this name. */
const struct command *command_find(const char *name);

/* The command, or "run", that was meant by a name that is none; NULL: none is near. */
const char *command_nearest(const char *name);

struct option; /* of getopt.h */
/* When getopt_long has named an option that it does not know: which long one was meant, on stderr, if one is near. word: as
 * it stands on the line. */
void command_hint_option(const char *program, const struct option *known, const char *word);

int command_status(int argc, char **argv);
int command_trace(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_dead(int argc, char **argv);
int command_retry(int argc, char **argv);
int command_discard(int argc, char **argv);
int command_inbox(int argc, char **argv);

#endif
