/* pipeline/config_read.c - see config_read.h: errors, words, names and paths for the parts of the config reader. */
#include "pipeline/config_read.h"

#include "base/os.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 32 }; /* that a hint lists */

void pare_config_fail(pare_config *c, pare_span at, const char *path, const char *code, const char *hint,
                      const char *fmt, ...) {
    if (++c->errors > 20) return;
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_diags_add(c->d, &(pare_diag_item){.severity = PARE_ERROR,
                                           .code = code,
                                           .message = pare_sb_str(&b),
                                           .hint = hint,
                                           .param = path && *path ? path : NULL,
                                           .at = at});
    pare_sb_free(&b);
}

void pare_config_wrong(pare_config *c, const pare_yaml_node *n, const char *path, const char *allowed,
                       const char *hint) {
    pare_sb b = {0};
    pare_yaml_describe(n, &b);
    pare_config_fail(c, n->at, path, "config.type", hint, "%s must be %s, got %s", path, allowed, pare_sb_str(&b));
    pare_sb_free(&b);
}

void pare_config_later(pare_config *c, pare_span at, const char *path, const char *what) {
    pare_config_fail(c, at, path, "config.later", "leave it out", "%s is not in this version of pare", what);
}

void pare_config_keys(pare_config *c, const pare_yaml_node *map, const char *path, const pare_config_key *keys,
                      size_t n) {
    const char *names[48];
    size_t n_names = 0;
    for (size_t i = 0; i < n; i++)
        if (!keys[i].later && n_names < sizeof names / sizeof *names) names[n_names++] = keys[i].name;
    for (uint32_t k = 0; k < map->n; k++) {
        const pare_yaml_node *v = map->items[k];
        size_t i = 0;
        while (i < n && strcmp(keys[i].name, v->key) != 0) i++;
        if (i < n && !keys[i].later) continue;
        char *full = pare_arena_printf(&c->p->arena, "%s%s%s", path, *path ? "." : "", v->key);
        if (i < n)
            pare_config_later(c, v->key_at, full, full);
        else
            pare_config_fail(c, v->key_at, full, "config.unknown-key",
                             pare_config_hint(c, v->key, "allowed are", names, n_names), "unknown key \"%s\"%s%s",
                             v->key, *path ? " in " : "", path);
    }
}

const char *pare_config_text(pare_config *c, const pare_yaml_node *n, const char *path, const char *allowed) {
    if (!pare_yaml_is_text(n)) {
        pare_config_wrong(c, n, path, allowed, n->text && n->kind != PARE_YAML_NULL ? "put the text in quotes" : NULL);
        return NULL;
    }
    if (*n->text) return n->text;
    pare_config_fail(c, n->at, path, "config.range", NULL, "%s must be %s, got an empty one", path, allowed);
    return NULL;
}

int pare_config_word(pare_config *c, const pare_yaml_node *n, const char *path, const char *const *words,
                     size_t n_words) {
    for (size_t i = 0; n->text && i < n_words; i++)
        if (strcmp(words[i], n->text) == 0) return (int)i;
    pare_sb b = {0}, got = {0};
    for (size_t i = 0; i < n_words; i++)
        pare_sb_printf(&b, "%s%s", i == 0 ? "" : i + 1 == n_words ? " or " : ", ", words[i]);
    pare_yaml_describe(n, &got);
    const char *near = n->text ? pare_nearest(n->text, words, n_words) : NULL;
    char *hint = near ? pare_arena_printf(&c->p->arena, "did you mean \"%s\"?", near) : NULL;
    pare_config_fail(c, n->at, path, n->text && n->kind != PARE_YAML_NULL ? "config.choice" : "config.type", hint,
                     "%s must be %s, got %s", path, pare_sb_str(&b), pare_sb_str(&got));
    pare_sb_free(&b);
    pare_sb_free(&got);
    return -1;
}

bool pare_config_name_ok(const char *s, bool dots) {
    if (!*s || *s == '-' || *s == '.' || strlen(s) > 100) return false;
    for (; *s; s++) {
        bool ok = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_' ||
                  *s == '-' || (dots && *s == '.');
        if (!ok) return false;
    }
    return true;
}

const char *pare_config_hint(pare_config *c, const char *word, const char *what, const char *const *names, size_t n) {
    pare_sb b = {0};
    const char *near = pare_nearest(word, names, n);
    if (near) pare_sb_printf(&b, "did you mean \"%s\"?%s", near, n > 1 ? " " : "");
    if (n > 1 || (n && !near)) {
        pare_sb_printf(&b, "%s: ", what);
        for (size_t i = 0; i < n && i < MOST_NAMES; i++) pare_sb_printf(&b, "%s%s", i ? ", " : "", names[i]);
        if (n > MOST_NAMES) pare_sb_printf(&b, ", and %zu more", n - MOST_NAMES);
    }
    const char *hint = b.len ? pare_arena_strdup(&c->p->arena, b.data) : NULL;
    pare_sb_free(&b);
    return hint;
}

const char *pare_config_path(pare_config *c, const pare_yaml_node *n, const char *path, bool must_exist) {
    const char *written = pare_config_text(c, n, path, "a path");
    if (!written) return NULL;
    if (*written == '~') {
        pare_config_fail(c, n->at, path, "config.path", "write \"${env:HOME}/...\", or ./~... for such a name",
                         "~ is not expanded in paths");
        return NULL;
    }
    char *joined = pare_path_join(c->p->dir, written);
    const char *full = pare_arena_strdup(&c->p->arena, joined);
    free(joined);
    if (!must_exist) return full;
    pare_path_kind kind = pare_path_what(full);
    if (kind != PARE_PATH_NONE && kind != PARE_PATH_DIR) return full;
    pare_config_fail(c, n->at, path, "config.no-file",
                     *written == '/' ? NULL : "paths are relative to the pipeline file's folder",
                     kind == PARE_PATH_DIR ? "%s is a folder, not a file" : "there is no file %s", full);
    return NULL;
}

bool pare_config_int(pare_config *c, const pare_yaml_node *n, const char *path, int64_t lo, int64_t hi, int64_t *out) {
    int64_t v = n->i;
    bool whole = n->kind == PARE_YAML_INT && n->fits;
    if (n->kind == PARE_YAML_FLOAT && n->f >= -0x1p53 && n->f <= 0x1p53 && n->f == (double)(int64_t)n->f) { /* 1e6 */
        v = (int64_t)n->f;
        whole = true;
    }
    if (whole && v >= lo && v <= hi) {
        *out = v;
        return true;
    }
    pare_sb b = {0};
    pare_yaml_describe(n, &b);
    pare_config_fail(c, n->at, path, whole || n->kind == PARE_YAML_INT ? "config.range" : "config.type", NULL,
                     "%s must be an int from %" PRId64 " to %" PRId64 ", got %s", path, lo, hi, pare_sb_str(&b));
    pare_sb_free(&b);
    return false;
}

bool pare_config_bool(pare_config *c, const pare_yaml_node *n, const char *path, bool *out) {
    static const char *const words[] = {"false", "true", "off", "on"};
    if (n->kind == PARE_YAML_BOOL) {
        *out = n->i != 0;
        return true;
    }
    int i = pare_config_word(c, n, path, words, 4);
    if (i >= 0) *out = i & 1;
    return i >= 0;
}

static const char *model_ref(void *user, const char *ref, pare_span at, const char *param) {
    pare_config *c = user;
    uint32_t i;
    if (pare_map_get(&c->steps, ref, &i) || pare_map_get(&c->models, ref, &i)) return ref;
    char *joined = pare_path_join(c->p->dir, ref);
    const char *full = pare_arena_strdup(&c->p->arena, joined);
    free(joined);
    if (pare_path_what(full) == PARE_PATH_FILE) return full;
    const char **names = pare_xcalloc(c->p->n_steps + c->p->n_models, sizeof *names);
    size_t n = 0;
    for (size_t k = 0; k < c->p->n_steps; k++)
        if (c->p->steps[k].id) names[n++] = c->p->steps[k].id;
    for (size_t k = 0; k < c->p->n_models; k++) names[n++] = c->p->models[k].name;
    pare_config_fail(c, at, param, "config.unknown-model", pare_config_hint(c, ref, "known here are", names, n),
                     "\"%s\" is no earlier step, no model and no file", ref);
    free(names);
    return NULL;
}

static const char *set_ref(void *user, const char *ref, pare_span at, const char *param) {
    pare_config *c = user;
    const pare_pipeline *p = c->p;
    if (strcmp(ref, PARE_RANDOM_SET) == 0 || pare_map_get(&c->sets, ref, &(uint32_t){0})) return ref;
    const char **names = pare_xcalloc(p->data.n_sets + 1, sizeof *names);
    for (size_t k = 0; k < p->data.n_sets; k++) names[k] = p->data.sets[k].name;
    names[p->data.n_sets] = PARE_RANDOM_SET;
    pare_config_fail(c, at, param, "config.unknown-set",
                     p->data.n_sets
                         ? pare_config_hint(c, ref, "known are", names, p->data.n_sets + 1)
                         : pare_arena_printf(&c->p->arena,
                                             "name it in a data block, as in `data: {%s: {folder: images}}`; `random` "
                                             "is noise and needs none",
                                             pare_config_name_ok(ref, false) ? ref : "train"),
                     "there is no set \"%s\"", ref);
    free(names);
    return NULL;
}

static const char *file_ref(void *user, const char *ref, pare_span at, const char *param) {
    pare_config *c = user;
    char *joined = pare_path_join(c->p->dir, ref), *real = pare_path_real(joined);
    pare_path_kind kind = pare_path_what(joined);
    const char *full = NULL;
    if (*ref == '~')
        pare_config_fail(c, at, param, "config.path", "write \"${env:HOME}/...\", or ./~... for such a name",
                         "~ is not expanded in paths");
    else if (kind == PARE_PATH_FILE && real)
        full = pare_arena_strdup(&c->p->arena, real);
    else
        pare_config_fail(c, at, param, "config.no-file",
                         *ref == '/' ? NULL : "paths are relative to the pipeline file's folder",
                         kind == PARE_PATH_DIR    ? "%s is a folder, not a file"
                         : kind == PARE_PATH_NONE ? "there is no file %s"
                                                  : "%s is no plain file",
                         joined);
    free(joined);
    free(real);
    return full;
}

pare_params_ctx pare_config_params_ctx(pare_config *c, const char *prefix, pare_span at) {
    return (pare_params_ctx){.d = c->d,
                             .arena = &c->p->arena,
                             .prefix = prefix,
                             .at = at,
                             .model = model_ref,
                             .set = set_ref,
                             .file = file_ref,
                             .user = c};
}
