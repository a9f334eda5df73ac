/* relays.c - see relays.h. */
#include "relay/commands/relays.h"

#include <stdio.h>
#include <string.h>

#include "relay/commands/object.h"
#include "relay/verdict.h"

void relays_add(struct relays *r, const struct operate_relay *relay)
{
    bool silent = relay->silent_s >= LEADER_SILENT_S;

    r->n++;
    r->n_leading += relay->leads;
    r->n_silent += silent;
    r->n_silent_standby += silent && !relay->leads;
    if (r->n_shown == RELAYS_SHOWN)
        return;
    struct relay_seen *x = &r->list[r->n_shown++];
    *x = (struct relay_seen){ .leads = relay->leads, .silent_s = relay->silent_s };
    snprintf(x->from, sizeof x->from, "%s", relay->from != NULL ? relay->from : "");
}

void relays_nobody_leads(struct relays *r)
{
    r->n_leading = 0;
    r->n_silent_standby = r->n_silent;
    for (int i = 0; i < r->n_shown; i++)
        r->list[i].leads = false;
}

const char *relays_from(const struct relays *r, bool leads, char *to, size_t size)
{
    char age[32];

    to[0] = '\0';
    for (int i = 0; i < r->n_shown; i++) {
        const struct relay_seen *x = &r->list[i];
        size_t used = strlen(to);
        if (x->leads != leads || x->from[0] == '\0')
            continue;
        snprintf(to + used, size - used, "%sfrom %s", used == 0 ? " (" : "; ", x->from);
        used = strlen(to);
        if (x->silent_s >= LEADER_SILENT_S)
            snprintf(to + used, size - used, ", silent for %s", verdict_age(x->silent_s, age, sizeof age));
    }
    if (to[0] != '\0')
        snprintf(to + strlen(to), size - strlen(to), ")");
    return to;
}

json_t *relays_list(const struct relays *r)
{
    json_t *list = json_array();

    for (int i = 0; list != NULL && i < r->n_shown; i++) {
        const struct relay_seen *x = &r->list[i];
        json_t *object = json_object();
        if (!object_append(list, object,
                           object != NULL && object_put(object, "leads", json_boolean(x->leads)) &&
                               object_put_text(object, "from", x->from[0] != '\0' ? x->from : NULL) &&
                               object_put_seconds(object, "silent_s", x->silent_s))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

const struct relay_seen *relays_last_heard(const struct relays *r)
{
    const struct relay_seen *last = NULL;

    for (int i = 0; i < r->n_shown; i++)
        if (r->list[i].silent_s >= 0 && (last == NULL || r->list[i].silent_s < last->silent_s))
            last = &r->list[i];
    return last;
}
