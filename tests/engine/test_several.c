/* test_several.c - several sessions in one process, at once: each has its own threads and its own answers, the same bit
 * for bit in every run at one number of threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/check.h"

#include <stdlib.h>

enum { SIDE = 20, RUNS = 6 };

/* Large enough for threads to share: Conv, Relu, MaxPool, Conv, Softmax over channels, a product, a norm. */
static pare_model *net_wide(void) {
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}, {8, NULL}, {SIDE, NULL}, {SIDE, NULL}};
    const int64_t w1[] = {32, 8, 3, 3}, w2[] = {16, 32, 1, 1}, fc[] = {SIDE / 2, 24}, n24[] = {24},
                  pads[] = {1, 1, 1, 1}, kernel[] = {2, 2}, strides[] = {2, 2};
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w1", 4, w1, 1);
    net_floats(m, "w2", 4, w2, 2);
    net_floats(m, "fc", 2, fc, 3);
    net_floats(m, "scale", 1, n24, 4);
    net_floats(m, "shift", 1, n24, 5);
    pare_attr_set_ints(m, net2(m, "Conv", "c1", "x", "w1"), "pads", pads, 4);
    net1(m, "Relu", "r", "c1");
    uint32_t pool = net1(m, "MaxPool", "p", "r");
    pare_attr_set_ints(m, pool, "kernel_shape", kernel, 2);
    pare_attr_set_ints(m, pool, "strides", strides, 2);
    net2(m, "Conv", "c2", "p", "w2");
    pare_attr_set_int(m, net1(m, "Softmax", "s", "c2"), "axis", 1);
    net2(m, "MatMul", "d", "s", "fc");
    net_node(m, "LayerNormalization", "y", 3, "d", "scale", "shift");
    net_output(m, "y");
    return m;
}

typedef struct worker {
    const pare_model *model;
    int device;
    uint32_t threads;
    int64_t batch;
    const pare_array *want; /* NULL: the first answer is kept */
    pare_array *got;
    bool ok;
} worker;

static void work(void *ctx) {
    worker *w = ctx;
    const int64_t dims[] = {w->batch, 8, SIDE, SIDE};
    pare_session_opts o = net_opts(w->device);
    pare_session *s = NULL;
    o.threads = w->threads;
    w->ok = false;
    if (pare_session_open(w->model, &o, NULL, &s)) return;
    pare_array *x = net_filled(4, dims, (uint64_t)w->batch);
    bool ok = true;
    for (int i = 0; i < RUNS && ok; i++) {
        pare_array *y = NULL;
        if (pare_session_run(s, &x, NULL, &y)) {
            ok = false;
            break;
        }
        const pare_array *want = w->want ? w->want : w->got;
        if (want)
            ok = y->nbytes == want->nbytes && memcmp(pare_array_data(y), pare_array_data(want), y->nbytes) == 0;
        else
            w->got = pare_array_ref(y);
        pare_array_unref(y);
    }
    pare_array_unref(x);
    pare_session_close(s);
    w->ok = ok;
}

/* The same bytes in every run, and in every session of as many threads. */
static void bytes_repeat(void **state) {
    (void)state;
    pare_model *m = net_wide();
    for (int device = 0; device < NET_DEVICES; device++)
        for (uint32_t threads = 1; threads <= 2; threads++) {
            worker first = {.model = m, .device = device, .threads = threads, .batch = 3}, second;
            work(&first);
            assert_true(first.ok);
            second = first;
            second.want = first.got;
            work(&second);
            assert_true(second.ok);
            pare_array_unref(first.got);
        }
    pare_model_free(m);
}

/* At once, each on a thread of its own, of 1 and 2 compute threads, of several batches: each what it is alone. */
static void side_by_side(void **state) {
    (void)state;
    enum { N = 6 };
    pare_model *m = net_wide(), *copies[N];
    worker w[N];
    pare_job *jobs[N];
    for (int device = NET_NEAR; device <= NET_CPU;
         device += NET_CPU - NET_NEAR) { /* far counts what it does: one at a time */
        for (int i = 0; i < N; i++) {
            copies[i] = pare_model_clone(m);
            w[i] = (worker){.model = copies[i], .device = device, .threads = 1 + (uint32_t)i % 2, .batch = 1 + i / 2};
            work(&w[i]);
            assert_true(w[i].ok);
            w[i].want = w[i].got;
        }
        for (int i = 0; i < N; i++) jobs[i] = pare_job_start(work, &w[i]);
        for (int i = 0; i < N; i++) {
            pare_job_join(jobs[i]);
            assert_true(w[i].ok);
        }
        for (int i = 0; i < N; i++) {
            pare_array_unref(w[i].got);
            pare_model_free(copies[i]);
        }
    }
    pare_model_free(m);
}

/* ---- threads ---- */

static size_t tasks(void) {
    size_t n = 0;
    char **names = pare_dir_list("/proc/self/task", &n);
    pare_dir_list_free(names);
    return n;
}

static void count_tasks(void *ctx) {
    size_t *n = ctx; /* in: compute threads; out: tasks that came with them */
    worker w = {.device = NET_CPU, .threads = (uint32_t)*n, .batch = 2};
    pare_model *m = net_wide();
    w.model = m;
    size_t before = tasks();
    work(&w);
    *n = w.ok ? tasks() - before : 99;
    pare_array_unref(w.got);
    pare_model_free(m);
}

/* As many threads as the session was opened with, whatever another session has, and whatever is asked of OpenMP. */
static void threads_are_fixed(void **state) {
    (void)state;
    static const char *const says[] = {"1 thread", "2 threads"};
    pare_model *m = net_wide();
    pare_session *s[2];
    pare_array *got[2];
    const int64_t dims[] = {2, 8, SIDE, SIDE};
    pare_array *x = net_filled(4, dims, 1);
    for (int i = 0; i < 2; i++) {
        pare_session_opts o = net_opts(NET_CPU);
        o.threads = 1 + (uint32_t)i;
        s[i] = open_on(m, o);
        assert_non_null(strstr(pare_session_device(s[i]), says[i]));
        got[i] = run1(s[i], x);
    }
    for (int round = 0; round < 4; round++) { /* by turns, on one thread */
        pare_array *y = run1(s[round % 2], x);
        assert_memory_equal(pare_array_data(y), pare_array_data(got[round % 2]), y->nbytes);
        pare_array_unref(y);
    }
    for (int i = 0; i < 2; i++) {
        pare_array_unref(got[i]);
        pare_session_close(s[i]);
    }
    pare_array_unref(x);
    pare_model_free(m);
    for (size_t n = 1; n <= 2; n++) { /* on a fresh thread, whose team is not there yet */
        size_t more = n;
        pare_job_join(pare_job_start(count_tasks, &more));
        assert_true(more <= n - 1);
    }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, far_setup, far_teardown)
    const struct CMUnitTest tests[] = {T(bytes_repeat), T(side_by_side), T(threads_are_fixed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
