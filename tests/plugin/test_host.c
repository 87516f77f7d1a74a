/* tests/plugin/test_host.c - the host's side of the SDK: base functions, statuses, tensors, notes. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/host_run.h"

#include <math.h>

/* ---- base ---- */

static void add_one(void *ctx, uint64_t i) { ((uint32_t *)ctx)[i]++; }

static void from_any_thread(void *ctx, uint64_t i) {
    const pare_host *host = ctx;
    PARE_REPORT(host, PARE_INFO, .code = "test.thread", .message = "from a thread");
    (void)host->tick(host, (double)i / 64, "thread");
}

static pare_status use_base(const pare_host *host, pare_model *m) {
    (void)m;
    WANT(host->size == sizeof *host && strcmp(host->name, "pare") == 0 && host->version[0]);
    WANT(host->seed(host) == 42);
    uint32_t *count = host->scratch(host, 1000 * sizeof *count);
    WANT(count && (uintptr_t)count % 64 == 0 && count[0] == 0 && count[999] == 0);
    host->parallel(host, 1000, add_one, count);
    for (int i = 0; i < 1000; i++) WANT(count[i] == 1);
    host->parallel(host, 64, from_any_thread, (void *)(uintptr_t)host);
    WANT(host->scratch(host, 0) && !host->scratch(host, UINT64_MAX));
    double x[2] = {1, 2};
    WANT(host->reduce(host, PARE_REDUCE_SUM, PARE_DOUBLE, x, 2) == PARE_OK && x[0] == 1 && x[1] == 2);
    WANT(host->tick(host, NAN, NULL) == PARE_OK && host->tick(host, 7, "over") == PARE_OK);
    return PARE_OK;
}

static void base_functions(void **state) {
    (void)state;
    pare_model_free(run(use_base, PARE_OK));
    assert_int_equal(said(said_by, "test.thread", "from a thread"), 64);
}

/* ---- statuses ---- */

static pare_status silent(const pare_host *host, pare_model *m) {
    (void)host;
    (void)m;
    return PARE_ENOMEM;
}

static pare_status nonsense(const pare_host *host, pare_model *m) {
    (void)host;
    (void)m;
    return 17;
}

static pare_status not_cancelled(const pare_host *host, pare_model *m) {
    (void)host;
    (void)m;
    return PARE_ECANCELLED;
}

static pare_status says_error_returns_ok(const pare_host *host, pare_model *m) {
    (void)m;
    PARE_REPORT(host, PARE_ERROR, .code = "test.x", .message = "wrong");
    return PARE_OK;
}

static pare_status bad_reports(const pare_host *host, pare_model *m) {
    (void)m;
    host->report(host, NULL);
    PARE_REPORT(host, 77, .message = "severity unknown, no code");
    return PARE_EINVAL;
}

static pare_status tries_and_fails(const pare_host *host, pare_model *m) {
    const int64_t dims[] = {1};
    uint32_t id;
    return t->add(host, m, "fc.weight", PARE_FLOAT, 1, dims, &id); /* the name is taken */
}

static pare_status tries_and_recovers(const pare_host *host, pare_model *m) {
    WANT(tries_and_fails(host, m) == PARE_EINVAL);
    return PARE_OK;
}

static void statuses_are_judged(void **state) {
    (void)state;
    run(silent, PARE_ENOMEM);
    assert_said(said_by, "plugin.silent", "test.host failed without a word (out of memory) in apply");
    run(nonsense, PARE_EINTERNAL);
    assert_said(said_by, "plugin.status", "returned the status 17, which means nothing, in apply");
    run(not_cancelled, PARE_EINTERNAL);
    assert_said(said_by, "plugin.status", "nobody cancelled it");
    run(says_error_returns_ok, PARE_EINVAL);
    run(bad_reports, PARE_EINTERNAL);
    assert_said(said_by, "plugin.misuse", "the diagnostic is NULL");
    assert_said(said_by, "plugin.report", "severity unknown");
    run(tries_and_fails, PARE_EINVAL);
    assert_said(said_by, "graph.name-taken", "taken");
    assert_int_equal(pare_diags_errors(said_by), 1);
    pare_model_free(run(tries_and_recovers, PARE_OK));
    assert_int_equal(pare_diags_count(said_by), 0);
}

/* ---- check may not write ---- */

static pare_status check_writes(const pare_host *host, pare_model *m) {
    pare_view v = {.size = sizeof v};
    uint32_t w = t->find(host, m, "fc.weight");
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_OK && !v.writable);
    t->release(host, m, w);
    WANT(t->borrow(host, m, w, PARE_WRITE, &v) == PARE_EINVAL);
    return PARE_OK;
}

static void check_only_looks(void **state) {
    (void)state;
    next_check = check_writes;
    pare_model *in = small_model();
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_host_env env = {.diags = d};
    assert_int_equal(pare_step_check(&env, &technique, NULL, in), PARE_EINTERNAL);
    assert_said(d, "plugin.misuse", "check may not change the model");
    next_check = NULL;
    assert_int_equal(pare_step_check(&env, &technique, NULL, in), PARE_OK);
    assert_int_equal(pare_step_check(&env, &technique, NULL, NULL), PARE_OK);
    pare_diags_free(d);
    pare_model_free(in);
}

/* ---- tensors ---- */

static pare_status use_tensors(const pare_host *host, pare_model *m) {
    static const char *const names[] = {"conv.weight", "conv.bias", "fc.weight",     "fc.bias",
                                        "t.weight",    "spare",     "shared.weight", "flag"};
    size_t k = 0;
    for (uint32_t id = t->next(host, m, 0); id; id = t->next(host, m, id)) {
        pare_tensor_info info = {.size = sizeof info};
        WANT(t->info(host, m, id, &info) == PARE_OK);
        WANT(k < 8 && strcmp(info.name, names[k]) == 0);
        WANT(strcmp(info.name, "shared.weight") != 0 || info.n_uses == 1);         /* captured by the else branch */
        if (strcmp(info.name, "spare") == 0) WANT(t->del(host, m, id) == PARE_OK); /* while walking */
        k++;
    }
    WANT(k == 8 && !t->find(host, m, "spare") && !t->find(host, m, "nothing") && !t->find(host, m, "x"));

    uint32_t w = t->find(host, m, "conv.weight"), added;
    pare_view v = {.size = sizeof v}, second = {.size = sizeof second};
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_OK && t->borrow(host, m, w, PARE_READ, &second) == PARE_OK);
    WANT(v.ndim == 4 && v.strides[0] == 27 && v.strides[3] == 1 && v.count == 108 && v.nbytes == 432 &&
         v.data == second.data);
    WANT((uintptr_t)v.data % 64 == 0 && v.device_type == PARE_DEVICE_CPU && !v.byte_offset);
    t->release(host, m, w);
    t->release(host, m, w);
    WANT(t->borrow(host, m, w, PARE_OVERWRITE, &v) == PARE_OK && v.writable);
    memset(v.data, 0, (size_t)v.nbytes);
    t->release(host, m, w);

    const int64_t empty[] = {0, 3};
    WANT(t->add(host, m, "empty", PARE_FLOAT, 2, empty, &added) == PARE_OK);
    WANT(t->borrow(host, m, added, PARE_WRITE, &v) == PARE_OK && v.data && v.count == 0 && v.nbytes == 0);
    t->release(host, m, added);
    const int64_t odd[] = {3};
    WANT(t->retype(host, m, added, PARE_INT4, 1, odd) == PARE_OK);
    WANT(t->borrow(host, m, added, PARE_OVERWRITE, &v) == PARE_OK && v.count == 3 && v.nbytes == 2);
    memset(v.data, 0x11, 2);
    t->release(host, m, added);
    pare_tensor_info info = {.size = sizeof info};
    WANT(t->masked_set(host, m, added, 1) == PARE_OK && t->info(host, m, added, &info) == PARE_OK && info.masked);
    WANT(g->value_rename(host, m, info.value, "renamed") == PARE_OK); /* the mask goes with it */
    WANT(t->info(host, m, added, &info) == PARE_OK && info.masked && strcmp(info.name, "renamed") == 0);
    const int64_t huge[] = {INT64_MAX, INT64_MAX};
    WANT(t->add(host, m, "huge", PARE_FLOAT, 2, huge, &added) == PARE_ENOMEM);
    WANT(t->del(host, m, w) == PARE_EINVAL); /* Conv uses it */
    return PARE_OK;
}

static void tensors_interface(void **state) {
    (void)state;
    pare_model *out = run(use_tensors, PARE_OK);
    assert_int_equal(out->ir_version, 10); /* int4 came with it */
    assert_string_equal(pare_model_meta(out, "ai.pare.masked"), "[\"renamed\"]");
    pare_model_free(out);
}

static pare_status mask_something(const pare_host *host, pare_model *m) {
    return t->masked_set(host, m, t->find(host, m, "conv.weight"), 1);
}

static void masks_of_somebody_else(void **state) {
    (void)state;
    pare_model *in = small_model();
    pare_model_meta_set(in, "ai.pare.masked", "{}");
    run_on(in, mask_something, PARE_EINVAL);
    assert_said(said_by, "tensor.masked-metadata", "no list");
    pare_model_free(in);
}

static pare_status misuse_tensors(const pare_host *host, pare_model *m) {
    pare_view v = {.size = 4}, ok = {.size = sizeof ok};
    pare_tensor_info info = {.size = sizeof info};
    const int64_t negative[] = {-1};
    uint32_t w = t->find(host, m, "conv.weight"), id;
    WANT(t->borrow(host, m, w, PARE_READ, &v) == PARE_EINVAL);
    WANT(t->borrow(host, m, w, PARE_READ, NULL) == PARE_EINVAL);
    WANT(t->borrow(host, m, w, 9, &ok) == PARE_EINVAL);
    WANT(t->info(host, NULL, w, &info) == PARE_EINVAL);
    WANT(t->info(host, (pare_model *)(void *)&v, w, &info) == PARE_EINVAL); /* some other model */
    WANT(t->info(host, m, w, NULL) == PARE_EINVAL);
    WANT(t->add(host, m, NULL, PARE_FLOAT, 0, NULL, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "\xff", PARE_FLOAT, 0, NULL, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "a", 999, 0, NULL, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "a", PARE_STRING, 0, NULL, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "a", PARE_FLOAT, 1, negative, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "a", PARE_FLOAT, 1, NULL, &id) == PARE_EINVAL);
    WANT(t->add(host, m, "a", PARE_FLOAT, 1000000, negative, &id) == PARE_EINVAL);
    t->release(host, m, w);
    WANT(!t->next(host, m, 123456) && !t->find(host, m, NULL));
    host->parallel(host, 3, NULL, NULL);
    WANT(host->reduce(host, 9, PARE_FLOAT, &v, 1) == PARE_EINVAL &&
         host->reduce(host, 0, PARE_INT8, &v, 1) == PARE_EINVAL);
    return PARE_OK;
}

static void misuse_never_aborts(void **state) {
    (void)state;
    run(misuse_tensors, PARE_EINTERNAL);
    assert_said(said_by, "plugin.misuse", "view->size is 4");
    assert_said(said_by, "plugin.misuse", "the model is NULL");
    assert_said(said_by, "plugin.misuse", "not the one that was given");
    assert_said(said_by, "plugin.misuse", "dims[0] is -1");
    assert_int_equal(pare_diags_errors(said_by), 19);
}

/* ---- notes ---- */

static pare_status use_notes(const pare_host *host, pare_model *m) {
    (void)m;
    const char *const keys[] = {"count"};
    const double values[] = {12};
    pare_layer_note row = {.size = sizeof row,
                           .n_extra = 1,
                           .name = "fc.weight",
                           .requested = 0.5,
                           .achieved = NAN,
                           .keys = keys,
                           .values = values};
    n->number(host, "total", 3.5);
    n->text(host, "why", "because");
    n->layer(host, &row);
    n->curve(host, "loss", 0, 1.5);
    n->curve(host, "loss", 1, 0.5);
    return PARE_OK;
}

static pare_status bad_notes(const pare_host *host, pare_model *m) {
    (void)m;
    const char *const keys[] = {"name"};
    const double values[] = {12};
    pare_layer_note row = {.size = sizeof row, .n_extra = 1, .name = "fc.weight", .keys = keys, .values = values};
    n->number(host, NULL, 1);
    n->layer(host, &row);
    n->layer(host, NULL);
    return PARE_OK;
}

static void notes_become_json(void **state) {
    (void)state;
    pare_model_free(run(use_notes, PARE_OK));
    char *text = json_dumps(notes, JSON_COMPACT);
    assert_string_equal(
        text, "{\"notes\":{\"total\":3.5,\"why\":\"because\"},\"layers\":[{\"name\":\"fc.weight\",\"requested\":0.5,"
              "\"achieved\":null,\"count\":12}],\"curves\":{\"loss\":[[0,1.5],[1,0.5]]}}");
    free(text);
    run(bad_notes, PARE_EINTERNAL);
    assert_said(said_by, "plugin.misuse", "the column name comes twice");
    assert_int_equal(pare_diags_errors(said_by), 3);
    assert_int_equal(json_object_size(notes), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_functions),         cmocka_unit_test(statuses_are_judged),
        cmocka_unit_test(check_only_looks),       cmocka_unit_test(tensors_interface),
        cmocka_unit_test(misuse_never_aborts),    cmocka_unit_test(notes_become_json),
        cmocka_unit_test(masks_of_somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
