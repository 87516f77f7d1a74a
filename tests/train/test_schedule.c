/* Learning rate and momentum at each of 50 steps: what PyTorch's schedulers give (golden/train/schedule.npz). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/golden.h"
#include "train/schedule.h"

enum { STEPS = 50, PER_EPOCH = 7 };

static pare_fit_opts base(pare_schedule kind, double warmup) {
    pare_fit_opts o = pare_fit_defaults();
    o.lr = 0.1;
    o.momentum = 0.9;
    o.schedule.kind = kind;
    o.schedule.warmup = warmup;
    return o;
}

static void check(const char *name, const pare_fit_opts *o) {
    pare_npz *z = golden_open("schedule.npz");
    pare_array *want = golden_read(z, name);
    for (uint64_t i = 0; i < STEPS; i++) {
        pare_rate r = pare_schedule_at(o, i, STEPS, PER_EPOCH);
        double lr = golden_at(want, i), momentum = golden_at(want, STEPS + i);
        if (fabs(r.lr - lr) > 1e-12 + 1e-9 * lr || fabs(r.momentum - momentum) > 1e-9)
            fail_msg("%s, step %d: lr %.12g and momentum %.12g, PyTorch has %.12g and %.12g", name, (int)i, r.lr,
                     r.momentum, lr, momentum);
    }
    pare_array_unref(want);
    pare_npz_close(z);
}

static void constant(void **state) {
    (void)state;
    pare_fit_opts o = base(PARE_SCHEDULE_CONSTANT, 0);
    check("constant", &o);
    o.schedule.warmup = 5;
    check("constant_warm", &o);
    o.schedule.warmup = 0.1; /* of 50 */
    check("constant_warm", &o);
    o.schedule.warmup = 5.9; /* whole steps */
    check("constant_warm", &o);
}

static void step(void **state) {
    (void)state;
    pare_fit_opts o = base(PARE_SCHEDULE_STEP, 0);
    o.schedule.step_epochs = 2;
    o.schedule.gamma = 0.3;
    check("step", &o);
    o.schedule.warmup = 4; /* epochs are counted from the start all the same */
    for (uint64_t i = 0; i < STEPS; i++) {
        double want = i < 4 ? 0.1 * (double)(i + 1) / 4 : 0.1 * pow(0.3, (double)(i / 14));
        assert_true(fabs(pare_schedule_at(&o, i, STEPS, PER_EPOCH).lr - want) < 1e-12);
    }
}

static void cosine(void **state) {
    (void)state;
    pare_fit_opts o = base(PARE_SCHEDULE_COSINE, 0);
    check("cosine", &o);
    o.schedule.warmup = 0.1;
    o.schedule.final_lr = 0.01;
    check("cosine_warm", &o);
}

static void onecycle(void **state) {
    (void)state;
    pare_fit_opts o = base(PARE_SCHEDULE_ONECYCLE, 0.1); /* it warms up by itself */
    check("onecycle", &o);
    o.schedule.cycle_momentum = true;
    check("onecycle_momentum", &o);
    check("onecycle_adam", &o); /* beta1 is cycled in its place */
    o.schedule.pct_start = 0.25;
    o.schedule.div_factor = 10;
    o.schedule.final_div = 100;
    o.schedule.momentum_min = 0.8;
    o.schedule.momentum_max = 0.9;
    check("onecycle_other", &o);
}

static void poly(void **state) {
    (void)state;
    pare_fit_opts o = base(PARE_SCHEDULE_POLY, 0);
    o.schedule.power = 1;
    check("poly", &o);
    o.schedule.warmup = 8;
    o.schedule.power = 2;
    check("poly_warm", &o);
}

/* Whatever the sizes: a rate that is a number, not above the one asked for, and not below 0. */
static void odd_sizes(void **state) {
    (void)state;
    static const double warmups[] = {0, 0.05, 0.5, 0.99, 1, 2.5, 7, 100};
    for (int kind = PARE_SCHEDULE_CONSTANT; kind <= PARE_SCHEDULE_POLY; kind++)
        for (size_t w = 0; w < sizeof warmups / sizeof *warmups; w++)
            for (uint64_t steps = 1; steps < 12; steps++)
                for (uint64_t i = 0; i < steps; i++) {
                    pare_fit_opts o = base((pare_schedule)kind, warmups[w]);
                    pare_rate r = pare_schedule_at(&o, i, steps, i % 4);
                    if (!(r.lr >= 0 && r.lr <= 0.1 + 1e-15))
                        fail_msg("schedule %d, warm-up %g, step %d of %d: lr %g", kind, warmups[w], (int)i, (int)steps,
                                 r.lr);
                }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant), cmocka_unit_test(step), cmocka_unit_test(cosine),
        cmocka_unit_test(onecycle), cmocka_unit_test(poly), cmocka_unit_test(odd_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
