/* base/diag.h - the one way to say what is wrong.
 *
 * A function that can fail returns a pare_status and tells the story to a pare_diags: severity, stable code, message,
 * hint, place (file:line:col with the line and a caret), parameter, tensor or node. The collector prints to stderr in
 * human form (colour on a terminal unless NO_COLOR is set) or as JSON lines, at once; several errors of one file are
 * reported by going on after the first. Control characters from files never reach a terminal raw.
 * Is not: progress (progress.h). May use: sdk/pare/diag.h, mem, str.
 */
#ifndef PARE_BASE_DIAG_H
#define PARE_BASE_DIAG_H

#include "base/mem.h"

#include <pare/diag.h>
#include <stdarg.h>
#include <stdio.h>

/* A text file that diagnostics can quote. Owned by whoever parsed it; must outlive the diagnostics about it. */
typedef struct pare_src {
    const char *name; /* as the user wrote it */
    const char *text; /* may hold NUL and control bytes */
    size_t len;
} pare_src;

/* A place. src NULL: nowhere. line 0: the file as a whole. Columns count bytes, from 1. */
typedef struct pare_span {
    const pare_src *src;
    uint32_t line, col, len;
} pare_span;

/* One diagnostic. All strings are copied by pare_diags_add. */
typedef struct pare_diag_item {
    uint32_t severity; /* PARE_NOTE .. PARE_ERROR */
    const char *code;  /* "config.unknown-key" */
    const char *message;
    const char *hint; /* or NULL */
    const char *path; /* a file that is not text (a model, a plugin), or NULL; used when at.src is NULL */
    const char *param, *tensor, *node; /* or NULL */
    pare_span at;
} pare_diag_item;

typedef enum { PARE_DIAG_HUMAN, PARE_DIAG_JSON, PARE_DIAG_SILENT } pare_diag_form;

/* The collector. Thread-safe for adding. */
typedef struct pare_diags pare_diags;
pare_diags *pare_diags_new(pare_diag_form form, FILE *out); /* out borrowed, usually stderr */
void pare_diags_free(pare_diags *d);                        /* NULL is fine */
void pare_diags_set_quiet(pare_diags *d, bool quiet);       /* notes and infos are kept, not printed */
void pare_diags_set_log(pare_diags *d, FILE *log);          /* also appended here, plain; borrowed; NULL stops */

void pare_diags_add(pare_diags *d, const pare_diag_item *item);
size_t pare_diags_errors(const pare_diags *d);
size_t pare_diags_count(const pare_diags *d);
const pare_diag_item *pare_diags_get(const pare_diags *d, size_t i); /* stays valid until pare_diags_free */

/* The short ways. Each returns `st`, so that a failure is one line: return pare_fail(d, PARE_EINVAL, "model.dims", …).
 * d may be NULL: then nothing is said. `hint` may be NULL. */
pare_status pare_fail(pare_diags *d, pare_status st, const char *code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
pare_status pare_fail_at(pare_diags *d, pare_status st, pare_span at, const char *code, const char *hint,
                         const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* About a file that is not text: "resnet18.onnx: error[model.truncated]: …". */
pare_status pare_fail_file(pare_diags *d, pare_status st, const char *path, const char *code, const char *hint,
                           const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void pare_say(pare_diags *d, uint32_t severity, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void pare_say_at(pare_diags *d, uint32_t severity, pare_span at, const char *code, const char *hint, const char *fmt,
                 ...) __attribute__((format(printf, 6, 7)));

const char *pare_status_text(pare_status st);
/* 0 done, 1 the run failed, 2 the input is wrong (PARE_EINVAL, PARE_EUNSUPPORTED, PARE_ENOTFOUND). */
int pare_exit_code(pare_status st);

#endif
