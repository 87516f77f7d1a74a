/* pare/diag.h - how a plugin says what is wrong.
 *
 * A function fails with a status; the story goes to the host as a pare_diag. The plugin names the parameter, tensor or
 * node at fault; the host, which parsed the YAML, adds file:line:col. May include: status.h.
 */
#ifndef PARE_DIAG_H
#define PARE_DIAG_H

#include <pare/status.h>

enum { PARE_NOTE = 0, PARE_INFO = 1, PARE_WARNING = 2, PARE_ERROR = 3 };

/* Strings are UTF-8 and borrowed for the call; the host copies what it keeps. */
typedef struct pare_diag {
    uint32_t size;
    uint32_t severity;    /* PARE_NOTE .. PARE_ERROR */
    const char *code;     /* stable and greppable: "prune.sparsity-too-high" */
    const char *message;  /* the thing, the value, what is allowed */
    const char *hint;     /* what to do about it, or NULL */
    const char *param;    /* parameter at fault, "sparsity" or "layers[2].sparsity", or NULL */
    const char *tensor;   /* tensor at fault, or NULL */
    const char *node;     /* node at fault, or NULL */
    const char *src_file; /* the plugin's own source, filled by PARE_REPORT; for debugging */
    uint64_t src_line;
} pare_diag;

#endif
