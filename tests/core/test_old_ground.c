/* test_old_ground.c - what an earlier reader left goes before what it has put into outbox.held. See
 * trace.h.
 */
#include "tests/core/trace.h"

/* Ax1 was left, and later rows of its key are held: it must be there before they are read. */
START_TEST(row_that_was_left_is_held_before_anything_is_read_back)
{
    due_by_hand();
    link_is(true);
    core_held_key(&t.core, topic_of("A"), key_of("Ax1"));
    lease(true);
    expect("acquire\nread 4\n");
    ck_assert(answer_read("Ax1", false, true));
    expect_but_reads("hold Ax1 blocked\n");
    held(false);
    pass(1);
    page("");
    expect_but_reads("");
    (void)wait_for("hold Ax1 blocked\n", 200);
    leave_out("renew");
    expect_but_reads("hold Ax1 blocked\n");
    held(true);
    nothing_new();
    expect_but_reads("release Ax1\nfetch due 4\n");
}
END_TEST

Suite *suite_old_ground(void);

Suite *suite_old_ground(void)
{
    Suite *suite = suite_create("old ground");

    tcase_add_test(new_case(suite, "old ground"),
                   row_that_was_left_is_held_before_anything_is_read_back);
    return suite;
}
