/* test_monitor_metrics.c - what the monitor counts, and which gauges it makes of what it knows. */
#include "tests/unit/monitor_rig.h"

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

START_TEST(how_long_nothing_has_moved_is_a_gauge)
{
    ck_assert(picture(0)->stuck_s == 0);
    begin_to_lead();
    ck_assert(picture(34000)->stuck_s == 0);
    ck_assert_double_eq_tol(picture(1000)->stuck_s, 35, 0.01);
    ck_assert_double_eq_tol(picture(0)->metrics.stuck_seconds[0], 35, 0.01);
    monitor_page(m, 0, true);
    ck_assert(picture(0)->metrics.stuck_seconds[0] == 0);
}
END_TEST

/* Of which the relay reads once a second, whatever becomes of the outbox. */
START_TEST(what_is_held_is_read_and_the_outbox_is_not)
{
    begin_to_lead();
    monitor_page(m, 0, true);
    double last = picture(0)->metrics.last_poll[0];

    m->metrics.last_poll[0] = last - 40; /* the clock of the day does not go on here */
    core.reading = READING_OUTBOX;
    core_read_failed(&core, now_ms);
    (void)picture(34000);
    monitor_page(m, 0, false);
    ck_assert_double_eq_tol(picture(1000)->stuck_s, 35, 0.01);
    ck_assert(m->metrics.last_poll[0] == last - 40);
}
END_TEST

START_TEST(outbox_that_is_read_seldom_is_not_stuck)
{
    begin_to_lead();
    monitor_page(m, 0, true);
    core.next_poll_ms = now_ms + MINUTE; /* poll.max */
    ck_assert(picture(59000)->stuck_s == 0);
    ck_assert(picture(20000)->stuck_s == 0);
    ck_assert_double_eq_tol(picture(15000)->stuck_s, 35, 0.01);
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

/* Nor does the chart draw what the page says is not known. */
START_TEST(samples_have_no_figures_of_a_database_that_is_gone)
{
    begin_to_lead();
    figures(7, 1);
    const struct status *s = picture(STATUS_SAMPLE_MS);
    ck_assert(s->sample[s->n_samples - 1].pending == 7);
    link_is(false);
    s = picture(STATUS_SAMPLE_MS);
    ck_assert(!s->figures_known);
    ck_assert(s->sample[s->n_samples - 1].pending < 0);
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

Suite *suite_monitor_metrics(void);

Suite *suite_monitor_metrics(void)
{
    Suite *s = suite_create("monitor_metrics");
    TCase *tc = tcase_create("monitor_metrics");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, since_when_events_wait_is_a_time);
    tcase_add_test(tc, how_long_nothing_has_moved_is_a_gauge);
    tcase_add_test(tc, what_is_held_is_read_and_the_outbox_is_not);
    tcase_add_test(tc, outbox_that_is_read_seldom_is_not_stuck);
    tcase_add_test(tc, links_and_leads_are_counted);
    tcase_add_test(tc, rows_are_counted_on_their_way);
    tcase_add_test(tc, what_the_janitor_did_is_counted);
    tcase_add_test(tc, samples_have_no_figures_of_a_database_that_is_gone);
    tcase_add_test(tc, figures_become_gauges);
    suite_add_tcase(s, tc);
    return s;
}
