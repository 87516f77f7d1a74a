/* tests/plugins/runs.c - a test plugin: runs the step's model on samples, notes what it saw, leaves a file behind. */
#include "common.h"

#include <stdio.h>

enum { ARG_DATA, ARG_SAMPLES, ARG_METRIC, ARG_RANGES, ARG_TUNE, ARG_FAIL, N_PARAMS };

static const pare_param columns[] = {
    {.size = sizeof(pare_param),
     .type = PARE_PARAM_FLOAT,
     .name = "max_drop",
     .max = 1,
     .doc = "How much may be lost."},
    {.size = sizeof(pare_param),
     .type = PARE_PARAM_DATA,
     .flags = PARE_PARAM_OPTIONAL,
     .name = "data",
     .doc = "What it is measured on."},
};

static const pare_param params[N_PARAMS] = {
    [ARG_DATA] = {.size = sizeof(pare_param),
                  .type = PARE_PARAM_DATA,
                  .name = "data",
                  .dflt = "random",
                  .doc = "The samples that are run."},
    [ARG_SAMPLES] = {.size = sizeof(pare_param),
                     .type = PARE_PARAM_INT,
                     .name = "samples",
                     .dflt = "0",
                     .max = 1e9,
                     .doc = "At most so many."},
    [ARG_METRIC] = {.size = sizeof(pare_param),
                    .type = PARE_PARAM_STRING,
                    .flags = PARE_PARAM_OPTIONAL,
                    .name = "metric",
                    .doc = "What is measured."},
    [ARG_RANGES] = {.size = sizeof(pare_param),
                    .type = PARE_PARAM_FILE,
                    .flags = PARE_PARAM_OPTIONAL,
                    .name = "ranges",
                    .doc = "A file that is read."},
    [ARG_TUNE] = {.size = sizeof(pare_param),
                  .type = PARE_PARAM_TABLE,
                  .flags = PARE_PARAM_OPTIONAL,
                  .name = "tune",
                  .columns = columns,
                  .n_columns = 2,
                  .column_stride = sizeof(pare_param),
                  .doc = "What must hold."},
    [ARG_FAIL] = {.size = sizeof(pare_param),
                  .type = PARE_PARAM_BOOL,
                  .name = "fail",
                  .dflt = "false",
                  .doc = "Whether it fails in the end."},
};

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    *self = (void *)(uintptr_t)args;
    return PARE_OK;
}

static pare_status check(void *self, const pare_host *host, pare_model *model) {
    const pare_arg *args = self;
    const pare_run_api *run = host->ext(host, PARE_RUN_V1);
    pare_runner_set set = {.size = sizeof set};
    uint32_t fast = 9;
    (void)model;
    WANT(run != NULL);
    pare_status st = run->set(host, args[ARG_DATA].u.s, 0, &set);
    if (!st) st = run->int8(host, "Sin", PARE_UINT8, PARE_INT8, &fast);
    if (!st && !fast)
        PARE_REPORT(host, PARE_WARNING, .code = "test.slow", .message = "Sin is not faster in int8 on this machine");
    if (!st && !set.count && args[ARG_METRIC].n) {
        PARE_REPORT(host, PARE_ERROR, .code = "test.noise", .message = "noise has no labels", .param = "metric");
        st = PARE_EINVAL;
    }
    return st;
}

/* Bytes of a file; -1: it can't be read. */
static long size_of(const char *path) {
    FILE *f = fopen(path, "rb");
    long n = -1;
    if (f && !fseek(f, 0, SEEK_END)) n = ftell(f);
    if (f) fclose(f);
    return n;
}

static pare_status look(const pare_arg *args, const pare_host *host, pare_model *m, const pare_run_api *run,
                        const pare_note_api *note) {
    const pare_graph_api *g = host->ext(host, PARE_GRAPH_V1);
    const uint32_t values[] = {g->input(host, m, PARE_GRAPH_MAIN, 0), g->output(host, m, PARE_GRAPH_MAIN, 0)};
    pare_runner_request q = {.size = sizeof q,
                             .flags = PARE_RUNNER_FINITE,
                             .values = values,
                             .n_values = 2,
                             .data = args[ARG_DATA].u.s,
                             .samples = (uint64_t)args[ARG_SAMPLES].u.i};
    pare_runner *r = NULL;
    pare_runner_batch b = {.size = sizeof b};
    uint64_t seen = 0, labels = 0;
    double sum = 0;
    pare_status st = run->open(host, m, &q, &r);
    while (!st && !(st = run->next(host, r, &b))) {
        pare_view v = {.size = sizeof v};
        WANT(run->value(host, r, 0, &v) == PARE_OK && (uint64_t)v.dims[0] == b.n);
        if (!seen) note->text(host, "first", run->sample_name(host, r, b.samples[0]));
        WANT(run->value(host, r, 1, &v) == PARE_OK && (uint64_t)v.dims[0] == b.n && v.dtype == PARE_FLOAT);
        for (uint64_t i = 0; i < v.count; i++) sum += (double)((const float *)v.data)[i];
        labels += b.labels ? b.n : 0;
        seen += b.n;
        st = host->tick(host, (double)seen / (double)b.total, "looking");
    }
    if (st != PARE_ENOTFOUND) return st;
    note->number(host, "seen", (double)seen);
    note->number(host, "labels", (double)labels);
    note->number(host, "sum", sum);
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *model) {
    const pare_arg *args = self;
    const pare_run_api *run = host->ext(host, PARE_RUN_V1);
    const pare_note_api *note = host->ext(host, PARE_NOTE_V1);
    pare_runner_set set = {.size = sizeof set};
    char graph[65], text[256];
    pare_status st = run->set(host, args[ARG_DATA].u.s, 1, &set);
    if (!st) st = run->fingerprint(host, model, graph);
    if (!st) st = look(args, host, model, run, note);
    double x = 0;
    if (!st && args[ARG_METRIC].n)
        st = run->evaluate(host, model, args[ARG_DATA].u.s, args[ARG_METRIC].u.s, (uint64_t)args[ARG_SAMPLES].u.i, &x);
    if (st) return st;
    if (args[ARG_METRIC].n) note->number(host, "metric", x);
    if (args[ARG_RANGES].n) note->number(host, "ranges", (double)size_of(args[ARG_RANGES].u.s));
    if (args[ARG_TUNE].n) note->number(host, "max_drop", args[ARG_TUNE].u.list[0].u.f);
    int n = snprintf(text, sizeof text, "graph: %s\ndata: %s\n", graph, set.sha256);
    st = note->file(host, "seen.yaml", "old\n", 4); /* the latest of a name stays */
    if (!st) st = note->file(host, "seen.yaml", text, (uint64_t)n);
    if (!st && args[ARG_FAIL].u.i) {
        PARE_REPORT(host, PARE_ERROR, .code = "test.fails", .message = "as asked");
        st = PARE_EINVAL;
    }
    return st;
}

static const pare_technique runs = {.size = sizeof runs,
                                    .id = "test.runs",
                                    .version = "1.0.0",
                                    .summary = "A test.",
                                    .params = params,
                                    .n_params = N_PARAMS,
                                    .param_stride = sizeof(pare_param),
                                    .create = create,
                                    .check = check,
                                    .apply = apply};
TEST_PLUGIN("test-runs", &runs)
