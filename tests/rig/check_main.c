/* check_main.c - main() of every libcheck binary.
 *
 * The build defines SUITE as the suite's function, at the link of each test. Forks per test unless
 * CK_FORK=no. Exits 0 only when at least one check ran and none failed: libcheck itself calls a run
 * of 0 checks a success.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

extern Suite *SUITE(void);

int main(void)
{
    SRunner *runner = srunner_create(SUITE());
    int n_run;
    int n_failed;

    setvbuf(stdout, NULL, _IOLBF, 0);
    srunner_run_all(runner, CK_NORMAL);
    n_run = srunner_ntests_run(runner);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    if (n_run == 0)
        fprintf(stderr, "no check ran\n");
    return n_run > 0 && n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
