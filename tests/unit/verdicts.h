/* verdicts.h - what the tests of the verdict share: a leader that is well, and the sentence that is reached. */
#ifndef TESTS_UNIT_VERDICTS_H
#define TESTS_UNIT_VERDICTS_H

#include <check.h>
#include <string.h>

#include "relay/verdict.h"

static struct verdict v;

/* A leader with both sides up and nothing to do. */
static inline struct verdict_input healthy(void)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;

    in.role = VERDICT_LEADS;
    in.db_up = in.kafka_up = FACT_YES;
    in.pending = 0;
    in.rate = 0;
    return in;
}

static inline void expect(const struct verdict_input *in, enum verdict_level level, const char *text)
{
    verdict_reach(in, &v);
    ck_assert_str_eq(v.text, text);
    ck_assert_int_eq(v.level, level);
    for (uint32_t i = 0; i < v.n_findings; i++) {
        ck_assert_str_ne(v.finding[i].remedy, "");
        ck_assert_str_ne(v.finding[i].text, "");
        if (i > 0)
            ck_assert_int_le(v.finding[i].level, v.finding[i - 1].level);
    }
}

#endif
