/* train/fit.c - see fit.h: opening, the loop over epochs and batches, bringing the weights home.
 *
 * Is not: one batch's runs (fit_step.c), what samples go through (augment.h). May use: fit_parts.h.
 */
#include "train/checkpoint.h"
#include "train/fit_parts.h"

#include "base/reduce.h"
#include "model/edit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static pare_status count_steps(pare_fit *f) {
    const pare_fit_opts *o = &f->o;
    uint64_t n = pare_data_count(f->env.set), batch = o->batch;
    if (!n) return pare_fail(f->d, PARE_EINVAL, "train.empty", NULL, "the training set has no samples");
    f->per_epoch = o->drop_last ? n / batch : (n + batch - 1) / batch;
    if (!f->per_epoch)
        return pare_fail(f->d, PARE_EINVAL, "train.batch", "use a smaller batch, or `drop_last: false`",
                         "the batch is %u, but the training set has only %llu samples", o->batch,
                         (unsigned long long)n);
    double whole = ceil(o->epochs * (double)f->per_epoch);
    f->steps = !o->steps || (o->epochs > 0 && whole < (double)o->steps) ? (uint64_t)whole : o->steps;
    if (!f->steps) f->steps = 1;
    return PARE_OK;
}

/* The losses that the host works out, for as long as the fit is open. */
static pare_status open_evaluated(pare_fit *f) {
    pare_status st = PARE_OK;
    f->evaluated = pare_xcalloc(f->g.n_evaluated + 1, sizeof *f->evaluated);
    for (size_t i = 0; i < f->g.n_evaluated && !st; i++)
        st = pare_evaluated_open(&f->o.losses[f->g.evaluated[i].loss], &f->env.loss, &f->evaluated[i]);
    return st;
}

static void close_evaluated(pare_fit *f) {
    for (size_t i = 0; f->evaluated && i < f->g.n_evaluated; i++)
        if (f->evaluated[i].c) pare_evaluated_close(&f->evaluated[i]);
    free(f->evaluated);
}

static pare_status check_labels(pare_fit *f) {
    bool wanted = f->g.labels || f->g.targets || f->g.wants_labels;
    if (wanted && !pare_data_labelled(f->env.set))
        return pare_fail(f->d, PARE_EINVAL, "train.labels",
                         "use a loss that needs none, as distillation with alpha 1 from a teacher",
                         "the loss takes labels, and the training set has none");
    if (!wanted) return PARE_OK;
    pare_status st = pare_data_check_labels(f->env.set, (uint32_t)f->g.classes, f->d);
    if (!st && pare_data_classes(f->env.set) == 1 && f->g.classes > 1)
        pare_say(f->d, PARE_WARNING, "train.one-class", "all samples of the training set are of one class");
    return st;
}

static pare_status check_teachers(pare_fit *f) {
    for (size_t i = 0; i < f->env.n_teachers; i++) {
        const pare_port *out = pare_session_output(f->env.teachers[i], 0);
        if (out->ndim == 2 && out->dims[1].value >= 0 && out->dims[1].value != f->g.classes)
            return pare_fail(f->d, PARE_EINVAL, "train.teacher",
                             "both need the same classes: give the student a last layer of that size",
                             "teacher %zu tells %lld classes, the student %lld", i + 1, (long long)out->dims[1].value,
                             (long long)f->g.classes);
    }
    return PARE_OK;
}

/* Convolutions with biases and no BatchNormalization: what an exporter folded is gone, and stays gone. */
static void say_folded(const pare_fit *f) {
    const pare_graph *g = pare_model_graph(f->m, PARE_MAIN_GRAPH);
    size_t biased = 0;
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(f->m, g->nodes.data[i]);
        if (pare_node_is(n, "BatchNormalization")) return;
        biased += pare_node_is(n, "Conv") && n->n_in > 2 && n->in[2];
    }
    if (biased && f->env.say)
        f->env.say(f->env.ctx, "there is no BatchNormalization; where an exporter folded it into convolutions it stays "
                               "folded, and these are trained as they are");
}

/* What `recompute` came to. */
static void say_recompute(const pare_fit *f) {
    const pare_recomputed *r = &f->g.recomputed;
    char line[160];
    if (!f->o.recompute) return;
    snprintf(line, sizeof line, "recompute: %u segments, %u of their nodes are computed a second time", r->segments,
             r->copies);
    if (f->env.say) f->env.say(f->env.ctx, line);
    if (r->segments < 2)
        pare_say(
            f->d, PARE_NOTE, "train.recompute",
            "recompute changes nothing here: between no two layers one value alone goes on, or nothing would be won");
    else if (f->o.recompute > 0 && r->segments < (uint32_t)f->o.recompute)
        pare_say(f->d, PARE_NOTE, "train.recompute",
                 "recompute: %d segments were asked for, %u are made: more would save no memory", f->o.recompute,
                 r->segments);
}

pare_status pare_fit_open(const pare_model *m, const pare_fit_opts *o, const pare_fit_env *env, uint32_t flags,
                          pare_diags *d, pare_fit **out) {
    pare_fit *f = pare_xcalloc(1, sizeof *f);
    f->o = *o;
    f->env = *env;
    f->d = d;
    f->m = pare_model_clone(m);
    f->compute = env->compute;
    f->micro = o->micro_batch && o->micro_batch < o->batch ? o->micro_batch : o->batch;
    pare_status st = count_steps(f);
    f->masks = flags & PARE_FIT_MASKS;
    f->still = flags & PARE_FIT_STILL;
    if (!st) st = pare_fit_build(f, flags & PARE_FIT_GRADIENTS || f->micro < o->batch || pare_reduce_shared());
    if (!st) st = check_labels(f);
    if (!st) st = check_teachers(f);
    if (!st) st = open_evaluated(f);
    if (st) {
        pare_fit_close(f);
        return st;
    }
    say_folded(f);
    say_recompute(f);
    *out = f;
    return PARE_OK;
}

void pare_fit_close(pare_fit *f) {
    if (!f) return;
    pare_reader_close(f->reader);
    pare_fit_best_free(f);
    pare_session_close(f->session);
    close_evaluated(f);
    pare_train_graph_free(&f->g);
    pare_model_free(f->m);
    free(f->in);
    pare_vec_free(&f->hooks);
    free(f);
}

/* ---- hooks and state ---- */

void pare_fit_hook_add(pare_fit *f, uint32_t when, uint64_t first, pare_fit_hook *fn, void *ctx,
                       const pare_host *host) {
    pare_fit_hooked h = {when, first, fn, ctx, host};
    pare_vec_push(&f->hooks, h);
}

pare_fit_state pare_fit_state_of(const pare_fit *f) {
    return (pare_fit_state){.size = sizeof(pare_fit_state),
                            .epoch = (uint32_t)(f->step / f->per_epoch),
                            .step = f->step,
                            .steps = f->steps,
                            .steps_per_epoch = f->per_epoch,
                            .loss = f->loss,
                            .lr = f->rate.lr};
}

bool pare_fit_hook_due(const pare_fit *f, uint32_t when) {
    for (size_t i = 0; i < f->hooks.len; i++)
        if (f->hooks.data[i].when == when && f->step >= f->hooks.data[i].next) return true;
    return false;
}

pare_status pare_fit_hooks_call(pare_fit *f, uint32_t when) {
    for (size_t i = 0; i < f->hooks.len; i++) {
        pare_fit_hooked *h = &f->hooks.data[i];
        if (h->when != when || f->step < h->next) continue;
        pare_fit_state s = pare_fit_state_of(f);
        uint64_t next = 0;
        pare_status st = h->fn(h->ctx, h->host, f, &s, &next);
        if (st) return st;
        f->hooks.data[i].next = next;
    }
    return PARE_OK;
}

const pare_train_graph *pare_fit_graph(const pare_fit *f) { return &f->g; }

/* ---- the loop ---- */

static void tell(pare_fit *f, double now) {
    if (!f->env.progress || now - f->told < 0.1) return;
    char text[160];
    double rate = now > f->started ? (double)(f->step - f->first_step) * f->o.batch / (now - f->started) : 0;
    double left = rate > 0 ? (double)(f->steps - f->step) * f->o.batch / rate : 0;
    snprintf(text, sizeof text, "epoch %.2f/%.4g, loss %.4f, %.0f/s, %.0f s left",
             (double)f->step / (double)f->per_epoch, (double)f->steps / (double)f->per_epoch, f->shown_loss, rate,
             left);
    f->env.progress(f->env.ctx, (double)f->step / (double)f->steps, text);
    f->told = now;
}

static pare_status epoch_end(pare_fit *f) {
    uint32_t epoch = (uint32_t)((f->step - 1) / f->per_epoch);
    pare_status st = pare_fit_finite(f, false);
    if (f->env.say) {
        char line[160];
        snprintf(line, sizeof line, "epoch %u: loss %.5f over %llu steps, lr %.4g", epoch + 1,
                 f->epoch_n ? f->epoch_loss / (double)f->epoch_n : (double)NAN, (unsigned long long)f->epoch_n,
                 f->rate.lr);
        f->env.say(f->env.ctx, line);
    }
    f->epoch_loss = 0;
    f->epoch_n = 0;
    if (!st && f->env.validate && !f->still) {
        double score = NAN;
        pare_model *now = pare_model_clone(f->m);
        st = pare_fit_copy_home(f, now);
        if (!st) st = f->env.validate(f->env.ctx, now, epoch, &score);
        pare_model_free(now);
        if (!st && (!f->has_best || isnan(f->best) || score > f->best)) {
            f->best = score;
            f->has_best = true;
            f->since_best = 0;
            if (f->o.keep == PARE_KEEP_BEST) st = pare_fit_best_take(f);
        } else {
            f->since_best++;
        }
        if (f->o.early_stop && f->since_best >= f->o.early_stop) f->stopped = true;
    }
    if (!st) st = pare_fit_hooks_call(f, PARE_FIT_EPOCH);
    bool more = f->step < f->steps && !f->stopped; /* else the result itself comes next */
    if (!st && more && f->o.checkpoint && !f->still) st = pare_checkpoint_write(f, f->o.checkpoint);
    return st;
}

static pare_status open_reader(pare_fit *f) {
    const pare_port *in = pare_session_input(f->session, f->in_samples);
    pare_data_target target = {.dtype = in->dtype, .ndim = in->ndim > 0 ? (uint32_t)in->ndim : 0};
    for (uint32_t i = 0; i < target.ndim && i < PARE_ARRAY_DIMS; i++) target.dims[i] = in->dims[i].value;
    pare_reader_opts opts = {
        .batch = f->o.batch, .ahead = 2, .epoch = f->step / f->per_epoch, .drop_last = f->o.drop_last};
    return pare_reader_open(f->env.set, f->env.preprocess, &target, &opts, f->d, &f->reader);
}

/* The next batch; a new epoch where one has ended. */
static pare_status next_batch(pare_fit *f, pare_batch *b) {
    for (int tries = 0; tries < 2; tries++) {
        pare_status st = f->reader ? PARE_OK : open_reader(f);
        if (!st) st = pare_reader_next(f->reader, f->d, b);
        if (st || b->n) return st;
        pare_reader_close(f->reader);
        f->reader = NULL;
    }
    return pare_fail(f->d, PARE_EINVAL, "train.empty", NULL, "the training set gives no whole batch");
}

pare_status pare_fit_run(pare_fit *f, uint64_t until) {
    uint64_t end = until && until < f->steps ? until : f->steps;
    pare_status st = PARE_OK;
    f->started = pare_clock();
    f->first_step = f->step;
    while (!st && f->step < end && !f->stopped) {
        pare_batch b = {0};
        st = next_batch(f, &b);
        if (st) break;
        f->rate = pare_schedule_at(&f->o, f->step, f->steps, f->per_epoch);
        st = pare_fit_step(f, &b);
        pare_batch_free(&b);
        if (st) break;
        f->step++;
        f->epoch_loss += f->loss;
        f->epoch_n++;
        f->shown_loss = f->first_step + 1 == f->step ? f->loss : 0.95 * f->shown_loss + 0.05 * f->loss;
        if (f->env.curve && (f->step % (f->per_epoch / 50 + 1) == 0 || f->step == f->steps)) {
            double x = (double)f->step / (double)f->per_epoch;
            f->env.curve(f->env.ctx, "loss", x, f->shown_loss);
            f->env.curve(f->env.ctx, "lr", x, f->rate.lr);
        }
        st = pare_fit_hooks_call(f, PARE_FIT_AFTER_UPDATE);
        if (!st && (f->step % f->per_epoch == 0 || f->step == f->steps)) {
            pare_reader_close(f->reader);
            f->reader = NULL;
            st = epoch_end(f);
        }
        tell(f, pare_clock());
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    if (st == PARE_ECANCELLED && f->o.checkpoint && f->step && !f->still) pare_checkpoint_write(f, f->o.checkpoint);
    return st;
}
