/* page.c - the status page: what a person must know at night, worst first. See pages.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/http/page_style.h"
#include "relay/http/pages.h"
#include "relay/loop.h"
#include "relay/text.h"

/* Older than that, what is published is not what is. */
#define STALE_MS 5000

/* -- words ---------------------------------------------------------------------------------- */

static void put_html(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            putc(text[i], out);
        }
    }
}

void page_text(FILE *out, const char *text)
{
    char *shown = NULL;
    size_t len = 0;
    FILE *safe = open_memstream(&shown, &len);

    if (safe == NULL)
        return;
    text_put(safe, text, 1000);
    if (fclose(safe) == 0 && shown != NULL)
        put_html(out, shown, len);
    free(shown);
}

/* Of our own words: what stands between ` is code. */
static void put_words(FILE *out, const char *text)
{
    for (bool code = false; *text != '\0'; text++) {
        if (*text != '`') {
            put_html(out, text, 1);
            continue;
        }
        fputs(code ? "</code>" : "<code>", out);
        code = !code;
    }
}

static void put_age(FILE *out, double seconds)
{
    char text[32];

    fputs(seconds < 0 ? "&ndash;" : verdict_age(seconds, text, sizeof text), out);
}

static void put_count(FILE *out, int64_t n)
{
    char text[32];

    fputs(n < 0 ? "&ndash;" : verdict_count(n, text, sizeof text), out);
}

static void put_bytes(FILE *out, int64_t n)
{
    char text[32];

    fputs(n < 0 ? "&ndash;" : verdict_bytes(n, text, sizeof text), out);
}

static void put_rate(FILE *out, double rate)
{
    if (rate < 0)
        fputs("&ndash;", out);
    else if (rate < 9.95 && rate > 0)
        fprintf(out, "%.1f/s", rate);
    else {
        put_count(out, (int64_t)(rate + 0.5));
        fputs("/s", out);
    }
}

static void put_time(FILE *out, int64_t unix_ms, bool with_date)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    char text[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    if (with_date)
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
    else
        strftime(text, sizeof text, "%H:%M:%S", &tm);
    fputs(text, out);
}

static const char *role_word(const struct status *s)
{
    switch (s->role) {
    case VERDICT_STARTING:
        return "starting";
    case VERDICT_NOT_KNOWN:
        return s->db_up ? "asks who leads" : "without PostgreSQL";
    case VERDICT_LEADS:
        return "leads";
    case VERDICT_STANDS_BY:
        return "stands by";
    case VERDICT_NOBODY_LEADS:
        return "nobody leads";
    case VERDICT_STOPPING:
        return "stopping";
    }
    return "";
}

/* -- sections ------------------------------------------------------------------------------- */

static void put_top(FILE *out, const struct status *s)
{
    fprintf(out, "<div class=\"top\"><b>outbox-relay</b><span>");
    page_text(out, s->owner);
    fprintf(out, " &middot; %s", role_word(s));
    if (s->role == VERDICT_NOT_KNOWN && s->db_lost_s >= 0) {
        fputs(" for ", out);
        put_age(out, s->db_lost_s);
    }
    fputs("</span><time>", out);
    put_time(out, s->unix_ms, true);
    fputs("</time></div>", out);
}

/* A clause as a sentence of its own. */
static void put_sentence(FILE *out, const char *clause)
{
    char text[sizeof((struct verdict_finding *)0)->text + 2];

    snprintf(text, sizeof text, "%s%s", clause, verdict_full_stop(clause));
    if (text[0] >= 'a' && text[0] <= 'z')
        text[0] = (char)(text[0] - 'a' + 'A');
    page_text(out, text);
}

/* The first finding stands in the sentence already. */
static void put_findings(FILE *out, const struct verdict *v)
{
    fputs("<ul>", out);
    for (uint32_t i = 0; i < v->n_findings; i++) {
        const struct verdict_finding *f = &v->finding[i];
        fputs("<li>", out);
        if (i > 0 || f->level == VERDICT_GOOD) {
            fputs("<b>", out);
            put_sentence(out, f->text);
            fputs("</b> ", out);
        }
        put_words(out, f->remedy);
        fputs("</li>", out);
    }
    fputs("</ul>", out);
}

static void put_verdict(FILE *out, const struct status *s)
{
    uint64_t now_ms = loop_now_ms();

    fprintf(out, "<section class=\"card verdict %s\"><h1>", verdict_level_name(s->verdict.level));
    if (now_ms > s->made_ms + STALE_MS) {
        fputs("The relay has not said anything for ", out);
        put_age(out, (double)(now_ms - s->made_ms) / 1000);
        fputs(". What it said last: ", out);
    }
    page_text(out, s->verdict.text);
    fputs("</h1>", out);
    if (s->verdict.n_findings > 0)
        put_findings(out, &s->verdict);
    fputs("</section>", out);
}

static void open_tile(FILE *out, const char *name, const char *level)
{
    fprintf(out, "<div class=\"card %s\"><span>%s</span><b>", level, name);
}

static void put_tiles(FILE *out, const struct status *s)
{
    const struct figures *f = s->figures_known ? &s->figures : NULL;
    int64_t dead = f != NULL ? f->held[STATE_DEAD] : -1, held = -1;

    if (f != NULL)
        held = f->held[STATE_RETRYING] + f->held[STATE_BLOCKED] + f->held[STATE_PAUSED] + f->held[STATE_SCHEDULED];
    fputs("<section class=\"tiles\">", out);
    open_tile(out, "Published", "");
    put_rate(out, s->rate);
    fputs("</b></div>", out);
    open_tile(out, "Waiting", "");
    if (s->pending_about)
        fputs("&asymp;&thinsp;", out);
    put_count(out, s->pending);
    fputs("</b></div>", out);
    open_tile(out, "Oldest waits", s->oldest_s >= 60 ? "warn" : "");
    put_age(out, s->oldest_s);
    fputs("</b></div>", out);
    open_tile(out, "Latency, p99", "");
    put_age(out, s->latency_s);
    fputs("</b></div>", out);
    open_tile(out, "Held", "");
    put_count(out, held);
    fputs("</b></div>", out);
    open_tile(out, "Dead", dead > 0 ? "bad" : "");
    put_count(out, dead);
    fputs("</b></div>", out);
    open_tile(out, "On disk", s->overdue_s >= OVERDUE_S ? "warn" : "");
    put_bytes(out, s->bytes);
    fputs("</b></div></section>", out);
}

static void put_charts(FILE *out, const struct status *s)
{
    float rate[STATUS_SAMPLES], pending[STATUS_SAMPLES], latency[STATUS_SAMPLES];

    for (uint32_t i = 0; i < s->n_samples; i++) {
        rate[i] = s->sample[i].rate;
        pending[i] = s->sample[i].pending;
        latency[i] = s->sample[i].latency_s;
    }
    fputs("<section class=\"charts\">", out);
    page_chart(out, "Published per second", "/s", rate, s->n_samples);
    page_chart(out, "Waiting", "", pending, s->n_samples);
    page_chart(out, "Latency, 99th percentile", "s", latency, s->n_samples);
    fputs("</section>", out);
}

static void open_section(FILE *out, const char *title)
{
    fprintf(out, "<section class=\"card\"><h2>%s</h2>", title);
}

static void put_none(FILE *out, const char *text)
{
    fprintf(out, "<p class=\"none\">%s</p>", text);
}

/* Only the leader knows what a topic takes. */
static void put_topic_state(FILE *out, const struct status *s, const struct status_topic *t)
{
    if (s->role != VERDICT_LEADS)
        fputs("&ndash;", out);
    else if (t->paused)
        fputs("<span class=\"tag bad\">takes nothing</span>", out);
    else if (s->verdict.level == VERDICT_BAD)
        fputs("<span class=\"tag calm\">waits</span>", out);
    else if (t->dead > 0)
        fputs("<span class=\"tag warn\">flows, some dead</span>", out);
    else
        fputs("<span class=\"tag\">flows</span>", out);
}

static void put_topic(FILE *out, const struct status *s, const struct status_topic *t)
{
    fputs("<tr><td data-l=\"Topic\"><span>", out);
    page_text(out, t->name);
    fputs("</span></td><td data-l=\"State\" class=\"k\">", out);
    put_topic_state(out, s, t);
    fputs("</td><td data-l=\"Published\" class=\"n\">", out);
    put_rate(out, t->rate);
    fputs("</td><td data-l=\"Waiting\" class=\"n\">", out);
    put_count(out, t->pending);
    fputs("</td><td data-l=\"Held\" class=\"n\">", out);
    put_count(out, t->held);
    fputs("</td><td data-l=\"Dead\" class=\"n\">", out);
    put_count(out, t->dead);
    fputs("</td><td data-l=\"Oldest\" class=\"n\">", out);
    put_age(out, t->oldest_s);
    fputs("</td></tr>", out);
    if (t->why[0] != '\0') {
        fputs("<tr><td colspan=\"7\" class=\"w\"><small>", out);
        page_text(out, t->why);
        fputs("</small></td></tr>", out);
    }
}

static void put_topics(FILE *out, const struct status *s)
{
    open_section(out, "Topics");
    if (s->n_topics == 0) {
        put_none(out, s->role == VERDICT_LEADS ? "No event has been seen yet." : "Nothing waits.");
    } else {
        fputs("<table><thead><tr><th>Topic</th><th>State</th><th class=\"n\">Published</th><th class=\"n\">Waiting</th>"
              "<th class=\"n\">Held</th><th class=\"n\">Dead</th><th class=\"n\">Oldest</th></tr></thead><tbody>",
              out);
        for (uint32_t i = 0; i < s->n_topics; i++)
            put_topic(out, s, &s->topic[i]);
        fputs("</tbody></table>", out);
        if (s->n_more_topics > 0)
            fprintf(out, "<p class=\"none\">and %" PRIu32 " more</p>", s->n_more_topics);
    }
    fputs("</section>", out);
}

static void put_held_row(FILE *out, const struct figures_held *r)
{
    bool dead = strcmp(r->state, "dead") == 0;

    fprintf(out, "<tr><td data-l=\"Event\"><span>%" PRId64 "<small><code>", r->id);
    page_text(out, r->event_id);
    fputs("</code></small></span></td><td data-l=\"Topic\"><span>", out);
    page_text(out, r->topic);
    fprintf(out, "</span></td><td data-l=\"State\" class=\"k\"><span class=\"tag %s\">", dead ? "bad" : "calm");
    page_text(out, r->state);
    fprintf(out, "</span></td><td data-l=\"Attempts\" class=\"n\">%" PRId64 "</td><td data-l=\"Since\" class=\"n\">",
            r->attempts);
    put_age(out, r->since_s);
    fputs("</td><td data-l=\"Reason\"><span>", out);
    page_text(out, r->code[0] != '\0' ? r->code : NULL);
    if (r->error[0] != '\0') {
        fputs("<small>", out);
        page_text(out, r->error);
        fputs("</small>", out);
    }
    fputs("</span></td></tr>", out);
}

static void put_held(FILE *out, const struct status *s)
{
    open_section(out, "Held and dead <span>the first few; <code>outbox-relay dead --all-states</code> lists all</span>");
    if (!s->figures_known) {
        put_none(out, "Not known: the database has not been asked, or did not answer.");
    } else if (s->figures.n_held == 0) {
        put_none(out, "Nothing is held.");
    } else {
        fputs("<table><thead><tr><th>Event</th><th>Topic</th><th>State</th><th class=\"n\">Attempts</th>"
              "<th class=\"n\">Since</th><th>Reason</th></tr></thead><tbody>",
              out);
        for (uint32_t i = 0; i < s->figures.n_held; i++)
            put_held_row(out, &s->figures.row[i]);
        fputs("</tbody></table>", out);
    }
    fputs("</section>", out);
}

static void put_blocker(FILE *out, const struct figures_blocker *b)
{
    fputs("<tr><td data-l=\"Process\">", out);
    if (b->pid > 0)
        fprintf(out, "pid %" PRId64, b->pid);
    else
        fputs("prepared", out);
    fputs("</td><td data-l=\"Application\"><span>", out);
    page_text(out, b->application[0] != '\0' ? b->application : NULL);
    fputs("</span></td><td data-l=\"User\"><span>", out);
    page_text(out, b->user[0] != '\0' ? b->user : NULL);
    fputs("</span></td><td data-l=\"Open for\" class=\"n\">", out);
    put_age(out, b->age_s);
    fprintf(out, "</td><td data-l=\"Holds\"><span>%s</span></td></tr>",
            b->holds_rows && b->holds_truncate ? "its own events, and the emptying of a bucket"
            : b->holds_rows                    ? "its own events, until it commits"
                                               : "the emptying of a bucket");
}

static void put_blockers(FILE *out, const struct status *s)
{
    open_section(out, "What blocks <span>open transactions; other events pass them</span>");
    if (!s->figures_known) {
        put_none(out, "Not known: the database has not been asked, or did not answer.");
    } else if (s->figures.n_blockers == 0) {
        put_none(out, "Nothing.");
    } else {
        fputs("<table><thead><tr><th>Process</th><th>Application</th><th>User</th><th class=\"n\">Open for</th>"
              "<th>Holds</th></tr></thead><tbody>",
              out);
        for (uint32_t i = 0; i < s->figures.n_blockers; i++)
            put_blocker(out, &s->figures.blocker[i]);
        fputs("</tbody></table>", out);
        if (s->figures.n_more_blockers > 0)
            fprintf(out, "<p class=\"none\">and %" PRIu32 " more</p>", s->figures.n_more_blockers);
    }
    fputs("</section>", out);
}

static void put_errors(FILE *out, const struct status *s)
{
    open_section(out, "Recent warnings and errors");
    if (s->n_errors == 0) {
        put_none(out, "None since the relay started.");
    } else {
        fputs("<table><tbody>", out);
        for (uint32_t i = 0; i < s->n_errors; i++) {
            const struct log_line *l = &s->error[i];
            fputs("<tr><td data-l=\"Time\" class=\"k n\">", out);
            put_time(out, l->unix_ms, false);
            fprintf(out, "</td><td data-l=\"Level\" class=\"k\"><span class=\"tag %s\">%s</span></td><td class=\"w\">",
                    l->level == LOG_LEVEL_ERROR ? "bad" : "warn", l->level == LOG_LEVEL_ERROR ? "error" : "warning");
            page_text(out, l->text);
            if (l->times > 1)
                fprintf(out, " <small>(%" PRIu32 " times)</small>", l->times);
            fputs("</td></tr>", out);
        }
        fputs("</tbody></table>", out);
    }
    fputs("</section>", out);
}

static const char *up_word(enum verdict_fact fact)
{
    return fact == FACT_YES ? "answers" : fact == FACT_NO ? "does not answer" : "was not heard of yet";
}

static void put_foot(FILE *out, const struct status *s)
{
    fprintf(out, "<footer>PostgreSQL %s &middot; Kafka %s &middot; ", s->db_up ? "answers" : "does not answer",
            up_word(s->kafka_up));
    if (s->leader[0] != '\0') {
        fputs("the lease is with ", out);
        page_text(out, s->leader);
        fputs(", last heard of ", out);
        put_age(out, s->leader_silent_s);
        fputs(" ago &middot; ", out);
    }
    if (s->figures_known) {
        fputs("what waits, is held or blocks is as of ", out);
        put_age(out, s->figures_age_s);
        fputs(" ago &middot; ", out);
    }
    fputs("running for ", out);
    put_age(out, (double)(s->unix_ms - s->started_unix_ms) / 1000);
    fputs(" &middot; version ", out);
    page_text(out, s->version);
    fputs(" &middot; <a href=\"metrics\">metrics</a> &middot; <a href=\"readyz?verbose\">readyz</a> &middot; "
          "<a href=\"status.json\">JSON</a></footer>",
          out);
}

/* -- the whole ------------------------------------------------------------------------------ */

static void put_head(FILE *out, const struct status *s, const char *nonce)
{
    static const char *const colours[] = {
        [VERDICT_GOOD] = "2b7a57", [VERDICT_WARN] = "c98a1b", [VERDICT_BAD] = "b3362c"
    };
    static const char *const words[] = {
        [VERDICT_GOOD] = "flows", [VERDICT_WARN] = "look", [VERDICT_BAD] = "does not flow"
    };

    fprintf(out,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
            "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
            "<title>%s: outbox-relay</title><link rel=\"icon\" href=\"data:image/svg+xml,%%3Csvg "
            "xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%%3E%%3Ccircle cx='8' cy='8' r='7' "
            "fill='%%23%s'/%%3E%%3C/svg%%3E\"><noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>"
            "<style nonce=\"%s\">%s</style></head><body><div id=\"lost\" role=\"alert\" hidden>The relay does not "
            "answer. What you see is what it said last.</div>",
            s->role == VERDICT_STANDS_BY && s->verdict.level == VERDICT_GOOD ? "stands by" : words[s->verdict.level],
            colours[s->verdict.level], nonce, page_style);
}

void page_write(const struct status *s, const char *nonce, FILE *out)
{
    put_head(out, s, nonce);
    fputs("<main>", out);
    put_top(out, s);
    put_verdict(out, s);
    put_tiles(out, s);
    put_charts(out, s);
    put_topics(out, s);
    put_held(out, s);
    put_blockers(out, s);
    put_errors(out, s);
    put_foot(out, s);
    fprintf(out, "</main><script nonce=\"%s\">%s</script></body></html>\n", nonce, page_script);
}
