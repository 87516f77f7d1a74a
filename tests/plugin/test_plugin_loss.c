/* tests/plugin/test_plugin_loss.c - plugins that offer losses: found by id, ids unique within a kind, bad ones named.
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

static void losses_are_found(void **state) {
    (void)state;
    const char *dirs[] = {CASES "/losses", CASES "/edits", CASES "/older", CASES "/loss_taken"};
    const pare_loaded *from = NULL;
    pare_plugins *set = pare_plugins_load(dirs, 4, NULL);
    assert_non_null(set);
    if (reason_of(set, "/losses/")) fail_msg("%s", reason_of(set, "/losses/"));
    const pare_loss *l = pare_plugins_loss(set, "test.plain", &from);
    assert_non_null(l);
    assert_string_equal(from->id, "test-losses");
    assert_int_equal(from->n_losses, 2);
    assert_int_equal(from->n_techniques, 0);
    assert_int_equal(from->n_backends, 0);
    assert_ptr_equal(from->losses[0], l);
    assert_null(from->losses[2]);
    assert_null(pare_plugins_loss(set, "test.no-such", NULL));
    /* a loss and a technique of one id are two things */
    assert_non_null(pare_plugins_loss(set, "test.edits", &from));
    assert_string_equal(from->id, "test-losses");
    assert_non_null(pare_plugins_technique(set, "test.edits", &from));
    assert_string_equal(from->id, "test-edits");
    assert_int_equal(from->n_losses, 0);
    assert_non_null(pare_plugins_technique(set, "test.older", &from)); /* a struct that ends before them */
    assert_int_equal(from->n_losses, 0);
    assert_non_null(strstr(reason_of(set, "loss_taken"), "its loss test.plain is already offered by plugin test-loss"));
    size_t n;
    const char *const *ids = pare_plugins_loss_ids(set, &n);
    assert_true(n >= 2);
    for (size_t i = 1; i < n; i++) assert_true(strcmp(ids[i - 1], ids[i]) < 0);
    pare_plugins_free(set);
}

static void bad_losses_have_their_reason(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"loss_no_teacher", "loss test.taught needs a teacher, but none of its parameters is of type model"},
        {"loss_flags", "loss test.flags sets flags 0x8, which this host doesn't know"},
        {"loss_twice", "it offers loss test.twice twice"},
        {"loss_no_build", "loss test.no-build has neither build nor evaluate"},
        {"technique_loss",
         "technique test.loss names a loss \"distill.hinton\", which takes PARE_TECHNIQUE_TRAINS and a loss's id"},
    };
    const char *dirs[] = {CASES "/loss_no_teacher", CASES "/loss_flags", CASES "/loss_twice", CASES "/loss_no_build",
                          CASES "/technique_loss"};
    pare_plugins *set = pare_plugins_load(dirs, 5, NULL);
    assert_non_null(set);
    for (size_t i = 0; i < 5; i++) {
        const char *why = reason_of(set, bad[i][0]);
        if (!why || strcmp(why, bad[i][1]) != 0) fail_msg("%s: %s", bad[i][0], why ? why : "taken");
    }
    pare_plugins_free(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_found),
        cmocka_unit_test(bad_losses_have_their_reason),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
