/* base/json.h - small helpers over jansson: building, printing to a stream in one style. May use: mem. */
#ifndef PARE_BASE_JSON_H
#define PARE_BASE_JSON_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/os.h"

/* Bytes that aren't UTF-8 are replaced by U+FFFD, so that it never fails. NULL gives null. */
json_t *pare_json_str(const char *s);
/* Indented by 2, keys in insertion order, real numbers with 17 significant digits at most, newline at the end. */
void pare_json_print(const json_t *j, FILE *out);
pare_status pare_json_write(const json_t *j, const char *path, pare_diags *d);

#endif
