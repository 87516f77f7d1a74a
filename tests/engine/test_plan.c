/* test_plan.c - the memory plan, the order of fused nodes, plans kept, sessions side by side. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/parts.h"
#include "far/net.h"
#include "model/zoo.h"

#include <stdlib.h>

static pare_session *open_on(const pare_model *m, pare_session_opts o) {
    pare_session *s = NULL;
    assert_int_equal(pare_session_open(m, &o, NULL, &s), PARE_OK);
    return s;
}

static pare_array *run1(pare_session *s, pare_array *x) {
    pare_array *y = NULL;
    assert_int_equal(pare_session_run(s, &x, NULL, &y), PARE_OK);
    return y;
}

static int teardown(void **state) {
    (void)state;
    assert_int_equal(far_ctl.wrong, 0);
    assert_int_equal(far_ctl.live, 0);
    return 0;
}

/* ---- layout ---- */

/* A plan of buffers and steps alone: step i reads what `in` says and writes buffer i. */
static void add_buffer(pare_plan *p, uint64_t nbytes) {
    pare_buffer b = {.kind = PARE_BUFFER_ARENA, .nbytes = nbytes, .root = (uint32_t)p->buffers.len};
    pare_vec_push(&p->buffers, b);
}

static void add_step(pare_plan *p, int32_t a, int32_t b, int32_t out, int32_t in_place) {
    pare_step s = {.kind = PARE_STEP_RUN, .n_in = 2, .n_out = 1, .in_place = in_place};
    s.in = pare_arena_alloc(&p->memory, 2 * sizeof *s.in);
    s.out = pare_arena_alloc(&p->memory, sizeof *s.out);
    s.in[0] = a;
    s.in[1] = b;
    s.out[0] = out;
    pare_vec_push(&p->steps, s);
}

static void plan_clear(pare_plan *p) {
    pare_vec_free(&p->buffers);
    pare_vec_free(&p->steps);
    pare_vec_free(&p->outputs);
    pare_arena_free(&p->memory);
}

/* No two buffers that live at the same time overlap, whatever the graph. */
static void never_overlapping(void **state) {
    (void)state;
    uint64_t seed = 12345;
    for (int round = 0; round < 200; round++) {
        pare_plan p = {0};
        int n = 3 + round % 40;
        for (int i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            add_buffer(&p, (seed >> 33) % 5000);
            int32_t a = i ? (int32_t)((seed >> 40) % (uint64_t)i) : -1,
                    b = i ? (int32_t)((seed >> 50) % (uint64_t)i) : -1;
            add_step(&p, a, b, i, (int32_t)(seed >> 20 & 3) - 1);
        }
        pare_plan_output last = {.buffer = n - 1, .input = -1};
        pare_vec_push(&p.outputs, last);
        assert_int_equal(pare_plan_layout(&p, NULL), PARE_OK);
        for (uint32_t i = 0; i < p.buffers.len; i++)
            for (uint32_t k = 0; k < i; k++) {
                const pare_buffer *x = &p.buffers.data[i], *y = &p.buffers.data[k];
                if (x->root != i || y->root != k || x->last < y->first || y->last < x->first) continue;
                assert_true(x->offset + x->nbytes <= y->offset || y->offset + y->nbytes <= x->offset);
            }
        for (uint32_t i = 0; i < p.buffers.len; i++) {
            const pare_buffer *r = &p.buffers.data[p.buffers.data[i].root];
            assert_true(r->offset % PARE_ENGINE_ALIGN == 0);
            assert_true(r->nbytes >= p.buffers.data[i].nbytes);
            assert_true(r->offset + r->nbytes <= p.arena[0]);
        }
        plan_clear(&p);
    }
}

/* A chain needs two buffers; in place, one. */
static void chain(void **state) {
    (void)state;
    for (int in_place = -1; in_place < 1; in_place++) {
        pare_plan p = {0};
        for (int i = 0; i < 10; i++) {
            add_buffer(&p, 960);
            add_step(&p, i - 1, -1, i, in_place);
        }
        assert_int_equal(pare_plan_layout(&p, NULL), PARE_OK);
        assert_int_equal(p.arena[0], in_place < 0 ? 2 * 1024 : 1024);
        plan_clear(&p);
    }
}

/* What is read again later, or by the same step in another place, is not written over. */
static void in_place_only_when_dead(void **state) {
    (void)state;
    pare_plan p = {0};
    for (int i = 0; i < 4; i++) add_buffer(&p, 64);
    add_step(&p, -1, -1, 0, -1);
    add_step(&p, 0, -1, 1, 0); /* 0 is read by the next step */
    add_step(&p, 0, 0, 2, 0);  /* 0 twice */
    add_step(&p, 2, 1, 3, 0);
    assert_int_equal(pare_plan_layout(&p, NULL), PARE_OK);
    assert_int_equal(p.buffers.data[1].root, 1);
    assert_int_equal(p.buffers.data[2].root, 2);
    assert_int_equal(p.buffers.data[3].root, 2);
    plan_clear(&p);
}

/* ---- real networks ---- */

/* No layout takes less than the most that is alive at one step. */
static uint64_t lower_bound(const pare_plan *p) {
    uint64_t most = 0;
    for (size_t step = 0; step <= p->steps.len; step++) {
        uint64_t alive = 0;
        for (size_t i = 0; i < p->buffers.len; i++) {
            const pare_buffer *b = &p->buffers.data[i];
            if (b->kind == PARE_BUFFER_ARENA && b->root == i && b->first <= step && b->last >= step) alive += b->nbytes;
        }
        if (alive > most) most = alive;
    }
    return most;
}

static void near_the_bound(void **state) {
    (void)state;
    static const char *const nets[] = {"resnet18", "mobilenet_v2"};
    memset(&far_ctl, 0, sizeof far_ctl);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        for (int64_t batch = 1; batch <= 16; batch += 15) {
            pare_arg args[] = {{.u.i = 1000, .n = 1}, {.u.i = 3, .n = 1}, {.u.i = 224, .n = 1}, {.n = 1}, {.n = 1}};
            pare_model *m = NULL;
            assert_int_equal(pare_zoo_find(nets[i])->build(args, 1, NULL, &m), PARE_OK);
            pare_session *s = open_on(m, net_opts(NET_CPU));
            pare_array shape = {.refs = 1, .dtype = PARE_FLOAT, .ndim = 4, .dims = {batch, 3, 224, 224}}, *in = &shape;
            shape.count = (uint64_t)batch * 3 * 224 * 224;
            shape.nbytes = shape.count * sizeof(float);
            assert_int_equal(pare_session_ready(s, &in, NULL), PARE_OK);
            assert_int_equal(pare_session_ready(s, &in, NULL), PARE_OK);
            assert_int_equal(s->n_plans, 1);
            uint64_t bound = lower_bound(s->latest), arena = s->latest->arena[0];
            print_message("%s batch %d: arena %.2f MB, lower bound %.2f MB\n", nets[i], (int)batch, (double)arena / 1e6,
                          (double)bound / 1e6);
            assert_true(arena >= bound);
            assert_true((double)arena <= 1.1 * (double)bound);
            pare_session_close(s);
            pare_model_free(m);
        }
}

/* ---- order ---- */

/* The Add's other operand is made after the Conv, by a Conv that would like to take the Add as well. */
static void both_want_the_add(void **state) {
    (void)state;
    memset(&far_ctl, 0, sizeof far_ctl);
    const pare_dim dims[] = {{-1, "N"}, {2, NULL}, {3, NULL}, {3, NULL}};
    const int64_t w[] = {2, 2, 1, 1}, x_dims[] = {2, 2, 3, 3};
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 4, dims);
    net_floats(m, "w1", 4, w, 1);
    net_floats(m, "w2", 4, w, 2);
    net2(m, "Conv", "a", "x", "w1");
    net1(m, "Neg", "n", "x");
    net2(m, "Conv", "b", "n", "w2");
    net2(m, "Add", "s", "a", "b");
    net1(m, "Relu", "y", "s");
    net_output(m, "y");
    pare_array *x = net_filled(4, x_dims, 1), *want = NULL;
    for (int device = 0; device < NET_DEVICES; device++) {
        pare_session *s = open_on(m, net_opts(device));
        pare_array *y = run1(s, x);
        if (device) {
            const pare_profile_node *rows;
            size_t adds = 0, n = pare_session_profile(s, &rows);
            for (size_t i = 0; i < n; i++) adds += strcmp(rows[i].op_type, "Add") == 0;
            assert_int_equal(adds, 0);
            assert_true(net_distance(y, want) < 1e-5);
            pare_array_unref(y);
        } else {
            want = y;
        }
        pare_session_close(s);
    }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_model_free(m);
}

/* ---- plans and sessions ---- */

/* More shapes than plans are kept: the answers stay right, memory does not grow for ever. */
static void plans_kept(void **state) {
    (void)state;
    memset(&far_ctl, 0, sizeof far_ctl);
    pare_model *m = net_residual(-1);
    pare_session *s = open_on(m, net_opts(NET_FAR));
    const int64_t one[] = {1, 2, 6, 6};
    pare_array *x = net_filled(4, one, 1), *want = run1(s, x);
    uint64_t after[3] = {0};
    for (int round = 0; round < 3; round++) {
        for (int64_t n = 1; n < 20; n++) {
            const int64_t dims[] = {n, 2, 6, 6};
            pare_array *big = net_filled(4, dims, 1), *y = run1(s, big);
            for (int i = 0; i < 3; i++) assert_true(abs((int)((net_f(y)[i] - net_f(want)[i]) * 1e5f)) <= 1);
            pare_array_unref(big);
            pare_array_unref(y);
        }
        after[round] = far_ctl.live_bytes;
    }
    assert_int_equal(after[1], after[2]);
    assert_true(s->n_plans <= PARE_PLANS_KEPT);
    pare_array_unref(want);
    pare_array_unref(x);
    pare_session_close(s);
    pare_model_free(m);
}

typedef struct worker {
    const pare_model *model;
    int device;
    double distance;
    const pare_array *want;
} worker;

static void work(void *ctx) {
    worker *w = ctx;
    const int64_t dims[] = {3, 2, 6, 6};
    pare_session_opts o = net_opts(w->device);
    pare_session *s = NULL;
    pare_array *x = net_filled(4, dims, 1), *y = NULL;
    w->distance = 1e9;
    if (pare_session_open(w->model, &o, NULL, &s)) return;
    for (int i = 0; i < 20; i++) {
        if (pare_session_run(s, &x, NULL, &y)) return;
        w->distance = net_distance(y, w->want);
        pare_array_unref(y);
    }
    pare_array_unref(x);
    pare_session_close(s);
}

/* Several sessions at once, each on a thread of its own. */
static void side_by_side(void **state) {
    (void)state;
    memset(&far_ctl, 0, sizeof far_ctl);
    const int64_t dims[] = {3, 2, 6, 6};
    pare_model *m = net_residual(-1), *copies[4];
    pare_session *s = open_on(m, net_opts(NET_NEAR));
    pare_array *x = net_filled(4, dims, 1), *want = run1(s, x);
    worker w[4];
    pare_job *jobs[4];
    for (int i = 0; i < 4; i++) {
        copies[i] = pare_model_clone(m);
        w[i] = (worker){copies[i], NET_NEAR, 1e9, want};
        jobs[i] = pare_job_start(work, &w[i]);
    }
    for (int i = 0; i < 4; i++) {
        pare_job_join(jobs[i]);
        assert_true(w[i].distance == 0);
        pare_model_free(copies[i]);
    }
    pare_array_unref(want);
    pare_array_unref(x);
    pare_session_close(s);
    pare_model_free(m);
}

int main(void) {
#define T(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        T(never_overlapping), T(chain),       T(in_place_only_when_dead), T(near_the_bound), T(both_want_the_add),
        T(plans_kept),        T(side_by_side)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
