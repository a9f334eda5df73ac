/* server.h - the HTTP endpoints, on a thread of their own which only reads what is published (status.h).
 *
 * The loop makes it, ends it and tells it the time; no client, slow or many, makes the loop wait.
 */
#ifndef RELAY_HTTP_SERVER_H
#define RELAY_HTTP_SERVER_H

#include <stdint.h>

#include "relay/http/status.h"

struct http_server;

/* An address that cannot be had now is logged with the remedy, and tried again by http_tick: events are
 * more important than who looks at them. NULL: out of memory. `listen` is the value of the setting, not
 * "off"; it and the board are borrowed. */
struct http_server *http_new(const char *listen, struct status_board *board);
/* Ends the thread and what it is sending. Accepts NULL. */
void http_free(struct http_server *h);
void http_tick(struct http_server *h, uint64_t now_ms);

#endif
