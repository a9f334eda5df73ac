/* test_verdict_servers.c - the sentence that says whether events flow, where PostgreSQL, Kafka or the relay that leads
 * is away, silent or not what it was.
 */
#include "tests/unit/verdicts.h"

START_TEST(verdict_without_the_third_connection_is_blind)
{
    struct verdict_input in = healthy();

    in.aside_error = "FATAL: too many connections for role \"relay\"";
    in.rate = 3;
    expect(&in, VERDICT_WARN, "Events flow: 3.0 a second, but the third connection to PostgreSQL does not work (FATAL: too many "
                              "connections for role \"relay\"): what waits and what is held is not known, and no bucket is emptied.");
    in.rate = 0;
    in.pending = -1;
    expect(&in, VERDICT_WARN, "A relay leads; what waits is not known: the third connection to PostgreSQL does not work (FATAL: too "
                              "many connections for role \"relay\").");
    ck_assert_str_eq(v.finding[0].remedy, "Mend what those words name. The relay tries again by itself.");
    in.aside_remedy = VERDICT_MORE_CONNECTIONS;
    in.role = VERDICT_STANDS_BY;
    verdict_reach(&in, &v);
    ck_assert_ptr_nonnull(strstr(v.text, ", but the third connection to PostgreSQL does not work ("));
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "A relay needs three connections, and each command one more"));
    in.db_up = FACT_NO;
    verdict_reach(&in, &v);
    ck_assert_uint_eq(v.n_findings, 1);
}
END_TEST

START_TEST(verdict_database_away)
{
    struct verdict_input in = healthy();

    in.db_up = FACT_NO;
    in.db_error = "FATAL: password authentication failed for user \"relay\"";
    in.pending = -1;
    in.stuck_s = 90; /* no wonder */
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used: FATAL: password authentication "
                             "failed for user \"relay\".");
    ck_assert_uint_eq(v.n_findings, 1);
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Mend the server", 15), 0);
    in.db_remedy = "correct the password";
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used: FATAL: password authentication "
                             "failed for user \"relay\".");
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Correct the password; the relay tries again by itself, ", 54), 0);
    in.db_remedy = NULL;
    in.db_error = "Is the server running on that host and accepting TCP/IP connections?";
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used: Is the server running on that host and "
                             "accepting TCP/IP connections?");
    in.db_error = "Connection refused";
    in.db_again_s = 12;
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used: Connection refused; it is tried again in 12 s.");
    in.db_again_s = 0.4;
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used: Connection refused.");
    in.role = VERDICT_STARTING;
    in.db_error = NULL;
    expect(&in, VERDICT_BAD, "Events do not flow: PostgreSQL cannot be used.");
}
END_TEST

START_TEST(verdict_schema_that_has_changed)
{
    struct verdict_input in = healthy();

    in.schema_ends = 2;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but the schema is version 2 now, and "
                              "this relay ends when it connects next.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "Install the outbox-relay that goes with this schema"));
}
END_TEST

START_TEST(verdict_broker_down)
{
    struct verdict_input in = healthy();

    in.kafka_up = FACT_NO;
    in.kafka_error = "1/1 brokers are down";
    in.pending = 2310;
    in.oldest_s = 245;
    in.stuck_s = 240;
    expect(&in, VERDICT_BAD, "Events do not flow: no Kafka broker answers: 1/1 brokers are down; 2,310 events "
                             "wait, the oldest for 4 min 5 s.");
    ck_assert_uint_eq(v.n_findings, 1);
    in.kafka_error = "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT, 1 "
                     "identical error(s) suppressed)";
    expect(&in, VERDICT_BAD, "Events do not flow: no Kafka broker answers: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: "
                             "Connection refused; 2,310 events wait, the oldest for 4 min 5 s.");
    in.kafka_error = "1/1 brokers are down";
    in.pending = 0;
    in.stuck_s = 0;
    in.oldest_s = -1;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but no Kafka broker answers: 1/1 "
                              "brokers are down.");
}
END_TEST

/* It asks with settings of its own: what a relay publishes meanwhile, goes. */
START_TEST(verdict_broker_that_a_command_does_not_reach)
{
    struct verdict_input in = healthy();

    in.by_command = true;
    in.kafka_up = FACT_NO;
    in.kafka_error = "10.0.0.5:9092: connected, and no answer within 3 s";
    in.pending = 2;
    in.oldest_s = 1;
    in.rate = 40;
    expect(&in, VERDICT_WARN, "Events flow: 40 a second; 2 events wait, the oldest for 1.0 s, but no Kafka broker answers this "
                              "command: 10.0.0.5:9092: connected, and no answer within 3 s.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "This command has its own settings"));
    in.rate = 0;
    expect(&in, VERDICT_BAD, "Events do not flow: no Kafka broker answers this command: 10.0.0.5:9092: connected, and no answer "
                             "within 3 s; 2 events wait, the oldest for 1.0 s.");
}
END_TEST

/* A relay may have another connection, and other settings. */
START_TEST(verdict_command_that_cannot_look)
{
    struct verdict_input in = healthy();

    in.by_command = true;
    in.db_up = FACT_NO;
    in.pending = -1;
    in.db_error = "no";
    expect(&in, VERDICT_BAD, "Whether events flow is not known: this command cannot look into the database: no.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "Mend the server"));
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "its page"));
    in.db_remedy = "correct dbname";
    expect(&in, VERDICT_BAD, "Whether events flow is not known: this command cannot look into the database: no.");
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Correct dbname. A relay that runs ", 34), 0);
    ck_assert_ptr_null(strstr(v.finding[0].remedy, "Mend the server"));
}
END_TEST

/* A lease of minutes goes on without the process that has it. */
START_TEST(verdict_leader_is_silent)
{
    struct verdict_input in = healthy();

    in.leader = "vm/24506/9f8e5880";
    in.silent_s = 2.9;
    in.lease_left_s = 240;
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published.");
    in.silent_s = 61;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but vm/24506/9f8e5880 leads and has been "
                              "silent for 1 min 1 s, though it should renew its lease every second: it is gone, frozen or kept "
                              "from writing; its lease lasts 4 min more.");
    in.pending = 2;
    in.oldest_s = 15;
    in.stuck_s = 75; /* says nothing else */
    expect(&in, VERDICT_BAD, "Events do not flow: vm/24506/9f8e5880 leads and has been silent for 1 min 1 s, though it should "
                             "renew its lease every second: it is gone, frozen or kept from writing; its lease lasts 4 min "
                             "more; 2 events wait, the oldest for 15 s.");
    ck_assert_uint_eq(v.n_findings, 1);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "-X lease.owner="));
    in.rate = 0.5; /* it marks, so it is not gone */
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_WARN);
    in.lease_left_s = -1; /* over, or it is this one that leads */
    in.stuck_s = 0;
    expect(&in, VERDICT_GOOD, "Events flow: 0.5 a second; 2 events wait, the oldest for 15 s.");
}
END_TEST

/* A standby's own brokers say nothing of the leader's; a bucket of which nobody knows why is no reason for anything. */
START_TEST(verdict_begins_with_the_worst)
{
    struct verdict_input in = healthy();

    in.role = VERDICT_STANDS_BY;
    in.leader = "vm/24506/9f8e5880";
    in.silent_s = 61;
    in.lease_left_s = 240;
    in.kafka_up = FACT_NO;
    in.pending = 2;
    in.oldest_s = 15;
    expect(&in, VERDICT_BAD, "Events do not flow: vm/24506/9f8e5880 leads and has been silent for 1 min 1 s, though it should "
                             "renew its lease every second: it is gone, frozen or kept from writing; its lease lasts 4 min "
                             "more; 2 events wait, the oldest for 15 s.");
    ck_assert_str_eq(v.finding[1].text, "no Kafka broker answers");
    in = healthy();
    in.overdue.s = 7200;
    in.overdue.bucket = 3;
    in.short_ring = true;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but no bucket is ever emptied: the ring of buckets "
                              "is shorter than the retention.");
}
END_TEST

/* On a bad day much is wrong at once: what needs a look is not left out for what does not. */
START_TEST(verdict_has_room_for_all)
{
    struct verdict_input in = healthy();

    in.failure = (struct verdict_failure){ .s = 5, .why = "marking failed: disk full", .code = "53100" };
    in.aside_error = "too many clients";
    in.n_paused = 1;
    in.refused = 1;
    in.dead = 1;
    in.schema_ends = 2;
    in.n_blockers = 1;
    in.blocker = (struct verdict_blocker){ .pid = 42, .age_s = 4000, .holds_rows = true };
    in.overdue = (struct verdict_overdue){ .s = 7200, .why = OBSTACLE_UNSENT, .id = 7 };
    in.short_ring = true;
    in.ages_mend = "GRANT pg_read_all_stats TO relay";
    verdict_reach(&in, &v);
    ck_assert_uint_eq(v.n_findings, 10);
    ck_assert_str_eq(v.finding[8].text, "no bucket is ever emptied: the ring of buckets is shorter than the retention");
    ck_assert_int_eq(v.finding[9].level, VERDICT_GOOD);
}
END_TEST

START_TEST(verdict_standby)
{
    struct verdict_input in = healthy();

    in.role = VERDICT_STANDS_BY;
    in.leader = "relay-0";
    expect(&in, VERDICT_GOOD, "This relay stands by: relay-0 leads.");
    in.silent_s = 3.2;
    expect(&in, VERDICT_GOOD, "This relay stands by: relay-0 leads and was last heard of 3.2 s ago.");
    in.silent_s = 30; /* whether it marks is not known here */
    in.lease_left_s = 90;
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_WARN);
    ck_assert_ptr_eq(strstr(v.text, "This relay stands by, but relay-0 leads and has been silent for 30 s, though"), v.text);
    in.rate = -1;
    in.pending = 5; /* but it is seen that the oldest event stays where it is */
    in.oldest_s = 29;
    in.unmoved_s = 4.9;
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_WARN);
    in.unmoved_s = 5;
    verdict_reach(&in, &v);
    ck_assert_int_eq(v.level, VERDICT_BAD);
    ck_assert_ptr_eq(strstr(v.text, "Events do not flow: relay-0 leads and has been silent for 30 s, though"), v.text);
    in = healthy();
    in.role = VERDICT_STANDS_BY;
    in.leader = "relay-0";
    in.silent_s = 30;
    in.lease_left_s = 90;
    in.looked_s = 20.5; /* for most of the time nobody has looked */
    expect(&in, VERDICT_GOOD, "This relay stands by: relay-0 leads and was last heard of 30 s ago.");
    in.silent_s = -1;
    in.pending = 5;
    in.oldest_s = 120;
    in.as_of_s = 6.9;
    expect(&in, VERDICT_WARN, "This relay stands by: relay-0 leads; 5 events wait, the oldest for 2 min.");
    in.as_of_s = 12;
    expect(&in, VERDICT_WARN, "This relay stands by: relay-0 leads; 5 events wait, the oldest for 2 min (as of 12 s ago).");
    in.as_of_s = 0;
    in.leader = NULL;
    in.oldest_s = 1;
    in.kafka_up = FACT_NO; /* it is the leader that sends */
    expect(&in, VERDICT_WARN, "This relay stands by: another one leads; 5 events wait, the oldest for 1.0 s, but no "
                              "Kafka broker answers.");
}
END_TEST

START_TEST(verdict_server_that_is_read_only)
{
    struct verdict_input in = healthy();

    in.read_only = "the server is read-only, where no relay with this dsn can work";
    in.leader = "relay-0";
    in.silent_s = 1;
    in.lease_left_s = 9;
    expect(&in, VERDICT_GOOD, "Events flow: every committed event is published."); /* its sessions are older */
    in.silent_s = 4;
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but the server is read-only, where no relay with "
                              "this dsn can work.");
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Let the dsn name the primary", 28), 0);
    in.role = VERDICT_NOBODY_LEADS;
    expect(&in, VERDICT_BAD, "Events do not flow: the server is read-only, where no relay with this dsn can work, and none leads: relay-0 was last "
                             "heard of 4.0 s ago, its lease has ended, and nobody has taken it.");
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "set default_transaction_read_only to off"));
}
END_TEST

START_TEST(verdict_dsn_without_a_primary)
{
    struct verdict_input in = healthy();

    in.read_only = "no server that the dsn names can be written to";
    in.none_writable = true;
    in.leader = "relay-0";
    in.silent_s = 2; /* it may have a primary that this command does not reach */
    expect(&in, VERDICT_WARN, "Events flow: every committed event is published, but no server that the dsn names can be written to.");
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Promote a standby or bring the primary back; ", 45), 0);
    in.silent_s = 3;
    expect(&in, VERDICT_BAD, "Events do not flow: no server that the dsn names can be written to.");
    in.role = VERDICT_NOBODY_LEADS;
    expect(&in, VERDICT_BAD, "Events do not flow: no server that the dsn names can be written to, and none leads: relay-0 was last "
                             "heard of 3.0 s ago, its lease has ended, and nobody has taken it.");
    ck_assert_int_eq(strncmp(v.finding[0].remedy, "Promote a standby or bring the primary back; ", 45), 0);
    ck_assert_ptr_null(strstr(v.finding[0].remedy, "let the dsn name"));
}
END_TEST

/* The ten seconds in which nobody may take over yet: a bystander is not the cause. */
START_TEST(verdict_leader_is_late)
{
    struct verdict_input in = healthy();

    in.leader = "vm/24506/9f8e5880";
    in.silent_s = 9.6;
    in.lease_left_s = 0.4;
    in.idle_s = 42;
    in.pending = 10;
    in.oldest_s = 9;
    in.n_blockers = 1;
    in.blocker = (struct verdict_blocker){ 10663, NULL, 131, true, false, false };
    expect(&in, VERDICT_WARN, "10 events wait, the oldest for 9.0 s; none was published in the last 42 s, but vm/24506/9f8e5880 leads "
                              "and was last heard of 9.6 s ago, though it should renew its lease every second.");
    ck_assert_uint_eq(v.n_findings, 2);
    ck_assert_ptr_nonnull(strstr(v.finding[0].remedy, "when its lease ends, in 0.4 s."));
    ck_assert_str_eq(v.finding[1].text, "a transaction has been open for 2 min 11 s (pid 10663): its own events wait for its commit");
    in.idle_s = 2.9; /* it marks */
    verdict_reach(&in, &v);
    ck_assert_uint_eq(v.n_findings, 1);
    in.idle_s = 42;
    in.lease_left_s = -1; /* it is this one that leads */
    verdict_reach(&in, &v);
    ck_assert_uint_eq(v.n_findings, 1);
}
END_TEST

START_TEST(verdict_nobody_leads)
{
    struct verdict_input in = healthy();

    in.role = VERDICT_NOBODY_LEADS;
    in.pending = 5;
    expect(&in, VERDICT_BAD, "Events do not flow: no relay leads; 5 events wait.");
    in.silent_s = 60;
    expect(&in, VERDICT_BAD, "Events do not flow: no relay leads: the last one gave the lease back 1 min ago; 5 events wait.");
    in.leader = "relay-0";
    expect(&in, VERDICT_BAD, "Events do not flow: no relay leads: relay-0 was last heard of 1 min ago, its lease has ended, "
                             "and nobody has taken it; 5 events wait.");
}
END_TEST

START_TEST(verdict_long_texts_are_cut_between_characters)
{
    struct verdict_input in = healthy();
    char long_text[2000];

    for (size_t shift = 0; shift < 4; shift++) {
        memset(long_text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof long_text; i += 3)
            memcpy(long_text + i, "\xe2\x82\xac", 4);
        in.db_up = FACT_NO;
        in.db_error = long_text;
        verdict_reach(&in, &v);
        const char *text = v.finding[0].text;
        size_t len = strlen(text), at = strlen("PostgreSQL cannot be used: ") + shift;
        ck_assert_uint_gt(len, 390);
        ck_assert_uint_eq((len - at) % 3, 0);
    }
}
END_TEST

Suite *suite_verdict_servers(void);

Suite *suite_verdict_servers(void)
{
    Suite *s = suite_create("verdict_servers");
    TCase *tc = tcase_create("verdict_servers");

    tcase_add_test(tc, verdict_without_the_third_connection_is_blind);
    tcase_add_test(tc, verdict_database_away);
    tcase_add_test(tc, verdict_schema_that_has_changed);
    tcase_add_test(tc, verdict_broker_down);
    tcase_add_test(tc, verdict_broker_that_a_command_does_not_reach);
    tcase_add_test(tc, verdict_command_that_cannot_look);
    tcase_add_test(tc, verdict_leader_is_silent);
    tcase_add_test(tc, verdict_begins_with_the_worst);
    tcase_add_test(tc, verdict_has_room_for_all);
    tcase_add_test(tc, verdict_standby);
    tcase_add_test(tc, verdict_server_that_is_read_only);
    tcase_add_test(tc, verdict_dsn_without_a_primary);
    tcase_add_test(tc, verdict_leader_is_late);
    tcase_add_test(tc, verdict_nobody_leads);
    tcase_add_test(tc, verdict_long_texts_are_cut_between_characters);
    suite_add_tcase(s, tc);
    return s;
}
