/* cells.h - cells of the commands' tables for what may not be known: then "-". */
#ifndef RELAY_COMMANDS_CELLS_H
#define RELAY_COMMANDS_CELLS_H

#include <stdint.h>

#include "relay/text.h"
#include "relay/verdict.h"

static inline void cell_age(struct table *t, double seconds)
{
    char text[32];

    table_add(t, seconds >= 0 ? verdict_age(seconds, text, sizeof text) : "-");
}

static inline void cell_number(struct table *t, int64_t n)
{
    if (n >= 0)
        table_add_number(t, n);
    else
        table_add(t, "-");
}

#endif
