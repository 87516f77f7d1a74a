/* pipeline/config_parts.c - see config_read.h: models, report and output of the pipeline file. */
#include "base/os.h"
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

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
    pare_params_ctx ctx = {.d = c->d,
                           .arena = &c->p->arena,
                           .prefix = pare_arena_printf(&c->p->arena, "%s.with", path),
                           .at = zoo->at,
                           .model = pare_config_model_ref,
                           .user = c};
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
    static const pare_config_key keys[] = {
        {"zoo", false}, {"with", false}, {"weights", false}, {"reinit", false}, {"onnx", false}};
    const char *path = pare_arena_printf(&c->p->arena, "models.%s", n->key);
    m->at = n->key_at;
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, path, "a map, as in {zoo: resnet18} or {onnx: model.onnx}",
                          n->text && n->kind == PARE_YAML_STRING ? "for a file write {onnx: FILE}" : NULL);
        return;
    }
    pare_config_keys(c, n, path, keys, COUNT(keys));
    const pare_yaml_node *zoo = pare_yaml_get(n, "zoo"), *onnx = pare_yaml_get(n, "onnx");
    const pare_yaml_node *weights = pare_yaml_get(n, "weights"), *reinit = pare_yaml_get(n, "reinit");
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

/* ---- report ---- */

static void read_metrics(pare_config *c, const pare_yaml_node *n) {
    static const char *const known[] = {"size", "gzip"};
    static const char *const later[] = {"loss", "accuracy", "top5", "agreement", "sqnr", "latency", "macs"};
    bool lone = n->kind != PARE_YAML_LIST;
    c->p->report.size = c->p->report.gzip = false;
    for (uint32_t i = 0; i < (lone ? 1 : n->n); i++) {
        const pare_yaml_node *item = lone ? n : n->items[i];
        const char *name = pare_config_text(c, item, "report.metrics", "a list of size and gzip");
        if (!name) continue;
        size_t k = 0;
        while (k < COUNT(later) && strcmp(later[k], name) != 0) k++;
        if (strcmp(name, "size") == 0)
            c->p->report.size = true;
        else if (strcmp(name, "gzip") == 0)
            c->p->report.gzip = true;
        else if (k < COUNT(later))
            pare_config_later(c, item->at, "report.metrics", pare_arena_printf(&c->p->arena, "the metric %s", name));
        else
            pare_config_fail(c, item->at, "report.metrics", "config.choice",
                             pare_config_hint(c, name, "known are", known, COUNT(known)), "there is no metric \"%s\"",
                             name);
    }
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
    static const pare_config_key keys[] = {{"on", true}, {"baseline", false}, {"metrics", false}, {"latency", true}};
    pare_pipeline *p = c->p;
    p->report.size = p->report.gzip = true;
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
    if (metrics) read_metrics(c, metrics);
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
