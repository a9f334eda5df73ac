/* test_one_hash.c - keys of two topics with one hash wait for each other at times, and never pass.
 * See trace.h.
 */
#include "tests/core/trace.h"

/* A new row of the hash of Ax1. */
static void new_row(const char *name)
{
    uint32_t slot = core_row(&t.core, topic_of(name), key_of("Ax1"), ROW_BYTES, false);

    ck_assert_uint_ne(slot, NO_SLOT);
    name_slot(slot, name);
    page_end(1, false, false);
}

/* One that is back from outbox.held. */
static void back_row(const char *name)
{
    uint32_t slot = core_held_row(&t.core, t.now, topic_of(name), key_of("Ax1"), ROW_BYTES,
                                  (struct core_held_info){ HELD_KEY, 0, false, false });

    ck_assert_uint_ne(slot, NO_SLOT);
    name_slot(slot, name);
}

/* Both keys are held. Nothing of A is left there when Ax1 has gone, but Ax2 waits for Bx1 still. */
START_TEST(freed_key_does_not_pass_its_own_rows_that_wait_for_the_other)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    begin_with(&cfg);
    due_by_hand();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    core_held_key(&t.core, topic_of("B"), key_of("Ax1"));
    lease(true);
    page("");
    expect_but_reads("acquire\nfetch due 4\n");
    back_row("Ax1");
    back_row("Bx1");
    due_end(UINT64_MAX);
    pass(20);
    new_row("Ax2");
    expect_but_reads("produce Ax1 main\nproduce Bx1 main\n");
    persisted("Ax1");
    pass(5);
    freed("Ax1");
    marked(true);
    pass(20);
    new_row("Ax3");
    expect_but_reads("mark Ax1\nrelease Ax1\n");
    persisted("Bx1");
    pass(5);
    freed("Bx1");
    marked(true);
    leave_out("fetch due");
    expect_but_reads("mark Bx1\nrelease Bx1\nproduce Ax2 main\nproduce Ax3 main\n");
}
END_TEST

/* Ax2 waits behind Bx1, and what is behind becomes too much for the window. Ax1 is out, and the database
 * knows nothing of it: if Ax2 were put there, it would be the first of its key. */
START_TEST(row_behind_the_other_key_is_not_held_before_its_own_first)
{
    struct core_config cfg = default_config();

    cfg.lease_ttl_ms = 60000;
    begin_with(&cfg);
    due_by_hand();
    link_is(true);
    core_held_key(&t.core, topic_of("B"), key_of("Ax1"));
    lease(true);
    page("Ax1");
    expect_but_reads("acquire\nproduce Ax1 main\nfetch due 4\n");
    back_row("Bx1");
    due_end(UINT64_MAX);
    for (int i = 0; i < 5; i++) {
        pass(20);
        new_row((const char *[]){ "Bx2", "Ax2", "Bx3", "Bx4", "Bx5" }[i]);
    }
    expect_but_reads("produce Bx1 main\n"
                     "hold Bx2 blocked, Bx3 blocked, Bx4 blocked, Bx5 blocked\n");
    held(true);
    leave_out("release");
    expect_but_reads("");
    persisted("Ax1");
    persisted("Bx1");
    leave_out("fetch due");
    expect_but_reads("");
    pass(5);
    marked(true);
    leave_out("fetch due");
    expect_but_reads("mark Ax1 Bx1\nrelease Ax1\nrelease Bx1\nproduce Ax2 main\n");
}
END_TEST

Suite *suite_one_hash(void);

Suite *suite_one_hash(void)
{
    Suite *suite = suite_create("one hash");

    tcase_add_test(new_case(suite, "one hash"),
                   freed_key_does_not_pass_its_own_rows_that_wait_for_the_other);
    tcase_add_test(new_case(suite, "behind"),
                   row_behind_the_other_key_is_not_held_before_its_own_first);
    return suite;
}
