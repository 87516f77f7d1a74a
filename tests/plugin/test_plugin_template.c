/* tests/plugin/test_plugin_template.c - sdk/template as an author would use it: built out of tree with the headers
 * alone, found in its build folder, run. */
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
#include <unistd.h>

static char tmp[64];

static int setup(void **state) {
    (void)state;
    strcpy(tmp, "/tmp/pare-template-XXXXXX");
    if (!mkdtemp(tmp)) return -1;
    setenv("XDG_DATA_HOME", tmp, 1);
    unsetenv("PARE_PLUGIN_PATH");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return pare_tree_remove(tmp, NULL);
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    pare_sb_printf(&b, " >%s/log 2>&1", tmp);
    int rc = system(b.data);
    if (rc) {
        pare_sb cat = {0};
        pare_sb_printf(&cat, "cat %s/log >&2", tmp);
        (void)!system(cat.data);
        fail_msg("%s: status %d", b.data, rc);
    }
    pare_sb_free(&b);
}

static void builds_and_runs(void **state) {
    (void)state;
    /* an include folder that holds what is installed, and nothing else */
    shell("mkdir %s/include && cp -r %s/../sdk/pare %s/include/", tmp, PARE_TESTS_DIR, tmp);
    shell("cmake -S %s/../sdk/template -B %s/build -DPARE_INCLUDE=%s/include && cmake --build %s/build", PARE_TESTS_DIR,
          tmp, tmp, tmp);
    shell("test \"$(nm -D --defined-only %s/build/example.so | grep -c ' [A-TV-Z] ')\" = 1", tmp); /* the entry alone */

    pare_sb dir = {0};
    pare_sb_printf(&dir, "%s/build", tmp);
    const char *dirs[] = {dir.data};
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    const pare_technique *t = pare_plugins_technique(set, "example.scale", NULL);
    if (!t) fail_msg("%s", pare_plugins_rejected_count(set) ? pare_plugins_rejected_at(set, 0)->reason : "not found");

    const pare_arg include[] = {{.u.s = "fc.*", .n = 1}, {.u.s = "conv", .n = 1}};
    const pare_arg args[] = {{.u.f = 0.5, .n = 1}, {.u.list = include, .n = 2}};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_host_env env = {.diags = d, .step = "scaled", .plugin = "example"};
    pare_model *in = small_model(), *out = NULL;
    pare_status st = pare_step_run(&env, t, args, in, &out);
    if (st) {
        print_said(d);
        fail_msg("status %d", st);
    }
    static const struct {
        const char *name;
        float factor;
    } want[] = {{"fc.weight", 0.5f}, {"conv.weight", 0.5f}, {"t.weight", 1}, {"own.weight", 1}, {"fc.bias", 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const void *a, *b;
        pare_tensor *x = find_tensor(in, want[i].name), *y = find_tensor(out, want[i].name);
        assert_int_equal(pare_tensor_read(x, NULL, &a), PARE_OK);
        assert_int_equal(pare_tensor_read(y, NULL, &b), PARE_OK);
        for (uint64_t k = 0; k < x->count; k++)
            assert_true(((const float *)b)[k] == want[i].factor * ((const float *)a)[k]);
    }
    pare_model_free(in);
    pare_model_free(out);
    pare_plugins_free(set);
    pare_diags_free(d);
    pare_sb_free(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(builds_and_runs)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
