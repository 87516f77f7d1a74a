/* check.h - what the engine's tests say again and again: open, run, what was said, nothing left over.
 * Include cmocka first. May use: net.h.
 */
#ifndef PARE_TESTS_CHECK_H
#define PARE_TESTS_CHECK_H

#include "far/net.h"

static inline pare_diags *diags(void) { return pare_diags_new(PARE_DIAG_SILENT, stderr); }

static inline void print_all(pare_diags *d) {
    for (size_t i = 0; i < pare_diags_count(d); i++)
        print_error("said: [%s] %s\n", pare_diags_get(d, i)->code, pare_diags_get(d, i)->message);
}

static inline void assert_said(pare_diags *d, const char *code, const char *part) {
    for (size_t i = 0; i < pare_diags_count(d); i++) {
        const pare_diag_item *it = pare_diags_get(d, i);
        if (strcmp(it->code, code) == 0 && strstr(it->message, part)) return;
    }
    print_all(d);
    fail_msg("nobody said [%s] \"%s\"", code, part);
}

static inline pare_session *open_on(const pare_model *m, pare_session_opts o) {
    pare_diags *d = diags();
    pare_session *s = NULL;
    if (pare_session_open(m, &o, d, &s)) print_all(d);
    assert_non_null(s);
    pare_diags_free(d);
    return s;
}

/* Of a session with one input: its first output. */
static inline pare_array *run1(pare_session *s, pare_array *x) {
    pare_diags *d = diags();
    pare_array *out[4] = {NULL};
    if (pare_session_run(s, &x, d, out)) print_all(d);
    assert_non_null(out[0]);
    pare_diags_free(d);
    return out[0];
}

static inline int far_setup(void **state) {
    (void)state;
    memset(&far_ctl, 0, sizeof far_ctl);
    return 0;
}

static inline int far_teardown(void **state) {
    (void)state;
    assert_int_equal(far_ctl.wrong, 0);
    assert_int_equal(far_ctl.live, 0);
    return 0;
}

#endif
