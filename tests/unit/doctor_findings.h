/* doctor_findings.h - what the tests of the doctor share: the findings of one test, and what is looked for in them. */
#ifndef TESTS_UNIT_DOCTOR_FINDINGS_H
#define TESTS_UNIT_DOCTOR_FINDINGS_H

#include <check.h>
#include <string.h>

#include "relay/commands/doctor.h"
#include "relay/exit_codes.h"

static struct findings f;

static inline void teardown(void)
{
    findings_deinit(&f);
}

/* There is one of that level that says so, and a WARN or FAIL says what to do. */
static inline bool found(enum finding_level level, const char *text)
{
    for (size_t i = 0; i < f.n; i++)
        if (f.list[i].level == level && strstr(f.list[i].text, text) != NULL)
            return level == FINDING_OK || f.list[i].remedy != NULL;
    return false;
}

#endif
