/* pages.h - the bodies of the answers, from a status that was taken. On the HTTP thread. */
#ifndef RELAY_HTTP_PAGES_H
#define RELAY_HTTP_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "relay/http/status.h"

/* So long may the loop take for a turn: the longest that it waits for anything are a few seconds of a
 * producer's end, and, when no thread can be had, the look-up of a host's name. */
#define LIVE_MS 30000

/* Does the loop turn? */
bool health_live(uint64_t turned_ms, uint64_t now_ms);
/* Schema right, database reached, and what can move moves. s: NULL while nothing is published. Each check
 * goes to out as a line with [+] or [-], as Kubernetes does, when out is not NULL. */
bool health_ready(const struct status *s, uint64_t turned_ms, uint64_t now_ms, FILE *out);

/* The status page; nonce is what the page's script is allowed by. */
void page_write(const struct status *s, const char *nonce, FILE *out);
/* The same as JSON, for programs. */
void json_write(const struct status *s, FILE *out);

/* Text of others within HTML, in an attribute as well. What does not show, or misleads, is shown escaped. */
void page_text(FILE *out, const char *text);

/* -- page_chart.c: a chart of one figure over the last 15 minutes, as SVG. Values that are negative are
 * gaps. unit: shown behind the largest value. */
void page_chart(FILE *out, const char *title, const char *unit, const float *values, uint32_t n);

/* -- process.c: what the system knows of this process. */
void process_measure(struct metrics *m);

#endif
