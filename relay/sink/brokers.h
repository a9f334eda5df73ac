/* brokers.h - what is known of each broker while none answers: how far the way to it went, and the last error. From
 * librdkafka's texts to words of our own. Pure. */
#ifndef RELAY_SINK_BROKERS_H
#define RELAY_SINK_BROKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BROKERS_MOST 8 /* further ones are left out */

/* Start from zeroes. */
struct brokers {
    struct broker_seen {
        char name[128]; /* as librdkafka names it: "ssl://10.0.0.5:9093/bootstrap" */
        char state[24]; /* of the connection, as in the statistics */
        char error[200];
    } list[BROKERS_MOST];
    size_t n;
};

/* A text of statistics; what cannot be read is left alone. */
void brokers_statistics(struct brokers *b, const char *json);
/* The text of an error. False: it names no broker, and is left alone. */
bool brokers_error(struct brokers *b, const char *text);
/* "10.0.0.5:9093: connected, and no answer within 5 s; 10.0.0.6:9093: ..."; "" when nothing is known. waited_ms: so long
 * they had time. Returns to. */
const char *brokers_words(const struct brokers *b, uint64_t waited_ms, char *to, size_t size);

#endif
