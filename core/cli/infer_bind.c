/* cli/infer_bind.c - see infer_bind.h. May use: engine, data, model, pipeline/evaluate.h. */
#include "cli/infer_bind.h"

#include "data/npy.h"
#include "model/onnx.h"
#include "pipeline/evaluate.h"

#include <inttypes.h>
#include <string.h>

static pare_status read_tensor(const char *path, pare_diags *d, pare_array **out) {
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".pb") == 0) return pare_onnx_tensor_file_read(path, d, out);
    if (n > 4 && strcmp(path + n - 4, ".npy") == 0) return pare_npy_read(path, d, out);
    return pare_fail_file(d, PARE_EINVAL, path, "infer.input", "give .npy or ONNX .pb tensors",
                          "the end of this name is neither .npy nor .pb");
}

static size_t find(const pare_session *s, const char *name, size_t len) {
    size_t n = pare_session_n_inputs(s), i = 0;
    for (; i < n; i++) {
        const char *have = pare_session_input(s, i)->name;
        if (strlen(have) == len && memcmp(have, name, len) == 0) break;
    }
    return i;
}

static void list_inputs(const pare_session *s, pare_sb *b) {
    for (size_t i = 0; i < pare_session_n_inputs(s); i++)
        pare_sb_printf(b, "%s\"%s\"", i ? ", " : "the model takes ", pare_session_input(s, i)->name);
    if (!pare_session_n_inputs(s)) pare_sb_add(b, "the model takes no inputs");
}

/* Which input does the k-th --in mean? "x=x.npy" by name, where no file is called all of that; else by order. */
static pare_status target(pare_cli *c, const pare_session *s, size_t k, size_t *at, const char **path) {
    const char *text = c->args.in.data[k], *equals = strchr(text, '=');
    pare_status st = PARE_OK;
    *at = k;
    *path = text;
    if (!equals || pare_path_what(text) != PARE_PATH_NONE) return PARE_OK;
    pare_sb b = {0};
    *at = find(s, text, (size_t)(equals - text));
    *path = equals + 1;
    if (*at == pare_session_n_inputs(s)) {
        list_inputs(s, &b);
        st = pare_fail(c->diags, PARE_EINVAL, "infer.inputs", pare_sb_str(&b),
                       "the model has no input \"%.*s\", given as --in %s", (int)(equals - text), text, text);
    }
    pare_sb_free(&b);
    return st;
}

static void say_not_finite(const char *name, const pare_array *a, pare_diags *d) {
    uint64_t nan, infinite;
    pare_count_not_finite(a, &nan, &infinite);
    if (nan || infinite)
        pare_say(d, PARE_WARNING, "infer.not-finite",
                 "input %s holds %" PRIu64 " NaN and %" PRIu64 " infinite values among %" PRIu64, name, nan, infinite,
                 a->count);
}

pare_status pare_infer_bind(pare_cli *c, const pare_session *s, pare_array **in) {
    size_t n = pare_session_n_inputs(s), given = c->args.in.len;
    pare_sb b = {0};
    pare_status st = PARE_OK;
    size_t at;
    const char *path;
    for (size_t k = 0; k < given && !st; k++)
        st = target(c, s, k, &at, &path); /* a wrong name says more than a count */
    if (!st && given != n) {
        list_inputs(s, &b);
        st = pare_fail(c->diags, PARE_EINVAL, "infer.inputs", pare_sb_str(&b),
                       "the model takes %zu input%s, %zu %s given with --in", n, n == 1 ? "" : "s", given,
                       given == 1 ? "was" : "were");
    }
    for (size_t k = 0; k < given && !st; k++) {
        st = target(c, s, k, &at, &path);
        if (!st && in[at])
            st = pare_fail(c->diags, PARE_EINVAL, "infer.inputs", "once for each input, by order or as NAME=FILE",
                           "the input \"%s\" was given twice", pare_session_input(s, at)->name);
        if (!st) st = read_tensor(path, c->diags, &in[at]);
        if (!st) say_not_finite(pare_session_input(s, at)->name, in[at], c->diags);
    }
    pare_sb_free(&b);
    return st;
}
