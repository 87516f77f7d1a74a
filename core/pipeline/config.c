/* pipeline/config.c - see config.h: the file as a whole and its head; the other parts are in config_*.c. */
#include "pipeline/config.h"

#include "base/os.h"
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const pare_config_key top_keys[] = {{"version", false}, {"name", false}, {"seed", false},  {"device", false},
                                           {"models", false},  {"data", false}, {"steps", false}, {"report", false},
                                           {"output", false},  {"matrix", true}};

/* ---- the head ---- */

/* False: another version, so that nothing else in the file can be judged. */
static bool read_version(pare_config *c, const pare_yaml_node *root, bool needed) {
    const pare_yaml_node *n = pare_yaml_get(root, "version");
    if (!n && !needed) return true;
    if (!n) {
        pare_config_fail(c, (pare_span){.src = &c->p->yaml->src}, "version", "config.missing",
                         "start the file with `version: 1`", "version is missing");
        return true;
    }
    if (n->kind != PARE_YAML_INT && n->kind != PARE_YAML_FLOAT) {
        pare_config_wrong(c, n, "version", "the int 1", NULL);
        return false;
    }
    if (n->f == 1) return true;
    pare_config_fail(c, n->at, "version", "config.version", "a newer pare may read it",
                     "this is a pipeline of version %s; this pare reads version 1", n->text);
    return false;
}

/* "configs/resnet 18.yaml" gives "resnet-18". */
static char *name_of_file(pare_config *c, const char *path) {
    const char *base = pare_path_base(path), *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    char *name = pare_arena_strndup(&c->p->arena, base, n > 100 ? 100 : n);
    for (char *s = name; *s; s++)
        if (!pare_config_name_ok((const char[]){s == name ? *s : 'a', s == name ? 0 : *s, 0}, true)) *s = '-';
    if (*name == '-') *name = '_';
    return *name ? name : pare_arena_strdup(&c->p->arena, "pipeline");
}

static void read_name(pare_config *c, pare_yaml_node *root) {
    pare_yaml_node *n = pare_yaml_get(root, "name");
    c->p->name = name_of_file(c, c->p->path);
    if (!n) return;
    if (pare_yaml_substitute(c->p->yaml, n, NULL, 0, c->d) != PARE_OK) {
        c->errors++;
        return;
    }
    const char *name = pare_config_text(c, n, "name", "a string");
    if (!name) return;
    if (pare_config_name_ok(name, true))
        c->p->name = name;
    else
        pare_config_fail(c, n->at, "name", "config.name",
                         "it names a folder: letters, digits, '.', '_' and '-', at most 100, no '.' or '-' in front",
                         "the name \"%s\" can't be used", name);
}

static void substitute_in(pare_config *c, pare_yaml_node *n) {
    pare_yaml_var vars[] = {{"name", c->p->name}};
    if (n && pare_yaml_substitute(c->p->yaml, n, vars, 1, c->d) != PARE_OK) c->errors++;
}

static void substitute(pare_config *c, pare_yaml_node *root) {
    for (uint32_t i = 0; i < root->n; i++)
        if (strcmp(root->items[i]->key, "name") != 0) substitute_in(c, root->items[i]);
}

static void read_seed(pare_config *c, const pare_yaml_node *n) {
    int64_t seed;
    if (n && pare_config_int(c, n, "seed", 0, INT64_MAX, &seed)) c->p->seed = (uint64_t)seed;
}

static void read_device(pare_config *c, const pare_yaml_node *n) {
    static const char *const words[] = {"auto", "cpu"};
    c->p->device = "auto";
    if (!n) return;
    if (n->kind == PARE_YAML_MAP) {
        pare_config_later(c, n->at, "device", "device: {kind: ...}");
    } else if (n->text && strncmp(n->text, "cuda", 4) == 0) {
        pare_config_later(c, n->at, "device", "device: cuda");
    } else {
        int i = pare_config_word(c, n, "device", words, 2);
        if (i >= 0) c->p->device = words[i];
    }
}

static void read_all(pare_config *c) {
    pare_yaml_node *root = c->p->yaml->root;
    for (size_t i = 0; i < c->opts->n_sets; i++) pare_config_set(c, c->opts->sets[i]);
    if (c->errors) return; /* what wasn't set would give errors that confuse */
    if (!read_version(c, root, true)) return;
    pare_config_keys(c, root, "", top_keys, COUNT(top_keys));
    read_name(c, root);
    size_t before = c->errors;
    substitute(c, root);
    if (c->errors > before) return; /* the same places would be wrong once more */
    read_seed(c, pare_yaml_get(root, "seed"));
    read_device(c, pare_yaml_get(root, "device"));
    pare_config_data(c, pare_yaml_get(root, "data")); /* first: models and the report refer to it */
    pare_config_models(c, pare_yaml_get(root, "models"));
    pare_config_steps(c, pare_yaml_get(root, "steps"));
    pare_config_report(c, pare_yaml_get(root, "report"));
    pare_config_fit_sets(c);
    pare_config_output(c, pare_yaml_get(root, "output"));
}

/* What is about data, whatever else the file is for. */
static void read_data_only(pare_config *c) {
    pare_config_key keys[COUNT(top_keys)];
    pare_yaml_node *root = c->p->yaml->root;
    for (size_t i = 0; i < c->opts->n_sets; i++) pare_config_set(c, c->opts->sets[i]);
    if (c->errors || !read_version(c, root, false)) return;
    for (size_t i = 0; i < COUNT(keys); i++) keys[i] = (pare_config_key){top_keys[i].name, false};
    pare_config_keys(c, root, "", keys, COUNT(keys));
    read_name(c, root);
    pare_yaml_node *data = pare_yaml_get(root, "data"), *on = pare_yaml_get(pare_yaml_get(root, "report"), "on");
    pare_yaml_node *seed = pare_yaml_get(root, "seed"), *models = pare_yaml_get(root, "models");
    size_t before = c->errors;
    substitute_in(c, seed);
    substitute_in(c, data);
    substitute_in(c, on);
    for (uint32_t i = 0; models && models->kind == PARE_YAML_MAP && i < models->n; i++) {
        substitute_in(c, pare_yaml_get(models->items[i], "onnx"));
        substitute_in(c, pare_yaml_get(models->items[i], "preprocess"));
    }
    if (c->errors > before) return;
    read_seed(c, seed);
    if (!data)
        pare_config_fail(c, (pare_span){.src = &c->p->yaml->src}, "data", "config.missing",
                         "as in `data: {test: {folder: images}}`", "data is missing");
    pare_config_data(c, data);
    pare_config_model_inputs(c, models);
    if (on) pare_config_report_on(c, on);
}

static pare_status open_with(void (*read)(pare_config *c), const char *path, const pare_pipeline_opts *opts,
                             pare_diags *d, pare_pipeline **out) {
    *out = NULL;
    pare_pipeline *p = pare_xcalloc(1, sizeof *p);
    pare_config c = {.p = p, .opts = opts, .d = d};
    p->report.on = -1;
    p->path = pare_arena_strdup(&p->arena, path);
    char *dir = pare_path_dir(path);
    p->dir = pare_arena_strdup(&p->arena, strcmp(dir, ".") == 0 ? "" : dir);
    free(dir);
    pare_status st = pare_yaml_open(path, d, &p->yaml);
    if (st != PARE_OK) goto fail;
    if (p->yaml->root->kind == PARE_YAML_MAP)
        read(&c);
    else
        pare_config_wrong(
            &c, p->yaml->root, "the file",
            read == read_all ? "a map with the keys version, models, steps, ..." : "a map with the key data", NULL);
    if (c.errors > 20)
        pare_say_at(d, PARE_NOTE, (pare_span){.src = &p->yaml->src}, "config.more", NULL, "%zu more errors",
                    c.errors - 20);
    pare_map_free(&c.steps);
    pare_map_free(&c.models);
    pare_map_free(&c.sets);
    if (c.errors) {
        st = PARE_EINVAL;
        goto fail;
    }
    *out = p;
    return PARE_OK;
fail:
    pare_pipeline_free(p);
    return st;
}

pare_status pare_pipeline_open(const char *path, const pare_pipeline_opts *opts, pare_diags *d, pare_pipeline **out) {
    return open_with(read_all, path, opts, d, out);
}

pare_status pare_pipeline_data_open(const char *path, const pare_pipeline_opts *opts, pare_diags *d,
                                    pare_pipeline **out) {
    return open_with(read_data_only, path, opts ? opts : &(pare_pipeline_opts){0}, d, out);
}

void pare_pipeline_free(pare_pipeline *p) {
    if (!p) return;
    pare_yaml_free(p->yaml);
    pare_arena arena = p->arena;
    free(p);
    pare_arena_free(&arena);
}

pare_span pare_pipeline_locate(const pare_pipeline_step *step, const char *param) {
    return param ? pare_params_locate(step->with, param) : step->at;
}

const char *pare_pipeline_ref_name(const pare_pipeline *p, pare_pipeline_ref r) {
    return r.kind == PARE_REF_MODEL ? p->models[r.i].name : p->steps[r.i].id;
}

/* ---- resolved ---- */

static json_t *model_json(const pare_pipeline_model *m) {
    json_t *j = json_object();
    if (!m->zoo) {
        json_object_set_new(j, "onnx", pare_json_str(m->file_written));
    } else {
        json_object_set_new(j, "zoo", pare_json_str(m->zoo->name));
        json_object_set_new(j, "with", pare_params_json(m->with));
    }
    if (m->weights) {
        json_object_set_new(j, "weights", pare_json_str(m->file_written));
        json_t *reinit = json_array();
        for (size_t i = 0; i < m->n_reinit; i++) json_array_append_new(reinit, pare_json_str(m->reinit[i]));
        json_object_set_new(j, "reinit", reinit);
    }
    if (m->own_preprocess) json_object_set_new(j, "preprocess", pare_config_preprocess_json(m->preprocess, true));
    return j;
}

static json_t *report_json(const pare_pipeline *p) {
    json_t *j = json_object(), *metrics = json_array();
    if (p->report.on >= 0) json_object_set_new(j, "on", pare_json_str(p->data.sets[p->report.on].name));
    json_object_set_new(j, "baseline", pare_json_str(p->report.baseline_name));
#define ADD(name, bit, text)                                                                                           \
    if (p->report.metrics & PARE_METRIC_##name) json_array_append_new(metrics, json_string(text));
    PARE_METRICS(ADD)
#undef ADD
    json_object_set_new(j, "metrics", metrics);
    if (p->report.metrics & PARE_METRICS_TIME) {
        json_t *threads = json_array();
        for (uint32_t i = 0; i < p->report.latency.n_threads; i++)
            json_array_append_new(threads, json_integer(p->report.latency.threads[i]));
        json_object_set_new(j, "latency",
                            json_pack("{s:I, s:o, s:I}", "batch", (json_int_t)p->report.latency.batch, "threads",
                                      threads, "runs", (json_int_t)p->report.latency.runs));
    }
    return j;
}

json_t *pare_pipeline_json(const pare_pipeline *p) {
    static const char *const words[] = {[PARE_OFF] = "off", [PARE_ON] = "on", [PARE_AUTO] = "auto"};
    json_t *models = json_object(), *steps = json_array();
    for (size_t i = 0; i < p->n_models; i++) json_object_set_new(models, p->models[i].name, model_json(&p->models[i]));
    for (size_t i = 0; i < p->n_steps; i++) {
        const pare_pipeline_step *s = &p->steps[i];
        json_t *step = json_pack("{s:o, s:o, s:o, s:s, s:o}", "id", pare_json_str(s->id), "use", pare_json_str(s->use),
                                 "from", pare_json_str(pare_pipeline_ref_name(p, s->input)), "device", s->device,
                                 "with", pare_params_json(s->with));
        if (s->fit) json_object_set_new(step, "fit", pare_config_fit_json(p, s->fit));
        json_array_append_new(steps, step);
    }
    json_t *j = json_pack("{s:i, s:o, s:I, s:s, s:o}", "version", 1, "name", pare_json_str(p->name), "seed",
                          (json_int_t)p->seed, "device", p->device, "models", models);
    if (p->data.at.src) json_object_set_new(j, "data", pare_config_data_json(p));
    json_object_set_new(j, "steps", steps);
    json_object_set_new(j, "report", report_json(p));
    json_object_set_new(j, "output",
                        json_pack("{s:o, s:s, s:s, s:s}", "dir", pare_json_str(p->output.dir_written), "gzip",
                                  words[p->output.gzip], "pack", words[p->output.pack], "external_data",
                                  words[p->output.external_data]));
    return j;
}
