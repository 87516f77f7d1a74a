/* model/onnx_external.c - data files beside a model: which may be opened, and opening each once.
 *
 * A location is a path inside the model's folder: never absolute, never up, and where its links lead must be inside
 * too. Source: the ONNX specification on external data. May use: onnx_parts.h.
 */
#include "model/onnx_parts.h"

#include <stdlib.h>
#include <string.h>

static bool goes_up(const char *location) {
    for (const char *p = location; p;) {
        if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/' || p[2] == '\\')) return true;
        p = strpbrk(p, "/\\");
        if (p) p++;
    }
    return false;
}

static bool is_absolute(const char *s) {
    bool letter = (s[0] >= 'A' && s[0] <= 'Z') || (s[0] >= 'a' && s[0] <= 'z');
    return s[0] == '/' || s[0] == '\\' || (letter && s[1] == ':');
}

static bool is_inside(const char *dir, const char *path) {
    size_t n = strlen(dir);
    if (n && dir[n - 1] == '/') n--; /* the root */
    return strncmp(dir, path, n) == 0 && path[n] == '/';
}

static pare_map_file *open_beside(pare_onnx_reader *r, const char *location, const char *tensor) {
    static const char *const hint = "external data must be a file in the model's folder, named relative to it";
    if (r->in_memory) {
        pare_onnx_error(r, PARE_EINVAL, "model.external", tensor, NULL, NULL,
                        "external data '%s' of a model that is not a file", location);
        return NULL;
    }
    if (!location[0] || is_absolute(location) || goes_up(location)) {
        pare_onnx_error(r, PARE_EINVAL, "model.external", tensor, NULL, hint, "external data at '%s' is refused: %s",
                        location,
                        !location[0]            ? "the location is empty"
                        : is_absolute(location) ? "the path is absolute"
                                                : "the path leads out of the folder");
        return NULL;
    }
    char *dir = pare_path_dir(r->path), *path = pare_path_join(dir, location);
    char *real_dir = pare_path_real(dir), *real = pare_path_real(path);
    pare_map_file *file = NULL;
    if (!real) {
        pare_onnx_error(r, PARE_ENOTFOUND, "model.external", tensor, NULL, "copy it beside the model",
                        "the data file '%s' is not there", path);
    } else if (!real_dir || !is_inside(real_dir, real)) {
        pare_onnx_error(r, PARE_EINVAL, "model.external", tensor, NULL, hint,
                        "external data at '%s' is refused: a link leads out of the folder", location);
    } else if (pare_path_what(real) != PARE_PATH_FILE) {
        pare_onnx_error(r, PARE_EINVAL, "model.external", tensor, NULL, hint, "external data at '%s' is not a file",
                        location);
    } else {
        pare_status st = pare_map_file_open(real, r->d, &file);
        if (st && !r->st) r->st = st;
    }
    free(real);
    free(real_dir);
    free(path);
    free(dir);
    return file;
}

pare_map_file *pare_onnx_external_file(pare_onnx_reader *r, const char *location, const char *tensor) {
    for (size_t i = 0; i < r->externals.len; i++)
        if (strcmp(r->externals.data[i].location, location) == 0) return r->externals.data[i].file;
    pare_onnx_external e = {pare_xstrdup(location), open_beside(r, location, tensor)};
    pare_vec_push(&r->externals, e);
    return e.file;
}

void pare_onnx_externals_free(pare_onnx_reader *r) {
    for (size_t i = 0; i < r->externals.len; i++) {
        free(r->externals.data[i].location);
        pare_map_file_unref(r->externals.data[i].file);
    }
    pare_vec_free(&r->externals);
}
