/* passes.h - what every test of an engine pass asks: did it rewrite, and is the answer the same on near and far?
 * May use: net.h.
 */
#ifndef PARE_TESTS_PASSES_H
#define PARE_TESTS_PASSES_H

#include "engine/pass.h"
#include "far/net.h"
#include "model/infer.h"
#include "model/pass.h"

static inline size_t net_count(const pare_model *m, const char *op) {
    size_t n = 0;
    for (size_t i = 0; i < m->nodes.len; i++) n += m->nodes.data[i] && pare_node_is(m->nodes.data[i], op);
    return n;
}

/* Runs the pass on a copy: how many of `op` it leaves, all dead nodes gone. *changed as it says. */
static inline size_t pass_leaves(const pare_model *m, pare_engine_pass pass, const char *op, uint64_t *changed) {
    pare_model *c = pare_model_clone(m);
    uint64_t gone;
    assert_int_equal(pare_model_infer(c, NULL), PARE_OK);
    assert_int_equal(pass(c, NULL, changed), PARE_OK);
    assert_int_equal(pare_pass_find("remove_dead")->run(c, NULL, &gone), PARE_OK);
    assert_int_equal(pare_model_check(c, NULL), PARE_OK);
    assert_int_equal(pare_model_infer(c, NULL), PARE_OK);
    size_t n = net_count(c, op);
    pare_model_free(c);
    return n;
}

/* The answer for x with and without passes, near and far. */
static inline void pass_keeps(const pare_model *m, pare_array *x, double limit) {
    pare_array *want = NULL;
    for (int device = 0; device < NET_DEVICES; device++)
        for (int passes = 0; passes < 2; passes++) {
            pare_session_opts o = net_opts(device);
            pare_session *s = NULL;
            pare_array *y = NULL;
            o.no_passes = !passes;
            assert_int_equal(pare_session_open(m, &o, NULL, &s), PARE_OK);
            assert_int_equal(pare_session_run(s, &x, NULL, &y), PARE_OK);
            if (want) {
                assert_int_equal(y->ndim, want->ndim);
                for (uint32_t i = 0; i < y->ndim; i++) assert_int_equal(y->dims[i], want->dims[i]);
                assert_true(net_distance(y, want) <= limit);
                pare_array_unref(y);
            } else {
                want = y;
            }
            pare_session_close(s);
        }
    pare_array_unref(want);
    pare_array_unref(x);
    assert_int_equal(far_ctl.wrong, 0);
    assert_int_equal(far_ctl.live, 0);
}

#endif
