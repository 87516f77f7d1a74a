/* plugin/plugin.c - see plugin.h: the search, and which candidates are taken. May use: base, sdk, plugin_open.h. */
#include "plugin/plugin.h"

#include "base/hash.h"
#include "base/os.h"
#include "base/str.h"
#include "plugin/plugin_open.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    pare_loaded pub;              /* first, so that a pare_loaded is its entry */
    char sha256[PARE_SHA256_HEX]; /* "" until asked for */
} entry;

struct pare_plugins {
    pare_arena arena; /* owns every string and entry below */
    PARE_VEC(entry *) loaded;
    PARE_VEC(pare_rejected) rejected;
    PARE_VEC(pare_plugin_folder) folders;
    PARE_VEC(const char *) real;     /* of folders: links resolved, or NULL */
    PARE_VEC(const char *) ids;      /* of techniques, sorted */
    PARE_VEC(const char *) loss_ids; /* sorted */
};

/* ---- candidates ---- */

static void reject(pare_plugins *set, const char *path, const char *reason) {
    pare_rejected r = {pare_arena_strdup(&set->arena, path), reason};
    pare_vec_push(&set->rejected, r);
}

static const pare_technique *const no_techniques[] = {NULL};
static const pare_backend *const no_backends[] = {NULL};
static const pare_loss *const no_losses[] = {NULL};

/* What a plugin offers: never NULL. Older plugins end before `backends` or `losses`. */
static const pare_technique *const *techniques_of(const pare_plugin *p) {
    return p->techniques ? p->techniques : no_techniques;
}

static const pare_backend *const *backends_of(const pare_plugin *p) {
    return PARE_HAS(pare_plugin, p, backends) ? p->backends : no_backends;
}

static const pare_loss *const *losses_of(const pare_plugin *p) {
    return PARE_HAS(pare_plugin, p, losses) ? p->losses : no_losses;
}

/* Ids are unique: of plugins, and of each kind of component over all plugins. The earlier one keeps its id. */
static const char *clash(pare_plugins *set, const pare_plugin *p) {
    for (size_t i = 0; i < set->loaded.len; i++) {
        const pare_loaded *l = &set->loaded.data[i]->pub;
        if (strcmp(l->id, p->id) == 0)
            return pare_arena_printf(&set->arena, "shadowed by %s, which has the same plugin id \"%s\"", l->path,
                                     p->id);
    }
    const pare_loaded *by;
    for (const pare_technique *const *t = techniques_of(p); *t; t++)
        if (pare_plugins_technique(set, (*t)->id, &by))
            return pare_arena_printf(&set->arena, "its technique %s is already offered by plugin %s (%s)", (*t)->id,
                                     by->id, by->path);
    for (const pare_backend *const *b = backends_of(p); *b; b++)
        if (pare_plugins_backend(set, (*b)->id, &by))
            return pare_arena_printf(&set->arena, "its backend %s is already offered by plugin %s (%s)", (*b)->id,
                                     by->id, by->path);
    for (const pare_loss *const *l = losses_of(p); *l; l++)
        if (pare_plugins_loss(set, (*l)->id, &by))
            return pare_arena_printf(&set->arena, "its loss %s is already offered by plugin %s (%s)", (*l)->id, by->id,
                                     by->path);
    return NULL;
}

static void try_candidate(pare_plugins *set, const char *path, const pare_elf_kind *own) {
    const char *reason = NULL;
    const pare_plugin *p = pare_plugin_open(path, own, &set->arena, &reason);
    if (p) reason = clash(set, p);
    if (reason) {
        reject(set, path, reason);
        return;
    }
    entry *e = pare_arena_alloc(&set->arena, sizeof *e);
    e->pub = (pare_loaded){
        .plugin = p,
        .id = p->id,
        .version = p->version,
        .vendor = p->vendor ? p->vendor : "",
        .license = p->license ? p->license : "",
        .path = pare_arena_strdup(&set->arena, path),
        .techniques = techniques_of(p),
        .backends = backends_of(p),
        .losses = losses_of(p),
    };
    while (e->pub.techniques[e->pub.n_techniques])
        pare_vec_push(&set->ids, e->pub.techniques[e->pub.n_techniques++]->id);
    while (e->pub.backends[e->pub.n_backends]) e->pub.n_backends++;
    while (e->pub.losses[e->pub.n_losses]) pare_vec_push(&set->loss_ids, e->pub.losses[e->pub.n_losses++]->id);
    pare_vec_push(&set->loaded, e);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n > k && strcmp(s + n - k, end) == 0;
}

/* ---- folders ---- */

static pare_status search(pare_plugins *set, const char *path, pare_folder_origin origin, const pare_elf_kind *own,
                          pare_diags *d) {
    pare_plugin_folder f = {.path = pare_arena_strdup(&set->arena, path), .origin = origin};
    pare_path_kind what = pare_path_what(path);
    f.exists = what == PARE_PATH_DIR;
    char *real = f.exists ? pare_path_real(path) : NULL;
    for (size_t i = 0; real && i < set->real.len; i++)
        if (set->real.data[i] && strcmp(set->real.data[i], real) == 0) f.repeated = true;
    pare_vec_push(&set->folders, f);
    pare_vec_push(&set->real, pare_arena_strdup(&set->arena, real));
    free(real);

    size_t n = 0;
    char **names = f.exists && !f.repeated ? pare_dir_list(path, &n) : NULL;
    if (!names && !f.repeated) {
        const char *why = f.exists ? "can't be read" : what == PARE_PATH_NONE ? "does not exist" : "is not a folder";
        if (origin == PARE_FOLDER_OPTION)
            return pare_fail(d, PARE_EINVAL, "plugin.no-folder",
                             "--plugin-dir takes a folder that holds plugins (*.so)", "the plugin folder %s %s", path,
                             why);
        if (origin == PARE_FOLDER_ENV || f.exists)
            pare_say(d, PARE_WARNING, "plugin.no-folder", "the plugin folder %s (%s) %s", path,
                     pare_folder_origin_text(origin), why);
        return PARE_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (names[i][0] == '.' || !ends_with(names[i], ".so")) continue;
        char *file = pare_path_join(path, names[i]);
        try_candidate(set, file, own);
        free(file);
    }
    if (names) pare_dir_list_free(names);
    return PARE_OK;
}

static void search_env(pare_plugins *set, const pare_elf_kind *own, pare_diags *d) {
    const char *list = getenv("PARE_PLUGIN_PATH");
    while (list && *list) {
        size_t n = strcspn(list, ":");
        if (n) search(set, pare_arena_strndup(&set->arena, list, n), PARE_FOLDER_ENV, own, d);
        list += n + (list[n] == ':');
    }
}

/* XDG Base Directory Specification: a relative XDG_DATA_HOME is to be ignored. */
static void search_user(pare_plugins *set, const pare_elf_kind *own, pare_diags *d) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/')
        search(set, pare_arena_printf(&set->arena, "%s/pare/plugins", data), PARE_FOLDER_USER, own, d);
    else if (home && *home == '/')
        search(set, pare_arena_printf(&set->arena, "%s/.local/share/pare/plugins", home), PARE_FOLDER_USER, own, d);
}

static void search_install(pare_plugins *set, const pare_elf_kind *own, pare_diags *d) {
    char *exe = pare_path_exe();
    if (!exe) return;
    char *bin = pare_path_dir(exe), *root = pare_path_dir(bin), *lib = pare_path_join(root, PARE_LIBDIR);
    search(set, pare_arena_printf(&set->arena, "%s/pare/plugins", lib), PARE_FOLDER_INSTALL, own, d);
    free(lib);
    free(root);
    free(bin);
    free(exe);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

pare_plugins *pare_plugins_load(const char *const *dirs, size_t n, pare_diags *d) {
    pare_plugins *set = pare_xcalloc(1, sizeof *set);
    pare_elf_kind own = pare_elf_kind_own();
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n; i++) {
        pare_status one = search(set, dirs[i], PARE_FOLDER_OPTION, &own, d); /* all that are missing are named */
        if (one) st = one;
    }
    if (st) {
        pare_plugins_free(set);
        return NULL;
    }
    search_env(set, &own, d);
    search_user(set, &own, d);
    search_install(set, &own, d);
    if (set->ids.len) qsort(set->ids.data, set->ids.len, sizeof *set->ids.data, by_text);
    if (set->loss_ids.len) qsort(set->loss_ids.data, set->loss_ids.len, sizeof *set->loss_ids.data, by_text);
    return set;
}

void pare_plugins_free(pare_plugins *set) {
    if (!set) return;
    pare_vec_free(&set->loaded);
    pare_vec_free(&set->rejected);
    pare_vec_free(&set->folders);
    pare_vec_free(&set->real);
    pare_vec_free(&set->ids);
    pare_vec_free(&set->loss_ids);
    pare_arena_free(&set->arena);
    free(set);
}

/* ---- looking ---- */

size_t pare_plugins_count(const pare_plugins *set) { return set->loaded.len; }
const pare_loaded *pare_plugins_at(const pare_plugins *set, size_t i) { return &set->loaded.data[i]->pub; }
size_t pare_plugins_rejected_count(const pare_plugins *set) { return set->rejected.len; }
const pare_rejected *pare_plugins_rejected_at(const pare_plugins *set, size_t i) { return &set->rejected.data[i]; }
size_t pare_plugins_folder_count(const pare_plugins *set) { return set->folders.len; }
const pare_plugin_folder *pare_plugins_folder_at(const pare_plugins *set, size_t i) { return &set->folders.data[i]; }

const char *pare_folder_origin_text(pare_folder_origin origin) {
    static const char *const text[] = {"--plugin-dir", "PARE_PLUGIN_PATH", "the user's folder",
                                       "beside the executable"};
    return text[origin];
}

const pare_technique *pare_plugins_technique(const pare_plugins *set, const char *id, const pare_loaded **from) {
    for (size_t i = 0; i < set->loaded.len; i++) {
        const pare_loaded *l = &set->loaded.data[i]->pub;
        for (size_t j = 0; j < l->n_techniques; j++) {
            if (strcmp(l->techniques[j]->id, id) != 0) continue;
            if (from) *from = l;
            return l->techniques[j];
        }
    }
    return NULL;
}

const pare_backend *pare_plugins_backend(const pare_plugins *set, const char *id, const pare_loaded **from) {
    for (size_t i = 0; i < set->loaded.len; i++) {
        const pare_loaded *l = &set->loaded.data[i]->pub;
        for (size_t j = 0; j < l->n_backends; j++) {
            if (strcmp(l->backends[j]->id, id) != 0) continue;
            if (from) *from = l;
            return l->backends[j];
        }
    }
    return NULL;
}

const char *const *pare_plugins_technique_ids(const pare_plugins *set, size_t *n) {
    *n = set->ids.len;
    return set->ids.data;
}

const pare_loss *pare_plugins_loss(const pare_plugins *set, const char *id, const pare_loaded **from) {
    for (size_t i = 0; i < set->loaded.len; i++) {
        const pare_loaded *l = &set->loaded.data[i]->pub;
        for (size_t j = 0; j < l->n_losses; j++) {
            if (strcmp(l->losses[j]->id, id) != 0) continue;
            if (from) *from = l;
            return l->losses[j];
        }
    }
    return NULL;
}

const char *const *pare_plugins_loss_ids(const pare_plugins *set, size_t *n) {
    *n = set->loss_ids.len;
    return set->loss_ids.data;
}

const char *pare_plugin_sha256(pare_plugins *set, const pare_loaded *plugin, pare_diags *d) {
    for (size_t i = 0; i < set->loaded.len; i++) {
        entry *e = set->loaded.data[i];
        if (&e->pub != plugin) continue;
        if (!e->sha256[0] && pare_sha256_file(plugin->path, d, e->sha256)) e->sha256[0] = 0;
        return e->sha256[0] ? e->sha256 : NULL;
    }
    return NULL;
}
