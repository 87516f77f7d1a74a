/* core/train/checkpoint.h: what a checkpoint holds is all that training needs to go on: a fit that takes it over ends
 * with the bytes of one that was never interrupted. */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/os.h"
#include "train/checkpoint.h"
#include "train/fit_parts.h"
#include "train/small.h"

#include <math.h>

static pare_status scored(void *ctx, pare_model *m, uint32_t epoch, double *score) {
    (void)ctx;
    (void)m;
    *score = epoch == 1 ? 0.9 : 0.5; /* the second epoch is the best */
    return PARE_OK;
}

static pare_fit *open_fit(small_step *s, const pare_model *m) {
    pare_fit_env env = s->services.env;
    pare_fit *f = NULL;
    env.loss.host.diags = s->d;
    if (pare_fit_open(m, &s->fit, &env, 0, s->d, &f)) fail_msg("%s", small_said(s));
    return f;
}

static void take_over(pare_fit *f, const pare_checkpoint *at, const pare_weights *w) {
    size_t found = 0;
    for (size_t i = 0; i < w->tensors.len; i++) {
        const pare_named_tensor *t = &w->tensors.data[i];
        if (strncmp(t->name, "best:", 5) == 0) continue;
        pare_array *a = pare_array_new(t->dtype, t->ndim, t->dims);
        memcpy(pare_array_data_mut(a), t->blob->data, t->blob->len);
        assert_int_equal(pare_session_variable_set(f->session, t->name, a, f->d), PARE_OK);
        pare_array_unref(a);
        found++;
    }
    assert_int_equal(found, f->g.n_variables);
    f->step = at->step;
}

static void on_it_goes(void **state) {
    (void)state;
    static const char *const names[] = {"conv.weight", "bn.weight", "bn.bias", "bn.mean", "bn.var", "fc.weight"};
    for (int k = 0; k < 4; k++) {
        small_step s;
        small_step_begin(&s, k == 3 ? NET_FAR : NET_NEAR, true);
        s.fit.epochs = 3;
        s.fit.optimizer = k == 1 ? PARE_ADAMW : PARE_SGD;
        s.fit.ema = k == 2 ? 0.9 : 0;
        s.fit.checkpoint = in_tmp("checkpoint.safetensors");
        pare_model *m = small_net(true, SMALL_CLASSES, 1), *whole = pare_model_clone(m), *half = pare_model_clone(m);
        pare_fit *f = open_fit(&s, m);
        assert_ok(&s, pare_fit_run(f, 0));
        assert_ok(&s, pare_fit_home(f, whole));
        pare_fit_close(f);

        pare_checkpoint at;
        pare_weights *w = NULL;
        assert_ok(&s, pare_checkpoint_read(s.fit.checkpoint, s.d, &at, &w));
        assert_int_equal(at.epoch, 2); /* the last epoch's is the result itself */
        assert_int_equal(at.step, 12);
        assert_int_equal(at.steps, 18);
        assert_int_equal(at.steps_per_epoch, 6);
        assert_int_equal(at.seed, s.fit.seed);
        assert_true(isnan(at.best));
        char hash[PARE_SHA256_HEX];
        pare_fit_opts_hash(&s.fit, hash);
        assert_string_equal(at.options, hash);

        f = open_fit(&s, m);
        take_over(f, &at, w);
        assert_ok(&s, pare_fit_run(f, 0));
        assert_ok(&s, pare_fit_home(f, half));
        for (size_t i = 0; i < 6; i++)
            if (!small_same(whole, half, names[i])) fail_msg("%d: %s went another way", k, names[i]);
        pare_fit_close(f);
        pare_weights_free(w);
        pare_model_free(m);
        pare_model_free(whole);
        pare_model_free(half);
        small_step_end(&s);
    }
}

static void best_is_in_it(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    s.fit.epochs = 4;
    s.fit.keep = PARE_KEEP_BEST;
    s.fit.checkpoint = in_tmp("best.safetensors");
    s.services.env.validate = scored;
    pare_model *m = small_net(true, SMALL_CLASSES, 1), *kept = pare_model_clone(m);
    pare_fit *f = open_fit(&s, m);
    assert_ok(&s, pare_fit_run(f, 0));
    assert_ok(&s, pare_fit_home(f, kept));
    pare_fit_close(f);
    pare_checkpoint at;
    pare_weights *w = NULL;
    assert_ok(&s, pare_checkpoint_read(s.fit.checkpoint, s.d, &at, &w));
    assert_true(at.best == 0.9 && at.since_best == 1 && at.epoch == 3);
    uint32_t i;
    assert_true(pare_map_get(&w->names, "best:conv.weight", &i));
    uint64_t n;
    const float *x = small_weights(kept, "conv.weight", &n);
    assert_int_equal(w->tensors.data[i].count, n);
    assert_memory_equal(w->tensors.data[i].blob->data, x, n * sizeof *x);
    pare_weights_free(w);
    pare_model_free(m);
    pare_model_free(kept);
    small_step_end(&s);
}

static void cancelled_between_epochs(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    s.fit.checkpoint = in_tmp("cancelled.safetensors");
    pare_model *m = small_net(true, SMALL_CLASSES, 1);
    pare_fit *f = open_fit(&s, m);
    assert_ok(&s, pare_fit_run(f, 3));
    assert_true(pare_path_what(s.fit.checkpoint) == PARE_PATH_NONE);
    pare_cancel_request();
    assert_int_equal(pare_fit_run(f, 0), PARE_ECANCELLED);
    pare_cancel_reset();
    pare_fit_close(f);
    pare_checkpoint at;
    assert_ok(&s, pare_checkpoint_read(s.fit.checkpoint, s.d, &at, NULL));
    assert_true(at.step == 3 || at.step == 4); /* the batch at hand was finished */
    assert_int_equal(at.epoch, 0);
    pare_model_free(m);
    small_step_end(&s);
}

static void not_a_checkpoint(void **state) {
    (void)state;
    small_step s;
    small_step_begin(&s, NET_NEAR, true);
    pare_weights none = {0};
    pare_checkpoint at;
    const char *path = in_tmp("none.safetensors");
    assert_int_equal(pare_weights_write(&none, path, NULL), PARE_OK);
    assert_int_equal(pare_checkpoint_read(path, s.d, &at, NULL), PARE_EINVAL);
    assert_said(&s, "no checkpoint");
    pare_meta bad = {PARE_CHECKPOINT_META, "{\"checkpoint\": 1, \"step\": -3}"};
    pare_vec_push(&none.metadata, bad);
    assert_int_equal(pare_weights_write(&none, path, NULL), PARE_OK);
    assert_int_equal(pare_checkpoint_read(path, s.d, &at, NULL), PARE_EINVAL);
    pare_vec_free(&none.metadata);
    small_step_end(&s);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(on_it_goes), cmocka_unit_test(best_is_in_it),
                                       cmocka_unit_test(cancelled_between_epochs), cmocka_unit_test(not_a_checkpoint)};
    return cmocka_run_group_tests(tests, begin, end);
}
