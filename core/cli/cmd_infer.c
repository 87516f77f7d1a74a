/* cli/cmd_infer.c - pare infer and pare bench: a model run on tensors, and timed. */
#include "cli/cli.h"
#include "data/npy.h"
#include "model/edit.h"
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

static pare_status load(pare_cli *c, bool profile, loaded *l) {
    *l = (loaded){.plugins = pare_cli_plugins(c)};
    if (!l->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(l->plugins, c->args.device, c->diags, &l->compute);
    if (!st) st = pare_model_load(c->args.rest.data[0], c->diags, &l->model);
    if (!st) st = pare_model_check(l->model, c->diags);
    if (st) return st;
    pare_session_opts opts = pare_compute_session(&l->compute);
    opts.threads = (uint32_t)c->args.threads;
    opts.profile = profile;
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

static pare_status read_input(const char *path, pare_diags *d, pare_array **out) {
    size_t n = strlen(path);
    if (n > 3 && strcmp(path + n - 3, ".pb") == 0) return pare_onnx_tensor_file_read(path, d, out);
    if (n > 4 && strcmp(path + n - 4, ".npy") == 0) return pare_npy_read(path, d, out);
    return pare_fail_file(d, PARE_EINVAL, path, "infer.input", "give .npy or ONNX .pb tensors",
                          "the end of this name is neither .npy nor .pb");
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

static uint64_t count_not_finite(const pare_array *a) {
    uint64_t n = 0;
    if (a->dtype == PARE_FLOAT) {
        const float *x = pare_array_data(a);
        for (uint64_t i = 0; i < a->count; i++) n += !isfinite(x[i]);
    }
    return n;
}

static pare_status infer(pare_cli *c) {
    loaded l;
    pare_array **in = NULL, **out = NULL;
    size_t n_out = 0, n_in = c->args.in.len;
    if (!c->args.out)
        return pare_fail(c->diags, PARE_EINVAL, "infer.out", NULL, "pare infer needs --out DIR for the outputs");
    pare_status st = load(c, false, &l);
    if (!st && n_in != pare_session_n_inputs(l.session)) {
        pare_sb b = {0};
        for (size_t i = 0; i < pare_session_n_inputs(l.session); i++)
            pare_sb_printf(&b, "%s%s", i ? ", " : "in this order: ", pare_session_input(l.session, i)->name);
        st = pare_fail(c->diags, PARE_EINVAL, "infer.inputs", b.len ? pare_sb_str(&b) : NULL,
                       "the model takes %zu inputs, %zu were given with --in", pare_session_n_inputs(l.session), n_in);
        pare_sb_free(&b);
    }
    in = pare_xcalloc(n_in, sizeof *in);
    for (size_t i = 0; i < n_in && !st; i++) st = read_input(c->args.in.data[i], c->diags, &in[i]);
    if (!st) {
        n_out = pare_session_n_outputs(l.session);
        out = pare_xcalloc(n_out, sizeof *out);
        st = pare_session_run(l.session, in, c->diags, out);
    }
    if (!st) st = pare_dir_make(c->args.out, c->diags);
    for (size_t i = 0; i < n_out && !st; i++) {
        const char *name = pare_session_output(l.session, i)->name;
        uint64_t bad = count_not_finite(out[i]);
        if (bad)
            pare_say(c->diags, PARE_WARNING, "infer.not-finite",
                     "output %s holds %" PRIu64 " values that are NaN or infinite", name, bad);
        st = write_output(c, name, out[i]);
    }
    free_arrays(in, n_in);
    free_arrays(out, n_out);
    unload(&l);
    return st;
}

static const pare_opt infer_opts[] = {
    PARE_OPT("in", PARE_OPT_LIST, "FILE", in, "a tensor (.npy or ONNX .pb); once for each input, in the graph's order"),
    PARE_OPT("out", PARE_OPT_VALUE, "DIR", out, "where the outputs go, as NAME.npy"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
};

const pare_command pare_cmd_infer = {"infer",
                                     "MODEL",
                                     1,
                                     1,
                                     "runs a model on tensors",
                                     "Inputs bind in order to the graph's inputs that are not initializers. Outputs "
                                     "are written as .npy: bfloat16 as float32,\n"
                                     "ints below 8 bits as 8 bits; floats of 8 bits and less as ONNX tensors (.pb).",
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
    pare_status st = load(c, c->args.nodes, &l);
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
        if (c->args.json) {
            json_t *j = json_pack("{s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:I, s:o}", "batch", (json_int_t)images,
                                  "threads", (json_int_t)threads, "device", l.compute.device, "p50_ms", t.p50 * 1e3,
                                  "p95_ms", t.p95 * 1e3, "images_per_s", (double)images / t.p50, "open_ms",
                                  opened * 1e3, "runs", (json_int_t)t.runs, "nodes", node_counts(nodes, n));
            pare_json_print(j, stdout);
            json_decref(j);
        } else {
            printf("batch %" PRId64 ", %" PRIu64 " threads, %s: %s\n", images, threads, l.compute.device,
                   pare_session_device(l.session));
            printf("  p50 %.3f ms, p95 %.3f ms over %" PRIu64 " runs; %.1f images/s; loaded in %.1f ms\n", t.p50 * 1e3,
                   t.p95 * 1e3, t.runs, (double)images / t.p50, opened * 1e3);
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
    PARE_OPT("batch", PARE_OPT_COUNT, "N", batch, "images at once (default: the model's own, else 1)"),
    PARE_OPT("runs", PARE_OPT_COUNT, "N", runs, "runs after warm-up (default: three seconds' worth)"),
    PARE_OPT("nodes", PARE_OPT_FLAG, NULL, nodes, "a row for each node: time, share, GFLOP/s, layout, kernel"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
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
    "Inputs are filled with repeatable noise. --nodes times each node as well, which slows the whole a little.",
    bench_opts,
    sizeof bench_opts / sizeof *bench_opts,
    bench};
