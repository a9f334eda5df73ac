/* test_remedies.c - what mends an error of the server, for the relay and for whoever gives a command. */
#include <check.h>
#include <string.h>

#include "relay/exit_codes.h"
#include "relay/source/remedies.h"

static const struct {
    const char *state;
    int exit_code;
    const char *relay, *command, *inbox; /* a word of each; NULL: there is none */
} wanted[] = {
    { "42501", EXIT_PERMISSION, "outbox_relay", "outbox_relay", "inbox_operator" },
    { "42P01", EXIT_CONFIGURATION, "apply the migrations", "the schema outbox", "the schema inbox" },
    { "3F000", EXIT_CONFIGURATION, "apply the migrations", "the schema outbox", "the schema inbox" },
    { "23514", EXIT_CONFIGURATION, "apply the migrations", "the schema outbox", "the schema inbox" },
    { "57014", EXIT_UNAVAILABLE, NULL, "statement.timeout", NULL },
    { "57P01", EXIT_UNAVAILABLE, NULL, "stopping", NULL },
    { "55P03", EXIT_UNAVAILABLE, "pg_locks", "pg_locks", NULL },
    { "25P04", EXIT_UNAVAILABLE, NULL, "transaction_timeout", NULL },
    { "25006", EXIT_UNAVAILABLE, "default_transaction_read_only", "default_transaction_read_only", NULL },
    { "40P01", EXIT_UNAVAILABLE, NULL, "again", NULL },
    { "53100", EXIT_UNAVAILABLE, "make room", "make room", NULL },
    { "53300", EXIT_UNAVAILABLE, "three connections", "three connections", NULL },
    { "53200", EXIT_UNAVAILABLE, NULL, "out of a resource", NULL },
    { "XX000", EXIT_INTERNAL, NULL, "log of the server", NULL },
    { "", EXIT_INTERNAL, NULL, "log of the server", NULL },
    { NULL, EXIT_INTERNAL, NULL, "log of the server", NULL },
};

static void has(const char *state, const char *text, const char *word)
{
    if (word == NULL)
        ck_assert_msg(text == NULL, "%s: %s", state, text);
    else
        ck_assert_msg(text != NULL && strstr(text, word) != NULL, "%s: %s", state, text != NULL ? text : "none");
}

START_TEST(each_state_has_its_remedy)
{
    const struct remedy *remedy = remedy_of(wanted[_i].state);
    const char *state = wanted[_i].state != NULL ? wanted[_i].state : "NULL";

    ck_assert_msg(remedy->exit_code == wanted[_i].exit_code, "%s: %d", state, remedy->exit_code);
    has(state, remedy->relay, wanted[_i].relay);
    has(state, remedy->command, wanted[_i].command);
    has(state, remedy->inbox, wanted[_i].inbox);
}
END_TEST

Suite *suite_remedies(void);

Suite *suite_remedies(void)
{
    Suite *s = suite_create("remedies");
    TCase *tc = tcase_create("remedies");

    tcase_add_loop_test(tc, each_state_has_its_remedy, 0, sizeof wanted / sizeof wanted[0]);
    suite_add_tcase(s, tc);
    return s;
}
