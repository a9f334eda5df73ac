/* server.c - routes, and the daemon of libmicrohttpd that serves them. See server.h. */
#include "relay/http/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relay/http/listen.h"
#include "relay/http/pages.h"
#include "relay/log.h"
#include "relay/loop.h"

/* Clients at once; the next wait in the kernel's queue. One that is silent for the timeout makes room. */
#define MOST_CONNECTIONS 256
#define SILENT_S 10
#define CONNECTION_BYTES 8192 /* the longest head of a request */
#define TRY_AGAIN_MS 10000

#define TEXT "text/plain; charset=utf-8"

enum route_id { ROUTE_PAGE, ROUTE_METRICS, ROUTE_JSON, ROUTE_LIVEZ, ROUTE_HEALTHZ, ROUTE_READYZ, N_ROUTES };

struct answer {
    unsigned status;
    const char *type;
    char nonce[33]; /* of the page; "": no page */
};

/* A body that was made is sent again to whoever asks within the second. */
struct made {
    struct MHD_Response *response;
    uint64_t number, second;
};

struct http_server {
    struct status_board *board;
    const char *listen;
    struct listen_address address;
    struct MHD_Daemon *daemon; /* NULL: not yet */
    uint64_t try_ms;
    struct made made[N_ROUTES]; /* of the HTTP thread, while there is one */
};

/* -- bodies, on the HTTP thread --------------------------------------------------------------- */

static void make_nonce(char to[33])
{
    unsigned char bytes[16] = { 0 };

    (void)!getrandom(bytes, sizeof bytes, 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

static void write_metrics(const struct status *s, struct answer *a, FILE *out)
{
    struct metrics *m = malloc(sizeof *m);

    if (m == NULL) {
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        return;
    }
    *m = s->metrics;
    process_measure(m);
    if (!metrics_write(m, out))
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    free(m);
}

static void write_live(struct http_server *h, struct answer *a, FILE *out)
{
    bool live = health_live(atomic_load(&h->board->turned_ms), loop_now_ms());

    a->type = TEXT;
    a->status = live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    fputs(live ? "ok\n" : "failed: the loop has not turned for 30 s\n", out);
}

static void write_ready(struct http_server *h, const struct status *s, bool verbose, struct answer *a, FILE *out)
{
    uint64_t turned_ms = atomic_load(&h->board->turned_ms), now_ms = loop_now_ms();
    bool ready = health_ready(s, turned_ms, now_ms, NULL);

    a->type = TEXT;
    a->status = ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    if (verbose || !ready)
        (void)health_ready(s, turned_ms, now_ms, out);
    fputs(ready ? "ok\n" : "not ready\n", out);
}

static void write_body(struct http_server *h, enum route_id route, const struct status *s, bool verbose,
                       struct answer *a, FILE *out)
{
    if (s == NULL && route < ROUTE_LIVEZ) {
        a->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        a->type = TEXT;
        fputs("the relay has only just started: nothing is known yet\n", out);
        return;
    }
    switch (route) {
    case ROUTE_PAGE:
        a->type = "text/html; charset=utf-8";
        make_nonce(a->nonce);
        page_write(s, a->nonce, out);
        break;
    case ROUTE_METRICS:
        a->type = "text/plain; version=0.0.4; charset=utf-8";
        write_metrics(s, a, out);
        break;
    case ROUTE_JSON:
        a->type = "application/json";
        json_write(s, out);
        break;
    case ROUTE_LIVEZ:
    case ROUTE_HEALTHZ:
        write_live(h, a, out);
        break;
    case ROUTE_READYZ:
        write_ready(h, s, verbose, a, out);
        break;
    case N_ROUTES:
        break;
    }
}

/* -- answers, on the HTTP thread -------------------------------------------------------------- */

static void add_headers(struct MHD_Response *r, const struct answer *a)
{
    char policy[256];

    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (a->nonce[0] == '\0')
        return;
    /* should something ever slip through the escaping, it still does not run */
    snprintf(policy, sizeof policy,
             "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; img-src data:; "
             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
             a->nonce, a->nonce);
    MHD_add_response_header(r, "Content-Security-Policy", policy);
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text, const char *allow)
{
    struct answer a = { .type = TEXT };
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);

    if (r == NULL)
        return MHD_NO;
    add_headers(r, &a);
    if (allow != NULL)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allow);
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

/* NULL: out of memory. */
static struct MHD_Response *make_response(struct http_server *h, enum route_id route, const struct status *s,
                                          bool verbose, struct answer *a)
{
    char *body = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&body, &len);

    if (out == NULL)
        return NULL;
    write_body(h, route, s, verbose, a, out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed || body == NULL) {
        free(body);
        return NULL;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
    if (r == NULL)
        free(body);
    else
        add_headers(r, a);
    return r;
}

static enum MHD_Result answer_made(struct http_server *h, struct MHD_Connection *c, enum route_id route,
                                   const struct status *s, bool verbose)
{
    struct made *made = &h->made[route];
    struct answer a = { .status = MHD_HTTP_OK, .type = TEXT };
    uint64_t second = loop_now_ms() / 1000;

    if (made->response != NULL && s != NULL && made->number == s->number && made->second == second)
        return MHD_queue_response(c, MHD_HTTP_OK, made->response);
    struct MHD_Response *r = make_response(h, route, s, verbose, &a);
    if (r == NULL)
        return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n", NULL);
    enum MHD_Result rc = MHD_queue_response(c, a.status, r);
    if (route < ROUTE_LIVEZ && s != NULL && a.status == MHD_HTTP_OK) {
        if (made->response != NULL)
            MHD_destroy_response(made->response);
        *made = (struct made){ r, s->number, second };
    } else {
        MHD_destroy_response(r);
    }
    return rc;
}

static enum route_id route_of(const char *path)
{
    static const char *const paths[N_ROUTES] = {
        [ROUTE_PAGE] = "/",       [ROUTE_METRICS] = "/metrics", [ROUTE_JSON] = "/status.json",
        [ROUTE_LIVEZ] = "/livez", [ROUTE_HEALTHZ] = "/healthz", [ROUTE_READYZ] = "/readyz",
    };
    int i = 0;

    while (i < N_ROUTES && strcmp(paths[i], path) != 0)
        i++;
    return (enum route_id)i;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    struct http_server *h = arg;
    enum route_id route = route_of(path);
    const char *value;

    (void)version, (void)upload, (void)upload_size, (void)request;
    if (route == N_ROUTES)
        return answer_text(c, MHD_HTTP_NOT_FOUND,
                           "there is /, /metrics, /livez, /readyz (?verbose), /healthz and /status.json\n", NULL);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n", "GET, HEAD");
    bool verbose = MHD_lookup_connection_value_n(c, MHD_GET_ARGUMENT_KIND, "verbose", 7, &value, NULL) == MHD_YES;
    if (route < ROUTE_LIVEZ || (route == ROUTE_READYZ && verbose)) /* a probe shows no figures */
        atomic_store(&h->board->looked_ms, loop_now_ms());
    const struct status *s = status_take(h->board);
    enum MHD_Result rc = answer_made(h, c, route, s, verbose);
    status_release(h->board, s);
    return rc;
}

/* -- the daemon, on the loop's thread --------------------------------------------------------- */

static unsigned connection_limit(void)
{
    struct rlimit files;

    /* The relay itself must not run out of descriptors. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < MOST_CONNECTIONS)
        return files.rlim_cur / 4 > 0 ? (unsigned)(files.rlim_cur / 4) : 1;
    return MOST_CONNECTIONS;
}

static struct MHD_Daemon *start_daemon(struct http_server *h, int fd)
{
    return MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request,
                            h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, connection_limit(),
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)CONNECTION_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)(512 * 1024),
                            MHD_OPTION_END);
}

/* first: say when it fails. */
static void try_listen(struct http_server *h, bool first)
{
    char text[128], why[256];
    int fd = h->address.len == 0 && listen_resolve(h->listen, &h->address, why, sizeof why) < 0
                 ? -1
                 : listen_open(&h->address, why, sizeof why);

    if (fd >= 0) {
        listen_print(fd, text, sizeof text);
        h->daemon = start_daemon(h, fd);
        if (h->daemon != NULL) {
            log_info("http", "listening", "address", text);
            return;
        }
        snprintf(why, sizeof why, "no thread can be started");
        close(fd);
    }
    if (first)
        log_error("http", "http.listen cannot be had; events flow without it", "address", h->listen, "error", why,
                  "tried_again", h->address.len > 0 ? "every 10 s" : "never", "remedy",
                  "end what listens there, or give this relay an address of its own: http.listen = 127.0.0.1:0 takes "
                  "any free port, http.listen = off none");
}

struct http_server *http_new(const char *listen, struct status_board *board)
{
    struct http_server *h = calloc(1, sizeof *h);

    if (h == NULL)
        return NULL;
    h->board = board;
    h->listen = listen;
    try_listen(h, true);
    h->try_ms = loop_now_ms() + TRY_AGAIN_MS;
    return h;
}

void http_free(struct http_server *h)
{
    if (h == NULL)
        return;
    if (h->daemon != NULL)
        MHD_stop_daemon(h->daemon); /* closes the socket as well */
    for (int i = 0; i < N_ROUTES; i++)
        if (h->made[i].response != NULL)
            MHD_destroy_response(h->made[i].response);
    free(h);
}

void http_tick(struct http_server *h, uint64_t now_ms)
{
    if (h->daemon != NULL || now_ms < h->try_ms || h->address.len == 0)
        return; /* a name that could not be resolved is not looked up again: that may take its time */
    h->try_ms = now_ms + TRY_AGAIN_MS;
    try_listen(h, false);
}
