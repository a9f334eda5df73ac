/* secret_file.h - secrets in files of their own: who may read them, and what is in them. */
#ifndef RELAY_SECRET_FILE_H
#define RELAY_SECRET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A clause: what mends EACCES, of a settings file too. */
#define SECRET_FILE_MEND_ACCESS "run this as root (sudo) or as a user who may read it"

/* May others read a file of this mode and owner? By libpq's rule for private keys: nobody but the owner
 * may; when that is root, the group may too (a mounted secret, systemd's credentials). */
bool secret_file_is_open(mode_t mode, uid_t owner);

/* The text of the file without the line end behind it, from malloc. NULL when it cannot be read, others
 * may read it, or it is no text of at most 64 KiB; then why says what is wrong with it and the remedy,
 * beginning with the path. */
char *secret_file_read(const char *path, char *why, size_t why_size);

#endif
