/* train/host_fit.c - the interface pare.fit/1 over the training loop: see sdk/pare/fit.h.
 *
 * Every argument comes from a plugin and is checked. Is not: losses and where words go (host_fit_env.c), the loop
 * (fit.h). May use: host_fit.h, fit.h, recalibrate.h.
 */
#include "train/host_fit.h"

#include "train/recalibrate.h"

#include <stdlib.h>
#include <string.h>

enum { KNOWN_FLAGS = PARE_FIT_GRADIENTS | PARE_FIT_MASKS | PARE_FIT_STILL };

/* ---- a fit's life ---- */

static void end(pare_open_fit *o) {
    pare_host_pass(o->h, o->said, &o->passed);
    pare_fit_close(o->fit);
    pare_diags_free(o->said);
    pare_vec_free(&o->teachers);
    pare_vec_free(&o->hooks);
    pare_arena_free(&o->arena);
    free(o);
}

/* The component's function returned: what it has left open ends without a word where the function failed. */
static void left_open(const pare_host *h, void *kept, pare_status st) {
    pare_open_fit *o = kept;
    if (!st)
        PARE_REPORT(h, PARE_WARNING, .code = "plugin.leak",
                    .message = "the technique left its training open when it returned: the weights stay as they were",
                    .hint = "each open needs a close");
    end(o);
}

/* The fit that is open, or misuse and NULL. */
static pare_open_fit *open_fit(const pare_host *h, const pare_fit *f, const char *fn) {
    pare_host_impl *s = pare_host_of(h);
    pare_open_fit *o = s->kept_end == left_open ? s->kept : NULL;
    if (o && o->fit == f) return o;
    pare_host_misuse(h, fn, "%s", f ? "the fit is not open, or not any more" : "the fit is NULL");
    return NULL;
}

/* The same where nothing may run. */
static pare_open_fit *idle_fit(const pare_host *h, const pare_fit *f, const char *fn) {
    pare_open_fit *o = open_fit(h, f, fn);
    if (!o || !o->running) return o;
    pare_host_misuse(h, fn, "called from a hook, while the fit runs");
    return NULL;
}

/* The step's services, or a refusal and NULL. */
static const pare_train_services *services(const pare_host *h) {
    const pare_train_services *given = pare_host_of(h)->env.services;
    if (given) return given;
    pare_host_refuse_text(h, PARE_EUNSUPPORTED, "train.no-fit", "there is no training here");
    return NULL;
}

static pare_status fit_open(const pare_host *h, pare_model *m, const pare_fit_request *request, pare_fit **out) {
    static const char fn[] = "pare.fit/1 open";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_fit_request r;
    if (!s || !PARE_TAKE(h, fn, "request", request, r, PARE_END(pare_fit_request, loss_args))) return PARE_EINVAL;
    if (!out) return pare_host_misuse(h, fn, "out is NULL");
    if (r.flags & ~(uint32_t)KNOWN_FLAGS) return pare_host_misuse(h, fn, "there are no flags 0x%x", r.flags);
    if (r.flags & PARE_FIT_STILL && !(r.flags & PARE_FIT_GRADIENTS))
        return pare_host_misuse(h, fn, "the flag PARE_FIT_STILL is for those who look at gradients");
    if (r.loss && !pare_host_text_ok(h, fn, "loss", r.loss)) return PARE_EINVAL;
    if (!r.loss && r.loss_args) return pare_host_misuse(h, fn, "loss_args without a loss");
    if (s->kept) return pare_host_misuse(h, fn, "a fit is open already: there is one at a time");
    if (s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    const pare_train_services *given = services(h);
    if (!given) return PARE_EUNSUPPORTED;
    if (!given->fit || !given->env.set) {
        pare_diag_item it = {.code = "train.no-fit",
                             .message = given->fit ? "there is no set to train on" : "the step has no `fit` block",
                             .hint = "as in `fit: {data: train, epochs: 2}`"};
        return pare_host_refuse(h, PARE_EINVAL, &it);
    }
    pare_open_fit *o = pare_xcalloc(1, sizeof *o);
    *o = (pare_open_fit){.s = s,
                         .h = h,
                         .given = given,
                         .opts = *given->fit,
                         .said = pare_diags_new(PARE_DIAG_SILENT, NULL),
                         .flags = r.flags,
                         .during = PARE_NO_HOOK};
    size_t before = pare_host_errors(s);
    pare_status st = pare_host_fit_losses(o, &r);
    if (!st && r.loss && !r.loss_args && o->opts.losses[0].component &&
        ((const pare_loss *)o->opts.losses[0].component)->n_params)
        st = pare_host_misuse(h, fn, "loss_args is NULL, and %s has parameters", r.loss);
    if (!st) {
        o->env = pare_host_fit_env(o);
        st = pare_host_said(s, before, pare_fit_open(m, &o->opts, &o->env, r.flags, o->said, &o->fit));
    }
    pare_host_pass(h, o->said, &o->passed);
    if (st) {
        end(o);
        return st;
    }
    s->kept = o;
    s->kept_end = left_open;
    *out = o->fit;
    return PARE_OK;
}

static pare_status fit_close(const pare_host *h, pare_fit *f) {
    static const char fn[] = "pare.fit/1 close";
    pare_open_fit *o = idle_fit(h, f, fn);
    if (!o) return PARE_EINVAL;
    pare_host_impl *s = o->s;
    pare_status st = PARE_OK;
    if (s->borrows.len)
        st = pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    else if (!o->failed && !(o->flags & PARE_FIT_STILL))
        st = pare_fit_home(o->fit, s->model);
    s->kept = NULL;
    end(o);
    return st;
}

/* ---- running ---- */

typedef struct hooked {
    pare_open_fit *o;
    uint32_t when;
    pare_fit_hook *fn;
    void *ctx;
} hooked;

static pare_status call_hook(void *ctx, const pare_host *h, pare_fit *f, const pare_fit_state *state, uint64_t *next) {
    hooked *k = ctx;
    k->o->during = k->when;
    pare_status st = k->fn(k->ctx, h, f, state, next);
    k->o->during = PARE_NO_HOOK;
    return !st && k->o->s->misused ? PARE_EINVAL : st;
}

static pare_status fit_hook(const pare_host *h, pare_fit *f, uint32_t when, uint64_t first, pare_fit_hook *fn_,
                            void *ctx) {
    static const char fn[] = "pare.fit/1 hook";
    pare_open_fit *o = open_fit(h, f, fn);
    if (!o) return PARE_EINVAL;
    if (!fn_) return pare_host_misuse(h, fn, "fn is NULL");
    if (when > PARE_FIT_EPOCH) return pare_host_misuse(h, fn, "there is no moment %u", when);
    if (when == PARE_FIT_BEFORE_UPDATE && !(o->flags & PARE_FIT_GRADIENTS))
        return pare_host_misuse(h, fn, "a hook BEFORE_UPDATE needs the flag PARE_FIT_GRADIENTS at open");
    hooked *k = pare_arena_alloc(&o->arena, sizeof *k);
    *k = (hooked){o, when, fn_, ctx};
    pare_fit_hook_add(f, when, first, call_hook, k, h);
    return PARE_OK;
}

static pare_status fit_run(const pare_host *h, pare_fit *f, uint64_t until) {
    static const char fn[] = "pare.fit/1 run";
    pare_open_fit *o = idle_fit(h, f, fn);
    if (!o) return PARE_EINVAL;
    if (o->failed) return pare_host_misuse(h, fn, "a run of this fit failed: it can only be closed");
    if (o->s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", o->s->borrows.data[0].tensor);
    size_t before = pare_host_errors(o->s);
    o->running = true;
    pare_status st = pare_host_said(o->s, before, pare_fit_run(f, until));
    o->running = false;
    o->failed = st != PARE_OK;
    pare_host_pass(h, o->said, &o->passed);
    if (st == PARE_ECANCELLED) { /* so that the host knows who cancelled */
        pare_fit_state at = pare_fit_state_of(f);
        h->tick(h, (double)at.step / (double)at.steps, NULL);
    }
    return st;
}

static pare_status fit_state(const pare_host *h, const pare_fit *f, pare_fit_state *out) {
    static const char fn[] = "pare.fit/1 state";
    pare_open_fit *o = open_fit(h, f, fn);
    if (!o) return PARE_EINVAL;
    pare_fit_state state = pare_fit_state_of(f);
    return PARE_GIVE(h, fn, out, state, PARE_END(pare_fit_state, lr)) ? PARE_OK : PARE_EINVAL;
}

/* ---- looking and changing ---- */

/* A tensor of the view, or misuse and NULL. */
static const pare_tensor *tensor_of(const pare_host *h, const pare_fit *f, const char *fn, uint32_t tensor,
                                    const void *buffer, pare_open_fit **o) {
    *o = open_fit(h, f, fn);
    if (!*o) return NULL;
    if (!buffer) {
        pare_host_misuse(h, fn, "the buffer is NULL");
        return NULL;
    }
    return pare_host_tensor(h, fn, tensor);
}

/* As float32. */
static pare_status give_floats(const pare_open_fit *o, const pare_tensor *t, pare_array *a, float *out) {
    pare_status st = PARE_OK;
    if (a->count != t->count)
        st = pare_host_refuse_text(o->h, PARE_EUNSUPPORTED, "train.tensor", "\"%s\" has another size in training",
                                   t->name);
    for (uint64_t i = 0; i < a->count && !st; i++)
        out[i] = a->dtype == PARE_DOUBLE ? (float)((const double *)pare_array_data(a))[i]
                                         : ((const float *)pare_array_data(a))[i];
    pare_array_unref(a);
    return st;
}

static pare_status fit_weights_get(const pare_host *h, pare_fit *f, uint32_t tensor, float *out) {
    pare_open_fit *o;
    const pare_tensor *t = tensor_of(h, f, "pare.fit/1 weights_get", tensor, out, &o);
    pare_array *a = NULL;
    if (!t) return PARE_EINVAL;
    pare_status st = pare_fit_weights_get(f, t->name, &a);
    pare_host_pass(h, o->said, &o->passed);
    return st ? st : give_floats(o, t, a, out);
}

static pare_status fit_gradient(const pare_host *h, pare_fit *f, uint32_t tensor, float *out) {
    static const char fn[] = "pare.fit/1 gradient";
    pare_open_fit *o;
    const pare_tensor *t = tensor_of(h, f, fn, tensor, out, &o);
    pare_array *a = NULL;
    if (!t) return PARE_EINVAL;
    if (o->during != PARE_FIT_BEFORE_UPDATE)
        return pare_host_misuse(h, fn, "there are gradients in a hook BEFORE_UPDATE alone");
    pare_status st = pare_fit_gradient(f, t->name, &a);
    pare_host_pass(h, o->said, &o->passed);
    return st ? st : give_floats(o, t, a, out);
}

static bool bit(const void *bits, uint64_t i) { return ((const uint8_t *)bits)[i / 8] >> i % 8 & 1; }

/* What is masked stays +0.0, whatever a component writes. */
static pare_status fit_weights_set(const pare_host *h, pare_fit *f, uint32_t tensor, const float *in) {
    pare_open_fit *o;
    const pare_tensor *t = tensor_of(h, f, "pare.fit/1 weights_set", tensor, in, &o);
    pare_array *mask = NULL, *a = NULL;
    if (!t) return PARE_EINVAL;
    pare_status st = pare_fit_mask_get(f, t->name, &mask);
    if (!st && mask->count * 8 >= t->count) a = pare_array_new(t->dtype, t->ndim, t->dims);
    if (!st && !a) st = pare_host_refuse_text(h, PARE_ENOMEM, "train.memory", "no memory for \"%s\"", t->name);
    for (uint64_t i = 0; i < t->count && !st; i++) {
        float v = bit(pare_array_data(mask), i) ? in[i] : 0;
        if (t->dtype == PARE_DOUBLE)
            ((double *)pare_array_data_mut(a))[i] = (double)v;
        else
            ((float *)pare_array_data_mut(a))[i] = v;
    }
    if (!st) st = pare_fit_weights_set(f, t->name, a);
    pare_array_unref(mask);
    pare_array_unref(a);
    pare_host_pass(h, o->said, &o->passed);
    return st;
}

static pare_status fit_mask_get(const pare_host *h, pare_fit *f, uint32_t tensor, uint8_t *bits) {
    pare_open_fit *o;
    const pare_tensor *t = tensor_of(h, f, "pare.fit/1 mask_get", tensor, bits, &o);
    pare_array *a = NULL;
    if (!t) return PARE_EINVAL;
    pare_status st = pare_fit_mask_get(f, t->name, &a);
    pare_host_pass(h, o->said, &o->passed);
    if (st) return st;
    uint64_t bytes = (t->count + 7) / 8;
    if (a->nbytes == bytes && bytes) {
        memcpy(bits, pare_array_data(a), bytes);
        if (t->count % 8) bits[bytes - 1] &= (uint8_t)((1u << t->count % 8) - 1);
    } else if (bytes) {
        st =
            pare_host_refuse_text(h, PARE_EUNSUPPORTED, "train.tensor", "\"%s\" has another size in training", t->name);
    }
    pare_array_unref(a);
    return st;
}

static pare_status fit_mask_set(const pare_host *h, pare_fit *f, uint32_t tensor, const uint8_t *bits) {
    pare_open_fit *o;
    const pare_tensor *t = tensor_of(h, f, "pare.fit/1 mask_set", tensor, bits, &o);
    if (!t) return PARE_EINVAL;
    int64_t bytes = (int64_t)((t->count + 7) / 8);
    pare_array *a = pare_array_new(PARE_UINT8, 1, &bytes);
    if (!a) return pare_host_refuse_text(h, PARE_ENOMEM, "train.memory", "no memory for a mask of \"%s\"", t->name);
    memcpy(pare_array_data_mut(a), bits, (size_t)bytes);
    pare_status st = pare_fit_mask_set(f, t->name, a);
    pare_array_unref(a);
    pare_host_pass(h, o->said, &o->passed);
    return st;
}

/* ---- without a fit ---- */

static pare_status recalibrate(const pare_host *h, pare_model *m, const pare_recalibrate_request *request,
                               uint64_t *n) {
    static const char fn[] = "pare.fit/1 recalibrate";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    pare_recalibrate_request r;
    if (!s || !PARE_TAKE(h, fn, "request", request, r, PARE_END(pare_recalibrate_request, momentum)))
        return PARE_EINVAL;
    if (r.data && !pare_host_text_ok(h, fn, "data", r.data)) return PARE_EINVAL;
    if (!(r.momentum < 1)) return pare_host_misuse(h, fn, "momentum is %g; it is below 1", r.momentum);
    if (s->kept) return pare_host_misuse(h, fn, "a fit is open");
    if (s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    const pare_train_services *given = services(h);
    if (!given) return PARE_EUNSUPPORTED;
    size_t before = pare_host_errors(s), passed = 0;
    pare_status st = given->ready && !given->env.compute ? given->ready(given->ctx) : PARE_OK;
    pare_fit_env env = given->env;
    if (!st && given->data && (r.data || !env.set)) st = given->data(given->ctx, r.data, &env.set);
    if (!st && !env.set)
        st = pare_host_refuse_text(h, PARE_EINVAL, "train.no-data", "there is no set of samples to look at");
    if (!st) {
        pare_diags *said = pare_diags_new(PARE_DIAG_SILENT, NULL);
        pare_recalibrate_opts opts = {.batch = r.batch, .samples = r.samples, .momentum = r.momentum};
        uint64_t nodes = 0;
        st = pare_recalibrate(m, &opts, &env, said, &nodes);
        pare_host_pass(h, said, &passed);
        pare_diags_free(said);
        if (!st && n) *n = nodes;
    }
    if (st == PARE_ECANCELLED) h->tick(h, 0, NULL);
    return pare_host_said(s, before, st);
}

static uint32_t has(const pare_host *h) {
    const pare_train_services *given = pare_host_of(h)->env.services;
    return given && given->fit;
}

const pare_fit_api pare_fit_interface = {
    .size = sizeof(pare_fit_api),
    .open = fit_open,
    .hook = fit_hook,
    .run = fit_run,
    .state = fit_state,
    .weights_get = fit_weights_get,
    .weights_set = fit_weights_set,
    .gradient = fit_gradient,
    .mask_get = fit_mask_get,
    .mask_set = fit_mask_set,
    .close = fit_close,
    .recalibrate = recalibrate,
    .has = has,
};
