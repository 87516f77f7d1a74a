/* tests/pipeline/test_config_fit.c - a step's `fit:` block: what its keys become, defaults, --set, and that what the
 * lock says of it reads back as the same. What is wrong with one: tests/pipelines/fit-*.yaml. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/os.h"
#include "pipeline/lock.h"
#include "pipeline/techniques.h"
#include "train/checkpoint.h"

#include <stdlib.h>

static char dir[] = "/tmp/pare-fit-XXXXXX";
static char file[128];

static int enter(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/test.yaml", dir);
    return 0;
}

static int leave(void **state) {
    (void)state;
    return pare_tree_remove(dir, NULL) == PARE_OK ? 0 : -1;
}

static pare_pipeline *open_text(const char *text, const char *const *sets, size_t n_sets, pare_diags **said) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_pipeline *p = NULL;
    pare_pipeline_opts opts = {
        .techniques = test_techniques(), .losses = test_losses(), .sets = sets, .n_sets = n_sets};
    assert_int_equal(pare_file_write(file, text, strlen(text), NULL), PARE_OK);
    if (pare_pipeline_open(file, &opts, d, &p) != PARE_OK) fail_msg("%s\n%s", text, pare_diags_get(d, 0)->message);
    if (said)
        *said = d;
    else
        pare_diags_free(d);
    return p;
}

#define HEAD                                                                                                           \
    "version: 1\n"                                                                                                     \
    "models: {net: {zoo: resnet18}, other: {zoo: resnet18}}\n"                                                         \
    "data:\n"                                                                                                          \
    "  val: {random: 64, classes: 10}\n"                                                                               \
    "  train: {random: 64, classes: 10}\n"                                                                             \
    "  noise: {random: 64}\n"                                                                                          \
    "steps:\n"

static const char full[] =
    HEAD "  - {id: a, model: net, use: test.train, fit: {}}\n"
         "  - id: b\n"
         "    use: test.train\n"
         "    fit:\n"
         "      epochs: 2.5\n"
         "      steps: 1e3\n"
         "      batch: 64\n"
         "      micro_batch: 16\n"
         "      drop_last: false\n"
         "      optimizer: adamw\n"
         "      lr: 1e-3\n"
         "      betas: [0.8, 0.99]\n"
         "      epsilon: 1e-6\n"
         "      decay: all\n"
         "      schedule: {kind: onecycle, pct_start: 0.4, div_factor: 10}\n"
         "      clip_norm: 1\n"
         "      label_smoothing: 0.1\n"
         "      ema: 0.999\n"
         "      freeze: [conv1.weight, \"re:^layer1\"]\n"
         "      train: fc.*\n"
         "      layers: [{match: fc.bias, lr: 2, decay: 0}, {match: fc.*, lr: 0.5}]\n"
         "      freeze_batchnorm: true\n"
         "      augment: {flip: 0.5, crop: 4, resized_crop: [0.3, 1], brightness: 0.2, cutout: 8, "
         "mixup: 0.4}\n"
         "      logits: logits\n"
         "      data: noise\n"
         "      validate: val\n"
         "      recompute: 4\n"
         "      keep: best\n"
         "      early_stop: 3\n"
         "      loss:\n"
         "        - {use: test.distill, with: {teacher: [a, other]}, weight: 0.25}\n"
         "        - mse\n"
         "  - {id: c, use: test.train, fit: {optimizer: adam, schedule: {kind: step, every: 2}, "
         "recompute: auto, cache_logits: on, loss: {use: test.distill, with: {teacher: b, temperature: 2}}}}\n"
         "  - {id: d, use: test.train, fit: {momentum: 0, schedule: poly}}\n"
         "report: {\"on\": val, metrics: [accuracy]}\n";

static void defaults(void **state) {
    (void)state;
    pare_pipeline *p = open_text(full, NULL, 0, NULL);
    const pare_pipeline_fit *f = p->steps[0].fit;
    pare_fit_opts o = f->opts, want = pare_fit_defaults();
    assert_non_null(f);
    assert_string_equal(p->data.sets[f->data].name, "train");
    assert_int_equal(f->validate, -1);
    assert_int_equal(f->cache_logits, PARE_AUTO);
    assert_true(o.epochs == want.epochs && o.steps == want.steps && o.batch == want.batch && o.lr == want.lr);
    assert_true(o.momentum == want.momentum && o.nesterov == want.nesterov && o.weight_decay == want.weight_decay);
    assert_true(o.drop_last == want.drop_last && o.optimizer == want.optimizer && o.keep == want.keep);
    assert_true(o.beta1 == want.beta1 && o.beta2 == want.beta2 && o.epsilon == want.epsilon);
    assert_true(o.decay_all == want.decay_all && o.n_losses == 0 && !o.logits && !o.n_freeze && !o.n_train);
    const pare_schedule_opts *s = &o.schedule, *w = &want.schedule;
    assert_true(s->kind == w->kind && s->warmup == w->warmup && s->step_epochs == w->step_epochs);
    assert_true(s->gamma == w->gamma && s->final_lr == w->final_lr && s->power == w->power);
    assert_true(s->pct_start == w->pct_start && s->div_factor == w->div_factor && s->final_div == w->final_div);
    assert_true(s->momentum_min == w->momentum_min && s->momentum_max == w->momentum_max);
    /* one text: the hash of what training does is that of the defaults */
    char a[PARE_SHA256_HEX], b[PARE_SHA256_HEX];
    want.augment.resized_min = o.augment.resized_min;
    pare_fit_opts_hash(&o, a);
    pare_fit_opts_hash(&want, b);
    assert_string_equal(a, b);
    pare_fit_opts_hash(&p->steps[1].fit->opts, b);
    assert_string_not_equal(a, b);
    pare_pipeline_free(p);
}

static void typed(void **state) {
    (void)state;
    pare_diags *d;
    pare_pipeline *p = open_text(full, NULL, 0, &d);
    const pare_pipeline_fit *f = p->steps[1].fit;
    const pare_fit_opts *o = &f->opts;
    assert_true(o->epochs == 2.5 && o->steps == 1000 && o->batch == 64 && o->micro_batch == 16 && !o->drop_last);
    assert_true(o->optimizer == PARE_ADAMW && o->lr == 1e-3 && o->beta1 == 0.8 && o->beta2 == 0.99);
    assert_true(o->epsilon == 1e-6 && o->decay_all && o->weight_decay == 0.01 && o->momentum == 0 && !o->nesterov);
    assert_true(o->schedule.kind == PARE_SCHEDULE_ONECYCLE && o->schedule.pct_start == 0.4);
    assert_true(o->schedule.div_factor == 10 && o->schedule.warmup == 0);
    assert_true(o->clip_norm == 1 && o->label_smoothing == 0.1 && o->ema == 0.999 && o->freeze_batchnorm);
    assert_int_equal(o->n_freeze, 2);
    assert_string_equal(o->freeze[1], "re:^layer1");
    assert_int_equal(o->n_train, 1);
    assert_string_equal(o->train[0], "fc.*");
    assert_int_equal(o->n_groups, 2);
    assert_true(o->groups[0].lr == 2 && o->groups[0].decay == 0 && o->groups[1].lr == 0.5 && o->groups[1].decay == 1);
    assert_true(o->augment.flip == 0.5 && o->augment.crop_padding == 4 && o->augment.resized_crop);
    assert_true(o->augment.resized_min == 0.3 && o->augment.resized_max == 1 && o->augment.brightness == 0.2);
    assert_true(o->augment.cutout == 8 && o->augment.mixup == 0.4);
    assert_string_equal(o->logits, "logits");
    assert_string_equal(p->data.sets[f->data].name, "noise");
    assert_string_equal(p->data.sets[f->validate].name, "val");
    assert_true(o->keep == PARE_KEEP_BEST && o->early_stop == 3);
    assert_int_equal(o->recompute, 4);
    assert_int_equal(p->steps[0].fit->opts.recompute, 0);
    assert_int_equal(p->steps[2].fit->opts.recompute, -1);
    assert_int_equal(f->cache_logits, PARE_OFF); /* images are other ones each time */
    assert_int_equal(o->n_losses, 2);
    assert_ptr_equal(o->losses[0].component, &test_loss);
    assert_true(o->losses[0].weight == 0.25 && o->losses[0].n_teachers == 2 && o->losses[1].weight == 1);
    assert_string_equal(o->losses[0].teachers[1], "other");
    assert_string_equal(o->losses[1].use, "mse");
    assert_null(o->losses[1].component);
    o = &p->steps[2].fit->opts;
    assert_true(o->optimizer == PARE_ADAM && o->lr == 1e-3 && o->weight_decay == 0);
    assert_true(o->schedule.kind == PARE_SCHEDULE_STEP && o->schedule.step_epochs == 2 && o->schedule.gamma == 0.1);
    assert_int_equal(p->steps[2].fit->cache_logits, PARE_ON);
    o = &p->steps[3].fit->opts;
    assert_true(!o->nesterov && o->momentum == 0 && o->schedule.kind == PARE_SCHEDULE_POLY && o->schedule.warmup == 0);
    /* the set that is reported on chooses the epoch: that is said */
    assert_int_equal(pare_diags_count(d), 1);
    assert_string_equal(pare_diags_get(d, 0)->code, "config.validate");
    pare_diags_free(d);
    pare_pipeline_free(p);
}

static void count_name(void *ctx, const char *ref) {
    char *all = ctx;
    strcat(all, ref);
    strcat(all, " ");
}

static void models_named(void **state) {
    (void)state;
    pare_pipeline *p = open_text(full, NULL, 0, NULL);
    char all[64] = "";
    for (size_t i = 0; i < p->n_steps; i++) pare_pipeline_step_models(p, i, count_name, all);
    assert_string_equal(all, "a other b ");
    pare_pipeline_ref ref;
    assert_true(pare_pipeline_ref_find(p, "b", &ref) && ref.kind == PARE_REF_STEP && ref.i == 1);
    assert_true(pare_pipeline_ref_find(p, "other", &ref) && ref.kind == PARE_REF_MODEL && ref.i == 1);
    assert_false(pare_pipeline_ref_find(p, "some.onnx", &ref));
    pare_pipeline_free(p);
}

static void overridden(void **state) {
    (void)state;
    static const char *const sets[] = {"steps.a.fit.lr=0.01", "steps.a.fit.schedule=constant",
                                       "steps.b.fit.schedule.pct_start=0.2", "steps.a.fit.augment.flip=0.25",
                                       "steps.d.fit={epochs: 3}"};
    pare_pipeline *p = open_text(full, sets, 5, NULL);
    assert_true(p->steps[0].fit->opts.lr == 0.01 && p->steps[0].fit->opts.augment.flip == 0.25);
    assert_int_equal(p->steps[0].fit->opts.schedule.kind, PARE_SCHEDULE_CONSTANT);
    assert_true(p->steps[1].fit->opts.schedule.pct_start == 0.2);
    assert_true(p->steps[3].fit->opts.epochs == 3 && p->steps[3].fit->opts.nesterov);
    pare_pipeline_free(p);
}

/* What the lock holds is a pipeline again, and the same one. */
static void reads_back(void **state) {
    (void)state;
    pare_pipeline *p = open_text(full, NULL, 0, NULL);
    json_t *j = pare_pipeline_json(p);
    pare_sb text = {0};
    pare_lock_emit(j, &text);
    pare_pipeline *q = open_text(pare_sb_str(&text), NULL, 0, NULL);
    json_t *k = pare_pipeline_json(q);
    assert_true(json_equal(j, k));
    for (size_t i = 0; i < p->n_steps; i++) {
        char x[PARE_SHA256_HEX], y[PARE_SHA256_HEX];
        pare_fit_opts_hash(&p->steps[i].fit->opts, x);
        pare_fit_opts_hash(&q->steps[i].fit->opts, y);
        assert_string_equal(x, y);
    }
    json_decref(j);
    json_decref(k);
    pare_sb_free(&text);
    pare_pipeline_free(p);
    pare_pipeline_free(q);
}

/* Which set is taken where none is named. */
static void likely_sets(void **state) {
    (void)state;
    static const struct {
        const char *data, *report, *set;
    } rows[] = {
        {"{pictures: {random: 8, classes: 2}}", "", "pictures"},
        {"{noise: {random: 8}, pictures: {random: 8, classes: 2}}", "", "pictures"},
        {"{noise: {random: 8}}", "", "noise"},
        {"{test: {random: 8, classes: 2}, pictures: {random: 8, classes: 2}}",
         "report: {\"on\": test, metrics: [accuracy]}\n", "pictures"},
        {"{a: {random: 8}, train: {random: 8}}", "", "train"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[400];
        snprintf(text, sizeof text,
                 "version: 1\nmodels: {net: {zoo: resnet18}}\ndata: %s\n"
                 "steps: [{id: a, use: test.train, fit: }]\n%s",
                 rows[i].data, rows[i].report);
        pare_pipeline *p = open_text(text, NULL, 0, NULL);
        assert_string_equal(p->data.sets[p->steps[0].fit->data].name, rows[i].set);
        pare_pipeline_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(defaults),     cmocka_unit_test(typed),
                                       cmocka_unit_test(models_named), cmocka_unit_test(overridden),
                                       cmocka_unit_test(reads_back),   cmocka_unit_test(likely_sets)};
    return cmocka_run_group_tests(tests, enter, leave);
}
