/* tests/plugin/host_run.h - running a function of the test as a technique's apply or check, on the small model. */
#ifndef PARE_TESTS_PLUGIN_HOST_RUN_H
#define PARE_TESTS_PLUGIN_HOST_RUN_H

#include "plugin/small_model.h"
#include "plugin/step.h"

typedef pare_status (*body)(const pare_host *host, pare_model *m);

static body next_apply, next_check;
static const pare_graph_api *g;
static const pare_tensors_api *t;
static const pare_layers_api *l;
static const pare_note_api *n;

static pare_status create(const pare_host *host, const pare_arg *args, void **self) {
    (void)args;
    (void)self;
    g = host->ext(host, PARE_GRAPH_V1);
    t = host->ext(host, PARE_TENSORS_V1);
    l = host->ext(host, PARE_LAYERS_V1);
    n = host->ext(host, PARE_NOTE_V1);
    return g && t && l && n ? PARE_OK : PARE_EUNSUPPORTED;
}

static pare_status check(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    return next_check ? next_check(host, m) : PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    return next_apply ? next_apply(host, m) : PARE_OK;
}

static const pare_technique technique = {.size = sizeof technique,
                                         .id = "test.host",
                                         .version = "1",
                                         .summary = "A test.",
                                         .create = create,
                                         .check = check,
                                         .apply = apply};

static pare_diags *said_by;
static json_t *notes;

static inline pare_model *run_on(pare_model *in, body fn, pare_status want) {
    pare_diags_free(said_by);
    json_decref(notes);
    said_by = pare_diags_new(PARE_DIAG_SILENT, NULL);
    notes = json_object();
    next_apply = fn;
    pare_host_env env = {.diags = said_by, .step = "s", .plugin = "test", .seed = 42, .notes = notes};
    pare_model *out = NULL;
    pare_status st = pare_step_run(&env, &technique, NULL, in, &out);
    next_apply = next_check = NULL;
    if (st != want) {
        print_said(said_by);
        fail_msg("status %d, not %d", st, want);
    }
    return out;
}

static inline pare_model *run(body fn, pare_status want) {
    pare_model *in = small_model(), *out = run_on(in, fn, want);
    pare_model_free(in);
    return out;
}

#define WANT(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            PARE_REPORT(host, PARE_ERROR, .code = "test.want", .message = #condition);                                 \
            return PARE_EINTERNAL;                                                                                     \
        }                                                                                                              \
    } while (0)

static inline int teardown(void **state) {
    (void)state;
    pare_diags_free(said_by);
    json_decref(notes);
    return 0;
}

#endif
