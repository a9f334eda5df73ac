/* test_shed.c - while outbox.held cannot be written, or what needs it cannot be marked, the others go on, as
 * small stories about the core. */
#include "tests/core/trace.h"

/* Answers the READ under way, and what is asked about outbox.held: it cannot be written. */
static void page_while_held_is_locked(const char *names)
{
    for (int i = 0; t.core.reading != READING_OUTBOX || t.core.n_holding > 0; i++) {
        ck_assert_msg(i < 1000, "%s", t.trace);
        if (t.core.n_holding > 0)
            held(false);
        else if (t.core.lead.asking)
            lease(true);
        else if (t.core.reading == READING_DUE)
            due_end(UINT64_MAX);
        else
            pass(1);
    }
    page(names);
}

static void wait_until_under_way(const uint32_t *n)
{
    for (int i = 0; *n == 0; i++) {
        ck_assert_msg(i < 1000, "%s", t.trace);
        if (n != &t.core.n_holding && t.core.n_holding > 0)
            held(false);
        pass(1);
    }
}

/* To be held, and in nobody's way. */
static void small_row_for_later(const char *name)
{
    for (int i = 0; i < 100 && t.core.reading != READING_OUTBOX; i++)
        pass(1);
    t.bytes = 1;
    ck_assert_int_eq(rows_of_kind(name, ROW_LATER), 1);
    page_end(1, false, false);
    t.bytes = ROW_BYTES;
}

static void lead_with_topic_m_shut(void)
{
    lead_patiently(0);
    page("Mx1 Mx2 Mx3 Mx4");
    topic_failed("Mx1");
}

START_TEST(rows_that_cannot_be_held_leave_room_for_others)
{
    char names[64];
    uint64_t newest_page = 0;

    lead_with_topic_m_shut();
    for (int i = 0; i < 30; i++) {
        snprintf(names, sizeof names, "Mx%d My%d A-%d", 10 + i, i, 10 + i);
        page_while_held_is_locked(names);
        snprintf(names, sizeof names, "A-%d", 10 + i);
        persisted(names);
        wait_until_under_way(&t.core.n_marking);
        marked(true);
        t.trace[0] = '\0';
        if (i == 10)
            newest_page = t.core.newest_page;
    }
    ck_assert_uint_eq(t.core.newest_page, newest_page); /* of what is read meanwhile no place is remembered */
    wait_until_under_way(&t.core.n_holding);
    t.trace[0] = '\0';
    held(true);
    ck_assert(!answer_read("A-1", false, false)); /* the one under way comes too late */
    ck_assert_ptr_nonnull(strstr(t.trace, "acquire\n")); /* what was given up is read again */
    ck_assert_ptr_null(strstr(t.trace, "fetch"));
}
END_TEST

/* Mx1 is there already, and would go in front of those that were given up. */
START_TEST(nothing_is_read_back_in_front_of_what_was_given_up)
{
    lead_with_topic_m_shut();
    held(true);
    small_row_for_later("B-1");
    for (int i = 0; i < 3; i++)
        page_while_held_is_locked((const char *[]){ "My1 My2 My3 My4", "My5 My6 My7 My8", "A-1 A-2 A-3 A-4" }[i]);
    ck_assert_uint_ne(t.core.given_up_page, UINT64_MAX);
    t.trace[0] = '\0';
    for (int i = 0; i < 100; i++) {
        pass(10);
        nothing_new();
        if (t.core.n_holding > 0)
            held(false);
    }
    ck_assert_msg(strstr(t.trace, "fetch") == NULL && strstr(t.trace, "produce") == NULL, "%s", t.trace);
}
END_TEST

/* Mx6 would be the first of its key in outbox.held, when the topic is read back in front of what is due. */
START_TEST(nothing_but_the_oldest_is_held_of_what_was_given_up)
{
    lead_with_topic_m_shut();
    for (int i = 0; i < 3; i++)
        page_while_held_is_locked((const char *[]){ "Mx5 My1 My2 My3", "My4 My5 A-1 A-2", "A-3 A-4 A-5 A-6" }[i]);
    ck_assert_uint_ne(t.core.given_up_page, UINT64_MAX);
    persisted("A-1");
    wait_until_under_way(&t.core.n_marking);
    marked(true);
    page_while_held_is_locked("Mx6");
    wait_until_under_way(&t.core.n_holding);
    ck_assert_uint_eq(t.core.n_holding, 1);
    ck_assert_str_eq(t.name[t.core.holding[0]], "Mx1");
}
END_TEST

/* Ax1 is the last one there, but later ones of its key were on their way and have been given up. */
START_TEST(key_is_not_free_while_rows_of_it_are_given_up)
{
    lead_patiently(0);
    due_by_hand();
    page("");
    core_swept(&t.core, t.now, true);
    run();
    due("Ax1", HELD_KEY, 1);
    small_row_for_later("B-1"); /* the oldest that is to be held */
    page_while_held_is_locked("Ax2 Ax3 Ax4");
    page_while_held_is_locked("Ax5 Ax6"); /* so many are not kept behind it */
    page_while_held_is_locked("Ax7 Ax8");
    page_while_held_is_locked("Ax9 Ay1 Ay2 Ay3");
    page_while_held_is_locked("");
    ck_assert_uint_ne(t.core.given_up_page, UINT64_MAX);
    persisted("Ax1");
    wait_until_under_way(&t.core.n_marking);
    freed("Ax1");
    marked(true);
    t.trace[0] = '\0';
    page_while_held_is_locked("Ax0");
    ck_assert_msg(strstr(t.trace, "produce Ax0") == NULL, "%s", t.trace);
}
END_TEST

/* The oldest row that is to be held is as large as nearly all that may be in memory. */
START_TEST(large_row_that_cannot_be_held_leaves_room_for_others)
{
    lead_with_topic_m_shut();
    held(true);
    t.bytes = 900;
    page_while_held_is_locked("Mx5");
    t.bytes = ROW_BYTES;
    page_while_held_is_locked("A-1");
    persisted("A-1");
    wait_until_under_way(&t.core.n_marking);
    marked(true);
    page_while_held_is_locked("A-2");
}
END_TEST

static void lead_until_what_is_due_is_read(void)
{
    lead_patiently(0);
    small_row_for_later("Ax1");
    due_by_hand();
    held(true);
    for (int i = 0; i < 100 && t.core.reading != READING_DUE; i++) {
        nothing_new();
        pass(1);
    }
}

/* The same of one that was there: its time has come, and its topic takes nothing. */
START_TEST(large_row_that_cannot_be_put_back_leaves_room_for_others)
{
    lead_until_what_is_due_is_read();
    t.bytes = 900;
    due("Ax1", HELD_TIME, 0);
    t.bytes = ROW_BYTES;
    topic_failed("Ax1");
    lane_ready(LANE_MAIN, true);
    page_while_held_is_locked("B-1");
    persisted("B-1");
    wait_until_under_way(&t.core.n_marking);
    marked(true);
    page_while_held_is_locked("B-2");
}
END_TEST

/* Behind the one with which holding is tried again, one as large as nearly all that may be in memory. */
START_TEST(large_row_behind_one_that_cannot_be_put_back_leaves_room_for_others)
{
    enum held_as from = _i == 0 ? HELD_TIME : HELD_KEY;

    lead_until_what_is_due_is_read();
    t.bytes = 1;
    ck_assert(back("Ax1", from, 0));
    t.bytes = 990;
    ck_assert(back("Ay1", from, 0));
    due_end(UINT64_MAX);
    t.bytes = ROW_BYTES;
    topic_failed("Ax1");
    topic_failed("Ay1");
    lane_ready(LANE_MAIN, true);
    page_while_held_is_locked("B-1");
}
END_TEST

static void lead_where_dead_rows_are_skipped(bool skip)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 1000000;
    cfg.skip_poison = skip;
    lead_with(&cfg);
    open_topic();
}

/* A page of rows that are all too large for their topic. */
static void hopeless_page(const char *names)
{
    char copy[64], *rest = NULL;

    page_while_held_is_locked(names);
    strcpy(copy, names);
    for (char *name = strtok_r(copy, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest))
        if (is_in_hand(name) && row_of(name)->state == ROW_SENT) {
            core_refused(&t.core, t.now, slot_of(name), true);
            run();
        }
}

START_TEST(dead_rows_that_cannot_be_held_leave_room_for_others)
{
    char names[64];

    lead_where_dead_rows_are_skipped(_i == 1);
    for (int i = 0; i < 10; i++) {
        snprintf(names, sizeof names, "M-%d Ma%d M-%d", 10 + i, 10 + i, 30 + i);
        hopeless_page(names);
    }
    page_while_held_is_locked("A-1");
    persisted("A-1");
}
END_TEST

/* Ax1 is dead, and its key waits until that is written, for others may pass it then. */
START_TEST(key_of_a_dead_row_that_cannot_be_held_leaves_room_for_others)
{
    char names[64];

    lead_where_dead_rows_are_skipped(true);
    hopeless_page("Ax1");
    for (int i = 0; i < 10; i++) {
        snprintf(names, sizeof names, "Ax%d Ax%d", 10 + i, 30 + i);
        page_while_held_is_locked(names);
        leave_out("read");
        leave_out("renew");
        ck_assert_msg(strstr(t.trace, "produce Ax1\n") == NULL && strstr(t.trace, "produce Ax3") == NULL, "%s", t.trace);
        t.trace[0] = '\0';
    }
    page_while_held_is_locked("A-1");
    persisted("A-1");
}
END_TEST

/* It was sent, so at worst it is sent again. */
START_TEST(mark_that_needs_held_does_not_keep_a_new_link_from_reading)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    suspect_out(&cfg);
    core_swept(&t.core, t.now, true);
    page("");
    due("A-2", HELD_KEY, 1);
    persisted("A-2");
    wait_until_under_way(&t.core.n_marking);
    marked(false);
    link_is(false);
    purged("Ax1");
    link_is(true);
    t.trace[0] = '\0';
    for (int i = 0; i < 100 && strstr(t.trace, "acquire") == NULL; i++) {
        if (t.core.n_marking > 0)
            marked(false);
        pass(10);
    }
    ck_assert_msg(strstr(t.trace, "acquire") != NULL, "%s", t.trace);
}
END_TEST

/* Answers whatever is asked for; what is read back of topics B to F has more behind it. */
static bool answer_all(bool marks_succeed)
{
    static const char *const rows[] = { "B-1 B-2 B-3 B-4", "C-1 C-2 C-3 C-4", "D-1 D-2 D-3 D-4", "E-1 E-2 E-3 E-4",
                                        "F-1 F-2 F-3 F-4" };
    char names[16];
    bool reads = t.core.reading == READING_OUTBOX;

    t.trace[0] = '\0';
    snprintf(names, sizeof names, "%.*s", (int)t.read.n * 4 - 1, rows[t.core.reading_topic]);
    if (t.core.reading == READING_TOPIC)
        paused_rows(names, true);
    for (uint32_t s = 0; s < CAP; s++)
        if (t.core.window.row[s].state == ROW_SENT)
            persisted(t.name[s]);
    if (t.core.n_marking > 0)
        marked(marks_succeed);
    if (reads)
        page("");
    pass(1);
    return reads;
}

/* Five topics have opened again. Their rows can be sent, and from some time on their marks cannot be written. */
START_TEST(rows_read_back_that_cannot_be_marked_leave_room_for_others)
{
    struct core_config cfg = default_config();
    int n_reads = 0;

    cfg.lease_ttl_ms = 60000;
    begin_with(&cfg);
    link_is(true);
    for (const char *name = "BCDEF"; *name != '\0'; name++)
        core_held_topic(&t.core, t.now, topic_of(name));
    lease(true);
    page("");
    for (int i = 0; i < 2000; i++)
        n_reads += answer_all(i < 500) && i >= 1000;
    ck_assert_int_ge(n_reads, 1);
}
END_TEST

Suite *suite_shed(void);

Suite *suite_shed(void)
{
    Suite *suite = suite_create("shed");
    TCase *tc = new_case(suite, "shed");

    tcase_add_test(tc, rows_that_cannot_be_held_leave_room_for_others);
    tcase_add_test(tc, nothing_is_read_back_in_front_of_what_was_given_up);
    tcase_add_test(tc, nothing_but_the_oldest_is_held_of_what_was_given_up);
    tcase_add_test(tc, key_is_not_free_while_rows_of_it_are_given_up);
    tcase_add_test(tc, large_row_that_cannot_be_held_leaves_room_for_others);
    tcase_add_test(tc, large_row_that_cannot_be_put_back_leaves_room_for_others);
    tcase_add_loop_test(tc, large_row_behind_one_that_cannot_be_put_back_leaves_room_for_others, 0, 2);
    tcase_add_loop_test(tc, dead_rows_that_cannot_be_held_leave_room_for_others, 0, 2);
    tcase_add_test(tc, key_of_a_dead_row_that_cannot_be_held_leaves_room_for_others);
    tcase_add_test(tc, mark_that_needs_held_does_not_keep_a_new_link_from_reading);
    tcase_add_test(tc, rows_read_back_that_cannot_be_marked_leave_room_for_others);
    return suite;
}
