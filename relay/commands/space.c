/* space.c - see space.h. */
#include "relay/commands/space.h"

#include <stdio.h>
#include <string.h>

#include "relay/commands/object.h"
#include "relay/exit_codes.h"

#define SHOWN 3
#define WORTH_A_WORD (1 << 20) /* an empty part has some pages too */

static enum verdict_obstacle obstacle_of(const struct operate_part *p)
{
    return p->unsent_id != 0 ? OBSTACLE_UNSENT
           : p->locked         ? OBSTACLE_LOCKED
           : p->crowded        ? OBSTACLE_CROWDED
                               : OBSTACLE_UNKNOWN;
}

static void note_overdue(struct space *s, const struct operate_part *p)
{
    const struct operate_blocker *b = &p->holder;
    const char *name = b->pid == 0 ? b->prepared : b->application;

    if (p->overdue_s <= s->overdue.s)
        return;
    snprintf(s->holder, sizeof s->holder, "%s", name != NULL ? name : "");
    s->overdue = (struct verdict_overdue){
        .s = p->overdue_s,
        .bucket = p->name[0] - '0',
        .why = obstacle_of(p),
        .id = p->unsent_id,
        .holder = { .pid = b->pid, .application = name != NULL ? s->holder : NULL, .age_s = b->age_s },
    };
}

static void on_part(void *arg, const struct operate_part *p)
{
    struct space *s = arg;

    if (s->n_parts == SPACE_PARTS)
        return;
    struct space_part *part = &s->part[s->n_parts++];
    snprintf(part->name, sizeof part->name, "%s", p->name);
    part->bytes = p->bytes;
    part->overdue_s = p->overdue_s;
    s->bytes += p->bytes;
    note_overdue(s, p);
}

void space_ask(struct space *s, struct operate *op, uint64_t retention_ms)
{
    *s = (struct space){ .overdue.s = -1 };
    s->code = operate_space(op, retention_ms, on_part, s);
    if (s->code == EXIT_OK)
        return;
    s->bytes = -1;
    s->overdue.s = -1;
    s->n_parts = 0;
    snprintf(s->sqlstate, sizeof s->sqlstate, "%s", operate_sqlstate(op));
    snprintf(s->error, sizeof s->error, "%s", operate_error(op));
}

const char *space_words(const struct space *s, char *to, size_t to_size)
{
    char bytes[32];
    int n;

    if (s->bytes < 0) {
        snprintf(to, to_size, "not known: %s", s->error);
        return to;
    }
    n = snprintf(to, to_size, "%s", verdict_bytes(s->bytes, bytes, sizeof bytes));
    for (size_t i = 0; i < s->n_parts && i < SHOWN && s->part[i].bytes >= WORTH_A_WORD; i++) {
        const char *name = s->part[i].name;
        n += snprintf(to + n, to_size - (size_t)n, "%s%s%s %s", i == 0 ? ": " : ", ",
                      name[1] == '\0' ? "bucket " : "", name, verdict_bytes(s->part[i].bytes, bytes, sizeof bytes));
        if ((size_t)n >= to_size)
            break;
    }
    return to;
}

json_t *space_object(const struct space *s)
{
    json_t *object = json_object(), *list = json_array();

    for (size_t i = 0; list != NULL && i < s->n_parts; i++) {
        const struct space_part *p = &s->part[i];
        json_t *part = json_object();
        if (!object_append(list, part,
                           part != NULL && object_put_text(part, "part", p->name) &&
                               object_put_number(part, "bytes", p->bytes) &&
                               object_put_seconds(part, "overdue_s", p->overdue_s))) {
            json_decref(list);
            list = NULL;
        }
    }
    if (object != NULL && list != NULL &&
        object_put_known(object, "bytes", s->bytes) &&
        object_put(object, "parts", json_incref(list))) {
        json_decref(list);
        return object;
    }
    json_decref(list);
    json_decref(object);
    return NULL;
}
