/* data/store_folder.c - see store.h: image files in folders and in lists. Only names are held; reading decodes.
 *
 * Classes are the folder's folders in byte order; within one, images are in the order of their folder's path, then of
 * their names: torchvision's ImageFolder gives the same numbers to the same files.
 */
#include "data/image.h"
#include "data/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64 }; /* folders in folders; links may make circles */

typedef struct gather {
    pare_store *s;
    pare_diags *d;
    PARE_VEC(char *) paths;
    PARE_VEC(int64_t) labels;
    char *other; /* the first image of a format that isn't read */
    uint64_t n_other;
} gather;

static void gather_free(gather *g) {
    for (size_t i = 0; i < g->paths.len; i++) free(g->paths.data[i]);
    pare_vec_free(&g->paths);
    pare_vec_free(&g->labels);
    free(g->other);
}

/* Hands what was gathered to the store. */
static void gather_done(gather *g, bool labelled) {
    g->s->count = g->paths.len;
    g->s->paths = g->paths.data;
    g->paths.data = NULL;
    g->paths.len = 0;
    if (labelled) {
        g->s->labels = g->labels.data;
        g->labels.data = NULL;
    }
}

static void add(gather *g, char *path, int64_t label) {
    pare_vec_push(&g->paths, path);
    pare_vec_push(&g->labels, label);
}

/* Takes `path` when it is an image; frees it otherwise. */
static void offer(gather *g, char *path, int64_t label) {
    pare_image_kind kind = pare_image_of_name(path);
    if (kind == PARE_IMAGE_YES) {
        add(g, path, label);
        return;
    }
    if (kind == PARE_IMAGE_OTHER && !g->n_other++)
        g->other = path;
    else
        free(path);
}

/* Formats that aren't read would bias the set if they were passed over in silence. */
static pare_status other_formats(gather *g, const pare_data_source *src) {
    if (!g->n_other) return PARE_OK;
    if (src->on_error == PARE_ON_ERROR_SKIP) {
        pare_say(g->d, PARE_WARNING, "image.format",
                 "%s: %" PRIu64 " image%s of formats other than JPEG and PNG %s left out, the first is %s", src->path,
                 g->n_other, g->n_other == 1 ? "" : "s", g->n_other == 1 ? "is" : "are", g->other);
        return PARE_OK;
    }
    return pare_fail_file(g->d, PARE_EUNSUPPORTED, g->other, "image.format",
                          "convert them to PNG or JPEG, or say on_error: skip",
                          "%" PRIu64 " image%s in '%s' %s of a format other than JPEG and PNG; this is the first",
                          g->n_other, g->n_other == 1 ? "" : "s", src->path, g->n_other == 1 ? "is" : "are");
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* All folders under `dir`, itself first. */
static pare_status walk(const char *dir, unsigned depth, pare_diags *d, char ***dirs, size_t *n, size_t *cap) {
    if (depth > DEPTH)
        return pare_fail_file(d, PARE_EINVAL, dir, "data.folder", "does a link lead in a circle?",
                              "folders lie more than %d deep", DEPTH);
    if (*n == *cap) *dirs = pare_vec_grow_(*dirs, cap, *n + 1, sizeof **dirs);
    (*dirs)[(*n)++] = pare_xstrdup(dir);
    size_t n_names;
    char **names = pare_dir_list(dir, &n_names);
    if (!names) return pare_fail_file(d, PARE_EIO, dir, "data.folder", NULL, "the folder can't be read");
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n_names && st == PARE_OK; i++) {
        char *path = pare_path_join(dir, names[i]);
        if (pare_image_of_name(names[i]) == PARE_IMAGE_NO && pare_path_what(path) == PARE_PATH_DIR)
            st = walk(path, depth + 1, d, dirs, n, cap);
        free(path);
    }
    pare_dir_list_free(names);
    return st;
}

/* The images in a folder, not in its folders. */
static pare_status images_in(gather *g, const char *dir, int64_t label) {
    size_t n;
    char **names = pare_dir_list(dir, &n);
    if (!names) return pare_fail_file(g->d, PARE_EIO, dir, "data.folder", NULL, "the folder can't be read");
    for (size_t i = 0; i < n; i++)
        if (pare_image_of_name(names[i]) != PARE_IMAGE_NO) offer(g, pare_path_join(dir, names[i]), label);
    pare_dir_list_free(names);
    return PARE_OK;
}

static pare_status add_class(gather *g, const char *dir, int64_t label) {
    char **dirs = NULL;
    size_t n = 0, cap = 0, before = g->paths.len;
    uint64_t other = g->n_other;
    pare_status st = walk(dir, 0, g->d, &dirs, &n, &cap);
    if (st == PARE_OK) qsort(dirs, n, sizeof *dirs, by_bytes);
    for (size_t i = 0; i < n && st == PARE_OK; i++) st = images_in(g, dirs[i], label);
    if (st == PARE_OK && g->paths.len == before && g->n_other == other)
        st = pare_fail_file(g->d, PARE_EINVAL, dir, "data.empty-class",
                            "remove the folder, or put JPEG or PNG images into it",
                            "the class folder '%s' holds no image", pare_path_base(dir));
    for (size_t i = 0; i < n; i++) free(dirs[i]);
    free(dirs);
    return st;
}

static pare_status no_folder(const char *path, pare_diags *d) {
    bool none = pare_path_what(path) == PARE_PATH_NONE;
    return pare_fail_file(d, none ? PARE_ENOTFOUND : PARE_EINVAL, path, "data.missing", NULL,
                          none ? "there is no such folder" : "this is not a folder");
}

void pare_store_folder_classes(pare_store *s, const char *path) {
    size_t n;
    char **names = pare_path_what(path) == PARE_PATH_DIR ? pare_dir_list(path, &n) : NULL;
    if (!names) return;
    PARE_VEC(char *) classes = {0};
    for (size_t i = 0; i < n; i++) {
        char *dir = pare_path_join(path, names[i]);
        if (pare_path_what(dir) == PARE_PATH_DIR) pare_vec_push(&classes, pare_xstrdup(names[i]));
        free(dir);
    }
    pare_dir_list_free(names);
    s->classes = classes.data;
    s->n_classes = (uint32_t)classes.len;
}

pare_status pare_store_folder(pare_store *s, const pare_data_source *src, pare_diags *d) {
    gather g = {.s = s, .d = d};
    if (pare_path_what(src->path) != PARE_PATH_DIR) return no_folder(src->path, d);
    pare_store_folder_classes(s, src->path);
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < s->n_classes && st == PARE_OK; i++) {
        char *dir = pare_path_join(src->path, s->classes[i]);
        st = add_class(&g, dir, i);
        free(dir);
    }
    if (st == PARE_OK) st = other_formats(&g, src);
    if (st == PARE_OK && !s->n_classes)
        st = pare_fail_file(d, PARE_EINVAL, src->path, "data.no-classes",
                            "for images without labels say flat: instead of folder:",
                            "the folder holds no folders: a class is a folder of images");
    if (st == PARE_OK) gather_done(&g, true);
    gather_free(&g);
    return st;
}

pare_status pare_store_flat(pare_store *s, const pare_data_source *src, pare_diags *d) {
    gather g = {.s = s, .d = d};
    pare_status st = PARE_OK;
    if (pare_path_what(src->path) == PARE_PATH_FILE)
        add(&g, pare_xstrdup(src->path), -1);
    else if (pare_path_what(src->path) == PARE_PATH_DIR)
        st = images_in(&g, src->path, -1);
    else
        st = no_folder(src->path, d);
    if (st == PARE_OK) st = other_formats(&g, src);
    if (st == PARE_OK && !g.paths.len)
        st = pare_fail_file(d, PARE_EINVAL, src->path, "data.empty", NULL, "the folder holds no JPEG or PNG image");
    if (st == PARE_OK) gather_done(&g, false);
    gather_free(&g);
    return st;
}

/* ---- lists ---- */

/* The label behind the last blank, if there is a whole number. */
static bool line_label(const char *p, size_t len, size_t *path_len, int64_t *label, size_t *at) {
    size_t i = len;
    while (i && p[i - 1] != ' ' && p[i - 1] != '\t') i--;
    if (!i || len - i > 18) return false;
    int64_t v = 0;
    bool minus = p[i] == '-';
    size_t k = i + minus;
    if (k == len) return false;
    for (; k < len; k++) {
        if (p[k] < '0' || p[k] > '9') return false;
        v = v * 10 + (p[k] - '0');
    }
    *label = minus ? -v : v;
    *at = i;
    while (i && (p[i - 1] == ' ' || p[i - 1] == '\t')) i--;
    *path_len = i;
    return i > 0;
}

static pare_status list_line(gather *g, const pare_src *file, const char *dir, uint32_t line, const char *p, size_t len,
                             int *labelled) {
    size_t path_len = len, at = 0;
    int64_t label = -1;
    int has = line_label(p, len, &path_len, &label, &at);
    pare_span span = {file, line, 1, (uint32_t)len};
    if (has && label < 0) {
        span.col = (uint32_t)at + 1;
        span.len = (uint32_t)(len - at);
        return pare_fail_at(g->d, PARE_EINVAL, span, "data.label-range", NULL, "label %" PRId64 " is below 0", label);
    }
    if (*labelled >= 0 && *labelled != has)
        return pare_fail_at(g->d, PARE_EINVAL, span, "data.list", "a label is a whole number behind a blank",
                            has ? "this line has a label, and those before have none"
                                : "this line has no label, and those before have one");
    *labelled = has;
    if (memchr(p, '\0', path_len))
        return pare_fail_at(g->d, PARE_EINVAL, span, "data.list", NULL, "the line holds a NUL byte");
    char *name = pare_xstrndup(p, path_len);
    char *path = pare_path_join(dir, name);
    free(name);
    if (pare_path_what(path) != PARE_PATH_FILE) {
        span.len = (uint32_t)path_len;
        free(path);
        return pare_fail_at(g->d, PARE_ENOTFOUND, span, "data.missing",
                            "paths are relative to the list's folder; a label is a whole number behind a blank",
                            "there is no such image file");
    }
    add(g, path, label);
    return PARE_OK;
}

pare_status pare_store_list(pare_store *s, const pare_data_source *src, pare_diags *d) {
    pare_map_file *f;
    pare_status st = pare_map_file_open(src->path, d, &f);
    if (st != PARE_OK) return st;
    pare_store_source(s, src->path, 0, true);
    gather g = {.s = s, .d = d};
    pare_src file = {src->path, (const char *)f->data, (size_t)f->len};
    char *dir = pare_path_dir(src->path);
    const char *p = file.text, *end = p + file.len;
    int labelled = -1;
    uint32_t line = 0;
    for (; p < end && st == PARE_OK && line < UINT32_MAX; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        while (stop > p && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t')) stop--;
        if (stop > p && *p != '#') st = list_line(&g, &file, dir, line + 1, p, (size_t)(stop - p), &labelled);
        p = next;
    }
    if (st == PARE_OK && !g.paths.len)
        st = pare_fail_file(d, PARE_EINVAL, src->path, "data.empty", "a line is \"IMAGE LABEL\" or \"IMAGE\"",
                            "the list names no image");
    if (st == PARE_OK) gather_done(&g, labelled > 0);
    gather_free(&g);
    free(dir);
    pare_map_file_unref(f);
    return st;
}
