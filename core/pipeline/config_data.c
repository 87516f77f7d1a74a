/* pipeline/config_data.c - see config_read.h: the data block, its named sets and where each comes from. That files are
 * there is checked here; what is in them is seen when data/data.h opens them. */
#include "data/data.h"

#include "base/os.h"
#include "pipeline/config_read.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct source_key {
    const char *name;
    pare_data_kind kind;
    enum { IS_PREFIX, IS_FILE, IS_DIR, IS_EITHER, IS_CIFAR, IS_NUMBER, IS_SET } is;
} source_key;

static const source_key sources[] = {
    {"idx", PARE_DATA_IDX, IS_PREFIX},
    {"npy", PARE_DATA_NPY, IS_FILE},
    {"npz", PARE_DATA_NPY, IS_FILE},
    {"cifar10", PARE_DATA_CIFAR10, IS_CIFAR},
    {"cifar100", PARE_DATA_CIFAR100, IS_CIFAR},
    {"folder", PARE_DATA_FOLDER, IS_DIR},
    {"flat", PARE_DATA_FLAT, IS_EITHER},
    {"list", PARE_DATA_LIST, IS_FILE},
    {"safetensors", PARE_DATA_SAFETENSORS, IS_FILE},
    {"random", PARE_DATA_RANDOM, IS_NUMBER},
    {"from", PARE_DATA_FROM, IS_SET},
};
static const char *const parts[] = {"train", "test"};

enum { MAX_SAMPLES = INT32_MAX };

/* ---- files ---- */

static void missing(pare_config *c, const pare_yaml_node *n, const char *path, const char *message) {
    pare_config_fail(c, n->at, path, "config.no-file",
                     *n->text == '/' ? NULL : "paths are relative to the pipeline file's folder", "%s", message);
}

static bool there(const char *path) { return pare_path_what(path) != PARE_PATH_NONE; }

static bool idx_there(pare_config *c, const pare_yaml_node *n, const char *path, const char *full) {
    static const char *const endings[] = {"-images-idx3-ubyte", "-labels-idx1-ubyte"};
    for (size_t i = 0; i < COUNT(endings); i++) {
        const char *plain = pare_arena_printf(&c->p->arena, "%s%s", full, endings[i]);
        if (there(plain) || there(pare_arena_printf(&c->p->arena, "%s.gz", plain))) continue;
        missing(c, n, path, pare_arena_printf(&c->p->arena, "there is neither %s nor that with .gz", plain));
        return false;
    }
    return true;
}

/* The folder holds the files of its part; one such file may stand for it. */
static bool cifar_there(pare_config *c, const pare_yaml_node *n, const char *path, const char *full,
                        const pare_data_source *src) {
    static const char *const train10[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin"};
    static const char *const test10[] = {"test_batch.bin"}, *const train100[] = {"train.bin"},
                             *const test100[] = {"test.bin"};
    bool ten = src->kind == PARE_DATA_CIFAR10, test = strcmp(src->part, "test") == 0;
    const char *const *files = ten ? test ? test10 : train10 : test ? test100 : train100;
    size_t n_files = ten && !test ? COUNT(train10) : 1;
    if (!there(full)) {
        missing(c, n, path, pare_arena_printf(&c->p->arena, "there is no folder %s", full));
        return false;
    }
    for (size_t i = 0; pare_path_what(full) == PARE_PATH_DIR && i < n_files; i++) {
        char *file = pare_path_join(full, files[i]);
        bool ok = there(file);
        if (!ok) missing(c, n, path, pare_arena_printf(&c->p->arena, "there is no file %s", file));
        free(file);
        if (!ok) return false;
    }
    return true;
}

/* A path as it opens from the current folder, or NULL after having said that it isn't there. */
static const char *source_path(pare_config *c, const pare_yaml_node *n, const char *path, const source_key *k,
                               const pare_data_source *src) {
    const char *full = pare_config_path(c, n, path, k->is == IS_FILE);
    if (!full) return NULL;
    pare_path_kind what = pare_path_what(full);
    bool ok = true;
    if (k->is == IS_PREFIX) {
        ok = idx_there(c, n, path, full);
    } else if (k->is == IS_CIFAR) {
        ok = cifar_there(c, n, path, full, src);
    } else if (k->is == IS_DIR || k->is == IS_EITHER) {
        ok = what == PARE_PATH_DIR || (what != PARE_PATH_NONE && k->is == IS_EITHER);
        if (!ok)
            missing(c, n, path,
                    pare_arena_printf(&c->p->arena,
                                      what != PARE_PATH_NONE ? "%s is a file, not a folder"
                                      : k->is == IS_DIR      ? "there is no folder %s"
                                                             : "there is no file or folder %s",
                                      full));
    }
    return ok ? full : NULL;
}

/* ---- a set ---- */

/* The one key that says where the samples come from, or NULL after having said so. */
static const source_key *find_source(pare_config *c, const pare_yaml_node *n, const char *path, bool unknown_key) {
    const source_key *found = NULL;
    for (uint32_t i = 0; i < n->n; i++)
        for (size_t k = 0; k < COUNT(sources); k++) {
            if (strcmp(n->items[i]->key, sources[k].name) != 0) continue;
            if (found) {
                pare_config_fail(c, n->items[i]->key_at, path, "config.conflict", "keep one of the two",
                                 "%s has both %s and %s", path, found->name, sources[k].name);
                return NULL;
            }
            found = &sources[k];
        }
    if (found) return found;
    const char *names[COUNT(sources)];
    for (size_t k = 0; k < COUNT(sources); k++) names[k] = sources[k].name;
    for (uint32_t i = 0; unknown_key && i < n->n; i++) /* a slip in its name was said already */
        if (pare_nearest(n->items[i]->key, names, COUNT(sources))) return NULL;
    pare_config_fail(c, n->at, path, "config.missing", pare_config_hint(c, "", "it can be", names, COUNT(sources)),
                     "%s doesn't say where its samples come from", path);
    return NULL;
}

/* Options that go with some sources alone. */
static void check_options(pare_config *c, const pare_yaml_node *n, const char *path, const source_key *k) {
    static const struct {
        const char *key, *sources; /* with a blank around each */
    } rows[] = {{"labels", " npy npz safetensors "},
                {"images", " npz safetensors "},
                {"part", " cifar10 cifar100 "},
                {"layout", " npy npz safetensors "},
                {"classes", " idx npy npz cifar10 cifar100 folder list safetensors random from "}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const pare_yaml_node *v = pare_yaml_get(n, rows[i].key);
        if (!v || strstr(rows[i].sources, pare_arena_printf(&c->p->arena, " %s ", k->name))) continue;
        pare_config_fail(
            c, v->key_at, path, "config.conflict",
            pare_arena_printf(&c->p->arena, "it goes with%.*s", (int)strlen(rows[i].sources) - 1, rows[i].sources),
            "%s doesn't go with %s", rows[i].key, k->name);
    }
}

static void read_split(pare_config *c, const pare_yaml_node *n, const char *path, pare_data_source *src) {
    bool share = strcmp(n->key, "share") == 0;
    double v[2] = {0, n->f};
    bool ok = share ? n->kind == PARE_YAML_INT || n->kind == PARE_YAML_FLOAT : n->kind == PARE_YAML_LIST && n->n == 2;
    for (uint32_t i = 0; ok && !share && i < 2; i++) {
        ok = n->items[i]->kind == PARE_YAML_INT || n->items[i]->kind == PARE_YAML_FLOAT;
        v[i] = n->items[i]->f;
    }
    if (!ok) {
        pare_config_wrong(c, n, path, share ? "a share, as in 0.1" : "a list of two shares, as in [0, 0.9]",
                          share ? NULL : "`share: 0.1` is short for [0, 0.1]");
        return;
    }
    if (v[0] >= 0 && v[0] < v[1] && v[1] <= 1) {
        src->split_from = v[0];
        src->split_to = v[1];
        return;
    }
    if (share)
        pare_config_fail(c, n->at, path, "config.range", NULL, "%s must be above 0 and at most 1, got %g", path, v[1]);
    else
        pare_config_fail(c, n->at, path, "config.range", "as in [0, 0.9] and [0.9, 1]",
                         "%s must be FROM < TO within 0 and 1, got [%g, %g]", path, v[0], v[1]);
}

/* `npy: FILE` has its labels in a file of their own; in the others it is the name of an array. */
static void read_labels(pare_config *c, const pare_yaml_node *n, const char *path, const source_key *k,
                        pare_pipeline_set *s) {
    bool file = strcmp(k->name, "npy") == 0;
    s->source->labels =
        file ? pare_config_path(c, n, path, true) : pare_config_text(c, n, path, "the name of an array");
    if (file) s->labels_written = n->text;
}

static void read_options(pare_config *c, const pare_yaml_node *n, const char *path, const source_key *k,
                         pare_pipeline_set *s) {
    static const char *const on_errors[] = {[PARE_ON_ERROR_FAIL] = "fail", [PARE_ON_ERROR_SKIP] = "skip"};
    pare_data_source *src = s->source;
    int64_t v;
    int w;
    for (uint32_t i = 0; i < n->n; i++) {
        const pare_yaml_node *o = n->items[i];
        const char *at = pare_arena_printf(&c->p->arena, "%s.%s", path, o->key);
        if (strcmp(o->key, "labels") == 0) {
            read_labels(c, o, at, k, s);
        } else if (strcmp(o->key, "images") == 0) {
            src->images = pare_config_text(c, o, at, "the name of an array");
        } else if (strcmp(o->key, "part") == 0) {
            w = pare_config_word(c, o, at, parts, COUNT(parts));
            if (w >= 0) src->part = parts[w];
        } else if (strcmp(o->key, "layout") == 0) {
            w = pare_config_word(c, o, at, pare_config_layouts, 3);
            if (w >= 0) src->layout = w;
        } else if (strcmp(o->key, "classes") == 0) {
            if (pare_config_int(c, o, at, 1, MAX_SAMPLES, &v)) src->classes = (uint32_t)v;
        } else if (strcmp(o->key, "take") == 0) {
            if (pare_config_int(c, o, at, 1, INT64_MAX, &v)) src->take = (uint64_t)v;
        } else if (strcmp(o->key, "seed") == 0) {
            if (pare_config_int(c, o, at, 0, INT64_MAX, &v)) src->seed = (uint64_t)v;
        } else if (strcmp(o->key, "shuffle") == 0) {
            pare_config_bool(c, o, at, &src->shuffle);
        } else if (strcmp(o->key, "on_error") == 0) {
            w = pare_config_word(c, o, at, on_errors, COUNT(on_errors));
            if (w >= 0) src->on_error = (pare_on_error)w;
        } else if (strcmp(o->key, "split") == 0 || strcmp(o->key, "share") == 0) {
            read_split(c, o, at, src);
        }
    }
    const pare_yaml_node *split = pare_yaml_get(n, "split"), *share = pare_yaml_get(n, "share");
    if (split && share)
        pare_config_fail(c, share->key_at, path, "config.conflict", "`share: 0.1` is short for `split: [0, 0.1]`",
                         "%s has both split and share", path);
}

static void read_set(pare_config *c, const pare_yaml_node *n, pare_pipeline_set *s) {
    static const pare_config_key keys[] = {
        {"idx", false},     {"npy", false},     {"npz", false},    {"cifar10", false},     {"cifar100", false},
        {"folder", false},  {"flat", false},    {"list", false},   {"safetensors", false}, {"random", false},
        {"from", false},    {"labels", false},  {"images", false}, {"part", false},        {"layout", false},
        {"classes", false}, {"take", false},    {"split", false},  {"share", false},       {"shuffle", false},
        {"seed", false},    {"on_error", false}};
    const char *path = pare_arena_printf(&c->p->arena, "data.%s", n->key);
    s->name = n->key;
    s->at = n->key_at;
    s->from = -1;
    if (strcmp(n->key, PARE_RANDOM_SET) == 0)
        pare_config_fail(c, n->key_at, "data", "config.name",
                         "it is noise of the model's shape wherever a set is named", "a set can't be called \"%s\"",
                         n->key);
    else if (!pare_config_name_ok(n->key, false))
        pare_config_fail(c, n->key_at, "data", "config.name",
                         "letters, digits, '_' and '-', at most 100, no '-' in front", "a set can't be called \"%s\"",
                         n->key);
    if (n->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, n, path, "a map, as in {folder: images} or {from: train, take: 512}", NULL);
        return;
    }
    size_t before = c->errors;
    pare_config_keys(c, n, path, keys, COUNT(keys));
    const source_key *k = find_source(c, n, path, c->errors > before);
    if (!k) return;
    const pare_yaml_node *v = pare_yaml_get(n, k->name);
    const char *at = pare_arena_printf(&c->p->arena, "%s.%s", path, k->name);
    pare_data_source *src = s->source = pare_arena_alloc(&c->p->arena, sizeof *src);
    int64_t count;
    *src = (pare_data_source){.kind = k->kind, .name = s->name, .seed = c->p->seed};
    if (k->is == IS_CIFAR) src->part = parts[0];
    s->key = k->name;
    s->source_at = v->at;
    check_options(c, n, path, k);
    read_options(c, n, path, k, s);
    if (k->is == IS_NUMBER) {
        if (pare_config_int(c, v, at, 1, MAX_SAMPLES, &count)) src->count = (uint64_t)count;
    } else if (k->is == IS_SET) {
        pare_config_text(c, v, at, "the name of another set");
    } else {
        src->path = source_path(c, v, at, k, src);
        s->written = v->text;
    }
}

/* ---- sets of sets ---- */

static void resolve_from(pare_config *c, const pare_yaml_node *n, uint32_t i) {
    pare_pipeline *p = c->p;
    pare_pipeline_set *s = &p->data.sets[i];
    if (!s->source || s->source->kind != PARE_DATA_FROM) return;
    const pare_yaml_node *from = pare_yaml_get(n, "from");
    const char *path = pare_arena_printf(&p->arena, "data.%s.from", s->name);
    if (!pare_yaml_is_text(from) || !*from->text) return; /* said already */
    uint32_t other;
    if (!pare_map_get(&c->sets, from->text, &other)) {
        const char **names = pare_xcalloc(p->data.n_sets, sizeof *names);
        size_t count = 0;
        for (size_t k = 0; k < p->data.n_sets; k++)
            if (k != i) names[count++] = p->data.sets[k].name;
        pare_config_fail(c, from->at, path, "config.unknown-set",
                         pare_config_hint(c, from->text, "known are", names, count), "there is no set \"%s\"",
                         from->text);
        free(names);
        return;
    }
    /* Those before are free of circles: a new one runs through this set. */
    pare_sb b = {0};
    pare_sb_printf(&b, "%s from %s", s->name, p->data.sets[other].name);
    uint32_t at = other;
    while (at != i && p->data.sets[at].from >= 0) {
        at = (uint32_t)p->data.sets[at].from;
        pare_sb_printf(&b, " from %s", p->data.sets[at].name);
    }
    if (at == i)
        pare_config_fail(c, from->at, path, "config.cycle", "one of them must have files of its own",
                         "sets come from each other in a circle: %s", pare_sb_str(&b));
    else
        s->from = (int32_t)other;
    pare_sb_free(&b);
}

void pare_config_data(pare_config *c, const pare_yaml_node *data) {
    pare_pipeline *p = c->p;
    const pare_yaml_node *preprocess = pare_yaml_get(data, "preprocess");
    p->data.preprocess = pare_config_preprocess(c, preprocess, "data.preprocess", NULL);
    if (!data) return;
    p->data.at = data->at;
    if (preprocess) p->data.preprocess_at = preprocess->at;
    if (data->kind != PARE_YAML_MAP) {
        pare_config_wrong(c, data, "data", "a map of sets, as in {test: {folder: images}}", NULL);
        return;
    }
    p->data.sets = pare_arena_alloc(&p->arena, (data->n + 1) * sizeof *p->data.sets);
    for (uint32_t i = 0; i < data->n; i++) {
        if (data->items[i] == preprocess) continue;
        pare_map_set(&c->sets, data->items[i]->key, (uint32_t)p->data.n_sets);
        read_set(c, data->items[i], &p->data.sets[p->data.n_sets++]);
    }
    for (uint32_t i = 0; i < p->data.n_sets; i++) resolve_from(c, pare_yaml_get(data, p->data.sets[i].name), i);
}

int32_t pare_pipeline_set_find(const pare_pipeline *p, const char *name) {
    for (size_t i = 0; i < p->data.n_sets; i++)
        if (strcmp(p->data.sets[i].name, name) == 0) return (int32_t)i;
    return -1;
}

/* ---- resolved ---- */

static json_t *set_json(const pare_pipeline *p, const pare_pipeline_set *s) {
    const pare_data_source *src = s->source;
    json_t *j = json_object();
    json_object_set_new(j, s->key,
                        src->kind == PARE_DATA_RANDOM ? json_integer((json_int_t)src->count)
                        : src->kind == PARE_DATA_FROM ? pare_json_str(p->data.sets[s->from].name)
                                                      : pare_json_str(s->written));
    const char *labels = s->labels_written ? s->labels_written : src->labels;
    if (labels) json_object_set_new(j, "labels", pare_json_str(labels));
    if (src->images) json_object_set_new(j, "images", pare_json_str(src->images));
    if (src->part) json_object_set_new(j, "part", json_string(src->part));
    if (src->layout) json_object_set_new(j, "layout", json_string(pare_config_layouts[src->layout]));
    if (src->classes) json_object_set_new(j, "classes", json_integer(src->classes));
    if (src->split_to > 0) json_object_set_new(j, "split", json_pack("[f, f]", src->split_from, src->split_to));
    if (src->take) json_object_set_new(j, "take", json_integer((json_int_t)src->take));
    json_object_set_new(j, "shuffle", json_boolean(src->shuffle));
    json_object_set_new(j, "seed", json_integer((json_int_t)src->seed));
    if (src->kind != PARE_DATA_FROM || src->on_error == PARE_ON_ERROR_SKIP)
        json_object_set_new(j, "on_error", json_string(src->on_error == PARE_ON_ERROR_SKIP ? "skip" : "fail"));
    return j;
}

json_t *pare_config_data_json(const pare_pipeline *p) {
    json_t *j = json_object();
    json_object_set_new(j, "preprocess", pare_config_preprocess_json(p->data.preprocess, false));
    for (size_t i = 0; i < p->data.n_sets; i++)
        json_object_set_new(j, p->data.sets[i].name, set_json(p, &p->data.sets[i]));
    return j;
}
