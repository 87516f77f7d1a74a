/* prune/unstructured.c - the technique prune.unstructured: single weights become zero.
 *
 * Is: the order of the work, progress, and the report. With a `fit:` block the work is gradual.c. Options are
 * options.c, the decision about layers is plan.c, the choice of weights is select.c and groups.c. Uses the SDK and the
 * C library alone.
 */
#include "unstructured.h"

#include "gradual.h"
#include "plan.h"
#include "select.h"
#include "source.h"

#include <pare/fit.h>
#include <pare/note.h>
#include <pare/random.h>

#include <stdio.h>
#include <stdlib.h>

typedef struct run {
    const pare_host *host;
    pare_model *model;
    const prune_options *o;
    prune_apis api;
    prune_plan plan;
    prune_work *work;
} run;

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    prune_options *o;
    pare_status st = prune_options_new(host, args, &o);
    if (st) return st;
    const pare_fit_api *fit = host->ext(host, PARE_FIT_V1);
    st = prune_options_fit(host, args, fit && PARE_HAS(pare_fit_api, fit, has) && fit->has(host), o);
    if (st) {
        free(o);
        return st;
    }
    *self = o;
    return PARE_OK;
}

static void destroy(void *self) { free(self); }

static pare_status run_init(run *r, prune_options *o, const pare_host *host, pare_model *model, bool loud) {
    *r = (run){.host = host, .model = model, .o = o};
    r->api.layers = host->ext(host, PARE_LAYERS_V1);
    r->api.tensors = host->ext(host, PARE_TENSORS_V1);
    if (!r->api.layers || !r->api.tensors) {
        PARE_REPORT(host, PARE_ERROR, .code = "prune.host",
                    .message = "this host offers no pare.layers/1 or pare.tensors/1",
                    .hint = "use the pare that this plugin came with");
        return PARE_EUNSUPPORTED;
    }
    return prune_plan_make(host, model, &r->api, o, loud, &r->plan);
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    run r;
    return run_init(&r, self, host, model, true);
}

static pare_status has_nan(const run *r, const prune_task *t) {
    char text[320];
    (void)snprintf(text, sizeof text, "the weights \"%.200s\" hold a NaN: it has no place in an order by size",
                   t->layer.name);
    PARE_REPORT(r->host, PARE_ERROR, .code = "prune.nan", .message = text, .tensor = t->layer.name,
                .hint = "the model is damaged or its training diverged; exclude the layer to prune the rest");
    return PARE_EINVAL;
}

static pare_status open_task(const run *r, const prune_task *t, uint32_t mode, bool wide, prune_borrow *b) {
    const pare_status st = prune_borrow_open(b, r->host, r->model, t, mode, wide);
    if (!st && r->o->random) prune_source_random(&b->source, r->host->seed(r->host), pare_random_stream(t->layer.name));
    return st;
}

/* The threshold of one borrowed tensor. */
static pare_status find(run *r, const prune_task *t, const prune_source *source, prune_threshold *threshold) {
    prune_search s;
    prune_search_begin(&s, r->work, source->key_bits, t->gone);
    while (!s.found) {
        if (!prune_search_scan(&s, r->work, source)) return has_nan(r, t);
        prune_search_next(&s, r->work);
    }
    *threshold = s.threshold;
    return PARE_OK;
}

static pare_status do_task(run *r, prune_task *t, prune_threshold *pool) {
    prune_borrow b;
    prune_threshold own;
    const bool pooled = t->how == PRUNE_POOL, writes = t->how != PRUNE_LEAVE && (!pooled || r->plan.pool_gone);
    if (!t->readable) {
        t->nonzero = t->count; /* nothing known about it */
        return PARE_OK;
    }
    pare_status st = open_task(r, t, writes ? PARE_WRITE : PARE_READ, pooled && r->plan.pool_wide, &b);
    if (st) return st;
    if (!writes) {
        t->nonzero = prune_nonzero(r->work, &b.source);
    } else if (t->how == PRUNE_GROUPS) {
        if (!prune_write_groups(r->work, &b.source, t->channels, t->inner, t->n, t->m, &t->nonzero)) st = has_nan(r, t);
    } else if (pooled) {
        t->nonzero = prune_write(r->work, &b.source, pool);
    } else if (!(st = find(r, t, &b.source, &own))) {
        t->nonzero = prune_write(r->work, &b.source, &own);
    }
    prune_borrow_close(&b);
    if (!st && (writes || r->o->bake))
        st = r->api.tensors->masked_set(r->host, r->model, t->layer.tensor, r->o->bake ? 0 : 1);
    return st;
}

/* One threshold over every pooled layer. Each pass reads them all once; the first fills half of the progress bar. */
static pare_status find_pool(run *r, prune_threshold *threshold) {
    const prune_plan *plan = &r->plan;
    prune_search s;
    bool begun = false;
    do {
        for (uint64_t i = 0; i < plan->n; i++) {
            const prune_task *t = &plan->tasks[i];
            prune_borrow b;
            if (t->how != PRUNE_POOL) continue;
            const double share = (double)i / (double)plan->n;
            pare_status st = r->host->tick(r->host, begun && s.passes ? 0.5 : 0.5 * share, t->layer.name);
            if (!st) st = open_task(r, t, PARE_READ, plan->pool_wide, &b);
            if (st) return st;
            if (!begun) prune_search_begin(&s, r->work, b.source.key_bits, plan->pool_gone);
            begun = true;
            const bool ok = prune_search_scan(&s, r->work, &b.source);
            prune_borrow_close(&b);
            if (!ok) return has_nan(r, t);
        }
        prune_search_next(&s, r->work);
    } while (!s.found);
    *threshold = s.threshold;
    return PARE_OK;
}

/* 11678912 as "11,678,912". */
static const char *grouped(uint64_t n, char out[32]) {
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static void tell(const run *r) {
    static const char meaning[] =
        "zeros leave the plain file at its size; gzip and the packed form shrink; dense kernels "
        "run no faster";
    const pare_note_api *note = r->host->ext(r->host, PARE_NOTE_V1);
    uint64_t parameters = 0, nonzero = 0, layers = 0, regrown = 0;
    for (uint64_t i = 0; i < r->plan.n; i++) {
        const prune_task *t = &r->plan.tasks[i];
        const double count = (double)t->count, left = (double)t->nonzero;
        const char *keys[] = {"parameters", "nonzero", "regrown"};
        const double values[] = {count, left, (double)t->regrown};
        const pare_layer_note row = {.size = sizeof row,
                                     .n_extra = r->o->regrow ? 3 : 2,
                                     .name = t->layer.name,
                                     .requested = t->requested,
                                     .achieved = t->count ? (count - left) / count : 0,
                                     .keys = keys,
                                     .values = values};
        if (note) note->layer(r->host, &row);
        parameters += t->count;
        nonzero += t->nonzero;
        regrown += t->regrown;
        layers += t->how != PRUNE_LEAVE;
    }
    const double sparsity = parameters ? (double)(parameters - nonzero) / (double)parameters : 0;
    if (note) {
        note->number(r->host, "sparsity", sparsity);
        note->number(r->host, "parameters", (double)parameters);
        note->number(r->host, "nonzero", (double)nonzero);
        note->text(r->host, "zeros", meaning);
        if (r->o->regrow) note->number(r->host, "regrown", (double)regrown);
    }
    char text[200], all[32], zeros[32];
    (void)snprintf(text, sizeof text, "%s of %s weights are zero now (%.2f %%) in %llu layer%s",
                   grouped(parameters - nonzero, zeros), grouped(parameters, all), 100 * sparsity,
                   (unsigned long long)layers, layers == 1 ? "" : "s");
    PARE_REPORT(r->host, PARE_INFO, .code = "prune.done", .message = text, .hint = meaning);
}

/* The weights are as training left them: counts them, and says which zeros are to stay. */
static pare_status look_after(run *r, prune_task *t) {
    const bool written = t->how != PRUNE_LEAVE && (t->how != PRUNE_POOL || r->plan.pool_gone);
    prune_borrow b;
    if (!t->readable) {
        t->nonzero = t->count;
        return PARE_OK;
    }
    pare_status st = open_task(r, t, PARE_READ, false, &b);
    if (st) return st;
    t->nonzero = prune_nonzero(r->work, &b.source);
    prune_borrow_close(&b);
    if (!written && !r->o->bake) return PARE_OK;
    return r->api.tensors->masked_set(r->host, r->model, t->layer.tensor, r->o->bake ? 0 : 1);
}

static pare_status apply_in_training(run *r) {
    pare_status st = prune_gradual(r->host, r->model, r->o, &r->plan, r->work);
    for (uint64_t i = 0; i < r->plan.n && !st; i++) st = look_after(r, &r->plan.tasks[i]);
    if (!st) tell(r);
    return st;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    run r;
    prune_threshold pool = {0};
    pare_status st = run_init(&r, self, host, model, false);
    if (st) return st;
    r.work = host->scratch(host, sizeof *r.work);
    if (!r.work) return PARE_ENOMEM;
    r.work->host = host;
    if (r.o->fit) return apply_in_training(&r);
    if (r.plan.pool_gone && (st = find_pool(&r, &pool))) return st;
    const double before = r.plan.pool_gone ? 0.5 : 0;
    for (uint64_t i = 0; i < r.plan.n; i++) {
        prune_task *t = &r.plan.tasks[i];
        st = host->tick(host, before + (1 - before) * (double)i / (double)r.plan.n, t->layer.name);
        if (st || (st = do_task(&r, t, &pool))) return st;
    }
    tell(&r);
    return PARE_OK;
}

const pare_technique prune_unstructured = {
    .size = sizeof(pare_technique),
    .flags = PARE_TECHNIQUE_TRAINS,
    .id = "prune.unstructured",
    .version = "1.0.0",
    .summary =
        "Makes single weights zero, freely or N of M: at once, or, with a fit block, little by little in training.",
    .params = prune_params,
    .n_params = PRUNE_N_PARAMS,
    .param_stride = sizeof(pare_param),
    .create = create,
    .check = check,
    .apply = apply,
    .destroy = destroy,
};
