/* relays.h - which relays are connected to the database, and from where, in words or as JSON. Pure but for memory. */
#ifndef RELAY_COMMANDS_RELAYS_H
#define RELAY_COMMANDS_RELAYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "relay/source/operate_status.h"

#define RELAYS_SHOWN 8

/* Start from zeroes. */
struct relays {
    int n, n_leading;     /* all of them; of these, those that lead, which is one at most */
    int n_silent;         /* that should have said a word to the server, and have not */
    int n_silent_standby; /* of these, those that do not lead */
    int n_shown;
    struct relay_seen {
        bool leads;
        char from[80];   /* "": not known */
        double silent_s; /* negative: not known */
    } list[RELAYS_SHOWN];
};

void relays_add(struct relays *r, const struct operate_relay *relay);
/* The lease is over: the one that had it is one like the others. */
void relays_nobody_leads(struct relays *r);

/* " (from 10.0.0.5:58156; from 10.0.0.6:40112, silent for 17 s)": of those that lead, or of the others; "" when it is not
 * known of any. Returns to. */
const char *relays_from(const struct relays *r, bool leads, char *to, size_t size);
/* NULL: out of memory. */
json_t *relays_list(const struct relays *r);
/* The one that said a word last; NULL: there is none, or it is not known of any. */
const struct relay_seen *relays_last_heard(const struct relays *r);

#endif
