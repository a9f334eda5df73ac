/* client.c - see client.h. */
#include "relay/sink/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/nearest.h"
#include "lib/shared/number.h"
#include "relay/log.h"

/* The property of librdkafka's that is most like name, or "". It has a list of them only as a page for people: a line
 * for each, which begins with its name and a blank. */
static void nearest_property(const char *name, char nearest[NEAREST_MAX + 1])
{
    char *page = NULL, *rest = NULL;
    size_t size;
    unsigned limit = nearest_limit(name);
    FILE *out = open_memstream(&page, &size);

    nearest[0] = '\0';
    if (out != NULL)
        rd_kafka_conf_properties_show(out);
    if (out != NULL && fclose(out) == 0)
        for (char *line = strtok_r(page, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
            line[strcspn(line, " ")] = '\0';
            if (nearest_is(name, line, &limit))
                snprintf(nearest, NEAREST_MAX + 1, "%s", line);
        }
    free(page);
}

static void say_refused(const char *name, rd_kafka_conf_res_t res, const char *why, char *err, size_t err_size)
{
    char nearest[NEAREST_MAX + 1] = "";

    if (res == RD_KAFKA_CONF_UNKNOWN)
        nearest_property(name, nearest);
    snprintf(err, err_size, "kafka.%s: %.*s%s%s%s", name, (int)strcspn(why, "\n"), why,
             nearest[0] != '\0' ? "; did you mean kafka." : "", nearest, nearest[0] != '\0' ? "?" : "");
}

int client_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *err,
               size_t err_size)
{
    char why[256], taken[64];
    size_t size = sizeof taken;
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, why, sizeof why);

    if (res != RD_KAFKA_CONF_OK) {
        say_refused(name, res, why, err, err_size);
        return -1;
    }
    if (rd_kafka_conf_get(conf, name, taken, &size) == RD_KAFKA_CONF_OK && size <= sizeof taken &&
        number_was_cut(value, taken)) {
        snprintf(err, err_size, "kafka.%s = %.60s: librdkafka takes a plain number without a unit; "
                 "it would read %s", name, value, taken);
        return -1;
    }
    return 0;
}

int client_set_all(rd_kafka_conf_t *conf, const struct sink_property *p, size_t n, char *err,
                   size_t err_size)
{
    for (size_t i = 0; i < n; i++)
        if (client_set(conf, p[i].name, p[i].value, err, err_size) < 0)
            return -1;
    return 0;
}

int sink_check_property(const struct sink_property *p, char *err, size_t err_size)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int rc = client_set(conf, p->name, p->value, err, err_size);

    rd_kafka_conf_destroy(conf);
    return rc;
}

rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *err, size_t err_size)
{
    char why[512];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);

    if (rk == NULL)
        snprintf(err, err_size, "%s%s", rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG ? "kafka.*: " : "", why);
    return rk;
}

void client_free(rd_kafka_t *rk, rd_kafka_queue_t *a, rd_kafka_queue_t *b)
{
    if (a != NULL)
        rd_kafka_queue_destroy(a);
    if (b != NULL)
        rd_kafka_queue_destroy(b);
    if (rk != NULL)
        rd_kafka_destroy(rk);
}

void client_log(rd_kafka_event_t *ev)
{
    const char *fac = NULL, *text = NULL;
    int level = 0;

    if (rd_kafka_event_log(ev, &fac, &text, &level) < 0)
        return;
    /* What went wrong comes as an event as well. And once per producer librdkafka says that
     * gapless.guarantee is experimental: we know. */
    if (strcmp(fac, "CONFWARN") == 0 || strcmp(fac, "FAIL") == 0 || strcmp(fac, "ERROR") == 0 ||
        strcmp(fac, "FATAL") == 0)
        log_debug("librdkafka", text, "facility", fac);
    else
        log_write(level <= 3 ? LOG_LEVEL_WARN : level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
                  "librdkafka", text, "facility", fac, (char *)0);
}
