/* findings.c - see findings.h. */
#include "relay/commands/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/object.h"
#include "relay/exit_codes.h"
#include "relay/text.h"

#define WIDE 1000

static const char *const level_names[] = { "ok", "warn", "fail" };

void findings_deinit(struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->list[i].text);
        free(f->list[i].remedy);
    }
    free(f->list);
    *f = (struct findings){ .list = NULL };
}

__attribute__((format(printf, 4, 0))) static void add(struct findings *f, struct finding finding, const char *remedy,
                                                       const char *fmt, va_list args)
{
    finding.remedy = remedy != NULL ? strdup(remedy) : NULL;
    if (f->n == f->capacity) {
        struct finding *grown = realloc(f->list, (2 * f->capacity + 32) * sizeof *grown);
        if (grown != NULL) {
            f->list = grown;
            f->capacity = 2 * f->capacity + 32;
        }
    }
    if (f->n < f->capacity && (remedy == NULL || finding.remedy != NULL) && vasprintf(&finding.text, fmt, args) >= 0) {
        f->list[f->n++] = finding;
        return;
    }
    free(finding.remedy);
    f->failed = true;
}

void findings_ok(struct findings *f, const char *subject, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(f, (struct finding){ FINDING_OK, subject, NULL, NULL, EXIT_OK }, NULL, fmt, args);
    va_end(args);
}

void findings_warn(struct findings *f, const char *subject, const char *remedy, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(f, (struct finding){ FINDING_WARN, subject, NULL, NULL, EXIT_OK }, remedy, fmt, args);
    va_end(args);
}

void findings_fail(struct findings *f, int exit_code, const char *subject, const char *remedy,
                   const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(f, (struct finding){ FINDING_FAIL, subject, NULL, NULL, exit_code }, remedy, fmt, args);
    va_end(args);
}

size_t findings_count(const struct findings *f, enum finding_level level)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        n += f->list[i].level == level;
    return n;
}

int findings_exit_code(const struct findings *f)
{
    int code = EXIT_OK; /* of 69, 77 and 78 the highest says most */

    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].level == FINDING_FAIL && f->list[i].exit_code > code)
            code = f->list[i].exit_code;
    return code;
}

static void print_level(const struct findings *f, enum finding_level level, FILE *out)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *x = &f->list[i];
        if (x->level != level)
            continue;
        fprintf(out, "%-4s  %-12s  ", level_names[level], x->subject);
        text_put(out, x->text, WIDE);
        putc('\n', out);
        if (x->remedy != NULL)
            fprintf(out, "%20sdo: %s\n", "", x->remedy);
    }
}

void findings_print(const struct findings *f, FILE *out)
{
    size_t failed = findings_count(f, FINDING_FAIL), warned = findings_count(f, FINDING_WARN);

    if (failed > 0)
        fprintf(out, "%zu thing%s must be mended", failed, failed == 1 ? "" : "s");
    else
        fputs("Nothing must be mended", out);
    if (warned > 0)
        fprintf(out, ", %zu need%s a look", warned, warned == 1 ? "s" : "");
    fprintf(out, " (%zu checks)\n\n", f->n);
    findings_list(f, out);
}

void findings_list(const struct findings *f, FILE *out)
{
    print_level(f, FINDING_FAIL, out);
    print_level(f, FINDING_WARN, out);
    print_level(f, FINDING_OK, out);
}

json_t *findings_object(const struct findings *f)
{
    json_t *list = json_array(), *o = json_object();
    bool whole = list != NULL && o != NULL;

    for (size_t i = 0; whole && i < f->n; i++) {
        const struct finding *x = &f->list[i];
        json_t *object = json_object();
        whole = object_append(list, object,
                              object != NULL && object_put_text(object, "level", level_names[x->level]) &&
                                  object_put_text(object, "subject", x->subject) &&
                                  object_put_text(object, "text", x->text) &&
                                  object_put_text(object, "remedy", x->remedy));
    }
    whole = whole && object_put(o, "good", json_boolean(findings_count(f, FINDING_FAIL) == 0)) &&
            object_put_number(o, "n_fail", (int64_t)findings_count(f, FINDING_FAIL)) &&
            object_put_number(o, "n_warn", (int64_t)findings_count(f, FINDING_WARN)) &&
            object_put(o, "findings", json_incref(list));
    json_decref(list);
    if (whole)
        return o;
    json_decref(o);
    return NULL;
}
