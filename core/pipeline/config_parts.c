/* pipeline/config_parts.c - see config_read.h: models, report and output of the pipeline file. */
#include "base/os.h"
#include "data/data.h"
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { MAX_BATCH = 65536, MAX_THREADS = 1024, MAX_RUNS = 1000000 }; /* of latency: beyond them it is a slip */

/* ---- models ---- */

static void read_zoo(pare_config *c, pare_pipeline_model *m, const pare_yaml_node *n, const char *path) {
    const pare_yaml_node *zoo = pare_yaml_get(n, "zoo");
    const char *where = pare_arena_printf(&c->p->arena, "%s.zoo", path);
    const char *name = pare_config_text(c, zoo, where, "the name of a network");
    if (!name) return;
    m->at = zoo->at;
    m->zoo = pare_zoo_find(name);
    if (!m->zoo) {
        size_t count;
        const pare_zoo_net *const *nets = pare_zoo_all(&count);
        const char **names = pare_xcalloc(count, sizeof *names);
        for (size_t i = 0; i < count; i++) names[i] = nets[i]->name;
        pare_config_fail(c, zoo->at, where, "config.unknown-net",
                         pare_config_hint(c, name, "the zoo has", names, count), "the zoo has no network \"%s\"", name);
        free(names);
        return;
    }
    pare_params_ctx ctx = pare_config_params_ctx(c, pare_arena_printf(&c->p->arena, "%s.with", path), zoo->at);
    if (pare_params_parse(pare_yaml_get(n, "with"), pare_zoo_params(m->zoo), &ctx, &m->with) != PARE_OK) c->errors++;
}

static void read_reinit(pare_config *c, pare_pipeline_model *m, const pare_yaml_node *n, const char *path) {
    bool lone = n->kind != PARE_YAML_LIST;
    size_t count = lone ? 1 : n->n;
    const char **globs = pare_arena_alloc(&c->p->arena, (count + 1) * sizeof *globs);
    for (size_t i = 0; i < count; i++)
        globs[i] = pare_config_text(c, lone ? n : n->items[i], path, "a list of name patterns, as in [fc.*]");
    m->reinit = globs;
    m->n_reinit = count;
}

static void read_model(pare_config *c, pare_pipeline_model *m, const pare_yaml_node *n) {
    static const pare_config_key keys[] = {{"zoo", false},    {"with", false}, {"weights", false},
                                           {"reinit", false}, {"onnx", false}, {"preprocess", false}};
    const char *path = pare_arena_printf(&c->p->arena, "models.%s", n->key);
    m->at = n->key_at;
    m->preprocess = c->p->data.preprocess;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, path, "a map, as in {zoo: resnet18} or {onnx: model.onnx}",
                          n->text && n->kind == PARE_YAML_STRING ? "for a file write {onnx: FILE}" : NULL);
        return;
    }
    pare_config_keys(c, n, path, keys, COUNT(keys));
    const pare_yaml_node *zoo = pare_yaml_get(n, "zoo"), *onnx = pare_yaml_get(n, "onnx");
    const pare_yaml_node *weights = pare_yaml_get(n, "weights"), *reinit = pare_yaml_get(n, "reinit");
    const pare_yaml_node *preprocess = pare_yaml_get(n, "preprocess");
    if (preprocess) {
        m->own_preprocess = true;
        m->preprocess = pare_config_preprocess(c, preprocess, pare_arena_printf(&c->p->arena, "%s.preprocess", path),
                                               c->p->data.preprocess);
    }
    if (!zoo && !onnx) {
        pare_config_fail(c, n->at, path, "config.missing", "as in {zoo: resnet18} or {onnx: model.onnx}",
                         "%s needs zoo or onnx", path);
        return;
    }
    if (zoo && onnx) {
        pare_config_fail(c, onnx->key_at, path, "config.conflict", "keep one of the two", "%s has both zoo and onnx",
                         path);
        return;
    }
    if (zoo) {
        read_zoo(c, m, n, path);
    } else {
        m->at = onnx->at;
        m->onnx = pare_config_path(c, onnx, pare_arena_printf(&c->p->arena, "%s.onnx", path), true);
        m->file_written = onnx->text;
        for (size_t i = 1; i < 4; i++) {
            const pare_yaml_node *extra = pare_yaml_get(n, keys[i].name);
            if (extra)
                pare_config_fail(c, extra->key_at, path, "config.conflict", "an ONNX file brings its own",
                                 "%s goes with zoo, not with onnx", keys[i].name);
        }
        return;
    }
    if (weights) {
        m->weights_at = weights->at;
        m->weights = pare_config_path(c, weights, pare_arena_printf(&c->p->arena, "%s.weights", path), true);
        m->file_written = weights->text;
    }
    if (reinit) read_reinit(c, m, reinit, pare_arena_printf(&c->p->arena, "%s.reinit", path));
    if (reinit && !weights)
        pare_config_fail(c, reinit->key_at, path, "config.missing", "without weights everything is initialised anyway",
                         "reinit needs weights");
}

void pare_config_models(pare_config *c, const pare_yaml_node *models) {
    pare_pipeline *p = c->p;
    if (!models) {
        pare_config_fail(c, (pare_span){.src = &p->yaml->src}, "models", "config.missing",
                         "as in `models: {net: {onnx: model.onnx}}`", "models is missing");
        return;
    }
    if (models->kind != PARE_YAML_MAP || !models->n) {
        pare_config_wrong(c, models, "models", "a map of at least one model, as in {net: {onnx: model.onnx}}", NULL);
        return;
    }
    p->models = pare_arena_alloc(&p->arena, models->n * sizeof *p->models);
    for (uint32_t i = 0; i < models->n; i++) {
        const pare_yaml_node *n = models->items[i];
        pare_pipeline_model *m = &p->models[p->n_models++];
        m->name = n->key;
        m->last = (pare_pipeline_ref){PARE_REF_MODEL, i};
        pare_map_set(&c->models, m->name, i);
        if (!pare_config_name_ok(n->key, false))
            pare_config_fail(c, n->key_at, "models", "config.name",
                             "letters, digits, '_' and '-', at most 100, no '-' in front",
                             "a model can't be called \"%s\"", n->key);
        read_model(c, m, n);
    }
}

void pare_config_model_inputs(pare_config *c, const pare_yaml_node *models) {
    pare_pipeline *p = c->p;
    if (!models || models->kind != PARE_YAML_MAP) return;
    p->models = pare_arena_alloc(&p->arena, (models->n + 1) * sizeof *p->models);
    for (uint32_t i = 0; i < models->n; i++) {
        const pare_yaml_node *n = models->items[i], *pre = pare_yaml_get(n, "preprocess");
        const pare_yaml_node *onnx = pare_yaml_get(n, "onnx");
        const char *path = pare_arena_printf(&p->arena, "models.%s", n->key);
        pare_pipeline_model *m = &p->models[p->n_models++];
        *m = (pare_pipeline_model){.name = n->key, .preprocess = p->data.preprocess, .at = n->key_at};
        m->last = (pare_pipeline_ref){PARE_REF_MODEL, i};
        if (onnx && pare_yaml_is_text(onnx))
            m->onnx = pare_config_path(c, onnx, pare_arena_printf(&p->arena, "%s.onnx", path), false);
        if (!pre) continue;
        m->own_preprocess = true;
        m->preprocess =
            pare_config_preprocess(c, pre, pare_arena_printf(&p->arena, "%s.preprocess", path), p->data.preprocess);
    }
}

/* ---- report ---- */

static const struct {
    uint32_t bit;
    const char *word;
} metric_words[] = {
#define ROW(name, bit, text) {PARE_METRIC_##name, text},
    PARE_METRICS(ROW)
#undef ROW
};

bool pare_config_no_labels(const pare_pipeline *p, int32_t set) {
    while (p->data.sets[set].from >= 0) set = p->data.sets[set].from;
    const pare_pipeline_set *s = &p->data.sets[set];
    if (!s->source) return false; /* said already */
    if (strcmp(s->key, "flat") == 0) return true;
    if (strcmp(s->key, "random") == 0) return !s->source->classes;
    size_t n = s->written ? strlen(s->written) : 0;
    return strcmp(s->key, "npy") == 0 && !s->source->labels && n > 4 && strcmp(s->written + n - 4, ".npy") == 0;
}

/* The set that a file most likely means to measure on. */
static const char *likely_set(const pare_pipeline *p) {
    int32_t test = pare_pipeline_set_find(p, "test");
    return p->data.sets[test >= 0 ? (size_t)test : p->data.n_sets - 1].name;
}

/* A metric that needs samples or labels has them. */
static void check_metric(pare_config *c, const pare_yaml_node *at, uint32_t bit, const char *word, bool on) {
    const pare_pipeline *p = c->p;
    if ((bit & PARE_METRICS_DATA) && !on)
        pare_config_fail(c, at->at, "report.metrics", "config.missing",
                         p->data.n_sets ? pare_arena_printf(&c->p->arena, "as in `report: {on: %s}`", likely_set(p))
                                        : "add a set, as in `data: {test: {folder: test}}`, and `on: test` here",
                         "the metric %s needs `on`: the set it is measured on", word);
    else if ((bit & PARE_METRICS_LABELS) && p->report.on >= 0 && pare_config_no_labels(p, p->report.on))
        pare_config_fail(c, at->at, "report.metrics", "config.no-labels", "agreement, kl and sqnr need no labels",
                         "the metric %s needs labels, and the set \"%s\" has none", word,
                         p->data.sets[p->report.on].name);
}

static void read_metrics(pare_config *c, const pare_yaml_node *n, bool on) {
    static const char *const later[] = {"curves"};
    const char *known[COUNT(metric_words)];
    bool lone = n->kind != PARE_YAML_LIST;
    for (size_t i = 0; i < COUNT(known); i++) known[i] = metric_words[i].word;
    c->p->report.metrics = 0;
    for (uint32_t i = 0; i < (lone ? 1 : n->n); i++) {
        const pare_yaml_node *item = lone ? n : n->items[i];
        const char *name = pare_config_text(c, item, "report.metrics", "a list of metrics, as in [size, gzip]");
        if (!name) continue;
        size_t k = 0, l = 0;
        while (k < COUNT(known) && strcmp(known[k], name) != 0) k++;
        while (l < COUNT(later) && strcmp(later[l], name) != 0) l++;
        if (k < COUNT(known)) {
            c->p->report.metrics |= metric_words[k].bit;
            check_metric(c, item, metric_words[k].bit, name, on);
        } else if (l < COUNT(later)) {
            pare_config_later(c, item->at, "report.metrics", pare_arena_printf(&c->p->arena, "the metric %s", name));
        } else {
            pare_config_fail(c, item->at, "report.metrics", "config.choice",
                             pare_config_hint(c, name, "known are", known, COUNT(known)), "there is no metric \"%s\"",
                             name);
        }
    }
}

/* One number or a list of some. */
static void read_threads(pare_config *c, const pare_yaml_node *n) {
    static const char path[] = "report.latency.threads";
    uint32_t *to = c->p->report.latency.threads, count = 0;
    bool lone = n->kind != PARE_YAML_LIST;
    if (!lone && (!n->n || n->n > PARE_MOST_THREADS)) {
        pare_config_fail(c, n->at, path, "config.range", "as in `threads: [1, 0]`; 0 means all",
                         "%s is a number or a list of 1 to %d of them, got %u", path, PARE_MOST_THREADS, n->n);
        return;
    }
    for (uint32_t i = 0; i < (lone ? 1 : n->n); i++) {
        const pare_yaml_node *item = lone ? n : n->items[i];
        int64_t v;
        if (!pare_config_int(c, item, lone ? path : pare_arena_printf(&c->p->arena, "%s[%u]", path, i), 0, MAX_THREADS,
                             &v))
            return;
        for (uint32_t k = 0; k < count; k++)
            if (to[k] == (uint32_t)v) {
                pare_config_fail(c, item->at, path, "config.duplicate", NULL, "%s holds %u twice", path, to[k]);
                return;
            }
        to[count++] = (uint32_t)v;
    }
    c->p->report.latency.n_threads = count;
}

static void read_latency(pare_config *c, const pare_yaml_node *n) {
    static const pare_config_key keys[] = {{"batch", false}, {"threads", false}, {"runs", false}};
    pare_pipeline *p = c->p;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, "report.latency", "a map, as in {batch: 1, threads: 2}", NULL);
        return;
    }
    pare_config_keys(c, n, "report.latency", keys, COUNT(keys));
    const pare_yaml_node *batch = pare_yaml_get(n, "batch"), *threads = pare_yaml_get(n, "threads");
    const pare_yaml_node *runs = pare_yaml_get(n, "runs");
    int64_t v;
    if (batch && pare_config_int(c, batch, "report.latency.batch", 1, MAX_BATCH, &v))
        p->report.latency.batch = (uint32_t)v;
    if (threads) read_threads(c, threads);
    if (runs && pare_config_int(c, runs, "report.latency.runs", 0, MAX_RUNS, &v)) p->report.latency.runs = (uint64_t)v;
}

void pare_config_report_on(pare_config *c, const pare_yaml_node *n) {
    pare_pipeline *p = c->p;
    const char *name = pare_config_text(c, n, "report.on", "the name of a set of `data`");
    uint32_t i;
    p->report.on_at = n->at;
    if (!name) return;
    if (pare_map_get(&c->sets, name, &i)) {
        p->report.on = (int32_t)i;
        return;
    }
    const char **names = pare_xcalloc(p->data.n_sets, sizeof *names);
    for (size_t k = 0; k < p->data.n_sets; k++) names[k] = p->data.sets[k].name;
    pare_config_fail(c, n->at, "report.on", "config.unknown-set",
                     p->data.n_sets ? pare_config_hint(c, name, "known are", names, p->data.n_sets)
                                    : "name it in a data block, as in `data: {test: {folder: test}}`",
                     "there is no set \"%s\"", name);
    free(names);
}

static void read_baseline(pare_config *c, const pare_yaml_node *n) {
    pare_pipeline *p = c->p;
    const char *name = pare_config_text(c, n, "report.baseline", "a step's id or a model's name");
    uint32_t i;
    if (!name) return;
    p->report.baseline_name = name;
    if (pare_map_get(&c->steps, name, &i)) {
        p->report.baseline = (pare_pipeline_ref){PARE_REF_STEP, i};
    } else if (pare_map_get(&c->models, name, &i)) {
        p->report.baseline = (pare_pipeline_ref){PARE_REF_MODEL, i};
    } else {
        const char **names = pare_xcalloc(p->n_steps + p->n_models, sizeof *names);
        size_t count = 0;
        for (size_t k = 0; k < p->n_steps; k++)
            if (p->steps[k].id) names[count++] = p->steps[k].id;
        for (size_t k = 0; k < p->n_models; k++) names[count++] = p->models[k].name;
        pare_config_fail(c, n->at, "report.baseline", "config.unknown-step",
                         pare_config_hint(c, name, "known are", names, count),
                         "the baseline \"%s\" is neither a step nor a model", name);
        free(names);
    }
}

void pare_config_report(pare_config *c, const pare_yaml_node *n) {
    static const pare_config_key keys[] = {{"on", false}, {"baseline", false}, {"metrics", false}, {"latency", false}};
    pare_pipeline *p = c->p;
    p->report.metrics = PARE_METRIC_SIZE | PARE_METRIC_GZIP;
    p->report.size = p->report.gzip = true;
    p->report.latency.batch = p->report.latency.n_threads = 1;
    if (p->n_models) {
        p->report.baseline = (pare_pipeline_ref){PARE_REF_MODEL, p->main_model};
        p->report.baseline_name = p->models[p->main_model].name;
    }
    if (!n) return;
    p->report.at = n->at;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, "report", "a map, as in {metrics: [size, gzip]}", NULL);
        return;
    }
    pare_config_keys(c, n, "report", keys, COUNT(keys));
    const pare_yaml_node *metrics = pare_yaml_get(n, "metrics"), *baseline = pare_yaml_get(n, "baseline");
    const pare_yaml_node *on = pare_yaml_get(n, "on"), *latency = pare_yaml_get(n, "latency");
    if (on) pare_config_report_on(c, on);
    if (metrics) read_metrics(c, metrics, on != NULL);
    p->report.size = p->report.metrics & PARE_METRIC_SIZE;
    p->report.gzip = p->report.metrics & PARE_METRIC_GZIP;
    if (latency) read_latency(c, latency);
    if (baseline) read_baseline(c, baseline);
}

/* ---- output ---- */

/* on, off and, with n_words 5, auto. YAML 1.1 tools write true and false for them. */
static pare_switch read_switch(pare_config *c, const pare_yaml_node *map, const char *key, bool has_auto,
                               pare_switch dflt) {
    static const char *const words[] = {"off", "on", "auto"};
    const pare_yaml_node *n = pare_yaml_get(map, key);
    if (!n) return dflt;
    if (n->kind == PARE_YAML_BOOL) return n->i ? PARE_ON : PARE_OFF;
    int i = pare_config_word(c, n, pare_arena_printf(&c->p->arena, "output.%s", key), words, has_auto ? 3 : 2);
    return i < 0 ? dflt : i == 0 ? PARE_OFF : i == 1 ? PARE_ON : PARE_AUTO;
}

static void read_dir(pare_config *c, const pare_yaml_node *n, const char *path) {
    const char *dir = pare_config_path(c, n, path, false);
    if (!dir) return;
    c->p->output.dir = dir;
    c->p->output.dir_written = n->text;
    c->p->output.dir_given = true;
}

void pare_config_output(pare_config *c, const pare_yaml_node *n) {
    static const pare_config_key keys[] = {{"dir", false}, {"gzip", false}, {"pack", false}, {"external_data", false}};
    pare_pipeline *p = c->p;
    p->output.dir_written = pare_arena_printf(&p->arena, "runs/%s", p->name);
    char *joined = pare_path_join(p->dir, p->output.dir_written);
    p->output.dir = pare_arena_strdup(&p->arena, joined);
    free(joined);
    p->output.gzip = PARE_ON;
    p->output.pack = p->output.external_data = PARE_AUTO;
    if (!n) return;
    p->output.at = n->at;
    if (n->kind != PARE_YAML_MAP) {
        read_dir(c, n, "output");
        return;
    }
    pare_config_keys(c, n, "output", keys, COUNT(keys));
    const pare_yaml_node *dir = pare_yaml_get(n, "dir");
    if (dir) read_dir(c, dir, "output.dir");
    p->output.gzip = read_switch(c, n, "gzip", false, p->output.gzip);
    p->output.pack = read_switch(c, n, "pack", true, p->output.pack);
    p->output.external_data = read_switch(c, n, "external_data", true, p->output.external_data);
}
