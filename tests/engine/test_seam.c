/* test_seam.c - the seam between engine and backends: nodes that a device has no kernel for, failures that come late,
 * memory that runs out at any place, a cap, and memory that nobody may touch. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/check.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The linker puts this in pare_try_alloc's place (tests/CMakeLists.txt): the n-th from now on fails. */
void *__real_pare_try_alloc(size_t n);
void *__wrap_pare_try_alloc(size_t n);
static uint64_t fail_host_at;
void *__wrap_pare_try_alloc(size_t n) {
    if (fail_host_at && --fail_host_at == 0) return NULL;
    return __real_pare_try_alloc(n);
}

static const int64_t two[] = {2, 2, 6, 6};

static pare_array *right_answer(const pare_model *m, pare_array *x) {
    pare_session_opts o = net_opts(NET_NEAR);
    o.no_passes = true;
    pare_session *s = open_on(m, o);
    pare_array *y = run1(s, x);
    pare_session_close(s);
    return y;
}

/* ---- mixing devices ---- */

/* Whatever far lacks runs on the host: every set of ops, so that values cross over and back, and come out of either
 * side. */
static void mixed_devices(void **state) {
    (void)state;
    static const char *const ops[] = {"Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"};
    enum { N = sizeof ops / sizeof *ops };
    pare_model *m = net_residual(-1);
    pare_array *x = net_filled(4, two, 1), *want = right_answer(m, x);
    for (int device = 0; device < NET_DEVICES; device++)
        for (unsigned set = 0; net_is_far(device) && set < 1u << N; set++) {
            char refuse[128] = "";
            for (int i = 0; i < N; i++)
                if (set >> i & 1) strcat(strcat(refuse, ops[i]), " ");
            far_ctl.refuse = refuse;
            pare_session_opts o = net_opts(device);
            o.no_passes = set & 1; /* with and without fusion's help */
            o.profile = true;
            pare_session *s = open_on(m, o);
            pare_array *got = run1(s, x), *again = run1(s, x);
            assert_true(net_distance(got, want) < 1e-5);
            assert_memory_equal(pare_array_data(got), pare_array_data(again), got->nbytes);
            const pare_profile_node *rows;
            size_t n = pare_session_profile(s, &rows);
            for (size_t i = 0; i < n; i++)
                for (int k = 0; k < N; k++)
                    if (set >> k & 1 && strcmp(rows[i].op_type, ops[k]) == 0)
                        assert_string_not_equal(rows[i].device, "far");
            pare_array_unref(got);
            pare_array_unref(again);
            pare_session_close(s);
            far_ctl.refuse = NULL;
        }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* Values of both sides are handed out, an input and a constant too, while the net crosses in the middle. */
static void outputs_on_either_side(void **state) {
    (void)state;
    const char *const names[] = {"r1", "c2", "g", "y", "x", "fcb"};
    enum { N = sizeof names / sizeof *names };
    pare_model *m = net_residual(-1);
    pare_array *x = net_filled(4, two, 1), *first[N] = {NULL}, *out[N] = {NULL};
    static const char *const refuse[] = {"", "Conv", "Relu GlobalAveragePool", "Gemm"};
    for (size_t k = 0; k < sizeof refuse / sizeof *refuse; k++)
        for (int device = 0; device < NET_DEVICES; device++) {
            far_ctl.refuse = refuse[k];
            pare_session_opts o = net_opts(device);
            o.fetches = names;
            o.n_fetches = N;
            pare_session *s = open_on(m, o);
            assert_int_equal(pare_session_run(s, &x, NULL, out), PARE_OK);
            for (int i = 0; i < N; i++) {
                if (!first[i]) first[i] = pare_array_ref(out[i]);
                assert_true(net_distance(out[i], first[i]) < 1e-5);
                pare_array_unref(out[i]);
            }
            pare_session_close(s);
            far_ctl.refuse = NULL;
        }
    for (int i = 0; i < N; i++) pare_array_unref(first[i]);
    pare_array_unref(x);
    pare_model_free(m);
}

/* ---- failures ---- */

/* A kernel that fails is heard of only at a sync. The run fails, with one error; the next one works. */
static void late_failures(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    pare_array *x = net_filled(4, two, 1), *y = NULL;
    for (int mixed = 0; mixed < 2; mixed++) {
        far_ctl.refuse = mixed ? "Relu" : NULL;
        pare_session *s = open_on(m, net_opts(NET_FAR));
        pare_array *want = run1(s, x);
        uint64_t n = 1, failed = 0;
        for (bool more = true; more; n++) {
            pare_diags *d = diags();
            far_ctl.fail_run = n;
            y = NULL;
            pare_status st = pare_session_run(s, &x, d, &y);
            more = far_ctl.fail_run == 0; /* so it has failed */
            far_ctl.fail_run = 0;
            assert_int_equal(st, more ? PARE_EIO : PARE_OK);
            assert_int_equal(pare_diags_errors(d), more);
            if (more) assert_said(d, "engine.run", "far");
            if (more) assert_null(y);
            failed += more;
            pare_diags_free(d);
            pare_array_unref(y);
            y = run1(s, x);
            assert_memory_equal(pare_array_data(y), pare_array_data(want), want->nbytes);
            pare_array_unref(y);
        }
        assert_true(failed >= 4);
        pare_array_unref(want);
        pare_session_close(s);
    }
    pare_array_unref(x);
    pare_model_free(m);
}

/* Opens and runs while the n-th allocation fails, of the device or of the host. Then without: true once none failed. */
static bool survives(const pare_model *m, pare_array *x, const pare_array *want, int device, bool host, uint64_t n) {
    pare_session *s = NULL;
    pare_session_opts o = net_opts(device);
    pare_diags *d = diags();
    pare_array *y = NULL;
    uint64_t *left = host ? &fail_host_at : &far_ctl.fail_at;
    *left = n;
    pare_status st = pare_session_open(m, &o, d, &s);
    if (!st) st = pare_session_run(s, &x, d, &y);
    bool hit = *left == 0;
    *left = 0;
    assert_true(st == PARE_OK || (st == PARE_ENOMEM && hit));
    if (st != PARE_OK) assert_null(y);
    assert_int_equal(pare_diags_errors(d), st != PARE_OK);
    pare_array_unref(y);
    if (!s) s = open_on(m, o);
    y = run1(s, x); /* it can still be used */
    assert_true(net_distance(y, want) < 1e-5);
    pare_array_unref(y);
    pare_session_close(s);
    pare_diags_free(d);
    assert_int_equal(far_ctl.live, 0);
    return !hit;
}

/* Whichever allocation fails: a status, one error, nothing lost, and the next run works. */
static void out_of_memory(void **state) {
    (void)state;
    static const char *const refuse[] = {NULL, "Relu", "Conv Gemm"};
    for (int fixed = 0; fixed < 2; fixed++) { /* a fixed batch is planned when the session is opened */
        pare_model *m = net_residual(fixed ? 2 : -1);
        pare_array *x = net_filled(4, two, 1), *want = right_answer(m, x);
        for (int device = 0; device < NET_DEVICES; device++)
            for (size_t k = 0; k < sizeof refuse / sizeof *refuse; k++)
                for (int host = !net_is_far(device); host < 2; host++) {
                    far_ctl.refuse = refuse[k];
                    uint64_t n = 1;
                    while (!survives(m, x, want, device, host, n)) n++;
                    assert_true(n > 1); /* there was something to fail */
                }
        far_ctl.refuse = NULL;
        pare_array_unref(want);
        pare_array_unref(x);
        pare_model_free(m);
    }
}

/* ---- the cap ---- */

static void capped(void **state) {
    (void)state;
    const int64_t one[] = {1, 2, 6, 6}, many[] = {64, 2, 6, 6};
    pare_model *m = net_residual(-1);
    pare_session_opts o = net_opts(NET_FAR);
    o.memory = 16000;
    o.piece = 64; /* all at once */
    pare_session *s = open_on(m, o);
    pare_array *x = net_filled(4, one, 1), *big = net_filled(4, many, 1), *y = NULL;
    uint64_t before = far_ctl.allocs;
    pare_diags *d = diags();
    assert_int_equal(pare_session_run(s, &big, d, &y), PARE_ENOMEM);
    assert_null(y);
    assert_int_equal(far_ctl.allocs, before); /* said before anything was allocated */
    assert_said(d, "engine.memory", "at batch 64 needs");
    assert_non_null(strstr(pare_diags_get(d, pare_diags_count(d) - 1)->hint, "a batch of about"));
    pare_diags_free(d);
    y = run1(s, x);
    pare_array_unref(y);
    pare_array_unref(x);
    pare_array_unref(big);
    pare_session_close(s);
    pare_model_free(m);
}

/* From far too little to enough, byte by byte in steps: refused, or it runs and stays under the cap. */
static void never_above_the_cap(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    pare_array *x = net_filled(4, two, 1), *want = right_answer(m, x);
    int refused = 0, ran = 0;
    for (uint64_t cap = 64; cap < 24000; cap += 640) {
        memset(&far_ctl, 0, sizeof far_ctl);
        pare_session_opts o = net_opts(NET_FAR);
        o.memory = cap;
        pare_session *s = open_on(m, o);
        pare_array *y = NULL;
        pare_diags *d = diags();
        pare_status st = pare_session_run(s, &x, d, &y);
        assert_true(st == PARE_OK || st == PARE_ENOMEM);
        assert_int_equal(pare_diags_errors(d), st != PARE_OK);
        if (!st) assert_true(net_distance(y, want) < 1e-5);
        st ? refused++ : ran++;
        assert_true(far_ctl.peak_bytes <= cap + 64 * far_ctl.allocs); /* far rounds each block up */
        pare_array_unref(y);
        pare_diags_free(d);
        pare_session_close(s);
    }
    assert_true(refused > 3 && ran > 3);
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* ---- memory of another world ---- */

/* 0: it could be touched; else the signal that ended who tried. */
static int touched(volatile unsigned char *at, bool write) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        signal(SIGSEGV, SIG_DFL);
        if (write)
            *at = 1;
        else
            (void)*at;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Between runs nobody can read or write far's memory: what the engine does there, it does through the backend. */
static void nobody_touches_far(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    pare_session *s = open_on(m, net_opts(NET_FAR));
    pare_array *x = net_filled(4, two, 1);
    for (int run = 0; run < 2; run++) {
        assert_non_null(far_ctl.region);
        assert_int_equal(touched(far_ctl.region, false), SIGSEGV);
        assert_int_equal(touched(far_ctl.region, true), SIGSEGV);
        pare_array_unref(run1(s, x));
    }
    assert_int_equal(touched((unsigned char *)pare_array_data_mut(x), true), 0);
    pare_array_unref(x);
    pare_session_close(s);
    pare_model_free(m);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {
        T(mixed_devices), T(outputs_on_either_side), T(late_failures),     T(out_of_memory),
        T(capped),        T(never_above_the_cap),    T(nobody_touches_far)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
