/* check_main.c - main() of every libcheck binary.
 *
 * At the link of each test `test_suite` becomes another name of the suite's function. Forks per test
 * unless CK_FORK=no. Exits 0 only when at least one check ran and none failed: libcheck itself calls a run
 * of 0 checks a success. No test sets a time limit of its own: CASE_SECONDS is for each, and long
 * enough for several waits of a slow machine (RIG_DEADLINE_MS); CK_DEFAULT_TIMEOUT wins.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define CASE_SECONDS "900"

extern Suite *test_suite(void);

int main(void)
{
    SRunner *runner;
    int n_run;
    int n_failed;

    if (setenv("CK_DEFAULT_TIMEOUT", CASE_SECONDS, 0) != 0)
        return EXIT_FAILURE;
    runner = srunner_create(test_suite());
    setvbuf(stdout, NULL, _IOLBF, 0);
    srunner_run_all(runner, CK_NORMAL);
    n_run = srunner_ntests_run(runner);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (n_run == 0)
        fprintf(stderr, "no check ran\n");
    return n_run > 0 && n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
