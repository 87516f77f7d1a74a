/* prune/plan.c - see plan.h. */
#include "plan.h"

#include "erk.h"
#include "keys.h"

#include <stdio.h>
#include <string.h>

typedef struct finder {
    const pare_host *host;
    pare_model *model;
    const prune_apis *api;
    const prune_options *o;
    bool loud;
    pare_layer *layers;
    uint64_t n;
    uint32_t *hit;  /* scratch for one select */
    uint8_t *out;   /* layers that do not take part */
    uint32_t *rule; /* 1 + the row that counts, or 0 */
} finder;

static pare_status nothing(const finder *f) {
    char text[256] = "";
    size_t at = 0;
    for (uint64_t i = 0; i < f->o->ops->n && at < sizeof text; i++) {
        const int n = snprintf(text + at, sizeof text - at, "%s%s", i ? ", " : "", f->o->ops->u.list[i].u.s);
        at += n > 0 ? (size_t)n : 0;
    }
    char message[400];
    (void)snprintf(message, sizeof message, "no layer to prune: the model has no node of %s with constant weights",
                   text);
    PARE_REPORT(f->host, PARE_ERROR, .code = "prune.no-layers", .message = message, .param = "ops",
                .hint = "pare inspect lists the ops of a model; name those with weights in ops");
    return PARE_EINVAL;
}

/* Scratch is never asked for zero bytes. */
static void *scratch(const pare_host *host, uint64_t n, uint64_t size) {
    return n > UINT64_MAX / size ? NULL : host->scratch(host, n ? n * size : size);
}

static pare_status list_layers(finder *f) {
    const pare_arg *ops = f->o->ops;
    const char **names = scratch(f->host, ops->n, sizeof *names);
    if (!names) return PARE_ENOMEM;
    for (uint64_t i = 0; i < ops->n; i++) names[i] = ops->u.list[i].u.s;
    pare_status st = f->api->layers->list(f->host, f->model, "ops", names, ops->n, NULL, 0, &f->n);
    if (st) return st;
    if (f->n == 0) return nothing(f);
    f->layers = scratch(f->host, f->n, sizeof *f->layers);
    f->hit = scratch(f->host, f->n, sizeof *f->hit);
    f->out = scratch(f->host, f->n, sizeof *f->out);
    f->rule = scratch(f->host, f->n, sizeof *f->rule);
    if (!f->layers || !f->hit || !f->out || !f->rule) return PARE_ENOMEM;
    for (uint64_t i = 0; i < f->n; i++) f->layers[i].size = sizeof(pare_layer);
    uint64_t again = 0;
    st = f->api->layers->list(f->host, f->model, "ops", names, ops->n, f->layers, f->n, &again);
    return st ? st : again == f->n ? PARE_OK : PARE_EINTERNAL;
}

/* Products of whole numbers are another op, with weights that `ops` does not name unless it is told to. */
static pare_status warn_of_integers(const finder *f) {
    static const char *const names[] = {"MatMulInteger", "ConvInteger"};
    char message[160];
    uint64_t n = 0;
    for (uint64_t i = 0; i < f->o->ops->n; i++)
        for (size_t k = 0; k < 2; k++)
            if (strcmp(f->o->ops->u.list[i].u.s, names[k]) == 0) return PARE_OK;
    pare_status st = f->api->layers->list(f->host, f->model, "ops", names, 2, NULL, 0, &n);
    if (st || !n || !f->loud) return st;
    (void)snprintf(message, sizeof message,
                   "%llu layers multiply whole numbers (MatMulInteger, ConvInteger): their weights stay as they are",
                   (unsigned long long)n);
    PARE_REPORT(f->host, PARE_WARNING, .code = "prune.integer", .message = message, .param = "ops",
                .hint = "prune before quantize.dynamic: zeros stay zeros in it");
    return PARE_OK;
}

static pare_status select_layers(finder *f) {
    const prune_options *o = f->o;
    const pare_layers_api *api = f->api->layers;
    pare_status st;
    if (o->include->n) {
        st = api->select(f->host, f->model, "include", o->include->u.list, o->include->n, f->layers, f->n, f->hit);
        if (st) return st;
        for (uint64_t i = 0; i < f->n; i++) f->out[i] |= f->hit[i] == 0;
    }
    if (o->exclude->n) {
        st = api->select(f->host, f->model, "exclude", o->exclude->u.list, o->exclude->n, f->layers, f->n, f->hit);
        if (st) return st;
        for (uint64_t i = 0; i < f->n; i++) f->out[i] |= f->hit[i] != 0;
    }
    if (o->keep_first) f->out[0] = 1;
    if (o->keep_last) f->out[f->n - 1] = 1;
    for (uint64_t r = 0; r < o->n_rules; r++) {
        char param[64];
        bool named = false;
        (void)snprintf(param, sizeof param, "layers[%llu].match", (unsigned long long)r);
        st = api->select(f->host, f->model, param, o->rules[r].match, 1, f->layers, f->n, f->hit);
        if (st) return st;
        for (uint64_t i = 0; i < f->n; i++) {
            if (!f->hit[i] || f->out[i] || f->rule[i]) continue;
            f->rule[i] = (uint32_t)(r + 1);
            named = true;
        }
        if (!named && f->loud)
            PARE_REPORT(f->host, PARE_WARNING, .code = "prune.row-unused", .param = param,
                        .message = "this row decides nothing: each layer it names belongs to an earlier row, or is "
                                   "kept out by include, exclude, keep_first or keep_last",
                        .hint = "put special rows above general ones, or drop the row");
    }
    return PARE_OK;
}

static void leave(prune_task *t, const char *why) {
    t->how = PRUNE_LEAVE;
    t->why = why;
    t->gone = 0;
}

/* The shape along the input channels; leaves the layer where N:M has no meaning. */
static void plan_groups(prune_task *t, const pare_tensor_info *info) {
    t->how = PRUNE_GROUPS;
    t->requested = 1.0 - (double)t->n / (double)t->m;
    if (t->layer.in_axis < 0 || (uint32_t)t->layer.in_axis >= info->ndim) {
        leave(t, "no input channels that the pattern could go along");
        return;
    }
    t->channels = (uint64_t)info->dims[t->layer.in_axis];
    if (t->channels < t->m) {
        leave(t, "fewer input channels than one group of the pattern");
        return;
    }
    t->inner = 1;
    for (uint32_t d = (uint32_t)t->layer.in_axis + 1; d < info->ndim; d++) t->inner *= (uint64_t)info->dims[d];
    if (t->count == 0) return;
    t->gone = prune_pattern_count(t->n, t->m, t->channels, t->count / t->channels);
}

static pare_status plan_task(const finder *f, const pare_layer *layer, const prune_rule *rule, prune_task *t) {
    const prune_options *o = f->o;
    pare_tensor_info info = {.size = sizeof info};
    pare_status st = f->api->tensors->info(f->host, f->model, layer->tensor, &info);
    if (st) return st;
    t->layer = *layer;
    t->dtype = info.dtype;
    t->count = info.count;
    t->n = rule ? rule->n : o->m ? o->n : 0;
    t->m = rule ? rule->m : o->m;
    t->ruled = rule != NULL;
    for (uint32_t d = 0; d < info.ndim; d++) t->dims += (double)info.dims[d];
    t->readable = prune_dtype_ok(info.dtype, layer->scale != 0);
    if (info.dtype == PARE_FLOAT8E8M0) {
        PARE_REPORT(f->host, PARE_ERROR, .code = "prune.dtype", .tensor = layer->name,
                    .message = "weights of dtype float8_e8m0 cannot be pruned: the dtype has no zero",
                    .hint = "exclude the layer");
        return PARE_EUNSUPPORTED;
    }
    if (t->m) {
        plan_groups(t, &info);
    } else {
        t->requested = rule ? rule->sparsity : o->sparsity;
        t->how = o->global && !rule ? PRUNE_POOL : PRUNE_SHARE;
        t->gone = t->how == PRUNE_SHARE ? prune_count(t->requested, t->count) : 0;
    }
    if (!t->readable)
        leave(t, "weights that are neither floats nor quantized with a scale");
    else if (t->how != PRUNE_POOL && t->how != PRUNE_LEAVE && t->gone == 0)
        leave(t, NULL);
    return PARE_OK;
}

/* One report for all layers that are left for the same reason: a network may have dozens. */
static void tell_left(const finder *f, const prune_plan *plan, uint64_t first) {
    enum { SHOWN = 4 };
    const prune_task *t = &plan->tasks[first];
    char names[600] = "", text[800];
    size_t at = 0;
    uint64_t n = 0;
    for (uint64_t i = 0; i < plan->n; i++) {
        if (plan->tasks[i].why != t->why) continue;
        if (i < first) return; /* told already */
        if (++n > SHOWN) continue;
        const int len =
            snprintf(names + at, sizeof names - at, "%s\"%.120s\"", n > 1 ? ", " : "", plan->tasks[i].layer.name);
        at += len > 0 ? (size_t)len : 0;
    }
    (void)snprintf(text, sizeof text, "%llu layer%s left as %s: %s: %s%s", (unsigned long long)n,
                   n == 1 ? " is" : "s are", n == 1 ? "it is" : "they are", t->why, names, n > SHOWN ? ", ..." : "");
    PARE_REPORT(f->host, t->readable ? PARE_NOTE : PARE_WARNING, .code = "prune.layer-left", .message = text);
}

static void warn_layer(const finder *f, const prune_plan *plan, uint64_t i) {
    const prune_task *t = &plan->tasks[i];
    if (t->how == PRUNE_LEAVE && t->why) {
        tell_left(f, plan, i);
    } else if (t->count && t->gone == t->count) {
        char text[512];
        (void)snprintf(text, sizeof text, "a sparsity of %.10g removes all %llu weights of layer \"%.200s\"",
                       t->requested, (unsigned long long)t->count, t->layer.name);
        PARE_REPORT(f->host, PARE_WARNING, .code = "prune.layer-emptied", .message = text, .tensor = t->layer.name,
                    .param = "sparsity", .hint = "lower the sparsity, or exclude the layer");
    }
}

static pare_status plan_pool(const finder *f, prune_plan *plan) {
    uint32_t dtype = PARE_DTYPE_UNKNOWN;
    for (uint64_t i = 0; i < plan->n; i++) {
        const prune_task *t = &plan->tasks[i];
        if (t->how != PRUNE_POOL) continue;
        if (t->count > UINT64_MAX - plan->pool_count) return PARE_EUNSUPPORTED;
        plan->pool_count += t->count;
        plan->pool_wide |= t->layer.scale != 0 || (dtype && dtype != t->dtype);
        dtype = t->dtype;
    }
    plan->pool_gone = prune_count(f->o->sparsity, plan->pool_count);
    return PARE_OK;
}

/* Layers without a row get their share by their form. */
static pare_status plan_erk(const finder *f, prune_plan *plan) {
    prune_erk_layer *layers = scratch(f->host, plan->n, sizeof *layers);
    uint64_t n = 0;
    if (!layers) return PARE_ENOMEM;
    for (uint64_t i = 0; i < plan->n; i++)
        if (!plan->tasks[i].ruled && plan->tasks[i].readable)
            layers[n++] = (prune_erk_layer){.count = (double)plan->tasks[i].count, .dims = plan->tasks[i].dims};
    prune_erk(layers, n, f->o->sparsity);
    n = 0;
    for (uint64_t i = 0; i < plan->n; i++) {
        prune_task *t = &plan->tasks[i];
        if (t->ruled || !t->readable) continue;
        t->requested = layers[n++].sparsity;
        t->how = PRUNE_SHARE;
        t->gone = prune_count(t->requested, t->count);
        if (!t->gone) leave(t, NULL);
    }
    return PARE_OK;
}

static void warn_plan(const finder *f, const prune_plan *plan) {
    uint64_t gone = plan->pool_gone;
    for (uint64_t i = 0; i < plan->n; i++) {
        warn_layer(f, plan, i);
        gone += plan->tasks[i].gone;
    }
    if (plan->pool_gone && plan->pool_gone == plan->pool_count)
        PARE_REPORT(f->host, PARE_WARNING, .code = "prune.layer-emptied", .param = "sparsity",
                    .message = "this sparsity removes all weights of the selected layers",
                    .hint = "lower the sparsity");
    if (!gone)
        PARE_REPORT(f->host, PARE_WARNING, .code = "prune.nothing",
                    .message = "this step removes no weight: the sparsity is too small, or no layer fits the pattern",
                    .hint = "raise the sparsity, or drop the step");
}

pare_status prune_plan_make(const pare_host *host, pare_model *model, const prune_apis *api, const prune_options *o,
                            bool loud, prune_plan *plan) {
    finder f = {.host = host, .model = model, .api = api, .o = o, .loud = loud};
    memset(plan, 0, sizeof *plan);
    pare_status st = list_layers(&f);
    if (st) return st;
    if ((st = warn_of_integers(&f)) || (st = select_layers(&f))) return st;
    plan->tasks = scratch(host, f.n, sizeof *plan->tasks);
    if (!plan->tasks) return PARE_ENOMEM;
    uint64_t named = 0;
    for (uint64_t i = 0; i < f.n; i++) {
        const prune_rule *rule = f.rule[i] ? &o->rules[f.rule[i] - 1] : NULL;
        if (f.out[i]) continue;
        named++;
        if (rule ? rule->skip : !o->m && !o->has_sparsity) continue; /* rows alone decide: the others stay */
        if ((st = plan_task(&f, &f.layers[i], rule, &plan->tasks[plan->n]))) return st;
        plan->n++;
    }
    if (!named) {
        PARE_REPORT(host, PARE_ERROR, .code = "prune.no-layers", .param = o->include->n ? "include" : "exclude",
                    .message =
                        "no layer is left to prune: include, exclude, keep_first and keep_last rule all of them out",
                    .hint = "loosen one of them");
        return PARE_EINVAL;
    }
    if ((st = plan_pool(&f, plan))) return st;
    if (o->erk && (st = plan_erk(&f, plan))) return st;
    if (loud) warn_plan(&f, plan);
    return PARE_OK;
}
