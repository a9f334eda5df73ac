/* fuzz_mask.c - connection strings with a secret in them: where libpq sees a password, the masked
 * text does not show it, and a password that is there is said to be there.
 *
 * Input: the connection string; the byte 01 stands for the secret.
 */
#include <libpq-fe.h>

#include "relay/mask.h"
#include "tests/fuzz/fuzz.h"

struct seen {
    bool any;    /* a password that is not empty */
    bool marked; /* the secret in a password */
};

/* What does libpq make of it? false: nothing. */
static bool look(const char *dsn, struct seen *ret)
{
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);

    *ret = (struct seen){ .any = false };
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        bool secret = strchr(o->dispchar, '*') != NULL;

        if (o->val == NULL)
            continue;
        ret->any |= secret && *o->val != '\0';
        ret->marked |= secret && strstr(o->val, MARKER) != NULL;
    }
    PQconninfoFree(options);
    return options != NULL;
}

static size_t n_markers(const char *text)
{
    size_t n = 0;

    for (; (text = strstr(text, MARKER)) != NULL; text += strlen(MARKER))
        n++;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, data + size };
    struct seen seen;
    bool found = false;
    size_t len;
    char *dsn = take_marked_field(&in, &len);
    char *masked = must(mask_dsn(dsn, &found));

    (void)mask_is_secret(dsn);
    if (look(dsn, &seen)) {
        if (seen.marked) /* the others may be another parameter's, and of one given twice libpq shows the last */
            REQUIRE(n_markers(masked) < n_markers(dsn));
        if (seen.any)
            REQUIRE(found && strstr(masked, MASK) != NULL);
    }
    free(masked);
    free(dsn);
    return 0;
}
