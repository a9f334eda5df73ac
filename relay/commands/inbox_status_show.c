/* inbox_status_show.c - see inbox_status_show.h: as one JSON object, or in words and tables. */
#include "relay/commands/inbox_status_show.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/commands/cells.h"
#include "relay/commands/object.h"

#define WIDE 60

/* -- positions -------------------------------------------------------------------------------- */

static void position_to_list(struct inbox_look *l, const struct operate_position *p, int64_t lag, double oldest_s)
{
    json_t *object = json_object();

    if (!object_append(l->position_list, object,
                       object != NULL && object_put_text(object, "consumer", p->consumer) &&
                           object_put_text(object, "topic", p->topic) &&
                           object_put_number(object, "partition", p->partition) &&
                           object_put_known(object, "next_offset", p->next_offset) &&
                           object_put_known(object, "lag", lag) &&
                           object_put_seconds(object, "oldest_s", oldest_s) &&
                           object_put_text(object, "owner", p->owner) &&
                           object_put_seconds(object, "moved_s", p->moved_s)))
        l->failed = true;
}

static void position_to_table(struct inbox_look *l, const struct operate_position *p, int64_t lag, double oldest_s)
{
    static const char *const heads[] = { "CONSUMER", "TOPIC", "PARTITION", "NEXT OFFSET", "LAG", "OLDEST",
                                         "MOVED",    "OWNER" };
    struct table *t = &l->positions;

    table_heads(t, heads, sizeof heads / sizeof heads[0]);
    table_add_text(t, p->consumer, WIDE);
    table_add_text(t, p->topic, WIDE);
    table_add_number(t, p->partition);
    cell_number(t, p->next_offset);
    cell_number(t, lag);
    cell_age(t, oldest_s);
    cell_age(t, p->moved_s);
    table_add_text(t, p->owner, WIDE);
}

void inbox_status_add_position(struct inbox_look *l, const struct operate_position *p, int64_t lag, double oldest_s)
{
    if (l->position_list != NULL)
        position_to_list(l, p, lag, oldest_s);
    else
        position_to_table(l, p, lag, oldest_s);
}

/* -- consumers -------------------------------------------------------------------------------- */

static void print_table(struct inbox_look *l, const struct table *t)
{
    if (t->n_cells > 0 && (putchar('\n') == EOF || !table_print(t, stdout)))
        l->failed = true;
}

static void print_consumers(struct inbox_look *l)
{
    static const char *const heads[] = { "CONSUMER", "PARTITIONS", "OWNED", "PROCESSES", "MOVED", "LAG",
                                         "OLDEST",   "FAILING",    "SINCE", "DEAD",      "SINCE", "RETRY", "KEEP" };
    struct table t = { .n_columns = 0 };

    table_heads(&t, heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < l->n_consumers; i++) {
        const struct inbox_consumer *c = &l->consumers[i];
        table_add_text(&t, c->name, WIDE);
        table_add_number(&t, c->is.partitions);
        table_add_number(&t, c->is.owned);
        table_add_number(&t, c->is.owners);
        cell_age(&t, c->is.moved_s);
        cell_number(&t, c->lag);
        cell_age(&t, c->oldest_s);
        table_add_number(&t, c->failing.is.n);
        cell_age(&t, c->failing.is.n > 0 ? c->failing.is.oldest_s : -1);
        table_add_number(&t, c->is.dead);
        cell_age(&t, c->is.oldest_dead_s);
        table_add_number(&t, c->is.retry);
        table_add_text(&t, c->keep, WIDE);
    }
    if (l->n_consumers > 0)
        print_table(l, &t);
    table_deinit(&t);
}

/* null: nothing fails. */
static json_t *last_failure(const struct inbox_failing *f)
{
    json_t *object = f->is.n > 0 ? json_object() : NULL;

    if (f->is.n == 0)
        return json_null();
    if (object != NULL && object_put_text(object, "topic", f->topic) &&
        object_put_number(object, "partition", f->is.partition) && object_put_number(object, "offset", f->is.offset) &&
        object_put_text(object, "event_id", f->event_id) && object_put_number(object, "attempts", f->is.attempts) &&
        object_put_text(object, "error_code", f->is.error_code) && object_put_text(object, "error", f->is.error) &&
        object_put_seconds(object, "failed_s", f->is.failed_s) &&
        object_put(object, "next_attempt_s", f->is.waits ? json_real(f->is.next_s) : json_null()))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *consumer_list(const struct inbox_look *l)
{
    json_t *list = json_array();

    for (size_t i = 0; list != NULL && i < l->n_consumers; i++) {
        const struct inbox_consumer *c = &l->consumers[i];
        json_t *object = json_object();
        if (!object_append(list, object,
                           object != NULL && object_put_text(object, "consumer", c->name) &&
                               object_put_number(object, "partitions", c->is.partitions) &&
                               object_put_number(object, "owned", c->is.owned) &&
                               object_put_number(object, "processes", c->is.owners) &&
                               object_put_seconds(object, "moved_s", c->is.moved_s) &&
                               object_put_known(object, "lag", c->lag) &&
                               object_put_seconds(object, "oldest_s", c->oldest_s) &&
                               object_put_seconds(object, "applied_s", c->is.applied_s) &&
                               object_put_number(object, "failing", c->failing.is.n) &&
                               object_put_seconds(object, "oldest_failing_s",
                                                  c->failing.is.n > 0 ? c->failing.is.oldest_s : -1) &&
                               object_put(object, "last_failure", last_failure(&c->failing)) &&
                               object_put_number(object, "dead", c->is.dead) &&
                               object_put_seconds(object, "oldest_dead_s", c->is.oldest_dead_s) &&
                               object_put_number(object, "dead_since_applied", c->is.dead_since) &&
                               object_put_number(object, "retry", c->is.retry) &&
                               object_put_text(object, "dedupe_keep", c->keep))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* -- all of it -------------------------------------------------------------------------------- */

static const char *first_of(const struct findings *f, enum finding_level level)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].level == level)
            return f->list[i].text;
    return "";
}

/* The first line; to be freed, NULL when out of memory. */
static char *sentence_of(const struct inbox_look *l)
{
    size_t failed = findings_count(&l->findings, FINDING_FAIL), warned = findings_count(&l->findings, FINDING_WARN);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    if (failed > 0)
        fprintf(out, "Events are not applied as they should be: %s", first_of(&l->findings, FINDING_FAIL));
    else if (l->n_consumers == 0)
        fputs("No consumer has ever started here", out);
    else
        fprintf(out, "Events are applied%s%s", warned > 0 ? ", but look: " : "", first_of(&l->findings, FINDING_WARN));
    if (failed + warned > 1)
        fprintf(out, " (and %zu more, below)", failed + warned - 1);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static void print_object(struct inbox_look *l, const char *sentence)
{
    json_t *object = json_object(), *found = findings_object(&l->findings);

    if (object == NULL || found == NULL ||
        !object_put(object, "applied", json_boolean(findings_count(&l->findings, FINDING_FAIL) == 0)) ||
        !object_put_text(object, "verdict", sentence) ||
        !object_put(object, "findings", json_incref(json_object_get(found, "findings"))) ||
        !object_put(object, "kafka_up", l->kafka_asked ? json_boolean(l->kafka_up) : json_null()) ||
        !object_put(object, "server_is_standby", json_boolean(l->server.is_standby)) ||
        !object_put(object, "consumers", consumer_list(l)) ||
        !object_put(object, "positions", json_incref(l->position_list)) || !object_print(object, stdout))
        l->failed = true;
    json_decref(found);
    json_decref(object);
}

static void print_words(struct inbox_look *l, const char *sentence)
{
    text_put(stdout, sentence, 1000);
    putchar('\n');
    print_consumers(l);
    print_table(l, &l->positions);
    if (!l->kafka_asked)
        puts("\nLAG and OLDEST are not known: kafka.bootstrap.servers is not set");
    if (l->findings.n > 0)
        putchar('\n');
    findings_list(&l->findings, stdout);
}

void inbox_status_print(struct inbox_look *l)
{
    char *sentence = sentence_of(l);

    if (sentence == NULL)
        l->failed = true;
    else if (l->position_list != NULL)
        print_object(l, sentence);
    else
        print_words(l, sentence);
    free(sentence);
}

void inbox_look_deinit(struct inbox_look *l)
{
    table_deinit(&l->positions);
    json_decref(l->position_list);
    findings_deinit(&l->findings);
    free(l->consumers);
}
