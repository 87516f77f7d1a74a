/* model/weights_apply.c - see weights.h: puts named tensors into a model's initializers.
 *
 * Everything is compared before anything is written, so that all that does not fit is reported together. Is not: a
 * reader. May use: weights_read.h, model.h.
 */
#include "model/weights_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct names {
    PARE_VEC(const char *) list;
} names;

typedef struct job { /* one tensor to write */
    pare_tensor *to;
    const pare_named_tensor *from;
} job;

typedef struct apply {
    const pare_weights *w;
    const char *path;
    pare_model *m;
    const char *const *reinit;
    size_t n_reinit;
    pare_diags *d;
    names missing, left_over;
    bool *used; /* per tensor of w */
    PARE_VEC(job) jobs;
    bool failed;
} apply;

static bool kept(const apply *a, const char *name) {
    for (size_t i = 0; i < a->n_reinit; i++)
        if (pare_glob(a->reinit[i], name)) return true;
    return false;
}

/* PyTorch's BatchNorm counts batches; inference has no use for it. */
static bool is_counter(const char *name) {
    static const char suffix[] = "num_batches_tracked";
    size_t n = strlen(name), k = sizeof suffix - 1;
    return n >= k && !strcmp(name + n - k, suffix) && (n == k || name[n - k - 1] == '.');
}

/* ---- what fits ---- */

static bool converts(uint32_t from, uint32_t to) {
    if (from == to) return true;
    return to == PARE_FLOAT && (from == PARE_FLOAT16 || from == PARE_BFLOAT16 || from == PARE_DOUBLE);
}

static bool same_shape(const pare_tensor *t, const pare_named_tensor *n) {
    return t->ndim == n->ndim && (!t->ndim || !memcmp(t->dims, n->dims, t->ndim * sizeof *t->dims));
}

static void misfit(apply *a, const pare_tensor *t, const pare_named_tensor *n) {
    pare_sb message = {0}, hint = {0};
    bool shape = !same_shape(t, n);
    pare_sb_printf(&message, "'%s' is %s ", t->name, pare_dtype_name(n->dtype));
    pare_sb_dims(&message, n->dims, n->ndim);
    pare_sb_printf(&message, " in the file, the model needs %s ", pare_dtype_name(t->dtype));
    pare_sb_dims(&message, t->dims, t->ndim);
    if (shape) {
        const char *dot = strrchr(t->name, '.');
        pare_sb_printf(&hint,
                       "where the difference is wanted (another number of classes, another stem), "
                       "'reinit: [%.*s%s]' leaves it at its initial values",
                       dot ? (int)(dot - t->name) : (int)strlen(t->name), t->name, dot ? ".*" : "");
    } else {
        pare_sb_add(&hint, "float16, bfloat16 and float64 are converted to float32, other types are not");
    }
    pare_diag_item it = {.severity = PARE_ERROR,
                         .code = shape ? "weights.shape" : "weights.dtype",
                         .message = pare_sb_str(&message),
                         .hint = pare_sb_str(&hint),
                         .path = a->path,
                         .tensor = t->name};
    pare_diags_add(a->d, &it);
    a->failed = true;
    pare_sb_free(&message);
    pare_sb_free(&hint);
}

static void compare(apply *a) {
    const pare_graph *g = pare_model_graph(a->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->initializers.len; i++) {
        pare_tensor *t = pare_model_tensor(a->m, g->initializers.data[i]);
        uint32_t k;
        bool there = pare_map_get(&a->w->names, t->name, &k);
        if (there) a->used[k] = true;
        if (kept(a, t->name)) continue;
        if (!there) {
            pare_vec_push(&a->missing.list, t->name);
            continue;
        }
        const pare_named_tensor *n = &a->w->tensors.data[k];
        if (!same_shape(t, n) || !converts(n->dtype, t->dtype)) {
            misfit(a, t, n);
            continue;
        }
        job j = {t, n};
        pare_vec_push(&a->jobs, j);
    }
    for (size_t i = 0; i < a->w->tensors.len; i++) {
        const char *name = a->w->tensors.data[i].name;
        if (!a->used[i] && !is_counter(name) && !kept(a, name)) pare_vec_push(&a->left_over.list, name);
    }
}

/* ---- what is said ---- */

static void list_names(pare_sb *b, const names *n, const char *what) {
    if (!n->list.len) return;
    if (b->len) pare_sb_add(b, "; ");
    pare_sb_printf(b, "%zu %s: ", n->list.len, what);
    for (size_t i = 0; i < n->list.len; i++) {
        if (i) pare_sb_add(b, ", ");
        pare_sb_add(b, n->list.data[i]);
    }
}

/* DataParallel and compiled models prefix every name; those who meet it don't see it in a list of 122 names. */
static const char *common_prefix(const pare_weights *w) {
    static const char *const prefixes[] = {"module.", "_orig_mod.", "model.", "backbone."};
    for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
        size_t i = 0;
        while (i < w->tensors.len && !strncmp(w->tensors.data[i].name, prefixes[k], strlen(prefixes[k]))) i++;
        if (i && i == w->tensors.len) return prefixes[k];
    }
    return NULL;
}

static void report_names(apply *a) {
    if (!a->missing.list.len && !a->left_over.list.len) return;
    pare_sb message = {0}, hint = {0};
    list_names(&message, &a->missing, "tensors of the model are missing in the file");
    list_names(&message, &a->left_over, "tensors of the file are not in the model");
    const char *prefix = common_prefix(a->w);
    bool none = true;
    for (size_t i = 0; i < a->w->tensors.len; i++) none = none && !a->used[i];
    if (none && !prefix)
        pare_sb_add(&hint, "not one name fits: the file seems to hold another network");
    else if (prefix)
        pare_sb_printf(&hint, "every name in the file begins with '%s': save the inner model's state_dict()", prefix);
    else
        pare_sb_add(&hint, "'reinit: [NAME, GLOB*]' leaves tensors of the model at their initial values and lets those "
                           "of the file go");
    pare_fail_file(a->d, PARE_EINVAL, a->path, "weights.names", pare_sb_str(&hint), "%s", pare_sb_str(&message));
    a->failed = true;
    pare_sb_free(&message);
    pare_sb_free(&hint);
}

static void check_patterns(apply *a) {
    const pare_graph *g = pare_model_graph(a->m, PARE_MAIN_GRAPH);
    names all = {0};
    for (size_t i = 0; i < g->initializers.len; i++)
        pare_vec_push(&all.list, pare_model_tensor(a->m, g->initializers.data[i])->name);
    for (size_t r = 0; r < a->n_reinit; r++) {
        size_t i = 0;
        while (i < all.list.len && !pare_glob(a->reinit[r], all.list.data[i])) i++;
        if (i < all.list.len) continue;
        const char *near = pare_nearest(a->reinit[r], all.list.data, all.list.len);
        pare_sb hint = {0};
        if (near) pare_sb_printf(&hint, "did you mean '%s'?", near);
        pare_diag_item it = {.severity = PARE_ERROR,
                             .code = "weights.reinit",
                             .param = "reinit",
                             .hint = near ? pare_sb_str(&hint) : "the names are those of PyTorch's state_dict: 'fc.*'"};
        pare_sb message = {0};
        pare_sb_printf(&message, "reinit: '%s' names no tensor of the model", a->reinit[r]);
        it.message = pare_sb_str(&message);
        pare_diags_add(a->d, &it);
        pare_sb_free(&message);
        pare_sb_free(&hint);
        a->failed = true;
    }
    pare_vec_free(&all.list);
}

/* ---- what is written ---- */

static float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 1023, bits;
    float f;
    if (exp == 31) {
        bits = sign | 0x7f800000 | man << 13;
    } else if (exp) {
        bits = sign | (exp + 112) << 23 | man << 13;
    } else { /* zero and subnormals: man * 2^-24, exact in f32 */
        f = (float)man * 0x1p-24f;
        memcpy(&bits, &f, 4);
        bits |= sign;
    }
    memcpy(&f, &bits, 4);
    return f;
}

static void convert(float *to, const unsigned char *from, uint32_t dtype, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        double f64;
        if (dtype == PARE_DOUBLE) {
            memcpy(&f64, from + i * 8, 8);
            to[i] = (float)f64;
            continue;
        }
        memcpy(&h, from + i * 2, 2);
        if (dtype == PARE_FLOAT16) {
            to[i] = f16_to_f32(h);
        } else {
            uint32_t bits = (uint32_t)h << 16;
            memcpy(&to[i], &bits, 4);
        }
    }
}

static pare_status write_all(apply *a) {
    for (size_t i = 0; i < a->jobs.len; i++) {
        job *j = &a->jobs.data[i];
        void *to;
        if (!j->from->blob) continue; /* no elements */
        pare_status st = pare_tensor_overwrite(j->to, a->d, &to);
        if (st) return st;
        if (j->from->dtype == j->to->dtype)
            memcpy(to, j->from->blob->data, j->from->blob->len);
        else
            convert(to, j->from->blob->data, j->from->dtype, j->from->count);
    }
    return PARE_OK;
}

pare_status pare_weights_apply(const pare_weights *w, const char *path, pare_model *m, const char *const *reinit,
                               size_t n_reinit, pare_diags *d) {
    apply a = {.w = w, .path = path, .m = m, .reinit = reinit, .n_reinit = n_reinit, .d = d};
    a.used = pare_xcalloc(w->tensors.len, sizeof *a.used);
    check_patterns(&a);
    compare(&a);
    report_names(&a);
    pare_status st = a.failed ? PARE_EINVAL : write_all(&a);
    free(a.used);
    pare_vec_free(&a.jobs);
    pare_vec_free(&a.missing.list);
    pare_vec_free(&a.left_over.list);
    return st;
}
