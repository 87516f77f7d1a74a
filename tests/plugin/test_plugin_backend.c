/* tests/plugin/test_plugin_backend.c - plugins that offer backends: found by id, ids unique, older plugins still taken.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/plugin.h"

#include <stdlib.h>
#include <string.h>

#define CASES PARE_BUILD_DIR "/tests/plugins"
#define BUILT PARE_BUILD_DIR "/" PARE_LIBDIR "/pare/plugins"

static int setup(void **state) {
    (void)state;
    setenv("XDG_DATA_HOME", "/nonexistent", 1); /* the tester's own plugins stay out */
    unsetenv("PARE_PLUGIN_PATH");
    return 0;
}

static const char *reason_of(const pare_plugins *set, const char *part) {
    for (size_t i = 0; i < pare_plugins_rejected_count(set); i++)
        if (strstr(pare_plugins_rejected_at(set, i)->path, part)) return pare_plugins_rejected_at(set, i)->reason;
    return NULL;
}

static void the_cpu_backend_is_there(void **state) {
    (void)state;
    const char *dirs[] = {BUILT};
    const pare_loaded *from = NULL;
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    const pare_backend *cpu = pare_plugins_backend(set, "cpu", &from);
    assert_non_null(cpu);
    assert_int_equal(cpu->host_memory, 1);
    assert_string_equal(from->id, "cpu");
    assert_int_equal(from->n_backends, 1);
    assert_int_equal(from->n_techniques, 0);
    assert_null(from->techniques[0]);
    assert_ptr_equal(from->backends[0], cpu);
    assert_null(pare_plugins_backend(set, "no-such", NULL));
    assert_non_null(pare_plugins_technique(set, "prune.unstructured", &from));
    assert_int_equal(from->n_backends, 0);
    assert_null(from->backends[0]);
    pare_plugins_free(set);
}

static void a_plugin_from_before_backends_is_taken(void **state) {
    (void)state;
    const char *dirs[] = {CASES "/older"};
    const pare_loaded *from;
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    assert_null(reason_of(set, "older"));
    assert_non_null(pare_plugins_technique(set, "test.older", &from));
    assert_int_equal(from->n_backends, 0);
    pare_plugins_free(set);
}

static void half_a_backend_is_refused(void **state) {
    (void)state;
    const char *dirs[] = {CASES "/backend_half"};
    pare_plugins *set = pare_plugins_load(dirs, 1, NULL);
    assert_non_null(set);
    assert_string_equal(reason_of(set, "backend_half"), "backend half has no run");
    pare_plugins_free(set);
}

static void ids_of_backends_are_unique(void **state) {
    (void)state;
    const char *dirs[] = {CASES "/backend_taken", BUILT};
    const pare_loaded *from;
    pare_plugins *set = pare_plugins_load(dirs, 2, NULL);
    assert_non_null(set);
    assert_non_null(pare_plugins_backend(set, "cpu", &from));
    assert_string_equal(from->id, "test-backend-taken");
    assert_int_equal(from->n_backends, 2);
    assert_non_null(
        strstr(reason_of(set, "/cpu.so"), "its backend cpu is already offered by plugin test-backend-taken"));
    pare_plugins_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_backend_is_there),
        cmocka_unit_test(a_plugin_from_before_backends_is_taken),
        cmocka_unit_test(half_a_backend_is_refused),
        cmocka_unit_test(ids_of_backends_are_unique),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
