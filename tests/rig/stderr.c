/* stderr.c - what goes to stderr while a test runs, kept in a file. See rig.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/rig/rig.h"

static FILE *kept; /* NULL: stderr is the process's own */
static int own;

void rig_stderr_keep(void)
{
    fflush(stderr);
    kept = tmpfile();
    own = dup(STDERR_FILENO);
    if (kept == NULL || own < 0 || dup2(fileno(kept), STDERR_FILENO) < 0)
        ck_abort_msg("stderr cannot be kept");
}

const char *rig_stderr(void)
{
    static char text[1 << 20];
    ssize_t len;

    fflush(stderr);
    len = pread(fileno(kept), text, sizeof text - 1, 0);
    if (len < 0)
        ck_abort_msg("what was written to stderr cannot be read");
    text[len] = '\0';
    return text;
}

unsigned rig_stderr_lines(const char *what)
{
    unsigned n = 0;

    for (const char *at = rig_stderr(); (at = strstr(at, what)) != NULL; at += strcspn(at, "\n"))
        n++;
    return n;
}

void rig_stderr_release(void)
{
    if (kept == NULL)
        return;
    fflush(stderr);
    (void)dup2(own, STDERR_FILENO);
    (void)close(own);
    (void)fclose(kept);
    kept = NULL;
}
