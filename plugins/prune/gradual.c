/* prune/gradual.c - see gradual.h. */
#include "gradual.h"

#include "choose.h"
#include "schedule.h"
#include "source.h"

#include <math.h>
#include <pare/fit.h>
#include <pare/note.h>
#include <pare/random.h>
#include <stdio.h>
#include <string.h>

/* A layer whose mask changes. */
typedef struct part {
    prune_task *t;
    uint64_t first, living; /* elements that were masked at the start; that live now */
    float *score;           /* summed over steps: criteria gradient and movement */
    uint8_t *bits;          /* its mask, where that is kept here */
    uint64_t *key;          /* of the pool: its place in the common buffer */
} part;

typedef struct gradual {
    const pare_host *host;
    pare_model *model;
    const prune_options *o;
    const prune_plan *plan;
    prune_work *work;
    const pare_fit_api *api;
    const pare_note_api *note;
    pare_fit *fit;
    pare_fit_state state; /* at the latest hook */
    prune_times times;
    part *parts;
    uint64_t n, pool_first, changes;
    uint64_t change; /* the one that gradients are being summed for */
    uint64_t most;   /* elements of the largest part */
    float *weights, *gradient;
    uint64_t *key, *grow;
    uint8_t *bits;
} gradual;

static bool scores(const prune_options *o) { return o->criterion >= PRUNE_GRADIENT; }

static pare_status wrong(const gradual *g, const part *p, const char *code, const char *param, const char *text,
                         const char *hint) {
    PARE_REPORT(g->host, PARE_ERROR, .code = code, .message = text, .param = param, .hint = hint,
                .tensor = p ? p->t->layer.name : NULL);
    return PARE_EINVAL;
}

static pare_status has_nan(const gradual *g, const part *p) {
    char text[320];
    (void)snprintf(text, sizeof text, "the weights or gradients of \"%.200s\" hold a NaN: there is no order by size",
                   p->t->layer.name);
    return wrong(g, p, "prune.nan", NULL, text, "the training diverged: lower fit.lr, or set fit.clip_norm");
}

/* ---- setting up ---- */

static void *room(gradual *g, uint64_t n, uint64_t size) {
    return n > UINT64_MAX / size - 1 ? NULL : g->host->scratch(g->host, (n ? n : 1) * size);
}

static pare_status make_parts(gradual *g) {
    const bool once = g->o->schedule == PRUNE_ONCE;
    g->parts = room(g, g->plan->n, sizeof *g->parts);
    if (!g->parts) return PARE_ENOMEM;
    for (uint64_t i = 0; i < g->plan->n; i++) {
        prune_task *t = &g->plan->tasks[i];
        if (t->how == PRUNE_LEAVE || !t->count) continue;
        part *p = &g->parts[g->n++];
        p->t = t;
        if (t->count > g->most) g->most = t->count;
        if (scores(g->o) && !(p->score = room(g, t->count, sizeof *p->score))) return PARE_ENOMEM;
        if (once && !(p->bits = room(g, (t->count + 7) / 8, 1))) return PARE_ENOMEM;
    }
    const uint64_t keys = g->plan->pool_count > g->most ? g->plan->pool_count : g->most;
    g->weights = room(g, g->most, sizeof *g->weights);
    g->bits = room(g, (g->most + 7) / 8, 1);
    g->key = room(g, keys, sizeof *g->key);
    if (!g->weights || !g->bits || !g->key) return PARE_ENOMEM;
    if (scores(g->o) || g->o->regrow == PRUNE_REGROW_GRADIENT) g->gradient = room(g, g->most, sizeof *g->gradient);
    if (g->o->regrow) g->grow = room(g, g->most, sizeof *g->grow);
    uint64_t at = 0;
    for (uint64_t i = 0; i < g->n; i++) {
        if (g->parts[i].t->how != PRUNE_POOL) continue;
        g->parts[i].key = g->key + at;
        at += g->parts[i].t->count;
    }
    return PARE_OK;
}

static pare_status open_fit(gradual *g) {
    pare_fit_request r = {.size = sizeof r, .flags = PARE_FIT_MASKS};
    if (g->gradient) r.flags |= PARE_FIT_GRADIENTS;
    if (g->o->schedule == PRUNE_ONCE) r.flags |= PARE_FIT_STILL;
    g->state.size = sizeof g->state;
    pare_status st = g->api->open(g->host, g->model, &r, &g->fit);
    if (!st) st = g->api->state(g->host, g->fit, &g->state);
    if (!st && g->o->schedule != PRUNE_ONCE)
        st = prune_times_make(g->host, g->o, g->state.steps, g->state.steps_per_epoch, &g->times);
    return st;
}

static pare_status below(const gradual *g, const part *p, uint64_t has, uint64_t asked, uint64_t count) {
    char text[400];
    (void)snprintf(text, sizeof text,
                   "%s%.200s%s %s zero by a mask in %llu of %llu weights (%.4g %%) already, and sparsity asks for %llu "
                   "(%.4g %%)",
                   p ? "\"" : "", p ? p->t->layer.name : "the layers", p ? "\"" : "", p ? "is" : "are",
                   (unsigned long long)has, (unsigned long long)count, 100 * (double)has / (double)count,
                   (unsigned long long)asked, 100 * (double)asked / (double)count);
    return wrong(g, p, "prune.below", "sparsity", text,
                 "what is masked stays so: ask for at least as much, or start from the model before it was pruned");
}

/* The masks that the model came with. */
static pare_status first_masks(gradual *g) {
    uint64_t pool = 0;
    for (uint64_t i = 0; i < g->n; i++) {
        part *p = &g->parts[i];
        const prune_task *t = p->t;
        pare_status st = g->api->mask_get(g->host, g->fit, t->layer.tensor, g->bits);
        if (st == PARE_ENOTFOUND) {
            char text[320];
            (void)snprintf(text, sizeof text, "\"%.200s\" is to be pruned while it trains, and it does not train",
                           t->layer.name);
            return wrong(
                g, p, "prune.not-trained", "exclude", text,
                "exclude the layer, or let fit.freeze and fit.train leave it to the training; weights that are "
                "not float32 or float64 don't train");
        }
        if (st) return st;
        p->living = prune_bits_count(g->bits, t->count);
        p->first = t->count - p->living;
        if (p->bits) memcpy(p->bits, g->bits, (size_t)((t->count + 7) / 8));
        if (t->how == PRUNE_POOL)
            pool += p->first;
        else if (t->how == PRUNE_SHARE && p->first > t->gone)
            return below(g, p, p->first, t->gone, t->count);
    }
    g->pool_first = pool;
    return pool > g->plan->pool_gone ? below(g, NULL, pool, g->plan->pool_gone, g->plan->pool_count) : PARE_OK;
}

/* Over all layers that take part, those that are left dense too. */
static void curve(const gradual *g) {
    double count = 0, gone = 0;
    if (!g->note || g->o->schedule == PRUNE_ONCE) return;
    for (uint64_t i = 0; i < g->plan->n; i++) count += (double)g->plan->tasks[i].count;
    for (uint64_t i = 0; i < g->n; i++) gone += (double)(g->parts[i].t->count - g->parts[i].living);
    if (count > 0)
        g->note->curve(g->host, "sparsity", (double)g->state.step / (double)g->state.steps_per_epoch, gone / count);
}

/* ---- rising sparsity ---- */

static pare_status mask_get(const gradual *g, const part *p) {
    if (!p->bits) return g->api->mask_get(g->host, g->fit, p->t->layer.tensor, g->bits);
    memcpy(g->bits, p->bits, (size_t)((p->t->count + 7) / 8));
    return PARE_OK;
}

static pare_status mask_set(const gradual *g, part *p, uint64_t living) {
    const bool same = living == p->living; /* nothing comes back here: then it is the same mask */
    p->living = living;
    if (!p->bits) return same ? PARE_OK : g->api->mask_set(g->host, g->fit, p->t->layer.tensor, g->bits);
    memcpy(p->bits, g->bits, (size_t)((p->t->count + 7) / 8));
    return PARE_OK;
}

static uint32_t key_bits(const gradual *g) {
    return g->o->criterion == PRUNE_RANDOM     ? PRUNE_KEY_DRAWN
           : g->o->criterion == PRUNE_MOVEMENT ? PRUNE_KEY_SIGNED
                                               : PRUNE_KEY_MAGNITUDE;
}

/* By the criterion. */
static pare_status make_keys(gradual *g, part *p, uint64_t *key) {
    const prune_task *t = p->t;
    pare_status st = mask_get(g, p);
    if (!st && g->o->criterion == PRUNE_MAGNITUDE)
        st = g->api->weights_get(g->host, g->fit, t->layer.tensor, g->weights);
    if (st) return st;
    switch (g->o->criterion) {
    case PRUNE_RANDOM:
        prune_key_drawn(g->host->seed(g->host), pare_random_stream(t->layer.name), g->bits, t->count, key);
        return PARE_OK;
    case PRUNE_MOVEMENT: return prune_key_signed(p->score, g->bits, t->count, key) ? PARE_OK : has_nan(g, p);
    case PRUNE_GRADIENT: return prune_key_magnitude(p->score, g->bits, t->count, key) ? PARE_OK : has_nan(g, p);
    default: return prune_key_magnitude(g->weights, g->bits, t->count, key) ? PARE_OK : has_nan(g, p);
    }
}

static pare_status narrow_pool(gradual *g, double done) {
    const uint64_t gone = prune_between(g->pool_first, g->plan->pool_gone, done);
    prune_source source;
    prune_search s;
    pare_status st = PARE_OK;
    if (!gone) return PARE_OK;
    for (uint64_t i = 0; i < g->n && !st; i++)
        if (g->parts[i].key) st = make_keys(g, &g->parts[i], g->parts[i].key);
    if (st) return st;
    prune_search_begin(&s, g->work, key_bits(g), gone);
    while (!s.found) {
        for (uint64_t i = 0; i < g->n; i++) {
            if (!g->parts[i].key) continue;
            prune_source_keys(&source, g->parts[i].key, g->parts[i].t->count, key_bits(g));
            prune_search_scan(&s, g->work, &source);
        }
        prune_search_next(&s, g->work);
    }
    for (uint64_t i = 0; i < g->n && !st; i++) {
        part *p = &g->parts[i];
        if (!p->key) continue;
        prune_source_keys(&source, p->key, p->t->count, key_bits(g));
        prune_write(g->work, &source, &s.threshold);
        st = mask_set(g, p, prune_key_mask(p->key, p->t->count, g->bits));
    }
    return st;
}

/* Groups lose one weight after the other: 4:4, 3:4, 2:4. */
static void narrow_groups(gradual *g, const prune_task *t, double done) {
    const uint32_t gone = (uint32_t)prune_between(0, t->m - t->n, done);
    prune_source source;
    uint64_t nonzero;
    if (!gone) return;
    prune_source_keys(&source, g->key, t->count, key_bits(g));
    prune_write_groups(g->work, &source, t->channels, t->inner, t->m - gone, t->m, &nonzero);
}

/* All masks as they are to be once a share of the way is done. */
static pare_status narrow(gradual *g, double done) {
    pare_status st = narrow_pool(g, done);
    for (uint64_t i = 0; i < g->n && !st; i++) {
        part *p = &g->parts[i];
        if (p->key) continue;
        if ((st = make_keys(g, p, g->key))) return st;
        if (p->t->how == PRUNE_GROUPS)
            narrow_groups(g, p->t, done);
        else
            prune_key_remove(g->work, g->key, p->t->count, key_bits(g), prune_between(p->first, p->t->gone, done));
        st = mask_set(g, p, prune_key_mask(g->key, p->t->count, g->bits));
    }
    return st;
}

static pare_status on_rise(void *ctx, const pare_host *host, pare_fit *fit, const pare_fit_state *state,
                           uint64_t *next) {
    gradual *g = ctx;
    (void)host;
    (void)fit;
    g->state = *state;
    const pare_status st = narrow(g, prune_times_done(&g->times, g->o->schedule, state->step));
    g->changes++;
    *next = prune_times_next(&g->times, state->step);
    curve(g);
    return st;
}

/* ---- looking at gradients ---- */

/* Criterion gradient: the batches before each change. Movement: all since the start. */
static pare_status on_look(void *ctx, const pare_host *host, pare_fit *fit, const pare_fit_state *state,
                           uint64_t *next) {
    gradual *g = ctx;
    const bool taylor = g->o->criterion == PRUNE_GRADIENT, once = g->o->schedule == PRUNE_ONCE;
    const uint64_t step = state->step, change = once ? PRUNE_NEVER : prune_times_next(&g->times, step);
    const bool fresh = taylor && change != g->change;
    *next = 0;
    if (!once && change == PRUNE_NEVER) {
        *next = PRUNE_NEVER;
        return PARE_OK;
    }
    if (!once && taylor && step + g->o->batches < change) {
        *next = change - g->o->batches;
        return PARE_OK;
    }
    g->change = change;
    for (uint64_t i = 0; i < g->n; i++) {
        part *p = &g->parts[i];
        pare_status st = g->api->weights_get(host, fit, p->t->layer.tensor, g->weights);
        if (!st) st = g->api->gradient(host, fit, p->t->layer.tensor, g->gradient);
        if (st) return st;
        if (fresh) memset(p->score, 0, (size_t)p->t->count * sizeof *p->score);
        for (uint64_t k = 0; k < p->t->count; k++) {
            const float product = g->weights[k] * g->gradient[k];
            p->score[k] += taylor ? fabsf(product) : -product;
        }
    }
    return PARE_OK;
}

/* ---- regrowth ---- */

static pare_status on_regrow(void *ctx, const pare_host *host, pare_fit *fit, const pare_fit_state *state,
                             uint64_t *next) {
    gradual *g = ctx;
    g->state = *state;
    const double drop = prune_times_drop(&g->times, g->o->drop, state->step);
    *next = prune_times_next(&g->times, state->step);
    uint64_t all = 0;
    if (state->step >= state->steps) return PARE_OK; /* nothing would train what grows */
    g->changes++;
    for (uint64_t i = 0; i < g->n; i++) {
        part *p = &g->parts[i];
        const uint32_t tensor = p->t->layer.tensor;
        const bool random = g->o->regrow == PRUNE_REGROW_RANDOM;
        uint64_t grown = 0;
        pare_status st = g->api->mask_get(host, fit, tensor, g->bits);
        if (!st) st = g->api->weights_get(host, fit, tensor, g->weights);
        if (!st && !random) st = g->api->gradient(host, fit, tensor, g->gradient);
        if (st) return st;
        if (random)
            prune_key_drawn(host->seed(host), pare_random_stream(p->t->layer.name) + g->changes, NULL, p->t->count,
                            g->grow);
        else if (!prune_key_magnitude(g->gradient, NULL, p->t->count, g->grow))
            return has_nan(g, p);
        if (!prune_rigl(g->work, g->weights, p->t->count, drop, g->grow, random ? PRUNE_KEY_DRAWN : PRUNE_KEY_MAGNITUDE,
                        g->key, g->bits, &grown))
            return has_nan(g, p);
        if (grown && (st = g->api->mask_set(host, fit, tensor, g->bits))) return st;
        p->t->regrown += grown;
        all += grown;
    }
    curve(g);
    if (g->note) {
        const double epoch = (double)state->step / (double)state->steps_per_epoch;
        g->note->curve(host, "regrown", epoch, (double)all);
    }
    return PARE_OK;
}

/* ---- the whole ---- */

static pare_status hooks(gradual *g) {
    const uint64_t first = prune_times_next(&g->times, 0);
    pare_status st = PARE_OK;
    if (g->o->schedule == PRUNE_ONCE) return g->api->hook(g->host, g->fit, PARE_FIT_BEFORE_UPDATE, 0, on_look, g);
    if (g->o->regrow) {
        const uint32_t when = g->o->regrow == PRUNE_REGROW_GRADIENT ? PARE_FIT_BEFORE_UPDATE : PARE_FIT_AFTER_UPDATE;
        st = narrow(g, 1);
        curve(g);
        return st ? st : g->api->hook(g->host, g->fit, when, first, on_regrow, g);
    }
    curve(g);
    if (scores(g->o)) st = g->api->hook(g->host, g->fit, PARE_FIT_BEFORE_UPDATE, g->times.start, on_look, g);
    return st ? st : g->api->hook(g->host, g->fit, PARE_FIT_AFTER_UPDATE, first, on_rise, g);
}

/* What was chosen while the network stood still becomes zero in the model. */
static pare_status write_masks(const gradual *g) {
    for (uint64_t i = 0; i < g->n; i++) {
        const part *p = &g->parts[i];
        prune_borrow b;
        uint8_t gone[PRUNE_BLOCK];
        const pare_status st = prune_borrow_open(&b, g->host, g->model, p->t, PARE_WRITE, false);
        if (st) return st;
        for (uint64_t at = 0; at < p->t->count; at += PRUNE_BLOCK) {
            const uint32_t n = p->t->count - at < PRUNE_BLOCK ? (uint32_t)(p->t->count - at) : PRUNE_BLOCK;
            for (uint32_t k = 0; k < n; k++) gone[k] = !prune_bit(p->bits, at + k);
            prune_zero(&b.source, at, n, gone);
        }
        prune_borrow_close(&b);
    }
    return PARE_OK;
}

static void warn_unfinished(const gradual *g) {
    char text[200];
    if (g->o->schedule == PRUNE_ONCE || g->o->regrow || g->state.step >= g->times.end) return;
    (void)snprintf(text, sizeof text, "the training stopped at step %llu, before pruning was done at step %llu",
                   (unsigned long long)g->state.step, (unsigned long long)g->times.end);
    PARE_REPORT(g->host, PARE_WARNING, .code = "prune.unfinished", .message = text, .param = "end",
                .hint = "let it end earlier, or give fit.early_stop more epochs");
}

pare_status prune_gradual(const pare_host *host, pare_model *model, const prune_options *o, const prune_plan *plan,
                          prune_work *work) {
    const bool is_once = o->schedule == PRUNE_ONCE;
    gradual g = {.host = host,
                 .model = model,
                 .o = o,
                 .plan = plan,
                 .work = work,
                 .api = host->ext(host, PARE_FIT_V1),
                 .note = host->ext(host, PARE_NOTE_V1)};
    pare_status st = make_parts(&g);
    if (!st && ((!g.gradient && (scores(o) || o->regrow == PRUNE_REGROW_GRADIENT)) || (!g.grow && o->regrow)))
        st = PARE_ENOMEM;
    if (!st) st = open_fit(&g);
    if (!st) st = first_masks(&g);
    if (!st) st = hooks(&g);
    if (!st) st = g.api->run(host, g.fit, is_once ? o->batches : 0);
    if (!st) st = g.api->state(host, g.fit, &g.state);
    if (!st && is_once) st = narrow(&g, 1);
    if (st) return st; /* the host ends the fit; the view is thrown away */
    curve(&g);
    warn_unfinished(&g);
    if (!is_once && g.note) {
        g.note->number(host, "steps", (double)g.state.step);
        g.note->number(host, "loss", g.state.loss);
        g.note->number(host, "mask_changes", (double)g.changes);
    }
    st = g.api->close(host, g.fit);
    return st || !is_once ? st : write_masks(&g);
}
