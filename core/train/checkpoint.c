/* train/checkpoint.c - see checkpoint.h. */
#include "train/checkpoint.h"

#include "base/json.h"
#include "plugin/param.h"
#include "train/fit_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the options' hash ---- */

static void add_args(pare_sb *b, const pare_loss *l, const pare_arg *args) {
    pare_param_table t = {l->params, l->n_params, l->param_stride};
    for (uint32_t i = 0; args && i < t.n; i++) {
        const pare_param *row = pare_param_at(t, i);
        bool list = row->flags & PARE_PARAM_LIST, text = row->type >= PARE_PARAM_STRING;
        if (row->type == PARE_PARAM_TABLE) continue; /* no loss has one */
        for (uint64_t k = 0; k < args[i].n; k++) {
            const pare_arg *a = list ? &args[i].u.list[k] : &args[i];
            if (text)
                pare_sb_printf(b, " %s=%s", row->name, a->u.s);
            else if (row->type == PARE_PARAM_FLOAT)
                pare_sb_printf(b, " %s=%.17g", row->name, a->u.f);
            else
                pare_sb_printf(b, " %s=%" PRId64, row->name, a->u.i);
        }
    }
}

static void add_texts(pare_sb *b, const char *key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++) pare_sb_printf(b, "%s %s\n", key, list[i]);
}

void pare_fit_opts_hash(const pare_fit_opts *o, char hex[PARE_SHA256_HEX]) {
    const pare_schedule_opts *s = &o->schedule;
    const pare_augment_opts *a = &o->augment;
    pare_sb b = {0};
    pare_sb_printf(&b, "%.17g %" PRIu64 " %u %u %d\n", o->epochs, o->steps, o->batch, o->micro_batch, o->drop_last);
    pare_sb_printf(&b, "%d %.17g %.17g %d %.17g %.17g %.17g %.17g %d\n", (int)o->optimizer, o->lr, o->momentum,
                   o->nesterov, o->beta1, o->beta2, o->epsilon, o->weight_decay, o->decay_all);
    pare_sb_printf(&b, "%d %.17g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %d %.17g %.17g\n", (int)s->kind, s->warmup,
                   s->step_epochs, s->gamma, s->final_lr, s->power, s->pct_start, s->div_factor, s->final_div,
                   s->cycle_momentum, s->momentum_min, s->momentum_max);
    pare_sb_printf(&b, "%.17g %.17g %.17g %d %s\n", o->clip_norm, o->label_smoothing, o->ema, o->freeze_batchnorm,
                   o->logits ? o->logits : "");
    pare_sb_printf(&b, "%.17g %u %d %.17g %.17g %.17g %.17g %.17g %u %.17g\n", a->flip, a->crop_padding,
                   a->resized_crop, a->resized_min, a->resized_max, a->brightness, a->contrast, a->saturation,
                   a->cutout, a->mixup);
    add_texts(&b, "freeze", o->freeze, o->n_freeze);
    add_texts(&b, "train", o->train, o->n_train);
    for (size_t i = 0; i < o->n_groups; i++)
        pare_sb_printf(&b, "layer %s %.17g %.17g\n", o->groups[i].match, o->groups[i].lr, o->groups[i].decay);
    for (size_t i = 0; i < o->n_losses; i++) {
        const pare_fit_loss *l = &o->losses[i];
        pare_sb_printf(&b, "loss %s %.17g", l->use, l->weight);
        if (l->component) add_args(&b, l->component, l->args);
        pare_sb_addc(&b, '\n');
    }
    pare_sha256 *sha = pare_sha256_new();
    pare_sha256_add(sha, b.data, b.len);
    pare_sha256_end(sha, hex);
    pare_sb_free(&b);
}

/* ---- writing ---- */

typedef struct writing {
    pare_weights w;
    PARE_VEC(pare_array *) held;
} writing;

/* Takes the reference. */
static void add(writing *w, const char *name, pare_array *a) {
    pare_named_tensor t = {
        .name = name, .dtype = a->dtype, .ndim = a->ndim, .dims = a->dims, .count = a->count, .blob = a->blob};
    pare_vec_push(&w->held, a);
    pare_vec_push(&w->w.tensors, t);
}

static pare_status add_variables(writing *w, pare_fit *f) {
    pare_status st = PARE_OK;
    for (size_t i = 0; i < f->g.n_variables && !st; i++) {
        bool sum = false; /* gradients start anew with each batch */
        for (size_t k = 0; k < f->g.n_weights && !sum; k++)
            sum = f->g.weights[k].sum && strcmp(f->g.weights[k].sum, f->g.variables[i]) == 0;
        pare_array *a = NULL;
        if (sum) continue;
        st = pare_session_variable_get(f->session, f->g.variables[i], f->d, &a);
        if (!st) add(w, f->g.variables[i], a);
    }
    return st;
}

/* The best epoch's, in the order fit_home.c keeps them: weights, then statistics. */
static void add_best(writing *w, pare_fit *f) {
    for (size_t i = 0; f->best_weights && i < f->g.n_weights + f->g.trained.n_statistics; i++) {
        const char *name = i < f->g.n_weights ? f->g.weights[i].name : f->g.trained.statistics[i - f->g.n_weights];
        if (f->best_weights[i])
            add(w, pare_arena_printf(&w->w.arena, "best:%s", name), pare_array_ref(f->best_weights[i]));
    }
}

static char *meta_of(const pare_fit *f) {
    char hex[PARE_SHA256_HEX], seed[24];
    pare_fit_opts_hash(&f->o, hex);
    snprintf(seed, sizeof seed, "0x%016" PRIx64, f->o.seed); /* 64 bits don't fit JSON's signed ints */
    json_t *j = json_pack("{s:i, s:I, s:I, s:I, s:I, s:s, s:s, s:I}", "checkpoint", 1, "epoch",
                          (json_int_t)(f->step / f->per_epoch), "step", (json_int_t)f->step, "steps",
                          (json_int_t)f->steps, "steps_per_epoch", (json_int_t)f->per_epoch, "seed", seed, "options",
                          hex, "since_best", (json_int_t)f->since_best);
    json_object_set_new(j, "best", f->has_best && isfinite(f->best) ? json_real(f->best) : json_null());
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

pare_status pare_checkpoint_write(pare_fit *f, const char *path) {
    writing w = {0};
    char *text = meta_of(f);
    pare_status st = text ? add_variables(&w, f) : PARE_ENOMEM;
    if (!st) {
        pare_meta meta = {PARE_CHECKPOINT_META, text};
        add_best(&w, f);
        pare_vec_push(&w.w.metadata, meta);
        st = pare_weights_write(&w.w, path, f->d);
    }
    for (size_t i = 0; i < w.held.len; i++) pare_array_unref(w.held.data[i]);
    pare_vec_free(&w.held);
    pare_vec_free(&w.w.tensors);
    pare_vec_free(&w.w.metadata);
    pare_arena_free(&w.w.arena);
    free(text);
    return st;
}

/* ---- reading ---- */

static bool read_meta(const char *text, pare_checkpoint *out) {
    json_t *j = json_loads(text, 0, NULL);
    const char *seed = json_string_value(json_object_get(j, "seed"));
    const char *options = json_string_value(json_object_get(j, "options"));
    json_int_t step = json_integer_value(json_object_get(j, "step"));
    json_int_t steps = json_integer_value(json_object_get(j, "steps"));
    json_int_t per_epoch = json_integer_value(json_object_get(j, "steps_per_epoch"));
    json_t *best = json_object_get(j, "best");
    bool ok = json_integer_value(json_object_get(j, "checkpoint")) == 1 && seed && options && step > 0 &&
              steps >= step && per_epoch > 0 && strlen(options) == PARE_SHA256_HEX - 1;
    if (ok) {
        *out = (pare_checkpoint){.step = (uint64_t)step,
                                 .steps = (uint64_t)steps,
                                 .steps_per_epoch = (uint64_t)per_epoch,
                                 .seed = strtoull(seed, NULL, 16),
                                 .epoch = (uint32_t)json_integer_value(json_object_get(j, "epoch")),
                                 .since_best = (uint32_t)json_integer_value(json_object_get(j, "since_best")),
                                 .best = json_is_number(best) ? json_number_value(best) : (double)NAN};
        memcpy(out->options, options, PARE_SHA256_HEX);
    }
    json_decref(j);
    return ok;
}

pare_status pare_checkpoint_read(const char *path, pare_diags *d, pare_checkpoint *out, pare_weights **weights) {
    pare_weights *w = NULL;
    pare_status st = pare_weights_read(path, d, &w);
    if (st) return st;
    const char *text = NULL;
    for (size_t i = 0; i < w->metadata.len; i++)
        if (strcmp(w->metadata.data[i].key, PARE_CHECKPOINT_META) == 0) text = w->metadata.data[i].value;
    if (!text || !read_meta(text, out))
        st = pare_fail_file(d, PARE_EINVAL, path, "train.checkpoint", NULL, "this is no checkpoint that pare wrote");
    if (st || !weights)
        pare_weights_free(w);
    else
        *weights = w;
    return st;
}
