/* test_inbox_stats.c - the figures of a consumer: counted, published, copied, and as Prometheus text;
 * and codes as text. */
#include <check.h>
#include <locale.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/inbox/inside.h"

static struct inbox_consumer *c;
static char text[32768];

static void setup(void)
{
    static char group[] = "bill\\ing \"a\"\nb";

    c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(inbox__stats_init(c), 0);
    c->set.group = group;
}

static void teardown(void)
{
    inbox__stats_deinit(c);
    free(c);
}

static void write_text(void)
{
    size_t len = inbox_consumer_metrics(c, text, sizeof text);

    ck_assert_uint_lt(len, sizeof text);
    ck_assert_uint_eq(len, strlen(text));
}

/* Is it a whole line of the text? */
static void expect_line(const char *line)
{
    size_t len = strlen(line);

    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return;
    ck_abort_msg("no line %s in\n%s", line, text);
}

#define LABEL "{group=\"bill\\\\ing \\\"a\\\"\\nb\""

START_TEST(every_figure_is_in_the_text)
{
    inbox_stats *f = &c->figures;

    f->received = 1;
    f->applied = UINT64_C(18446744073709551615);
    f->duplicates = 3;
    f->ignored = 4;
    f->retries = 5;
    f->dead = 6;
    f->rejected = 7;
    f->redriven = 8;
    f->transactions = 9;
    f->rollbacks = 10;
    f->fenced = 11;
    f->rebalances = 12;
    f->db_reconnects = 13;
    f->kafka_errors = 14;
    f->sequence_repeats = 15;
    f->sequence_backwards = 16;
    f->sequence_gaps = 22;
    f->expired = 23;
    f->stalls = 24;
    f->lag = 17;
    f->last_commit_unix_ms = 1700000000018;
    f->db_up = 1;
    c->window.n_rows = 4000000000;
    c->window.n_held_keys = 20;
    c->window.n_bytes = 21;
    inbox__stats_publish(c);
    write_text();
    expect_line("inbox_received_total" LABEL "} 1");
    expect_line("inbox_applied_total" LABEL "} 18446744073709551615");
    expect_line("inbox_duplicates_total" LABEL "} 3");
    expect_line("inbox_ignored_total" LABEL "} 4");
    expect_line("inbox_retries_total" LABEL "} 5");
    expect_line("inbox_dead_total" LABEL "} 6");
    expect_line("inbox_rejected_total" LABEL "} 7");
    expect_line("inbox_redriven_total" LABEL "} 8");
    expect_line("inbox_transactions_total" LABEL "} 9");
    expect_line("inbox_rollbacks_total" LABEL "} 10");
    expect_line("inbox_fenced_total" LABEL "} 11");
    expect_line("inbox_rebalances_total" LABEL "} 12");
    expect_line("inbox_db_reconnects_total" LABEL "} 13");
    expect_line("inbox_kafka_errors_total" LABEL "} 14");
    expect_line("inbox_sequence_repeats_total" LABEL "} 15");
    expect_line("inbox_sequence_backwards_total" LABEL "} 16");
    expect_line("inbox_sequence_gaps_total" LABEL "} 22");
    expect_line("inbox_expired_total" LABEL "} 23");
    expect_line("inbox_stalls_total" LABEL "} 24");
    expect_line("inbox_lag_events" LABEL "} 17");
    expect_line("inbox_last_commit_timestamp_seconds" LABEL "} 1700000000.018");
    expect_line("inbox_in_flight_events" LABEL "} 4000000000");
    expect_line("inbox_held_keys" LABEL "} 20");
    expect_line("inbox_in_flight_bytes" LABEL "} 21");
    expect_line("inbox_db_up" LABEL "} 1");
}
END_TEST

START_TEST(partitions_are_counted_when_published)
{
    struct inbox__partition second = { .paused = true }, first = { .next = &second };

    c->partitions = &first;
    inbox__stats_publish(c);
    write_text();
    expect_line("inbox_partitions" LABEL "} 2");
    expect_line("inbox_partitions_paused" LABEL "} 1");
}
END_TEST

/* As the text format wants it: HELP and TYPE before the samples of a family, each family once. */
START_TEST(every_family_is_described_once)
{
    char family[100] = "";
    size_t n = 0;

    write_text();
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t len = strcspn(line + 7, " ");
            ck_assert_uint_lt(len, sizeof family);
            memcpy(family, line + 7, len);
            family[len] = '\0';
            ck_assert_uint_gt(strlen(line + 7 + len), 2);
            line = strtok(NULL, "\n");
            ck_assert_msg(strncmp(line, "# TYPE ", 7) == 0 && strncmp(line + 7, family, len) == 0, "%s", line);
            ck_assert_msg((strcmp(line + 7 + len, " counter") == 0) ==
                              (len > 6 && strcmp(family + len - 6, "_total") == 0), "%s", line);
            n++;
        } else {
            ck_assert_msg(family[0] != '\0' && strncmp(line, family, strlen(family)) == 0, "%s", line);
        }
    }
    ck_assert_uint_ge(n, 25);
}
END_TEST

START_TEST(handlers_are_a_histogram)
{
    inbox__stats_handler(c, 250);    /* a bound is in its bucket */
    inbox__stats_handler(c, 251);
    inbox__stats_handler(c, 61000000);
    inbox__stats_publish(c);
    write_text();
    expect_line("inbox_handler_seconds_bucket" LABEL ",le=\"0.00025\"} 1");
    expect_line("inbox_handler_seconds_bucket" LABEL ",le=\"0.0005\"} 2");
    expect_line("inbox_handler_seconds_bucket" LABEL ",le=\"60\"} 2");
    expect_line("inbox_handler_seconds_bucket" LABEL ",le=\"+Inf\"} 3");
    expect_line("inbox_handler_seconds_sum" LABEL "} 61.000501");
    expect_line("inbox_handler_seconds_count" LABEL "} 3");
}
END_TEST

/* One that writes a comma there, where the system can make it. */
static bool take_another_locale(void)
{
    char command[500];
    const char *dir = getenv("TMPDIR");

    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1", dir != NULL ? dir : "");
    return dir != NULL && system(command) == 0 && setenv("LOCPATH", dir, 1) == 0 &&
           setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

/* Prometheus throws the whole page away else, with all that the program has on it. */
START_TEST(the_text_does_not_depend_on_the_locale)
{
    static char before[sizeof text];

    inbox__stats_handler(c, 1234567);
    c->figures.last_commit_unix_ms = 1234005;
    inbox__stats_publish(c);
    write_text();
    expect_line("inbox_last_commit_timestamp_seconds" LABEL "} 1234.005");
    expect_line("inbox_handler_seconds_sum" LABEL "} 1.234567");
    memcpy(before, text, sizeof text);
    if (!take_another_locale())
        return;
    write_text();
    ck_assert_int_eq(strcmp(text, before), 0);
}
END_TEST

START_TEST(a_small_buffer_gets_what_fits_and_says_how_much_there_is)
{
    char small[64];
    size_t len = inbox_consumer_metrics(c, text, sizeof text);

    memset(small, 'x', sizeof small);
    ck_assert_uint_eq(inbox_consumer_metrics(c, NULL, 0), len);
    ck_assert_uint_eq(inbox_consumer_metrics(c, small, 40), len);
    ck_assert_uint_eq(strlen(small), 39);
    ck_assert_int_eq(strncmp(small, text, 39), 0);
    ck_assert_int_eq(small[40], 'x');
    ck_assert_uint_eq(inbox_consumer_metrics(c, text, len), len); /* one byte too small */
    ck_assert_uint_eq(strlen(text), len - 1);
    ck_assert_uint_eq(inbox_consumer_metrics(NULL, text, sizeof text), 0);
}
END_TEST

/* inbox.h says how large a buffer is enough. */
START_TEST(a_page_is_large_enough_for_the_longest_name)
{
    static char group[INBOX_MAX_GROUP_BYTES + 1];
    static char page[32 * 1024];

    memset(group, '"', sizeof group - 1);
    c->set.group = group;
    memset(&c->figures.received, 0xff, sizeof c->figures - offsetof(inbox_stats, received));
    inbox__stats_publish(c);
    ck_assert_uint_lt(inbox_consumer_metrics(c, page, sizeof page), sizeof page);
}
END_TEST

START_TEST(the_figures_are_copied_for_those_who_know_them)
{
    inbox_stats s = INBOX_STATS_INIT;

    c->figures.applied = 5;
    inbox_consumer_stats(c, &s);
    ck_assert_uint_eq(s.applied, 0); /* not published yet */
    inbox__stats_publish(c);
    inbox_consumer_stats(c, &s);
    ck_assert_uint_eq(s.applied, 5);
    ck_assert_uint_eq(s.struct_size, sizeof s);
    s = (inbox_stats){ .struct_size = offsetof(inbox_stats, sequence_gaps), .received = 77, .sequence_gaps = 78 };
    c->figures.sequence_gaps = 3;
    inbox__stats_publish(c);
    inbox_consumer_stats(c, &s); /* as with the first header, which did not have it */
    ck_assert_uint_eq(s.received, 0);
    ck_assert_uint_eq(s.sequence_gaps, 78);
    s = (inbox_stats){ .struct_size = 8, .received = 77 };
    inbox_consumer_stats(c, &s);
    ck_assert_uint_eq(s.received, 77);
    inbox_consumer_stats(NULL, &s);
    inbox_consumer_stats(c, NULL);
}
END_TEST

static void came(const char *source, const char *sequence, uint64_t key)
{
    struct inbox__part part = { .id = 1 };
    struct inbox__record r = { .item = { .key = key, .part = &part },
                               .msg = { .source = source, .sequence = sequence } };

    inbox__stats_sequence(c, &r);
}

START_TEST(sequences_are_compared_within_a_key_of_a_source)
{
    came("/a", "00000000000000000005", 1);
    came("/a", "00000000000000000005", 1); /* sent twice */
    came("/a", "00000000000000000003", 1); /* a replay */
    came("/b", "00000000000000000001", 1);
    came("/a", "00000000000000000001", 2);
    came("/a", "none", 1);
    came("/a", NULL, 1);
    came("/a", "00000000000000000001", 0); /* no key, no order */
    ck_assert_uint_eq(c->figures.sequence_repeats, 1);
    ck_assert_uint_eq(c->figures.sequence_backwards, 1);
}
END_TEST

START_TEST(numbers_of_an_outbox_have_no_gaps)
{
    came("/a", "00000000000000000005", 1);
    came("/a", "00000000000000000009", 1);
    ck_assert_uint_eq(c->figures.sequence_gaps, 0);
}
END_TEST

/* An event of a producer that numbers those of each key. */
static void version_came(const char *version, uint64_t key)
{
    struct inbox__part part = { .id = 1 };
    const outbox_header headers[] = { { "other", "77", 2 }, { "version", version, strlen(version) } };
    struct inbox__record r = { .item = { .key = key, .part = &part },
                               .msg = { .sequence = "00000000000000000001", .headers = headers, .n_headers = 2 } };

    inbox__stats_sequence(c, &r);
}

START_TEST(numbers_of_a_key_have)
{
    static char header[] = "version";

    c->set.sequence_header = header;
    version_came("1", 1);
    version_came("1", 2);
    version_came("2", 1);
    version_came("4", 1); /* 3 is missing */
    version_came("5", 1);
    version_came("9", 1); /* so are 6 to 8 */
    version_came("9", 1);
    version_came("6", 1);
    version_came("x", 1);
    version_came("18446744073709551615", 2);
    version_came("0", 2);
    ck_assert_uint_eq(c->figures.sequence_gaps, 3);
    ck_assert_uint_eq(c->figures.sequence_repeats, 1);
    ck_assert_uint_eq(c->figures.sequence_backwards, 2);
}
END_TEST

/* Of a producer whose CloudEvents count by the key; ours do not. */
START_TEST(ce_sequence_of_a_key_has_them_where_the_setting_says_so)
{
    static char header[] = "ce_sequence";
    struct inbox__part part = { .id = 1 };
    outbox_header sequence = { header, "1", 1 };
    struct inbox__record r = { .item = { .key = 1, .part = &part },
                               .msg = { .sequence = "1", .headers = &sequence, .n_headers = 1 } };

    c->set.sequence_header = header;
    inbox__stats_sequence(c, &r);
    sequence.value = r.msg.sequence = "3";
    inbox__stats_sequence(c, &r);
    ck_assert_uint_eq(c->figures.sequence_gaps, 1);
}
END_TEST

Suite *suite_inbox_stats(void);
START_TEST(each_code_of_both_libraries_has_a_text_of_its_own)
{
    static const int codes[] = { OUTBOX_OK, OUTBOX_EINVAL, OUTBOX_ENOTXN, OUTBOX_EABORTED, OUTBOX_ELINK, OUTBOX_ESCHEMA,
                                 OUTBOX_EDB, OUTBOX_ENOMEM, INBOX_EKAFKA, INBOX_EHANDLER, 1 /* unknown */ };
    const size_t n = sizeof codes / sizeof codes[0];

    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < a; b++)
            ck_assert_str_ne(inbox_strerror(codes[a]), inbox_strerror(codes[b]));
    ck_assert_str_eq(inbox_strerror(OUTBOX_EDB), outbox_strerror(OUTBOX_EDB));
    ck_assert_ptr_nonnull(strstr(inbox_strerror(OUTBOX_ESCHEMA), "inbox"));
    ck_assert_str_eq(inbox_strerror(INBOX_EHANDLER - 1), inbox_strerror(1));
}
END_TEST

Suite *suite_inbox_stats(void)
{
    Suite *s = suite_create("inbox_stats");
    TCase *tc = tcase_create("stats");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_figure_is_in_the_text);
    tcase_add_test(tc, partitions_are_counted_when_published);
    tcase_add_test(tc, every_family_is_described_once);
    tcase_add_test(tc, handlers_are_a_histogram);
    tcase_add_test(tc, the_text_does_not_depend_on_the_locale);
    tcase_add_test(tc, a_small_buffer_gets_what_fits_and_says_how_much_there_is);
    tcase_add_test(tc, a_page_is_large_enough_for_the_longest_name);
    tcase_add_test(tc, the_figures_are_copied_for_those_who_know_them);
    tcase_add_test(tc, sequences_are_compared_within_a_key_of_a_source);
    tcase_add_test(tc, numbers_of_an_outbox_have_no_gaps);
    tcase_add_test(tc, numbers_of_a_key_have);
    tcase_add_test(tc, ce_sequence_of_a_key_has_them_where_the_setting_says_so);
    tcase_add_test(tc, each_code_of_both_libraries_has_a_text_of_its_own);
    suite_add_tcase(s, tc);
    return s;
}
