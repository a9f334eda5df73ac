/* test_room.c - arrays that grow with the numbers that are their places. */
#include <check.h>

#include "relay/room.h"

START_TEST(new_places_hold_zeroes_and_old_ones_stay)
{
    uint64_t *array = NULL;
    uint32_t n = 0;

    for (uint32_t number = 0; number < 200; number += 7) {
        array = room_for(number, array, &n, sizeof *array);
        ck_assert_ptr_nonnull(array);
        ck_assert_uint_gt(n, number);
        for (uint32_t i = 0; i < n; i++)
            ck_assert_uint_eq(array[i], i < number && i % 7 == 0 ? i + 1 : 0);
        array[number] = number + 1;
    }
    free(array);
}
END_TEST

START_TEST(where_there_is_room_nothing_changes)
{
    uint32_t n = 0, *array = room_for(3, NULL, &n, sizeof *array), n_then = n;

    ck_assert_ptr_nonnull(array);
    ck_assert_ptr_eq(room_for(n - 1, array, &n, sizeof *array), array);
    ck_assert_uint_eq(n, n_then);
    free(array);
}
END_TEST

Suite *suite_room(void);
Suite *suite_room(void)
{
    Suite *suite = suite_create("room");
    TCase *tcase = tcase_create("room");

    tcase_add_test(tcase, new_places_hold_zeroes_and_old_ones_stay);
    tcase_add_test(tcase, where_there_is_room_nothing_changes);
    suite_add_tcase(suite, tcase);
    return suite;
}
