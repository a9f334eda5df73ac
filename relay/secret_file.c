/* secret_file.c - see secret_file.h. */
#include "relay/secret_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SECRET_MAX_BYTES 65536

bool secret_file_is_open(mode_t mode, uid_t owner)
{
    mode_t others = owner == 0 ? S_IRWXO | S_IWGRP | S_IXGRP : S_IRWXO | S_IRWXG;

    return (mode & others) != 0;
}

struct why {
    char *text;
    size_t size;
};

static char *refused(const char *path, const char *reason, struct why why)
{
    snprintf(why.text, why.size, "%s: %s", path, reason);
    return NULL;
}

/* Of one that cannot be opened. A secret that was given to the variable of its file is no path of any file. */
static char *not_opened(const char *path, struct why why)
{
    bool missing = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG;

    if (missing && path[0] != '/') {
        snprintf(why.text, why.size, "%s: it must be the path of a file with the value; it is not shown, for it may be "
                                     "the secret itself (a path that begins with / is shown)", strerror(errno));
        return NULL;
    }
    return refused(path, errno == EACCES ? "Permission denied; " SECRET_FILE_MEND_ACCESS : strerror(errno), why);
}

/* The file is open, and is one that may be read. */
static char *read_text(const char *path, FILE *file, struct why why)
{
    char *text = malloc(SECRET_MAX_BYTES + 2);

    if (text == NULL)
        return refused(path, "out of memory", why);
    size_t n = fread(text, 1, SECRET_MAX_BYTES + 1, file);
    const char *reason = ferror(file) ? "cannot be read"
                         : n > SECRET_MAX_BYTES ? "is longer than 64 KiB; no secret is"
                         : memchr(text, '\0', n) != NULL ? "there is a NUL byte in it" : NULL;
    if (reason != NULL) {
        explicit_bzero(text, n);
        free(text);
        return refused(path, reason, why);
    }
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    return text;
}

char *secret_file_read(const char *path, char *why_text, size_t why_size)
{
    struct why why = { why_text, why_size };
    FILE *file = fopen(path, "re");
    struct stat st;
    char *text = NULL;

    if (file == NULL)
        return not_opened(path, why);
    if (fstat(fileno(file), &st) < 0)
        refused(path, strerror(errno), why);
    else if (S_ISDIR(st.st_mode))
        refused(path, "is a directory", why);
    else if (S_ISREG(st.st_mode) && secret_file_is_open(st.st_mode, st.st_uid))
        refused(path, "other users may read it, so no secret is taken from it; chmod 0600 (for a mounted "
                      "secret: defaultMode 0440 or less)", why);
    else
        text = read_text(path, file, why);
    fclose(file);
    return text;
}
