/* mock_broker.c - librdkafka's mock cluster in a process of its own.
 *
 * Prints the bootstrap servers on stdout when it listens, then obeys one command per line of stdin
 * and answers each with "ok" or "error: why". Ends on EOF of stdin, on TERM and on INT. What it
 * holds is in memory only: 5 MiB or 100,000 records per partition, the oldest go first.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { MAX_WORDS = 64, MAX_BROKERS = 16 };

struct mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    int n_brokers;
    int n_partitions; /* of a topic that is made without a number */
};

/* The mock leaves Nagle's algorithm on for the sockets it accepts, which delays answers by 40 ms
 * now and then; a real broker turns it off. librdkafka calls accept() through the PLT, so this
 * definition is the one it finds. Named by its symbol, since glibc declares the function with a
 * parameter type that no definition can match. */
int accept_nodelay(int fd, struct sockaddr *addr, socklen_t *len) __asm__("accept");

int accept_nodelay(int fd, struct sockaddr *addr, socklen_t *len)
{
    int one = 1;
    int peer = accept4(fd, addr, len, 0);

    if (peer >= 0)
        (void)setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return peer;
}

/* The mock names a member of a group by its address in memory. One whose session is over joins again under its
 * old name, and the memory may be a new member's by then: two of one name, and the mock ends by an
 * assertion. So a number is put behind the address, which makes it a name for once; the format is used for
 * nothing else. As above; the second symbol is the one that the first becomes with _FORTIFY_SOURCE. */
__attribute__((format(printf, 3, 0)))
static int print(char *to, size_t size, const char *format, va_list args)
{
    static unsigned n_members;
    int n = vsnprintf(to, size, format, args);

    if (strcmp(format, "%p") == 0 && n > 0 && (size_t)n < size)
        n += snprintf(to + n, size - (size_t)n, "-%u", ++n_members);
    return n;
}

int print_plain(char *to, size_t size, const char *format, ...) __asm__("snprintf")
    __attribute__((format(printf, 3, 4)));
int print_checked(char *to, size_t size, int flag, size_t room, const char *format, ...)
    __asm__("__snprintf_chk") __attribute__((format(printf, 5, 6)));

int print_plain(char *to, size_t size, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = print(to, size, format, args);
    va_end(args);
    return n;
}

int print_checked(char *to, size_t size, int flag, size_t room, const char *format, ...)
{
    va_list args;
    int n;

    (void)flag;
    va_start(args, format);
    n = print(to, size < room ? size : room, format, args);
    va_end(args);
    return n;
}

static bool parse_int(const char *text, long min, long max, int *ret_value)
{
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        return false;
    *ret_value = (int)value;
    return true;
}

/* An error code as a number or by its protocol name, MSG_SIZE_TOO_LARGE for example. */
static bool parse_code(const char *text, rd_kafka_resp_err_t *ret_code)
{
    const struct rd_kafka_err_desc *descs;
    size_t n_descs;
    int number;

    if (parse_int(text, -1000, 1000, &number)) {
        *ret_code = (rd_kafka_resp_err_t)number;
        return true;
    }
    rd_kafka_get_err_descs(&descs, &n_descs);
    for (size_t i = 0; i < n_descs; i++) {
        if (descs[i].name != NULL && strcmp(descs[i].name, text) == 0) {
            *ret_code = descs[i].code;
            return true;
        }
    }
    return false;
}

typedef const char *broker_fn(struct mock *mock, int broker, int value);

static const char *broker_down(struct mock *mock, int broker, int value)
{
    (void)value;
    return rd_kafka_mock_broker_set_down(mock->cluster, broker) ? "no such broker" : NULL;
}

static const char *broker_up(struct mock *mock, int broker, int value)
{
    (void)value;
    return rd_kafka_mock_broker_set_up(mock->cluster, broker) ? "no such broker" : NULL;
}

static const char *broker_rtt(struct mock *mock, int broker, int value)
{
    return rd_kafka_mock_broker_set_rtt(mock->cluster, broker, value) ? "no such broker" : NULL;
}

/* Applies fn to the broker that the word names, or to all when there is none. */
static const char *each_broker(struct mock *mock, const char *word, broker_fn *fn, int value)
{
    const char *why = NULL;
    int id;

    if (word != NULL)
        return parse_int(word, 1, mock->n_brokers, &id) ? fn(mock, id, value) : "no such broker";
    for (id = 1; id <= mock->n_brokers && why == NULL; id++)
        why = fn(mock, id, value);
    return why;
}

/* Commands: words[0] is the name, words[n_words] is NULL. They return NULL or what went wrong. */
static const char *cmd_down(struct mock *mock, const char *const *words, size_t n_words)
{
    (void)n_words;
    return each_broker(mock, words[1], broker_down, 0);
}

static const char *cmd_up(struct mock *mock, const char *const *words, size_t n_words)
{
    (void)n_words;
    return each_broker(mock, words[1], broker_up, 0);
}

static const char *cmd_rtt(struct mock *mock, const char *const *words, size_t n_words)
{
    int ms;

    (void)n_words;
    if (!parse_int(words[1], 0, 3600000, &ms))
        return "bad number of milliseconds";
    return each_broker(mock, words[2], broker_rtt, ms);
}

static const char *cmd_topic(struct mock *mock, const char *const *words, size_t n_words)
{
    int n_partitions = mock->n_partitions;
    rd_kafka_resp_err_t err;

    if (n_words > 2 && !parse_int(words[2], 1, 1000, &n_partitions))
        return "bad number of partitions";
    err = rd_kafka_mock_topic_create(mock->cluster, words[1], n_partitions, 1);
    return err ? rd_kafka_err2str(err) : NULL;
}

static const char *cmd_topic_error(struct mock *mock, const char *const *words, size_t n_words)
{
    rd_kafka_resp_err_t code;

    (void)n_words;
    if (!parse_code(words[2], &code))
        return "unknown error code";
    rd_kafka_mock_topic_set_error(mock->cluster, words[1], code);
    return NULL;
}

static const char *cmd_push_error(struct mock *mock, const char *const *words, size_t n_words)
{
    rd_kafka_resp_err_t codes[MAX_WORDS];
    size_t n_codes = 0;
    int api_key;

    if (!parse_int(words[1], 0, 100, &api_key))
        return "bad API key";
    for (size_t i = 2; i < n_words; i++) {
        if (!parse_code(words[i], &codes[n_codes++]))
            return "unknown error code";
    }
    rd_kafka_mock_push_request_errors_array(mock->cluster, (int16_t)api_key, n_codes, codes);
    return NULL;
}

/* For requests to one broker, and so about the partitions that it leads. */
static const char *cmd_push_error_at(struct mock *mock, const char *const *words, size_t n_words)
{
    rd_kafka_resp_err_t code;
    int broker;
    int api_key;

    if (!parse_int(words[1], 1, mock->n_brokers, &broker) || !parse_int(words[2], 0, 100, &api_key))
        return "bad broker or API key";
    for (size_t i = 3; i < n_words; i++) {
        if (!parse_code(words[i], &code))
            return "unknown error code";
        if (rd_kafka_mock_broker_push_request_error_rtts(mock->cluster, broker, (int16_t)api_key, 1,
                                                         code, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
            return "no such broker";
    }
    return NULL;
}

static const char *cmd_clear_errors(struct mock *mock, const char *const *words, size_t n_words)
{
    int api_key;

    (void)n_words;
    if (!parse_int(words[1], 0, 100, &api_key))
        return "bad API key";
    rd_kafka_mock_clear_request_errors(mock->cluster, (int16_t)api_key);
    return NULL;
}

static const char *cmd_leader(struct mock *mock, const char *const *words, size_t n_words)
{
    int partition;
    int broker;

    (void)n_words;
    if (!parse_int(words[2], 0, 1000, &partition))
        return "bad partition";
    if (strcmp(words[3], "none") == 0)
        broker = -1;
    else if (!parse_int(words[3], 1, mock->n_brokers, &broker))
        return "bad broker";
    return rd_kafka_mock_partition_set_leader(mock->cluster, words[1], partition, broker)
               ? "no such partition"
               : NULL;
}

static const struct command {
    const char *name;
    size_t min_args;
    size_t max_args;
    const char *(*run)(struct mock *mock, const char *const *words, size_t n_words);
    const char *usage;
} commands[] = {
    { "down", 0, 1, cmd_down, "down [BROKER]" },
    { "up", 0, 1, cmd_up, "up [BROKER]" },
    { "rtt", 1, 2, cmd_rtt, "rtt MS [BROKER]" },
    { "topic", 1, 2, cmd_topic, "topic NAME [PARTITIONS]" },
    { "topic-error", 2, 2, cmd_topic_error, "topic-error TOPIC CODE" },
    { "push-error", 2, MAX_WORDS - 2, cmd_push_error, "push-error APIKEY CODE..." },
    { "push-error-at", 3, MAX_WORDS - 2, cmd_push_error_at, "push-error-at BROKER APIKEY CODE..." },
    { "clear-errors", 1, 1, cmd_clear_errors, "clear-errors APIKEY" },
    { "leader", 3, 3, cmd_leader, "leader TOPIC PARTITION BROKER|none" },
};

static const char *obey(struct mock *mock, char *line)
{
    const char *words[MAX_WORDS + 1];
    size_t n_words = 0;
    char *rest = NULL;

    for (char *word = strtok_r(line, " \t\n", &rest); word != NULL;
         word = strtok_r(NULL, " \t\n", &rest)) {
        if (n_words == MAX_WORDS)
            return "too many words";
        words[n_words++] = word;
    }
    words[n_words] = NULL;
    if (n_words == 0)
        return "empty command";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, words[0]) != 0)
            continue;
        if (n_words - 1 < commands[i].min_args || n_words - 1 > commands[i].max_args)
            return commands[i].usage;
        return commands[i].run(mock, words, n_words);
    }
    return "unknown command";
}

static void serve(struct mock *mock)
{
    char *line = NULL;
    size_t size = 0;
    const char *why;

    while (getline(&line, &size, stdin) > 0) {
        why = obey(mock, line);
        if (why == NULL)
            printf("ok\n");
        else
            printf("error: %s\n", why);
    }
    free(line);
}

static void usage(FILE *to)
{
    fprintf(to, "usage: mock_broker [--brokers N] [--partitions N]\ncommands on stdin:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(to, "  %s\n", commands[i].usage);
}

static bool parse_args(int argc, char **argv, struct mock *mock)
{
    static const struct option options[] = {
        { "brokers", required_argument, NULL, 'b' },
        { "partitions", required_argument, NULL, 'p' },
        { 0 },
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'b' && parse_int(optarg, 1, MAX_BROKERS, &mock->n_brokers))
            continue;
        if (opt == 'p' && parse_int(optarg, 1, 1000, &mock->n_partitions))
            continue;
        return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct mock mock = { .n_brokers = 1, .n_partitions = 4 };
    char why[256];

    if (!parse_args(argc, argv, &mock)) {
        usage(stderr);
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    mock.rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    if (mock.rk == NULL) {
        fprintf(stderr, "mock_broker: %s\n", why);
        return EXIT_FAILURE;
    }
    mock.cluster = rd_kafka_mock_cluster_new(mock.rk, mock.n_brokers);
    if (mock.cluster == NULL) {
        fprintf(stderr, "mock_broker: the mock cluster does not start\n");
        return EXIT_FAILURE;
    }
    printf("%s\n", rd_kafka_mock_cluster_bootstraps(mock.cluster));
    serve(&mock);
    rd_kafka_mock_cluster_destroy(mock.cluster);
    rd_kafka_destroy(mock.rk);
    return EXIT_SUCCESS;
}
