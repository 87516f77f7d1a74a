/* cli/cmd_infer.c - pare infer: a model run on tensors; on images, see infer_image.h. */
#include "cli/infer_bind.h"
#include "cli/infer_image.h"
#include "cli/load.h"
#include "data/npy.h"
#include "model/onnx.h"
#include "pipeline/evaluate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void free_arrays(pare_array **a, size_t n) {
    for (size_t i = 0; a && i < n; i++) pare_array_unref(a[i]);
    free(a);
}

/* The output's file: "/" and what a file name can't hold become "_". */
static char *output_path(const char *dir, const char *name, const char *end) {
    pare_sb b = {0};
    for (const char *p = name; *p; p++) pare_sb_addc(&b, *p == '/' || (unsigned char)*p < 0x20 ? '_' : *p);
    if (!b.len) pare_sb_addc(&b, '_');
    pare_sb_add(&b, end);
    char *path = pare_path_join(dir, pare_sb_str(&b));
    pare_sb_free(&b);
    return path;
}

/* numpy has no bfloat16: it is written as float32, which holds every one of its values. */
static pare_array *widened(pare_array *a) {
    if (a->dtype != PARE_BFLOAT16) return pare_array_ref(a);
    pare_array *f = pare_array_new(PARE_FLOAT, a->ndim, a->dims);
    const uint16_t *from = pare_array_data(a);
    uint32_t *to = f ? pare_array_data_mut(f) : NULL;
    for (uint64_t i = 0; to && i < a->count; i++) to[i] = (uint32_t)from[i] << 16;
    return f;
}

/* Can numpy's format hold it? bfloat16 is widened. Floats of 8 bits and less go to ONNX's own. */
static bool in_npy(uint32_t dtype) { return pare_dtype_kind(dtype) != 'f' || pare_dtype_bits(dtype) >= 16; }

/* What was written, as a line of text or (list not NULL) as an object of it. */
static void tell_output(const char *path, const char *name, const pare_array *a, uint64_t nan, uint64_t infinite,
                        json_t *list) {
    if (list) {
        json_t *shape = json_array();
        for (uint32_t i = 0; i < a->ndim; i++) json_array_append_new(shape, json_integer(a->dims[i]));
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o, s:I, s:I}", "name", pare_json_str(name), "dtype",
                                              pare_dtype_name(a->dtype), "shape", shape, "path", pare_json_str(path),
                                              "nan", (json_int_t)nan, "inf", (json_int_t)infinite));
        return;
    }
    pare_sb b = {0};
    pare_sb_add_safe(&b, path, strlen(path));
    pare_sb_printf(&b, "  %s (", pare_dtype_name(a->dtype));
    for (uint32_t i = 0; i < a->ndim; i++) pare_sb_printf(&b, "%s%" PRId64, i ? ", " : "", a->dims[i]);
    printf("%s)\n", pare_sb_str(&b));
    pare_sb_free(&b);
}

static pare_status write_output(pare_cli *c, const char *name, pare_array *a, json_t *list) {
    uint64_t nan, infinite;
    pare_count_not_finite(a, &nan, &infinite);
    if (nan || infinite)
        pare_say(c->diags, PARE_WARNING, "infer.not-finite",
                 "output %s holds %" PRIu64 " NaN and %" PRIu64 " infinite values among %" PRIu64, name, nan, infinite,
                 a->count);
    pare_array *w = widened(a);
    if (!w) return pare_fail(c->diags, PARE_ENOMEM, "memory.output", NULL, "no memory for output %s", name);
    bool npy = in_npy(a->dtype);
    char *path = output_path(c->args.out, name, npy ? ".npy" : ".pb");
    pare_status st = npy ? pare_npy_write(path, w, c->diags) : pare_onnx_tensor_file_write(path, name, a, c->diags);
    if (!st && (list || !c->args.quiet)) tell_output(path, name, a, nan, infinite, list);
    free(path);
    pare_array_unref(w);
    return st;
}

static pare_status infer_tensors(pare_cli *c) {
    pare_loaded_model l;
    pare_array **in = NULL, **out = NULL;
    json_t *list = c->args.json ? json_array() : NULL;
    size_t n_out = 0, n_in = 0;
    pare_status st = pare_cli_load(c, false, false, &l);
    if (!st) {
        n_in = pare_session_n_inputs(l.session);
        in = pare_xcalloc(n_in + 1, sizeof *in);
        st = pare_infer_bind(c, l.session, in);
    }
    if (!st) {
        n_out = pare_session_n_outputs(l.session);
        out = pare_xcalloc(n_out, sizeof *out);
        st = pare_session_ready(l.session, in, c->diags);
        if (st == PARE_ENOMEM) st = PARE_EINVAL; /* what does not fit is the asker's mistake, as in pare bench */
    }
    if (!st) st = pare_session_run(l.session, in, c->diags, out);
    if (!st) st = pare_dir_make(c->args.out, c->diags);
    for (size_t i = 0; i < n_out && !st; i++)
        st = write_output(c, pare_session_output(l.session, i)->name, out[i], list);
    if (!st && list) {
        json_t *j = json_pack("{s:O}", "outputs", list);
        pare_json_print(j, stdout);
        json_decref(j);
    }
    json_decref(list);
    free_arrays(in, n_in);
    free_arrays(out, n_out);
    pare_cli_unload(&l);
    return st;
}

static pare_status infer(pare_cli *c) {
    static const char usage[] = "pare infer MODEL cat.jpg, or pare infer MODEL --in X.npy --out DIR";
    const pare_args *a = &c->args;
    bool images = a->rest.len > 1 || a->image.len;
    if (images && (a->in.len || a->out))
        return pare_fail(c->diags, PARE_EINVAL, "infer.mixed", usage, "%s is for tensors, and images were given",
                         a->in.len ? "--in" : "--out");
    if (images) return pare_infer_images(c);
    if (a->data)
        return pare_fail(c->diags, PARE_EINVAL, "infer.no-image", usage, "--data is for images, and none was given");
    if (!a->out && !a->in.len)
        return pare_fail(c->diags, PARE_EINVAL, "infer.nothing", usage, "pare infer needs an image, or tensors");
    if (!a->out)
        return pare_fail(c->diags, PARE_EINVAL, "infer.out", NULL, "pare infer needs --out DIR for the outputs");
    return infer_tensors(c);
}

static const pare_opt infer_opts[] = {
    PARE_OPT("image", PARE_OPT_LIST, "FILE", image, "an image, or a folder of images; the same as an operand"),
    PARE_OPT("data", PARE_OPT_VALUE, "FILE", data,
             "any YAML with a data block: images go through its preprocess, and its set names the classes"),
    PARE_OPT("in", PARE_OPT_LIST, "FILE", in,
             "a tensor (.npy or ONNX .pb); once for each input, in order or as NAME=FILE"),
    PARE_OPT("out", PARE_OPT_VALUE, "DIR", out, "where the outputs go, as NAME.npy"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_MEMORY,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_infer = {
    "infer",
    "MODEL [IMAGE...]",
    1,
    SIZE_MAX,
    "shows the classes a model sees in images, or runs it on tensors",
    "Of each image (JPEG, PNG, or a folder of them) the 5 most likely classes are shown. Preprocessing is that of\n"
    "--data, else what the model carries in its metadata (ai.pare.preprocess, as pare run writes it), else pixels / "
    "255.\n"
    "One that can't be decoded is reported, and the others are shown; --data's on_error: skip makes it a warning.\n\n"
    "With --in, inputs bind by name (--in NAME=FILE) or in the order of the graph's inputs that are not\n"
    "initializers. Outputs are written as .npy: bfloat16 as float32, ints below 8 bits as 8 bits; floats of 8 bits\n"
    "and less as ONNX tensors (.pb).",
    infer_opts,
    sizeof infer_opts / sizeof *infer_opts,
    infer};
