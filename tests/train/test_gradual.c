/* Pruning while training, run as a step is: sparsity at every step, zeros that stay, what is brought home and refused.
 */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/small.h"

#include <math.h>

/* ---- a fit that is watched: every step's mask and weights, before and after ---- */

enum { CONV, FC, LAYERS, MOST_STEPS = 200, CONV_N = 54, FC_N = 288 };
static const char *const layer_name[LAYERS] = {"conv.weight", "fc.weight"};
static const uint64_t layer_n[LAYERS] = {CONV_N, FC_N};

static struct {
    uint64_t steps, living[MOST_STEPS + 1][LAYERS]; /* [steps done] */
    uint64_t came_back;                             /* bits that were off after a step and on after a later one */
    uint8_t bits[LAYERS][FC_N / 8];
    double taylor[LAYERS][FC_N], movement[LAYERS][FC_N]; /* over all steps */
    float before[LAYERS][FC_N];
    uint64_t window; /* taylor and movement: steps below this alone */
    bool gradients;
    pare_model *model;
} watched;
static pare_fit_api watching;

static uint32_t tensor_id(const char *name) {
    return pare_model_value(watched.model, net_value(watched.model, name))->tensor;
}

static bool on(const uint8_t *bits, uint64_t i) { return bits[i / 8] >> i % 8 & 1; }

static bool plus_zero(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u == 0;
}

static pare_status see_before(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *s, uint64_t *next) {
    float w[FC_N], g[FC_N];
    (void)ctx;
    *next = 0;
    if (watched.window && s->step >= watched.window) return PARE_OK;
    for (int k = 0; k < LAYERS; k++) {
        assert_int_equal(pare_fit_interface.weights_get(h, f, tensor_id(layer_name[k]), w), PARE_OK);
        assert_int_equal(pare_fit_interface.gradient(h, f, tensor_id(layer_name[k]), g), PARE_OK);
        for (uint64_t i = 0; i < layer_n[k]; i++) {
            watched.taylor[k][i] += fabs((double)w[i] * (double)g[i]);
            watched.movement[k][i] -= (double)w[i] * (double)g[i];
        }
    }
    return PARE_OK;
}

static pare_status see_after(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *s, uint64_t *next) {
    uint8_t bits[FC_N / 8];
    float w[FC_N];
    (void)ctx;
    *next = 0;
    watched.steps = s->step;
    assert_true(s->step <= MOST_STEPS);
    for (int k = 0; k < LAYERS; k++) {
        assert_int_equal(pare_fit_interface.mask_get(h, f, tensor_id(layer_name[k]), bits), PARE_OK);
        assert_int_equal(pare_fit_interface.weights_get(h, f, tensor_id(layer_name[k]), w), PARE_OK);
        for (uint64_t i = 0; i < layer_n[k]; i++) {
            watched.living[s->step][k] += on(bits, i);
            if (!on(bits, i)) assert_true(plus_zero(w[i]));
            if (on(bits, i) && s->step > 1) watched.came_back += !on(watched.bits[k], i);
        }
        memcpy(watched.bits[k], bits, (layer_n[k] + 7) / 8);
    }
    return PARE_OK;
}

static pare_status watched_run(const pare_host *h, pare_fit *f, uint64_t until) {
    pare_status st = pare_fit_interface.hook(h, f, PARE_FIT_AFTER_UPDATE, 0, see_after, NULL);
    if (!st && watched.gradients) st = pare_fit_interface.hook(h, f, PARE_FIT_BEFORE_UPDATE, 0, see_before, NULL);
    return st ? st : pare_fit_interface.run(h, f, until);
}

static const void *watching_ext(void *ctx, const char *id) {
    (void)ctx;
    watching = pare_fit_interface;
    watching.run = watched_run;
    return strcmp(id, PARE_FIT_V1) == 0 ? &watching : NULL;
}

static pare_status prune(small_step *s, const char *with, const pare_model *in, pare_model **out) {
    const pare_technique *t = technique_of("prune.unstructured");
    arguments a = technique_arguments(t, with);
    pare_host_env env = {.diags = s->d,
                         .step = "it",
                         .plugin = "test",
                         .seed = 7,
                         .notes = s->notes,
                         .ext = watching_ext,
                         .services = &s->services};
    const bool gradients = watched.gradients;
    const uint64_t window = watched.window;
    memset(&watched, 0, sizeof watched);
    watched.gradients = gradients;
    watched.window = window;
    watched.model = pare_model_clone(in);
    *out = NULL;
    pare_status st = pare_step_run(&env, t, a.args, in, out);
    pare_model_free(watched.model);
    watched.gradients = false;
    watched.window = 0;
    arguments_free(&a);
    return st;
}

static uint64_t zeros(pare_model *m, const char *name) {
    uint64_t n, z = 0;
    const float *w = small_weights(m, name, &n);
    for (uint64_t i = 0; i < n; i++) {
        z += w[i] == 0;
        if (w[i] == 0) assert_true(plus_zero(w[i]));
    }
    return z;
}

static bool is_masked(pare_model *m, const char *name) {
    return pare_tensor_masked(m, pare_model_tensor(m, pare_model_value(m, net_value(m, name))->tensor));
}

/* Every zero of `before` is one of `after`, +0.0. */
static void zeros_kept(pare_model *before, pare_model *after) {
    for (int k = 0; k < LAYERS; k++) {
        uint64_t n;
        const float *a = small_weights(before, layer_name[k], &n), *b = small_weights(after, layer_name[k], &n);
        for (uint64_t i = 0; i < n; i++)
            if (a[i] == 0) assert_true(plus_zero(b[i]));
    }
}

static const json_t *curve(const small_step *s, const char *name) {
    return json_object_get(json_object_get(s->notes, "curves"), name);
}

static double note(const small_step *s, const char *key) {
    return json_number_value(json_object_get(json_object_get(s->notes, "notes"), key));
}

/* ---- rising ---- */

/* 75 % along the cubic in 9 changes; then fine-tuned by Adam, then distilled: the zeros stay. On all devices. */
static void it_rises_and_zeros_stay(void **state) {
    (void)state;
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        small_step_begin(&s, device, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL, *tuned = NULL, *distilled = NULL;
        s.fit.epochs = 10;
        s.fit.micro_batch = device == NET_FAR_CPU ? 6 : 0;
        assert_ok(&s, prune(&s, "{sparsity: 0.75, every: 5}", m, &out));
        assert_int_equal(watched.steps, 60);
        assert_int_equal(watched.came_back, 0);
        for (uint64_t step = 1; step <= 60; step++) {
            const double t = fmin((double)(step / 5 * 5) / 45, 1), share = 1 - pow(1 - t, 3);
            /* what one shot would take: 40.5 of 54 is 40, halves to even; 216 of 288 */
            assert_int_equal(watched.living[step][CONV], CONV_N - (uint64_t)floor(40 * share + 0.5));
            assert_int_equal(watched.living[step][FC], FC_N - (uint64_t)floor(216 * share + 0.5));
        }
        assert_int_equal(zeros(out, "conv.weight"), 40);
        assert_int_equal(zeros(out, "fc.weight"), 216);
        assert_true(is_masked(out, "conv.weight") && is_masked(out, "fc.weight") && !is_masked(out, "fc.bias"));
        assert_true(note(&s, "sparsity") == 256.0 / 342 && note(&s, "mask_changes") == 9);
        const json_t *c = curve(&s, "sparsity"), *first = json_array_get(c, 0), *last = json_array_get(c, 10);
        assert_int_equal(json_array_size(c), 11); /* the start, nine changes, the end */
        assert_true(json_number_value(json_array_get(first, 0)) == 0 &&
                    json_number_value(json_array_get(first, 1)) == 0);
        assert_true(json_number_value(json_array_get(last, 0)) == 10 &&
                    json_number_value(json_array_get(last, 1)) == 256.0 / 342);
        const json_t *row = json_array_get(json_object_get(s.notes, "layers"), 0);
        assert_true(json_number_value(json_object_get(row, "requested")) == 0.75);
        assert_true(json_number_value(json_object_get(row, "achieved")) == 40.0 / 54);
        assert_null(json_object_get(row, "regrown"));
        assert_true(note(&s, "loss") < 0.6);

        s.fit.epochs = 3;
        s.fit.optimizer = PARE_ADAM;
        s.fit.lr = 0.01;
        s.fit.ema = 0.5;
        assert_ok(&s, small_step_run(&s, "train.supervised", "{}", out, &tuned));
        zeros_kept(out, tuned);
        assert_false(small_same(out, tuned, "fc.weight"));
        s.fit = pare_fit_defaults();
        s.fit.batch = 16;
        s.teacher[0] = pare_model_clone(tuned);
        assert_ok(&s, small_step_run(&s, "distill.hinton", "{teacher: t}", tuned, &distilled));
        zeros_kept(out, distilled);
        assert_false(small_same(distilled, tuned, "fc.weight"));
        pare_model_free(distilled);
        pare_model_free(tuned);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* With a loss of its own, every criterion, a common threshold, a linear way, epochs. */
static void other_ways(void **state) {
    (void)state;
    const pare_loss *dist = loss_of("distill.dist");
    arguments with = loss_arguments(dist, "teacher: t");
    pare_fit_loss loss = {.use = "distill.dist", .args = with.args, .weight = 1};
    static const char *const ways[] = {
        "{sparsity: 0.6, scope: global, schedule: linear, start: 4, end: 30, every: 3}",
        "{sparsity: 0.6, scope: global, criterion: gradient, batches: 2, every: 3}",
        "{sparsity: 0.6, scope: global, criterion: movement}",
        "{sparsity: 0.6, scope: global, criterion: random, unit: epochs, start: 0.5, end: 3, every: 0.5}",
        "{sparsity: 0.6, criterion: movement, every: 4}",
        "{sparsity: 0.6, criterion: gradient, batches: 1}",
        "{sparsity: 0.6, criterion: gradient, batches: 1000, every: 4, masks: bake}",
        "{sparsity: 0.6, distribution: erk, every: 4}"};
    for (int k = 0; k < 8; k++) {
        small_step s;
        small_step_begin(&s, k % NET_DEVICES, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        s.teacher[0] = small_net(true, SMALL_CLASSES, 3);
        s.fit.losses = &loss;
        s.fit.n_losses = 1;
        s.fit.epochs = 6;
        assert_ok(&s, prune(&s, ways[k], m, &out));
        assert_int_equal(watched.came_back, 0);
        const uint64_t conv = zeros(out, "conv.weight"), fc = zeros(out, "fc.weight");
        if (k < 4)
            assert_int_equal(conv + fc, 205); /* of 342: 205.2 */
        else if (k < 7)
            assert_true(conv == 32 && fc == 173); /* 32.4, 172.8 */
        else /* densities 0.4 * 342 / 112 * 13/54 = 0.294.. and .. 99/288 = 0.4198 */
            assert_true(conv == 38 && fc == 167);
        assert_true(is_masked(out, "fc.weight") == (k != 6));
        if (k == 0) {
            for (uint64_t step = 1; step <= 36; step++) {
                const uint64_t at = step < 7 ? 4 : step >= 30 ? 30 : 4 + (step - 4) / 3 * 3;
                assert_int_equal(342 - watched.living[step][CONV] - watched.living[step][FC],
                                 (uint64_t)floor(205.0 * (double)(at - 4) / 26 + 0.5));
            }
        }
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
    arguments_free(&with);
}

/* 2:4 by way of 3:4; then every step of two optimisers keeps it. */
static void groups_hold(void **state) {
    (void)state;
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        small_step_begin(&s, device, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL, *more = NULL;
        s.fit.epochs = 4;
        assert_ok(&s, prune(&s, "{pattern: \"2:4\", schedule: linear, every: 2}", m, &out));
        assert_int_equal(watched.came_back, 0);
        for (uint64_t step = 1; step <= 24; step++) {
            const uint64_t living = watched.living[step][FC];
            assert_true(living == 288 || living == 216 || living == 144);
            assert_int_equal(watched.living[step][CONV], 54); /* one input channel: left alone */
        }
        assert_int_equal(watched.living[24][FC], 144);
        for (int k = 0; k < 3; k++) {
            s.fit.optimizer = k == 0 ? PARE_SGD : k == 1 ? PARE_ADAM : PARE_ADAMW;
            s.fit.epochs = 2;
            s.fit.lr = 0.02;
            pare_model *from = more ? more : out, *to = NULL;
            assert_ok(&s, prune(&s, "{pattern: \"2:4\"}", from, &to)); /* already so: only watched */
            for (uint64_t step = 1; step <= 12; step++) assert_int_equal(watched.living[step][FC], 144);
            zeros_kept(out, to);
            assert_false(small_same(from, to, "fc.weight"));
            uint64_t n;
            const float *w = small_weights(to, "fc.weight", &n);
            for (uint64_t i = 0; i < n; i += 4) {
                int living = 0;
                for (uint64_t c = 0; c < 4; c++) living += w[i + c] != 0;
                assert_true(living <= 2);
            }
            pare_model_free(more);
            more = to;
        }
        pare_model_free(more);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* ---- regrowth ---- */

static void regrowth_is_as_sparse(void **state) {
    (void)state;
    static const char *const ways[] = {"{sparsity: 0.8, regrow: gradient, every: 5}",
                                       "{sparsity: 0.8, regrow: random, every: 5, drop: 0.5}",
                                       "{sparsity: 0.8, regrow: gradient, every: 1, end: 1.0, distribution: erk}",
                                       "{sparsity: 0.8, regrow: random, scope: global, criterion: random, end: 1.0}"};
    for (int device = NET_NEAR; device < NET_DEVICES; device++)
        for (int k = 0; k < 4; k++) {
            small_step s;
            small_step_begin(&s, device, true);
            pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
            s.fit.epochs = 8;
            s.fit.optimizer = k % 2 ? PARE_ADAM : PARE_SGD;
            s.fit.lr = k % 2 ? 0.01 : 0.05;
            assert_ok(&s, prune(&s, ways[k], m, &out));
            const uint64_t conv = watched.living[1][CONV], fc = watched.living[1][FC];
            if (k < 2) assert_true(conv == 54 - 43 && fc == 288 - 230);
            if (k == 2) assert_true(conv == 8 && fc == 60); /* 0.2 * 342 / 112 * 13 and * 99: 7.9, 60.5 to even */
            if (k == 3) assert_int_equal(conv + fc, 342 - 274);
            for (uint64_t step = 1; step <= 48; step++)
                assert_true(watched.living[step][CONV] == conv && watched.living[step][FC] == fc);
            assert_true(watched.came_back > 0);
            assert_true(note(&s, "regrown") == (double)watched.came_back);
            double rows = 0;
            size_t i;
            json_t *row;
            json_array_foreach(json_object_get(s.notes, "layers"), i, row) rows +=
                json_number_value(json_object_get(row, "regrown"));
            assert_true(rows == (double)watched.came_back);
            assert_true(json_array_size(curve(&s, "regrown")) > 3);
            assert_true(zeros(out, "fc.weight") >= 288 - fc);
            pare_model_free(out);
            pare_model_free(m);
            small_step_end(&s);
        }
}

/* ---- criteria ---- */

typedef struct scored {
    double score;
    uint64_t i;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    return x->score < y->score ? -1 : x->score > y->score;
}

/* The zeros are the k of least score; scores that are as near as rounding may change places. */
static void least_went(pare_model *m, int layer, const double *score, uint64_t k) {
    uint64_t n, wrong = 0;
    const float *w = small_weights(m, layer_name[layer], &n);
    scored r[FC_N];
    for (uint64_t i = 0; i < n; i++) r[i] = (scored){score[i], i};
    qsort(r, n, sizeof *r, by_score);
    for (uint64_t i = 0; i < n; i++) wrong += (w[r[i].i] == 0) != (i < k);
    if (wrong > 2) fail_msg("%llu of %s are wrong", (unsigned long long)wrong, layer_name[layer]);
}

static void once_by_gradient(void **state) {
    (void)state;
    for (int device = NET_NEAR; device < NET_DEVICES; device++) {
        small_step s;
        small_step_begin(&s, device, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        s.fit.epochs = 3;
        watched.gradients = true;
        assert_ok(&s, prune(&s, "{sparsity: 0.5, criterion: gradient, schedule: once, batches: 4}", m, &out));
        assert_int_equal(watched.steps, 4);
        least_went(out, CONV, watched.taylor[CONV], 27);
        least_went(out, FC, watched.taylor[FC], 144);
        assert_true(small_same(m, out, "bn.mean") && small_same(m, out, "bn.var") && small_same(m, out, "fc.bias"));
        uint64_t n;
        const float *a = small_weights(m, "fc.weight", &n), *b = small_weights(out, "fc.weight", &n);
        for (uint64_t i = 0; i < n; i++) assert_true(b[i] == 0 || a[i] == b[i]); /* nothing moved */
        assert_int_equal(zeros(out, "fc.weight"), 144);
        assert_true(is_masked(out, "fc.weight"));
        pare_model_free(out);
        assert_ok(&s, prune(&s, "{pattern: \"1:4\", criterion: gradient, schedule: once}", m, &out));
        assert_true(zeros(out, "fc.weight") == 216 && small_same(m, out, "conv.weight"));
        pare_model_free(out);
        assert_ok(&s, prune(&s, "{sparsity: 0.5, scope: global, criterion: gradient, schedule: once}", m, &out));
        assert_int_equal(zeros(out, "fc.weight") + zeros(out, "conv.weight"), 171);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* One change, at step 20, by what was seen until then. */
static void movement_and_gradient_choose_by_what_was_seen(void **state) {
    (void)state;
    for (int movement = 0; movement < 2; movement++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
        s.fit.epochs = 0;
        s.fit.steps = 20;
        watched.gradients = true;
        assert_ok(&s, prune(&s,
                            movement ? "{sparsity: 0.5, criterion: movement, end: 1.0, every: 1000}"
                                     : "{sparsity: 0.5, criterion: gradient, end: 1.0, every: 1000, batches: 20}",
                            m, &out));
        assert_int_equal(watched.living[19][FC], 288);
        assert_int_equal(watched.living[20][FC], 144);
        least_went(out, CONV, movement ? watched.movement[CONV] : watched.taylor[CONV], 27);
        least_went(out, FC, movement ? watched.movement[FC] : watched.taylor[FC], 144);
        pare_model_free(out);
        pare_model_free(m);
        small_step_end(&s);
    }
}

/* ---- the best epoch ---- */

static pare_status worse_each_epoch(void *ctx, pare_model *m, uint32_t epoch, double *score) {
    (void)ctx;
    (void)m;
    *score = 1.0 / (epoch + 1);
    return PARE_OK;
}

static void the_best_epoch_is_one_under_the_last_masks(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    s.fit.epochs = 6;
    s.fit.keep = PARE_KEEP_BEST;
    s.fit.early_stop = 2;
    s.services.env.validate = worse_each_epoch;
    s.services.env.ctx = &s;
    assert_ok(&s, prune(&s, "{sparsity: 0.75, every: 3, end: 0.6}", m, &out));
    assert_true(zeros(out, "conv.weight") == 40 && zeros(out, "fc.weight") == 216);
    assert_int_equal(watched.steps, 36); /* masks changed up to step 22: epochs 4 and on count for early_stop */
    pare_model_free(out);
    assert_ok(&s, prune(&s, "{sparsity: 0.75, every: 100, end: 1.0}", m, &out));
    assert_said(&s, "stopped at step 18, before pruning was done at step 36");
    pare_model_free(out);
    pare_model_free(m);
    small_step_end(&s);
}

/* What was pruned before counts, and goes on from there. */
static void it_goes_on_from_masks(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *half = NULL, *out = NULL;
    s.fit.epochs = 4;
    s.services.fit = NULL;
    assert_ok(&s, prune(&s, "{sparsity: 0.5}", m, &half)); /* one shot: no fit block */
    assert_int_equal(watched.steps, 0);
    assert_ok(&s, prune(&s, "{sparsity: 0.6, distribution: erk}", m, &out)); /* as in other_ways */
    assert_true(zeros(out, "conv.weight") == 38 && zeros(out, "fc.weight") == 167);
    pare_model_free(out);
    s.services.fit = &s.fit;
    assert_ok(&s, prune(&s, "{sparsity: 0.8, every: 3}", half, &out));
    assert_true(watched.living[1][FC] == 144 && watched.living[24][FC] == 58);
    zeros_kept(half, out);
    pare_model_free(out);
    assert_int_equal(prune(&s, "{sparsity: 0.4}", half, &out), PARE_EINVAL);
    assert_said(
        &s, "[prune.below] step it: \"conv.weight\" is zero by a mask in 27 of 54 weights (50 %) already, and sparsity "
            "asks for 22");
    assert_int_equal(prune(&s, "{sparsity: 0.4, scope: global}", half, &out), PARE_EINVAL);
    assert_said(&s, "the layers are zero by a mask in 171 of 342 weights");
    pare_model_free(half);
    pare_model_free(m);
    small_step_end(&s);
}

/* ---- what is refused ---- */

static void bad_input(void **state) {
    (void)state;
    static const struct {
        bool fit;
        const char *with, *code, *param;
    } bad[] = {
        {false, "{sparsity: 0.5, regrow: gradient}", "prune.no-fit", "regrow"},
        {false, "{sparsity: 0.5, criterion: movement}", "prune.no-fit", "criterion"},
        {false, "{sparsity: 0.5, criterion: gradient}", "prune.no-fit", "criterion"},
        {false, "{sparsity: 0.5, start: 0.1}", "prune.no-fit", "start"},
        {false, "{sparsity: 0.5, end: 0.1}", "prune.no-fit", "end"},
        {false, "{sparsity: 0.5, every: 10}", "prune.no-fit", "every"},
        {false, "{pattern: \"2:4\", distribution: erk}", "prune.distribution", "distribution"},
        {false, "{sparsity: 0.5, scope: global, distribution: erk}", "prune.distribution", "distribution"},
        {true, "{sparsity: 0.5, start: 0.5, end: 0.4}", "prune.end", "end"},
        {true, "{sparsity: 0.5, start: 8, end: 4}", "prune.end", "end"},
        {true, "{sparsity: 0.5, start: 2, end: 1.5, unit: epochs}", "prune.end", "end"},
        {true, "{sparsity: 0.5, start: 10}", "prune.end", "end"}, /* three quarters of 12 are 9 */
        {true, "{sparsity: 0.5, end: 500}", "prune.end", "end"},  /* of 12 */
        {true, "{sparsity: 0.5, schedule: once}", "prune.once", "schedule"},
        {true, "{sparsity: 0.5, schedule: once, criterion: gradient, every: 4}", "prune.once", "every"},
        {true, "{sparsity: 0.5, schedule: once, criterion: gradient, regrow: random}", "prune.once", "regrow"},
        {true, "{pattern: \"2:4\", regrow: random}", "prune.regrow", "regrow"},
        {true, "{sparsity: 0.5, regrow: gradient, criterion: movement}", "prune.regrow", "criterion"},
    };
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *out = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        small_step s;
        small_step_begin(&s, NET_NEAR, true);
        if (!bad[i].fit) s.services.fit = NULL;
        pare_status st = prune(&s, bad[i].with, m, &out);
        assert_null(out);
        if (st != PARE_EINVAL) fail_msg("%s: %d", bad[i].with, st);
        bool said = false;
        for (size_t k = 0; k < pare_diags_count(s.d); k++) {
            const pare_diag_item *it = pare_diags_get(s.d, k);
            said |= strcmp(it->code, bad[i].code) == 0 && it->param && strcmp(it->param, bad[i].param) == 0 && it->hint;
        }
        if (!said) fail_msg("%s: %s", bad[i].with, small_said(&s));
        small_step_end(&s);
    }
    small_step s;
    static const char *const freeze[] = {"fc.*"};
    small_step_begin(&s, NET_NEAR, true);
    s.fit.freeze = freeze;
    s.fit.n_freeze = 1;
    assert_int_equal(prune(&s, "{sparsity: 0.5}", m, &out), PARE_EINVAL);
    assert_said(&s, "[prune.not-trained] step it: \"fc.weight\" is to be pruned while it trains");
    assert_ok(&s, small_step_run(&s, "prune.unstructured", "{sparsity: 0.5, exclude: [fc.weight], every: 1}", m, &out));
    assert_true(zeros(out, "conv.weight") == 27 && small_same(m, out, "fc.weight"));
    pare_model_free(out);
    small_step_end(&s);
    pare_model_free(m);
}

static int begin(void **state) {
    plugins_open();
    return tmpdir_make(state);
}

static int end(void **state) {
    plugins_close();
    return tmpdir_remove(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_rises_and_zeros_stay),
        cmocka_unit_test(other_ways),
        cmocka_unit_test(groups_hold),
        cmocka_unit_test(regrowth_is_as_sparse),
        cmocka_unit_test(once_by_gradient),
        cmocka_unit_test(movement_and_gradient_choose_by_what_was_seen),
        cmocka_unit_test(the_best_epoch_is_one_under_the_last_masks),
        cmocka_unit_test(it_goes_on_from_masks),
        cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
