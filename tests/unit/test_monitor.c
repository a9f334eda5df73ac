/* test_monitor.c - what is said of a relay, and of when it is: the sentence, the role and the leader's age. */
#include "tests/unit/monitor_rig.h"

static void says(uint64_t later_ms, const char *sentence)
{
    ck_assert_str_eq(picture(later_ms)->verdict.text, sentence);
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
    free(f);
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
    says(1000, "This relay stands by, but other leads and has been silent for 23 s, "
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
    monitor_outcome(m, op, &(struct verdict_failure){ .why = why, .code = "53100", .remedy = "make room" });
}

START_TEST(one_id_of_two_events_is_told_until_a_page_is_read)
{
    begin_to_lead();
    figures(0, -1);
    monitor_twice(m, 5);
    says(0, "Events do not flow: two events have the id 5, which was handed out twice, and reading stops there.");
    monitor_page(m, 1, true);
    says(0, "Events flow: every committed event is published.");
}
END_TEST

START_TEST(write_that_failed_is_told_for_a_minute)
{
    begin_to_lead();
    figures(0, -1);
    fails(OP_MARK, "marking failed: full");
    monitor_outcome(m, OP_HOLD, NULL);
    ck_assert(picture(0)->failure.stands);
    monitor_outcome(m, OP_MARK, NULL);
    figures(0, -1);
    says(2000, "Events flow: every committed event is published, but PostgreSQL refused a statement of this relay 2.0 s ago "
               "(marking failed: full, SQLSTATE 53100).");
    ck_assert_str_eq(picture(0)->verdict.finding[0].remedy, "Make room.");
    ck_assert(!picture(0)->failure.stands);
    fails(OP_LEASE, "the lease cannot be written: full");
    monitor_page(m, 0, true);
    (void)picture(30000);
    monitor_page(m, 0, true); /* it reads all the while */
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
    tcase_add_test(tc, rows_in_hand_wait_while_no_broker_answers);
    tcase_add_test(tc, what_nobody_has_looked_at_is_not_known);
    tcase_add_test(tc, topic_that_takes_nothing_is_told_of_while_rows_wait_for_it);
    tcase_add_test(tc, one_id_of_two_events_is_told_until_a_page_is_read);
    tcase_add_test(tc, write_that_failed_is_told_for_a_minute);
    tcase_add_test(tc, write_that_failed_goes_with_its_link);
    tcase_add_test(tc, role_is_starting_only_once);
    tcase_add_test(tc, role_is_not_known_without_the_database);
    tcase_add_test(tc, role_is_not_known_after_a_lead_that_ended_by_itself);
    suite_add_tcase(s, tc);
    return s;
}
