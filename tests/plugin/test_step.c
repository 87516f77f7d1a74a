/* tests/plugin/test_step.c - a step is a transaction: what a technique from a real shared object leaves behind, or
 * doesn't. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/plugin.h"
#include "plugin/small_model.h"
#include "plugin/step.h"
#include "model/find_tensor.h"

#include <stdio.h>

#define CASES PARE_BUILD_DIR "/tests/plugins"

static pare_plugins *set;

static int setup(void **state) {
    (void)state;
    static const char *const dirs[] = {CASES "/edits", CASES "/fails", CASES "/misuse", CASES "/cancels",
                                       CASES "/cpp17"};
    setenv("XDG_DATA_HOME", "/nonexistent", 1);
    unsetenv("PARE_PLUGIN_PATH");
    set = pare_plugins_load(dirs, sizeof dirs / sizeof *dirs, NULL);
    return set ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    pare_plugins_free(set);
    return 0;
}

/* The pipeline file that the steps pretend to come from. */
static const pare_src file = {.name = "pipeline.yaml", .text = "sparsity: 2\n", .len = 12};

static pare_span locate(void *ctx, const char *param) {
    (void)ctx;
    return param && strcmp(param, "sparsity") == 0 ? (pare_span){&file, 1, 11, 1} : (pare_span){&file, 1, 1, 8};
}

static unsigned ticks, cancel_at;

static void progress(void *ctx, double done, const char *what) {
    (void)ctx;
    (void)what;
    assert_true(done >= 0 && done <= 1);
    if (++ticks == cancel_at) pare_cancel_request();
}

typedef struct outcome {
    pare_status st;
    pare_model *in, *out;
    pare_diags *d;
    json_t *notes;
} outcome;

/* Runs a technique of the test plugins; on failure the model must be what it was, to the bit. */
static outcome run(const char *id, const pare_arg *args) {
    const pare_loaded *from = NULL;
    const pare_technique *t = pare_plugins_technique(set, id, &from);
    if (!t) fail_msg("%s was not loaded", id);
    outcome o = {.in = small_model(), .d = pare_diags_new(PARE_DIAG_SILENT, NULL), .notes = json_object()};
    pare_host_env env = {.diags = o.d,
                         .step = "first",
                         .plugin = from->id,
                         .locate = locate,
                         .progress = progress,
                         .seed = 7,
                         .notes = o.notes};
    char before[PARE_SHA256_HEX], after[PARE_SHA256_HEX];
    ticks = 0;
    fingerprint(o.in, before);
    o.st = pare_step_run(&env, t, args, o.in, &o.out);
    pare_cancel_reset();
    fingerprint(o.in, after);
    assert_string_equal(before, after);
    assert_true(!o.out == !!o.st);
    return o;
}

static void done(outcome *o) {
    pare_model_free(o->in);
    pare_model_free(o->out);
    pare_diags_free(o->d);
    json_decref(o->notes);
}

static const pare_node *node_called(const pare_model *m, const char *name) {
    for (size_t i = 0; i < m->nodes.len; i++)
        if (m->nodes.data[i] && strcmp(m->nodes.data[i]->name, name) == 0) return m->nodes.data[i];
    return NULL;
}

static void edits_become_the_result(void **state) {
    (void)state;
    outcome o = run("test.edits", NULL);
    if (o.st) {
        print_said(o.d);
        fail_msg("status %d", o.st);
    }
    assert_int_equal(pare_diags_count(o.d), 0); /* a try that was taken back, an unknown pass: recovered from */
    assert_int_equal(ticks, 6);
    const pare_model *m = o.out;
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    const pare_node *leaky = node_called(m, "leaky"), *fc = node_called(m, "fc");
    assert_non_null(leaky);
    assert_null(node_called(m, "dead"));
    assert_null(node_called(m, "same"));
    assert_string_equal(pare_model_value(m, g->outputs.data[0])->name, "logits");
    assert_int_equal(pare_model_value(m, g->outputs.data[0])->producer, leaky->id);
    assert_int_equal(leaky->in[0], fc->out[0]);
    assert_int_equal(pare_model_opset(m, ""), 18);
    assert_int_equal(pare_model_opset(m, "com.example"), 3);
    assert_string_equal(pare_model_meta(m, "edited"), "yes");
    assert_null(find_tensor(m, "tried"));
    assert_null(find_tensor(m, "later"));
    assert_non_null(find_tensor(m, "conv.weight_1"));
    const pare_node *mul = node_called(m, "mul");
    size_t at[2] = {0}; /* the nodes are in order again */
    for (size_t i = 0; i < g->nodes.len; i++) {
        if (g->nodes.data[i] == mul->id) at[0] = i;
        if (g->nodes.data[i] == leaky->id) at[1] = i;
    }
    assert_true(at[0] < at[1]);
    done(&o);
}

static void failing_leaves_nothing(void **state) {
    (void)state;
    outcome o = run("test.fails", NULL);
    assert_int_equal(o.st, PARE_EUNSUPPORTED);
    assert_int_equal(pare_diags_errors(o.d), 1);
    const pare_diag_item *it = pare_diags_get(o.d, 0);
    assert_string_equal(it->code, "test.fails");
    assert_string_equal(it->message, "step first: it was meant to fail");
    assert_string_equal(it->param, "sparsity");
    assert_string_equal(it->tensor, "fc.weight");
    assert_string_equal(it->node, "fc");
    assert_ptr_equal(it->at.src, &file); /* the host knows where the parameter stands */
    assert_int_equal(it->at.col, 11);
    assert_int_equal(json_object_size(o.notes), 0);
    done(&o);
}

static void cancelling_leaves_nothing(void **state) {
    (void)state;
    cancel_at = 3;
    outcome o = run("test.cancels", NULL);
    cancel_at = 0;
    assert_int_equal(o.st, PARE_ECANCELLED);
    assert_int_equal(ticks, 3);
    assert_int_equal(pare_diags_count(o.d), 0); /* not even about the tensor it still held */
    done(&o);
}

static void misuse_is_answered(void **state) {
    (void)state;
    outcome o = run("misuse.wrong_ids", NULL);
    assert_int_equal(o.st, PARE_EINTERNAL);
    assert_said(o.d, "plugin.misuse",
                "plugin test-misuse (misuse.wrong_ids) misuses pare.tensors/1 borrow: there is no tensor 99999");
    assert_said(o.d, "plugin.misuse", "pare.graph/1 node_info: there is no node 0");
    assert_said(o.d, "plugin.misuse", "pare.graph/1 node_del: there is no node 4000000000");
    assert_int_equal(pare_diags_errors(o.d), 3);
    done(&o);

    o = run("misuse.double_borrow", NULL);
    assert_int_equal(o.st, PARE_EINTERNAL);
    assert_said(o.d, "plugin.misuse", "(fc.weight) is already borrowed for reading");
    assert_said(o.d, "plugin.misuse", "pare.tensors/1 retype: tensor");
    assert_int_equal(pare_diags_errors(o.d), 2);
    done(&o);

    o = run("misuse.leaks", NULL); /* the host cleans up, and says so */
    assert_int_equal(o.st, PARE_OK);
    assert_said(o.d, "plugin.leak",
                "plugin test-misuse (misuse.leaks) left 1 tensor borrowed when apply returned: fc.weight");
    assert_int_equal(pare_diags_get(o.d, 0)->severity, PARE_WARNING);
    done(&o);
}

static void cpp_plugin_works(void **state) {
    (void)state;
    pare_arg args[] = {{.u.f = 2.0, .n = 1}, {.u.s = "fc.weight", .n = 1}};
    outcome o = run("test.cpp17", args);
    assert_int_equal(o.st, PARE_OK);
    const void *before, *after;
    pare_tensor *a = find_tensor(o.in, "fc.weight"), *b = find_tensor(o.out, "fc.weight");
    assert_int_equal(pare_tensor_read(a, NULL, &before), PARE_OK);
    assert_int_equal(pare_tensor_read(b, NULL, &after), PARE_OK);
    for (uint64_t i = 0; i < a->count; i++) assert_true(((const float *)after)[i] == 2 * ((const float *)before)[i]);
    pare_blob *shared = find_tensor(o.in, "conv.weight")->blob; /* what was not written is not copied */
    assert_ptr_equal(shared, find_tensor(o.out, "conv.weight")->blob);
    done(&o);
    args[1].u.s = "nothing";
    o = run("test.cpp17", args);
    assert_int_equal(o.st, PARE_EINVAL);
    assert_said(o.d, "cpp17.no-tensor", "there is no such tensor");
    done(&o);
}

/* Running the same step twice gives the same bytes. */
static void same_step_same_bytes(void **state) {
    (void)state;
    char a[PARE_SHA256_HEX], b[PARE_SHA256_HEX];
    outcome one = run("test.edits", NULL), two = run("test.edits", NULL);
    fingerprint(one.out, a);
    fingerprint(two.out, b);
    assert_string_equal(a, b);
    done(&one);
    done(&two);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_become_the_result),   cmocka_unit_test(failing_leaves_nothing),
        cmocka_unit_test(cancelling_leaves_nothing), cmocka_unit_test(misuse_is_answered),
        cmocka_unit_test(cpp_plugin_works),          cmocka_unit_test(same_step_same_bytes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
