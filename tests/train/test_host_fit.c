/* The interface pare.fit/1 as a technique meets it: hooks, weights, masks, and every way to misuse it. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/small.h"

#include <math.h>

enum { FC = 3 * 96, FC_BYTES = FC / 8 };

/* What a technique of this file does in apply; `x` is the test's. */
typedef pare_status script(const pare_host *h, pare_model *m, const pare_fit_api *fit);
static script *todo;

static pare_status create(const pare_host *h, const pare_arg *args, void **self) {
    (void)h;
    (void)args;
    (void)self;
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *h, pare_model *m) {
    (void)self;
    return todo(h, m, h->ext(h, PARE_FIT_V1));
}

static const pare_technique scripted = {.size = sizeof(pare_technique),
                                        .flags = PARE_TECHNIQUE_TRAINS,
                                        .id = "test.script",
                                        .version = "1.0.0",
                                        .summary = "What the test wants.",
                                        .create = create,
                                        .apply = apply};

static pare_status open_with(const pare_host *h, pare_model *m, const pare_fit_api *fit, uint32_t flags, pare_fit **f) {
    const pare_fit_request r = {.size = sizeof r, .flags = flags};
    return fit->open(h, m, &r, f);
}

static uint32_t tensor(const pare_host *h, pare_model *m, const char *name) {
    const pare_tensors_api *t = h->ext(h, PARE_TENSORS_V1);
    return t->find(h, m, name);
}

static pare_status play(small_step *s, script *what, pare_model *m, pare_model **out) {
    todo = what;
    return small_step_with(s, &scripted, NULL, m, out);
}

/* ---- hooks and state ---- */

static struct seen {
    uint32_t before, after, epochs;
    uint64_t steps[64];
    uint32_t fc;
    double gradient;
    float moved[FC];
} seen;

static pare_status on_before(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    const pare_fit_api *fit = h->ext(h, PARE_FIT_V1);
    float g[FC];
    assert_ptr_equal(ctx, &seen);
    seen.steps[seen.before++] = state->step;
    pare_status st = fit->gradient(h, f, seen.fc, g);
    for (int i = 0; i < FC && !st; i++) seen.gradient += fabs((double)g[i]);
    *next = state->step + 3;
    return st;
}

static pare_status on_after(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    const pare_fit_api *fit = h->ext(h, PARE_FIT_V1);
    (void)ctx;
    (void)next;
    seen.after++;
    assert_true(state->size == sizeof *state && state->lr > 0 && state->steps == 12 && state->steps_per_epoch == 6);
    return fit->weights_get(h, f, seen.fc, seen.moved);
}

static pare_status on_epoch(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    (void)ctx;
    (void)h;
    (void)f;
    (void)state;
    (void)next;
    seen.epochs++;
    return PARE_OK;
}

static pare_status with_hooks(const pare_host *h, pare_model *m, const pare_fit_api *fit) {
    pare_fit *f = NULL;
    pare_fit_state state = {.size = sizeof state};
    memset(&seen, 0, sizeof seen);
    seen.fc = tensor(h, m, "fc.weight");
    pare_status st = open_with(h, m, fit, PARE_FIT_GRADIENTS, &f);
    if (!st) st = fit->hook(h, f, PARE_FIT_BEFORE_UPDATE, 2, on_before, &seen);
    if (!st) st = fit->hook(h, f, PARE_FIT_AFTER_UPDATE, 0, on_after, NULL);
    if (!st) st = fit->hook(h, f, PARE_FIT_EPOCH, 0, on_epoch, NULL);
    if (!st) st = fit->run(h, f, 5);
    if (!st) st = fit->state(h, f, &state);
    assert_true(st || (state.step == 5 && state.steps == 12 && isfinite(state.loss)));
    if (!st) st = fit->run(h, f, 0);
    if (!st) st = fit->state(h, f, &state);
    assert_true(st || (state.step == 12 && state.epoch == 2));
    pare_status closed = f ? fit->close(h, f) : PARE_OK;
    return st ? st : closed;
}

static void hooks_are_called(void **state) {
    (void)state;
    for (int device = NET_NEAR; device <= NET_FAR; device++) {
        small_step s;
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        small_step_begin(&s, device, true);
        assert_ok(&s, play(&s, with_hooks, m, &out));
        static const uint64_t steps[] = {2, 5, 8, 11};
        assert_int_equal(seen.before, 4);
        assert_memory_equal(seen.steps, steps, sizeof steps);
        assert_int_equal(seen.after, 12);
        assert_int_equal(seen.epochs, 2);
        assert_true(seen.gradient > 0);
        uint64_t n; /* what the last hook saw is what came home */
        assert_memory_equal(seen.moved, small_weights(out, "fc.weight", &n), sizeof seen.moved);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* ---- weights and masks ---- */

/* Clears every third element before training, lets two of them grow again in a hook. */
static pare_status regrow(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    const pare_fit_api *fit = h->ext(h, PARE_FIT_V1);
    uint8_t bits[FC_BYTES];
    (void)ctx;
    *next = UINT64_MAX;
    pare_status st = fit->mask_get(h, f, seen.fc, bits);
    if (st) return st;
    assert_int_equal(bits[0], 0xb6); /* 0, 3 and 6 are off */
    bits[0] |= 1 | 8;
    assert_true(state->step == 4);
    return fit->mask_set(h, f, seen.fc, bits);
}

static pare_status with_masks(const pare_host *h, pare_model *m, const pare_fit_api *fit) {
    pare_fit *f = NULL;
    uint8_t bits[FC_BYTES];
    float w[FC];
    seen.fc = tensor(h, m, "fc.weight");
    pare_status st = open_with(h, m, fit, PARE_FIT_MASKS, &f);
    if (!st) st = fit->mask_get(h, f, seen.fc, bits);
    for (int i = 0; i < FC_BYTES && !st; i++) assert_int_equal(bits[i], 0xff);
    for (int i = 0; i < FC; i += 3) bits[i / 8] &= (uint8_t) ~(1u << i % 8);
    if (!st) st = fit->mask_set(h, f, seen.fc, bits);
    if (!st) st = fit->weights_get(h, f, seen.fc, w);
    for (int i = 0; i < FC && !st; i += 3) assert_true(w[i] == 0 && !signbit(w[i]));
    for (int i = 0; i < FC; i++) w[i] = 0.25f; /* masked ones do not take it */
    if (!st) st = fit->weights_set(h, f, seen.fc, w);
    if (!st) st = fit->weights_get(h, f, seen.fc, w);
    for (int i = 0; i < FC && !st; i++) assert_true(w[i] == (i % 3 ? 0.25f : 0));
    if (!st) st = fit->hook(h, f, PARE_FIT_AFTER_UPDATE, 4, regrow, NULL);
    if (!st) st = fit->run(h, f, 0);
    pare_status closed = f ? fit->close(h, f) : PARE_OK;
    return st ? st : closed;
}

static void masks_hold(void **state) {
    (void)state;
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        small_step_begin(&s, device, true);
        assert_ok(&s, play(&s, with_masks, m, &out));
        uint64_t n;
        const float *w = small_weights(out, "fc.weight", &n);
        for (uint64_t i = 0; i < n; i++) {
            bool off = i % 3 == 0 && i != 0 && i != 3;
            if (off ? w[i] != 0 || signbit(w[i]) : w[i] == 0) fail_msg("element %d is %g", (int)i, (double)w[i]);
        }
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* ---- failing ---- */

static pare_status breaks_off(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    (void)ctx;
    (void)f;
    (void)state;
    (void)next;
    PARE_REPORT(h, PARE_ERROR, .code = "test.enough", .message = "enough of it");
    return PARE_EUNSUPPORTED;
}

static pare_status failing_hook(const pare_host *h, pare_model *m, const pare_fit_api *fit) {
    pare_fit *f = NULL;
    pare_status st = open_with(h, m, fit, 0, &f);
    if (!st) st = fit->hook(h, f, PARE_FIT_AFTER_UPDATE, 3, breaks_off, NULL);
    if (!st) st = fit->run(h, f, 0);
    assert_int_equal(st, PARE_EUNSUPPORTED);
    assert_int_equal(fit->close(h, f), PARE_OK); /* and no weight comes home */
    const pare_tensors_api *t = h->ext(h, PARE_TENSORS_V1);
    pare_view v = {.size = sizeof v};
    assert_int_equal(t->borrow(h, m, tensor(h, m, "fc.weight"), PARE_READ, &v), PARE_OK);
    assert_true(((const float *)v.data)[0] == net_number(2 * 977));
    t->release(h, m, tensor(h, m, "fc.weight"));
    return st;
}

static pare_status forgets_to_close(const pare_host *h, pare_model *m, const pare_fit_api *fit) {
    pare_fit *f = NULL;
    pare_status st = open_with(h, m, fit, 0, &f);
    return st ? st : fit->run(h, f, 2);
}

/* One that recovers: what is not trained is found out by asking. */
static pare_status asks_for_too_much(const pare_host *h, pare_model *m, const pare_fit_api *fit) {
    pare_fit *f = NULL;
    float w[6];
    uint8_t bits[FC_BYTES] = {0};
    pare_status st = open_with(h, m, fit, 0, &f);
    if (st) return st;
    assert_int_equal(fit->weights_get(h, f, tensor(h, m, "bn.mean"), w), PARE_ENOTFOUND);
    assert_int_equal(fit->mask_get(h, f, tensor(h, m, "bn.var"), bits), PARE_ENOTFOUND);
    assert_int_equal(fit->mask_set(h, f, tensor(h, m, "fc.weight"), bits), PARE_EINVAL); /* without the flag */
    return fit->close(h, f);
}

static void failures_leave_the_model(void **state) {
    (void)state;
    small_step s;
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    small_step_begin(&s, NET_NEAR, true);
    assert_int_equal(play(&s, failing_hook, m, &out), PARE_EUNSUPPORTED);
    assert_said(&s, "enough of it");
    assert_int_equal(pare_diags_count(s.d), 1);
    small_step_end(&s);
    small_step_begin(&s, NET_NEAR, true);
    assert_ok(&s, play(&s, forgets_to_close, m, &out));
    assert_said(&s, "left its training open");
    assert_true(small_same(m, out, "fc.weight") && small_same(m, out, "bn.mean"));
    pare_model_free(out);
    small_step_end(&s);
    small_step_begin(&s, NET_NEAR, true);
    assert_ok(&s, play(&s, asks_for_too_much, m, &out));
    assert_int_equal(pare_diags_count(s.d), 0);
    pare_model_free(out);
    small_step_end(&s);
    pare_model_free(m);
}

/* ---- misuse ---- */

static pare_fit *gone;

#define SCRIPT(name, ...)                                                                                              \
    static pare_status name(const pare_host *h, pare_model *m, const pare_fit_api *fit) {                              \
        pare_fit *f = NULL;                                                                                            \
        float w[FC] = {0};                                                                                             \
        (void)w;                                                                                                       \
        __VA_ARGS__                                                                                                    \
        return PARE_OK;                                                                                                \
    }
#define OPEN(flags) assert_int_equal(open_with(h, m, fit, flags, &f), PARE_OK);

static pare_status misbehaves(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    const pare_fit_api *fit = h->ext(h, PARE_FIT_V1);
    (void)state;
    (void)next;
    int what = *(int *)ctx;
    if (what == 0) fit->run(h, f, 0);
    if (what == 1) fit->close(h, f);
    if (what == 2) fit->gradient(h, f, seen.fc, seen.moved);
    return PARE_OK; /* training ends even so */
}

SCRIPT(closed_twice, OPEN(0) fit->close(h, f); fit->close(h, f);)
SCRIPT(run_after_close, OPEN(0) fit->close(h, f); fit->run(h, f, 1);)
SCRIPT(of_another_time, fit->run(h, gone, 1); (void)m; (void)f;)
SCRIPT(no_fit, fit->weights_get(h, NULL, 1, w); (void)m; (void)f;)
SCRIPT(two_at_once, pare_fit *g = NULL; OPEN(0) open_with(h, m, fit, 0, &g);)
SCRIPT(unknown_flags, open_with(h, m, fit, 8, &f);)
SCRIPT(no_request, fit->open(h, m, NULL, &f);)
SCRIPT(no_out, open_with(h, m, fit, 0, NULL); (void)f;)
SCRIPT(no_args, const pare_fit_request r = {.size = sizeof r, .loss = "distill.dist"}; fit->open(h, m, &r, &f);)
SCRIPT(gradient_outside, OPEN(PARE_FIT_GRADIENTS) fit->gradient(h, f, tensor(h, m, "fc.weight"), w);)
SCRIPT(hook_without_flag, OPEN(0) fit->hook(h, f, PARE_FIT_BEFORE_UPDATE, 0, on_epoch, NULL);)
SCRIPT(hook_at_no_time, OPEN(0) fit->hook(h, f, 3, 0, on_epoch, NULL);)
SCRIPT(hook_of_nothing, OPEN(0) fit->hook(h, f, PARE_FIT_EPOCH, 0, NULL, NULL);)
SCRIPT(no_such_tensor, OPEN(0) fit->weights_get(h, f, 999, w);)
SCRIPT(no_buffer, OPEN(0) fit->weights_set(h, f, tensor(h, m, "fc.weight"), NULL);)
SCRIPT(no_size, pare_fit_state state = {0}; OPEN(0) fit->state(h, f, &state);)
SCRIPT(runs_in_hook, static int what = 0; OPEN(0) fit->hook(h, f, PARE_FIT_AFTER_UPDATE, 0, misbehaves, &what);
       assert_int_not_equal(fit->run(h, f, 0), PARE_OK); fit->run(h, f, 0); fit->close(h, f);)
SCRIPT(closes_in_hook, static int what = 1; OPEN(0) fit->hook(h, f, PARE_FIT_EPOCH, 0, misbehaves, &what);
       assert_int_not_equal(fit->run(h, f, 0), PARE_OK);)
SCRIPT(gradient_after, static int what = 2;
       OPEN(PARE_FIT_GRADIENTS) fit->hook(h, f, PARE_FIT_AFTER_UPDATE, 0, misbehaves, &what);
       assert_int_not_equal(fit->run(h, f, 0), PARE_OK);)
SCRIPT(borrowed, const pare_tensors_api *t = h->ext(h, PARE_TENSORS_V1); pare_view v = {.size = sizeof v};
       OPEN(0) t->borrow(h, m, tensor(h, m, "fc.weight"), PARE_WRITE, &v); fit->run(h, f, 1); fit->close(h, f);)
SCRIPT(recalibrates_meanwhile, pare_recalibrate_request r = {.size = sizeof r};
       OPEN(0) fit->recalibrate(h, m, &r, NULL);)

static void misuse_is_named(void **state) {
    (void)state;
    static const struct {
        script *what;
        const char *says;
    } cases[] = {
        {closed_twice, "misuses pare.fit/1 close: the fit is not open"},
        {run_after_close, "misuses pare.fit/1 run: the fit is not open"},
        {of_another_time, "misuses pare.fit/1 run: the fit is not open"},
        {no_fit, "pare.fit/1 weights_get: the fit is NULL"},
        {two_at_once, "a fit is open already"},
        {unknown_flags, "there are no flags 0x8"},
        {no_request, "request is NULL"},
        {no_out, "out is NULL"},
        {no_args, "loss_args is NULL"},
        {gradient_outside, "pare.fit/1 gradient: there are gradients in a hook BEFORE_UPDATE alone"},
        {hook_without_flag, "needs the flag PARE_FIT_GRADIENTS"},
        {hook_at_no_time, "there is no moment 3"},
        {hook_of_nothing, "fn is NULL"},
        {no_such_tensor, "there is no tensor 999"},
        {no_buffer, "the buffer is NULL"},
        {no_size, "out->size is 0"},
        {runs_in_hook, "pare.fit/1 run: called from a hook"},
        {closes_in_hook, "pare.fit/1 close: called from a hook"},
        {gradient_after, "gradients in a hook BEFORE_UPDATE alone"},
        {borrowed, "is borrowed"},
        {recalibrates_meanwhile, "pare.fit/1 recalibrate: a fit is open"},
    };
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    gone = (pare_fit *)(void *)m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        pare_status st = play(&s, cases[i].what, m, &out);
        if (st != PARE_EINTERNAL || out) fail_msg("case %zu: status %d, %s", i, st, small_said(&s));
        assert_said(&s, cases[i].says);
        small_step_end(&s);
    }
    pare_model_free(m);
}

static int set_up(void **state) {
    plugins_open();
    return tmpdir_make(state);
}

static int tear_down(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_are_called),
        cmocka_unit_test(masks_hold),
        cmocka_unit_test(failures_leave_the_model),
        cmocka_unit_test(misuse_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
