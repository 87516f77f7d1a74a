/* cli/cmd_infer.c - pare infer and pare bench: a model run on tensors, and timed. */
#include "cli/cli.h"
#include "cli/infer_bind.h"
#include "cli/infer_image.h"
#include "data/npy.h"
#include "model/edit.h"
#include "model/finite.h"
#include "model/onnx.h"
#include "model/pack.h"
#include "pipeline/report.h"
#include "pipeline/score.h"
#include "plugin/compute.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what both need ---- */

typedef struct loaded {
    pare_plugins *plugins;
    pare_compute compute;
    pare_model *model;
    pare_session *session;
} loaded;

static pare_status load(pare_cli *c, bool profile, bool tune, loaded *l) {
    *l = (loaded){.plugins = pare_cli_plugins(c)};
    if (!l->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(l->plugins, c->args.device, c->diags, &l->compute);
    if (!st) st = pare_model_load(c->args.rest.data[0], c->diags, &l->model);
    if (!st) st = pare_model_check(l->model, c->diags);
    if (!st) st = pare_model_say_not_finite(l->model, c->args.rest.data[0], c->diags);
    if (st) return st;
    pare_session_opts opts = pare_compute_session(&l->compute);
    opts.threads = (uint32_t)c->args.threads;
    opts.memory = c->args.memory << 20;
    opts.profile = profile;
    opts.any_batch = true;
    opts.tune = tune;
    return pare_session_open(l->model, &opts, c->diags, &l->session);
}

static void unload(loaded *l) {
    pare_session_close(l->session);
    pare_model_free(l->model);
    pare_compute_close(&l->compute);
    pare_plugins_free(l->plugins);
}

static void free_arrays(pare_array **a, size_t n) {
    for (size_t i = 0; a && i < n; i++) pare_array_unref(a[i]);
    free(a);
}

/* ---- infer ---- */

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

static pare_status write_output(pare_cli *c, const char *name, pare_array *a) {
    pare_array *w = widened(a);
    if (!w) return pare_fail(c->diags, PARE_ENOMEM, "memory.output", NULL, "no memory for output %s", name);
    bool npy = in_npy(a->dtype);
    char *path = output_path(c->args.out, name, npy ? ".npy" : ".pb");
    pare_status st = npy ? pare_npy_write(path, w, c->diags) : pare_onnx_tensor_file_write(path, name, a, c->diags);
    if (!st && !c->args.quiet) {
        pare_sb b = {0};
        pare_sb_add_safe(&b, path, strlen(path));
        pare_sb_printf(&b, "  %s (", pare_dtype_name(a->dtype));
        for (uint32_t i = 0; i < a->ndim; i++) pare_sb_printf(&b, "%s%" PRId64, i ? ", " : "", a->dims[i]);
        printf("%s)\n", pare_sb_str(&b));
        pare_sb_free(&b);
    }
    free(path);
    pare_array_unref(w);
    return st;
}

static pare_status infer_tensors(pare_cli *c) {
    loaded l;
    pare_array **in = NULL, **out = NULL;
    size_t n_out = 0, n_in = 0;
    pare_status st = load(c, false, false, &l);
    if (!st) {
        n_in = pare_session_n_inputs(l.session);
        in = pare_xcalloc(n_in + 1, sizeof *in);
        st = pare_infer_bind(c, l.session, in);
    }
    if (!st) {
        n_out = pare_session_n_outputs(l.session);
        out = pare_xcalloc(n_out, sizeof *out);
        st = pare_session_run(l.session, in, c->diags, out);
    }
    if (!st) st = pare_dir_make(c->args.out, c->diags);
    for (size_t i = 0; i < n_out && !st; i++) {
        const char *name = pare_session_output(l.session, i)->name;
        uint64_t nan, infinite;
        pare_count_not_finite(out[i], &nan, &infinite);
        if (nan || infinite)
            pare_say(c->diags, PARE_WARNING, "infer.not-finite",
                     "output %s holds %" PRIu64 " NaN and %" PRIu64 " infinite values among %" PRIu64, name, nan,
                     infinite, out[i]->count);
        st = write_output(c, name, out[i]);
    }
    free_arrays(in, n_in);
    free_arrays(out, n_out);
    unload(&l);
    return st;
}

static pare_status infer(pare_cli *c) {
    const pare_args *a = &c->args;
    bool images = a->rest.len > 1 || a->image.len;
    if (images && (a->in.len || a->out))
        return pare_fail(c->diags, PARE_EINVAL, "infer.mixed",
                         "pare infer MODEL cat.jpg, or pare infer MODEL --in X.npy --out DIR",
                         "%s is for tensors, and images were given", a->in.len ? "--in" : "--out");
    if (images) return pare_infer_images(c);
    if (a->data || a->json)
        return pare_fail(c->diags, PARE_EINVAL, "infer.no-image",
                         "pare infer MODEL cat.jpg, or pare infer MODEL --in X.npy --out DIR",
                         "%s is for images, and none was given", a->data ? "--data" : "--json");
    if (!a->out && !a->in.len)
        return pare_fail(c->diags, PARE_EINVAL, "infer.nothing",
                         "pare infer MODEL cat.jpg, or pare infer MODEL --in X.npy --out DIR",
                         "pare infer needs an image, or tensors");
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
    "Of each image (JPEG, PNG, or a folder of them) the 5 most likely classes are shown. Preprocessing is that of "
    "--data, "
    "else\nwhat the model carries in its metadata (ai.pare.preprocess, as pare run writes it), else pixels / 255.\n\n"
    "With --in, inputs bind by name (--in NAME=FILE) or in the order of the graph's inputs that are not initializers. "
    "Outputs are written as .npy: "
    "bfloat16 as\nfloat32, ints below 8 bits as 8 bits; floats of 8 bits and less as ONNX tensors (.pb).",
    infer_opts,
    sizeof infer_opts / sizeof *infer_opts,
    infer};

/* ---- bench ---- */

static json_t *node_counts(const pare_profile_node *nodes, size_t n) {
    json_t *j = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *old = json_object_get(j, nodes[i].dtype);
        json_object_set_new(j, nodes[i].dtype, json_integer(json_integer_value(old) + 1));
    }
    return j;
}

static void print_nodes(const pare_profile_node *nodes, size_t n, pare_table **out) {
    const char *heads[] = {"node", "op", ">ms", ">share", ">GFLOP/s", "layout", "kernel"};
    pare_table *t = pare_table_new(heads, 7);
    double total = 0;
    pare_table_rule(t);
    for (size_t i = 0; i < n; i++) total += nodes[i].seconds;
    for (size_t i = 0; i < n; i++) {
        double ms = nodes[i].runs ? nodes[i].seconds * 1e3 / (double)nodes[i].runs : 0;
        pare_table_cell(t, "%s", nodes[i].node);
        pare_table_cell(t, "%s", nodes[i].op_type);
        pare_table_cell(t, "%.3f", ms);
        pare_table_cell(t, "%.1f %%", total > 0 ? 100 * nodes[i].seconds / total : 0);
        if (nodes[i].macs > 0 && ms > 0)
            pare_table_cell(t, "%.1f", 2e-6 * (double)nodes[i].macs / ms);
        else
            pare_table_cell(t, "-");
        pare_table_cell(t, "%s", nodes[i].layout);
        pare_table_cell(t, "%s", nodes[i].kernel);
    }
    *out = t;
}

static pare_status bench(pare_cli *c) {
    loaded l;
    pare_latency t = {0};
    double start = pare_clock();
    pare_status st = load(c, c->args.nodes, true, &l);
    double opened = pare_clock() - start;
    pare_array **in = NULL;
    if (!st) st = pare_score_noise(l.session, (uint32_t)c->args.batch, c->diags, &in);
    pare_array *const *const ins[] = {in};
    if (!st) st = pare_latency_of(&l.session, ins, 1, c->args.runs, c->diags, &t);
    if (!st) {
        const pare_profile_node *nodes;
        size_t n = pare_session_profile(l.session, &nodes);
        int64_t images = pare_session_n_inputs(l.session) && in[0]->ndim ? in[0]->dims[0] : 1;
        uint64_t threads = c->args.threads ? c->args.threads : pare_threads();
        int64_t piece = pare_session_piece(l.session);
        if (c->args.json) {
            json_t *j =
                json_pack("{s:I, s:I, s:I, s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:o}", "batch", (json_int_t)images,
                          "threads", (json_int_t)threads, "piece", (json_int_t)(piece ? piece : images), "device",
                          l.compute.device, "tune", pare_session_tuned(l.session) ? "on" : "off", "p50_ms", t.p50 * 1e3,
                          "p95_ms", t.p95 * 1e3, "images_per_s", (double)images / t.p50, "open_ms", opened * 1e3,
                          "runs", (json_int_t)t.runs, "nodes", node_counts(nodes, n));
            pare_json_print(j, stdout);
            json_decref(j);
        } else {
            printf("batch %" PRId64 ", %" PRIu64 " threads, %s: %s\n", images, threads, l.compute.device,
                   pare_session_device(l.session));
            printf("  p50 %.3f ms, p95 %.3f ms over %" PRIu64 " runs; %.1f images/s; loaded in %.1f ms\n", t.p50 * 1e3,
                   t.p95 * 1e3, t.runs, (double)images / t.p50, opened * 1e3);
            if (piece)
                printf("  run %" PRId64 " images at a time%s\n", piece,
                       c->args.nodes ? ": the times of nodes are for these" : "");
            if (c->args.nodes) {
                pare_table *table;
                print_nodes(nodes, n, &table);
                putchar('\n');
                pare_table_print(table, 2, stdout);
                pare_table_free(table);
            }
        }
    }
    if (in) pare_score_noise_free(l.session, in);
    unload(&l);
    return st;
}

static const pare_opt bench_opts[] = {
    PARE_OPT("batch", PARE_OPT_MANY, "N", batch, "images at once (default: the model's own, else 1)"),
    PARE_OPT("runs", PARE_OPT_COUNT, "N", runs, "runs after warm-up (default: three seconds' worth)"),
    PARE_OPT("nodes", PARE_OPT_FLAG, NULL, nodes, "a row for each node: time, share, GFLOP/s, layout, kernel"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_MEMORY,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_bench = {
    "bench",
    "MODEL",
    1,
    1,
    "times a model: latency p50 and p95 after warm-up",
    "Inputs are filled with repeatable noise. --nodes times each node as well, which slows the whole a little.\n"
    "Kernels are chosen by timing them, once per machine and shape; PARE_TUNE=off takes the best guess instead.",
    bench_opts,
    sizeof bench_opts / sizeof *bench_opts,
    bench};
