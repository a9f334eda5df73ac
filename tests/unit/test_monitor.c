/* test_monitor.c - what is published of a relay, and of when it is: the leader's age, figures, and what it is itself. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "relay/monitor_inside.h"

#define MINUTE 60000

static struct monitor *m;
static struct core core;
static struct incidents incidents;
static struct janitor janitor;
static uint64_t now_ms;

static void setup(void)
{
    struct core_config cfg = { .inflight_rows = 4, .batch_rows = 4, .inflight_bytes = 1000, .lease_ttl_ms = 10 * MINUTE };

    now_ms = 1000;
    m = monitor_new(&(struct monitor_config){ .owner = "me", .version = "1", .librdkafka = "2", .libpq = "3" }, now_ms);
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(core_init(&core, now_ms, &cfg), 0);
    janitor_init(&janitor, now_ms, 0);
}

static void teardown(void)
{
    monitor_free(m);
    core_deinit(&core);
}

/* So much later, the next picture; good until the one after it. */
static const struct status *picture(uint64_t later_ms)
{
    now_ms += later_ms;
    monitor_turn(m, now_ms);
    m->publish_ms = 0;
    monitor_state(m, &core, &incidents, &janitor);
    return m->board.current;
}

static void says(uint64_t later_ms, const char *sentence)
{
    ck_assert_str_eq(picture(later_ms)->verdict.text, sentence);
}

static void link_is(bool up)
{
    monitor_link(m, up, up ? NULL : "it is gone", NULL);
    core_link(&core, now_ms, up);
}

static void begin_to_lead(void)
{
    struct core_action a;

    link_is(true);
    while (core_next(&core, now_ms, &a) && a.what != CORE_ACQUIRE)
        ;
    core_lease(&core, now_ms, true);
    ck_assert_int_eq(core.phase, CORE_LEAD);
    monitor_leader(m, "me", 0, -1);
    monitor_lease(m, true);
}

static void figures(int64_t pending, double oldest_s)
{
    struct figures *f = calloc(1, sizeof *f);

    ck_assert_ptr_nonnull(f);
    f->pending = pending;
    f->oldest_s = oldest_s;
    f->n_topics = 1;
    snprintf(f->topic[0].name, sizeof f->topic[0].name, "orders");
    f->topic[0].pending = pending;
    f->topic[0].oldest_s = oldest_s;
    f->topic[0].behind_s = 50;
    monitor_figures(m, f);
    free(f);
}

static void another_leads(double silent_s, double left_s)
{
    monitor_leader(m, "other", silent_s, left_s);
    monitor_lease(m, false);
}

START_TEST(leaders_age_is_that_of_now)
{
    link_is(true);
    another_leads(0.5, 10);
    says(0, "This relay stands by: other leads and was last heard of 0.5 s ago.");
    says(3000, "This relay stands by: other leads and was last heard of 3.5 s ago.");
    another_leads(0.2, 10);
    says(0, "This relay stands by: other leads and was last heard of 0.2 s ago.");
    ck_assert_str_eq(picture(0)->leader, "other");
}
END_TEST

START_TEST(refused_event_is_named)
{
    struct figures *f = calloc(1, sizeof *f);

    ck_assert_ptr_nonnull(f);
    begin_to_lead();
    f->held[STATE_RETRYING] = 1;
    f->n_held = 1;
    f->row[0].id = 4711;
    strcpy(f->row[0].state, "retrying");
    strcpy(f->row[0].code, "MSG_SIZE_TOO_LARGE");
    monitor_figures(m, f);
    ck_assert_ptr_nonnull(strstr(picture(0)->verdict.finding[0].remedy, "--id 4711`"));
}
END_TEST

START_TEST(next_attempt_is_told)
{
    link_is(true);
    link_is(false);
    monitor_next_attempt(m, m->now_ms + 20000);
    ck_assert(fabs(picture(0)->db_again_s - 20) < 0.01);
    ck_assert(fabs(picture(12000)->db_again_s - 8) < 0.01);
    ck_assert_ptr_nonnull(strstr(picture(0)->verdict.text, "tried again in 8.0 s"));
    monitor_next_attempt(m, 0);
    ck_assert(picture(0)->db_again_s < 0);
}
END_TEST

/* That nobody has looked for long is no fault of the leader's. */
START_TEST(leader_is_silent_when_it_was_seen_to_be)
{
    link_is(true);
    another_leads(2, 600);
    says(20000, "This relay stands by: other leads and was last heard of 22 s ago.");
    another_leads(22, 580);
    says(1000, "This relay stands by: other leads and was last heard of 23 s ago, but other leads and has been silent for 23 s, "
               "though it should renew its lease every second: it is gone, frozen or kept from writing; its lease lasts 9 min "
               "39 s more.");
}
END_TEST

/* As `status` says it: one page of two says nothing else than the other. */
START_TEST(silent_leader_whose_oldest_event_stays_is_an_outage)
{
    link_is(true);
    another_leads(0, 600);
    figures(3, 1);
    (void)picture(15000);
    figures(3, 2); /* another one is the oldest */
    another_leads(15, 585);
    ck_assert_int_eq(picture(0)->verdict.level, VERDICT_WARN);
    (void)picture(6000);
    figures(3, 8);
    another_leads(21, 579);
    const struct verdict *v = &picture(0)->verdict;
    ck_assert_int_eq(v->level, VERDICT_BAD);
    ck_assert_ptr_eq(strstr(v->text, "Events do not flow: other leads and has been silent for 21 s"), v->text);
}
END_TEST

START_TEST(leader_without_a_name_is_another)
{
    link_is(true);
    monitor_leader(m, NULL, 0, 0);
    monitor_lease(m, false);
    says(1000, "This relay stands by: another one leads.");
}
END_TEST

START_TEST(old_figures_say_how_old)
{
    begin_to_lead();
    figures(0, -1);
    says(5000, "Events flow: every committed event is published.");
    says(7000, "Events flow: every committed event is published (as of 12 s ago).");
    ck_assert(fabs(picture(0)->figures_age_s - 12) < 0.01);
    figures(5, 8.8);
    says(0, "Events flow: 5 events wait, the oldest for 8.8 s.");
    says(12000, "Events flow: 5 events wait, the oldest for 8.8 s (as of 12 s ago).");
}
END_TEST

/* It does not move with the age of the figures. */
START_TEST(since_when_events_wait_is_a_time)
{
    begin_to_lead();
    figures(1, 100);
    const struct metrics *t = &picture(0)->metrics;
    double pending = t->oldest_pending[0], blocked = t->oldest_blocked[0], unix_s = (double)m->unix_us / 1e6;

    ck_assert(fabs(unix_s - pending - 100) < 0.01);
    ck_assert(fabs(unix_s - blocked - 50) < 0.01);
    t = &picture(12000)->metrics; /* of which the clock of the day knows nothing */
    ck_assert(fabs((double)m->unix_us / 1e6 - 12 - t->oldest_pending[0] - 100) < 0.01);
}
END_TEST

/* Two that were read since then wait; the figures do not know them. */
START_TEST(rows_in_hand_wait_while_no_broker_answers)
{
    struct core_action a;

    begin_to_lead();
    figures(0, -1);
    uint32_t topic = core_topic(&core, "orders");
    while (core_next(&core, now_ms, &a) && a.what != CORE_READ)
        ;
    ck_assert_uint_ne(core_row(&core, topic, 0, 10, false), NO_SLOT);
    ck_assert_uint_ne(core_row(&core, topic, 0, 10, false), NO_SLOT);
    core_page_end(&core, now_ms, 2, false, false);
    monitor_kafka(m, false, "refused");
    says(12000, "Events do not flow: no Kafka broker answers: refused; about 2 events wait.");
}
END_TEST

static void says_when_served(const char *sentence)
{
    m->server = (struct http_server *)(void *)m; /* nobody speaks to it here */
    m->publish_ms = 0;
    monitor_state(m, &core, &incidents, &janitor);
    m->server = NULL;
    ck_assert_str_eq(m->board.current->verdict.text, sentence);
}

/* Where somebody is served, the figures say what waits; that nothing is left to read is not the same. */
START_TEST(what_nobody_has_looked_at_is_not_known)
{
    begin_to_lead();
    core.caught_up = true;
    ck_assert_int_eq(picture(0)->pending, 0);
    says_when_served("A relay leads; what waits is not known.");
    ck_assert_int_eq(m->board.current->pending, -1);
    monitor_aside(m, "too many connections", "raise the limit");
    says_when_served("A relay leads; what waits is not known: the third connection to PostgreSQL does not work (too many connections).");
    ck_assert_int_eq(m->board.current->verdict.level, VERDICT_WARN);
    ck_assert_str_eq(m->board.current->verdict.finding[0].remedy, "Raise the limit. The relay tries again by itself.");
    monitor_aside(m, NULL, NULL);
    figures(0, -1);
    says_when_served("Events flow: every committed event is published.");
}
END_TEST

/* A person has discarded them. */
START_TEST(topic_that_takes_nothing_is_told_of_while_rows_wait_for_it)
{
    begin_to_lead();
    figures(0, -1);
    uint32_t topic = core_topic(&core, "gone"), index = metrics_topic(&m->metrics, "gone");
    core_held_topic(&core, now_ms, topic);
    says(0, "Events flow: every committed event is published, but topic \"gone\" takes nothing (it was paused when this lead began).");
    ck_assert(picture(0)->metrics.topic_paused[index] == 1);
    ck_assert(picture(0)->topic[0].paused);
    core.topics.topic[topic].deserted = true;
    says(0, "Events flow: every committed event is published.");
    ck_assert(picture(0)->metrics.topic_paused[index] == 0);
    ck_assert(!picture(0)->topic[0].paused);
}
END_TEST

static void fails(enum metric_op op, const char *why)
{
    monitor_written(m, op, &(struct verdict_failure){ .why = why, .code = "53100", .remedy = "make room" });
}

START_TEST(one_id_of_two_events_is_told_until_a_page_is_read)
{
    begin_to_lead();
    figures(0, -1);
    monitor_twice(m, 5);
    says(0, "Events do not flow: two events have the id 5, which was handed out twice, and none is read past them.");
    monitor_page(m, 1);
    says(0, "Events flow: every committed event is published.");
}
END_TEST

START_TEST(write_that_failed_is_told_for_a_minute)
{
    begin_to_lead();
    figures(0, -1);
    fails(OP_MARK, "marking failed: full");
    monitor_written(m, OP_HOLD, NULL);
    ck_assert(picture(0)->failure.stands);
    monitor_written(m, OP_MARK, NULL);
    figures(0, -1);
    says(2000, "Events flow: every committed event is published, but PostgreSQL refused a statement of this relay 2.0 s ago "
               "(marking failed: full, SQLSTATE 53100).");
    ck_assert_str_eq(picture(0)->verdict.finding[0].remedy, "Make room.");
    ck_assert(!picture(0)->failure.stands);
    fails(OP_LEASE, "the lease cannot be written: full");
    monitor_page(m, 0);
    (void)picture(30000);
    monitor_page(m, 0); /* it reads all the while */
    (void)picture(28000);
    figures(0, -1);
    says(1000, "Events flow: every committed event is published, but PostgreSQL refused a statement of this relay 59 s ago (the "
               "lease cannot be written: full, SQLSTATE 53100).");
    says(1000, "Events flow: every committed event is published.");
}
END_TEST

START_TEST(write_that_failed_goes_with_its_link)
{
    link_is(true);
    fails(OP_LEASE, "the lease cannot be written: full");
    says(0, "Starting: nothing is known yet, but PostgreSQL refused a statement of this relay 0.0 s ago (the lease cannot be "
            "written: full, SQLSTATE 53100).");
    link_is(false);
    link_is(true);
    says(0, "Starting: nothing is known yet.");
}
END_TEST

START_TEST(role_is_starting_only_once)
{
    ck_assert_int_eq(picture(0)->role, VERDICT_STARTING);
    monitor_link(m, false, "refused", NULL);
    ck_assert_int_eq(picture(1000)->role, VERDICT_STARTING);
    ck_assert(picture(0)->db_lost_s < 0);
    link_is(true);
    ck_assert_int_eq(picture(0)->role, VERDICT_STARTING);
    link_is(false);
    ck_assert_int_eq(picture(0)->role, VERDICT_NOT_KNOWN);
}
END_TEST

START_TEST(role_is_not_known_without_the_database)
{
    link_is(true);
    another_leads(0, 10);
    ck_assert_int_eq(picture(0)->role, VERDICT_STANDS_BY);
    link_is(false);
    ck_assert_int_eq(picture(12000)->role, VERDICT_NOT_KNOWN);
    ck_assert(fabs(picture(0)->db_lost_s - 12) < 0.01);
    ck_assert_str_eq(picture(0)->leader, "");
    monitor_link(m, false, "still", NULL); /* an attempt that failed does not begin it anew */
    ck_assert(fabs(picture(1000)->db_lost_s - 13) < 0.01);
    link_is(true);
    ck_assert(picture(0)->db_lost_s < 0);
    says(0, "It is not known who leads: this relay asks.");
    another_leads(0, 10);
    ck_assert_int_eq(picture(0)->role, VERDICT_STANDS_BY);
}
END_TEST

START_TEST(role_is_not_known_after_a_lead_that_ended_by_itself)
{
    begin_to_lead();
    ck_assert_int_eq(picture(0)->role, VERDICT_LEADS);
    struct core_action a;
    now_ms += 20 * MINUTE;
    while (core.phase == CORE_LEAD && core_next(&core, now_ms, &a))
        ;
    ck_assert_int_eq(core.phase, CORE_FOLLOW);
    ck_assert_int_eq(picture(0)->role, VERDICT_NOT_KNOWN);
}
END_TEST

START_TEST(how_long_nothing_has_moved_is_a_gauge)
{
    ck_assert(picture(0)->stuck_s == 0);
    begin_to_lead();
    ck_assert(picture(34000)->stuck_s == 0);
    ck_assert_double_eq_tol(picture(1000)->stuck_s, 35, 0.01);
    ck_assert_double_eq_tol(picture(0)->metrics.stuck_seconds[0], 35, 0.01);
    monitor_page(m, 0);
    ck_assert(picture(0)->metrics.stuck_seconds[0] == 0);
}
END_TEST

START_TEST(links_and_leads_are_counted)
{
    link_is(true);
    ck_assert_uint_eq(m->metrics.db_reconnects[0], 0); /* the first one is none */
    link_is(false);
    ck_assert_uint_eq(m->metrics.db_reconnects[0], 0);
    another_leads(0, 10);
    ck_assert_uint_eq(m->metrics.leads[0], 0);
    begin_to_lead();
    ck_assert_uint_eq(m->metrics.db_reconnects[0], 1);
    ck_assert_uint_eq(m->metrics.leads[0], 1);
    ck_assert(picture(0)->metrics.schema_supported[0] == 1);
    monitor_schema(m, 1000);
    ck_assert(picture(0)->metrics.schema_supported[0] == 0);
    link_is(false);
    ck_assert(isnan(picture(0)->metrics.schema_supported[0]));
}
END_TEST

START_TEST(rows_are_counted_on_their_way)
{
    const struct row row = { .topic = "orders", .key_len = 3, .payload_len = 7, .created_at_us = m->unix_us - 2000000 };
    const struct sink_report good = { .outcome = OUTCOME_PERSISTED }, bad = { .outcome = OUTCOME_MAYBE, .code = "TIMED_OUT" };
    const struct metrics *t = &m->metrics;

    monitor_produced(m, 0, &row);
    monitor_produced(m, 0, &row);
    monitor_report(m, 0, &row, now_ms - 250, &bad);
    monitor_report(m, 0, &row, now_ms - 250, &good);
    monitor_found(m, 5);
    core.n_maybe = 6;
    (void)picture(0);
    uint32_t i = metrics_topic(&m->metrics, "orders");
    ck_assert_uint_eq(t->attempts[i], 2);
    ck_assert_uint_eq(t->bytes[i], 20);
    ck_assert_uint_eq(t->rows_acked[i], 1);
    ck_assert_uint_eq(t->rows_failed[metrics_topic_reason(i, metrics_code(&m->metrics, "TIMED_OUT"))], 1);
    ck_assert(fabs(t->kafka_ack[0].sum - 0.25) < 1e-9);
    ck_assert(fabs(t->delivery_latency[i].sum - 2) < 1e-9);
    ck_assert_uint_eq(t->rows_found[0], 5);
    ck_assert_uint_eq(t->duplicates[0], 6);
}
END_TEST

START_TEST(what_the_janitor_did_is_counted)
{
    const struct metrics *t = &m->metrics;

    janitor.n_emptied = 1;
    janitor.n_dropped = 2;
    janitor.n_bytes = 3;
    janitor.n_kept = 4;
    janitor.n_gave_up = 5;
    monitor_cleanup(m, &janitor);
    ck_assert_uint_eq(t->buckets_emptied[0], 1);
    ck_assert_uint_eq(t->events_dropped[0], 2);
    ck_assert_uint_eq(t->bytes_freed[0], 3);
    ck_assert_uint_eq(t->events_kept[0], 4);
    ck_assert_uint_eq(t->bucket_locks_missed[0], 5);
    begin_to_lead();
    ck_assert(picture(0)->metrics.bucket_overdue[0] == 0);
    janitor.retention_ms = 1000;
    ck_assert(isnan(picture(0)->metrics.bucket_overdue[0])); /* nobody has looked */
    janitor.looked = true;
    ck_assert(picture(0)->metrics.bucket_overdue[0] == 0);
    monitor_aside(m, "too many", NULL);
    ck_assert(isnan(picture(0)->metrics.bucket_overdue[0])); /* nobody looks any more */
    janitor.wait[3].old = true;
    janitor.wait[3].due_ms = (int64_t)now_ms - 90000;
    ck_assert(fabs(picture(0)->metrics.bucket_overdue[0] - 90) < 0.01);
}
END_TEST

START_TEST(figures_become_gauges)
{
    struct figures *f = calloc(1, sizeof *f);
    const struct metrics *t;

    ck_assert_ptr_nonnull(f);
    begin_to_lead();
    ck_assert(isnan(picture(0)->metrics.blockers[0]));
    f->pending = 70000;
    f->oldest_s = -1;
    f->estimated = true;
    f->n_blockers = 1;
    f->n_more_blockers = 2;
    f->blocker[0].age_s = 30;
    f->held[STATE_DEAD] = 4;
    f->bytes[2] = 8192;
    f->n_topics = 1;
    f->topic[0] = (struct figures_topic){ .name = "orders", .dead = 4, .oldest_s = -1, .behind_s = 50 };
    monitor_figures(m, f);
    t = &picture(0)->metrics;
    ck_assert_str_eq(m->board.current->topic[0].name, "orders");
    ck_assert_int_eq(m->board.current->topic[0].dead, 4);
    ck_assert_double_eq_tol(m->board.current->topic[0].oldest_s, 50, 0.01);
    ck_assert(t->pending_estimated[0] == 1);
    ck_assert(t->blockers[0] == 3);
    ck_assert(fabs((double)m->unix_us / 1e6 - t->oldest_blocker[0] - 30) < 0.01);
    ck_assert(t->held_rows[STATE_DEAD] == 4);
    ck_assert(t->outbox_bytes[2] == 8192);
    f->blocker[0].age_s = -1; /* it may not be seen */
    monitor_figures(m, f);
    ck_assert(isnan(picture(0)->metrics.oldest_blocker[0]));
    ck_assert(isnan(picture(45000)->metrics.blockers[0])); /* that says nothing about now */
    free(f);
}
END_TEST

Suite *suite_monitor(void);

Suite *suite_monitor(void)
{
    Suite *s = suite_create("monitor");
    TCase *tc = tcase_create("monitor");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, leaders_age_is_that_of_now);
    tcase_add_test(tc, next_attempt_is_told);
    tcase_add_test(tc, refused_event_is_named);
    tcase_add_test(tc, leader_is_silent_when_it_was_seen_to_be);
    tcase_add_test(tc, silent_leader_whose_oldest_event_stays_is_an_outage);
    tcase_add_test(tc, leader_without_a_name_is_another);
    tcase_add_test(tc, old_figures_say_how_old);
    tcase_add_test(tc, since_when_events_wait_is_a_time);
    tcase_add_test(tc, rows_in_hand_wait_while_no_broker_answers);
    tcase_add_test(tc, what_nobody_has_looked_at_is_not_known);
    tcase_add_test(tc, topic_that_takes_nothing_is_told_of_while_rows_wait_for_it);
    tcase_add_test(tc, one_id_of_two_events_is_told_until_a_page_is_read);
    tcase_add_test(tc, write_that_failed_is_told_for_a_minute);
    tcase_add_test(tc, write_that_failed_goes_with_its_link);
    tcase_add_test(tc, role_is_starting_only_once);
    tcase_add_test(tc, role_is_not_known_without_the_database);
    tcase_add_test(tc, role_is_not_known_after_a_lead_that_ended_by_itself);
    tcase_add_test(tc, how_long_nothing_has_moved_is_a_gauge);
    tcase_add_test(tc, links_and_leads_are_counted);
    tcase_add_test(tc, rows_are_counted_on_their_way);
    tcase_add_test(tc, what_the_janitor_did_is_counted);
    tcase_add_test(tc, figures_become_gauges);
    suite_add_tcase(s, tc);
    return s;
}
