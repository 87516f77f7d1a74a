/* tests/prune/test_options.c - what the parameters say together: sparsity, pattern, scope, rows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_host.h"
#include "prune/options.h"

#include <stdlib.h>

enum {
    SPARSITY,
    CRITERION,
    SCOPE,
    PATTERN,
    OPS,
    INCLUDE,
    EXCLUDE,
    LAYERS,
    KEEP_FIRST,
    KEEP_LAST,
    MASKS,
    DISTRIBUTION,
    SCHEDULE,
    START,
    END,
    EVERY,
    UNIT,
    BATCHES,
    REGROW,
    DROP
};

static const pare_arg ops[3] = {{{.s = "Conv"}, 1}, {{.s = "Gemm"}, 1}, {{.s = "MatMul"}, 1}};

/* The defaults, as the host hands them over. */
static void defaults(pare_arg *args) {
    memset(args, 0, PRUNE_N_PARAMS * sizeof *args);
    for (int i = 0; i < PRUNE_N_PARAMS; i++) args[i].n = !(prune_params[i].flags & PARE_PARAM_OPTIONAL);
    args[PATTERN].u.s = "none";
    args[OPS] = (pare_arg){{.list = ops}, 3};
    memset(&fake_last, 0, sizeof fake_last);
}

static pare_arg number(double x) { return (pare_arg){{.f = x}, 1}; }
static pare_arg text(const char *s) { return (pare_arg){{.s = s}, 1}; }
static const pare_arg absent = {{.i = 0}, 0}, yes = {{.i = 1}, 1}, no = {{.i = 0}, 1};

static prune_options *good(const pare_arg *args) {
    prune_options *o = NULL;
    assert_int_equal(prune_options_new(&fake_host[0], args, &o), PARE_OK);
    assert_non_null(o);
    assert_int_equal(fake_last.errors, 0);
    return o;
}

static void bad(const pare_arg *args, const char *code, const char *param) {
    prune_options *o = NULL;
    assert_int_equal(prune_options_new(&fake_host[0], args, &o), PARE_EINVAL);
    assert_null(o);
    assert_int_not_equal(fake_last.errors, 0);
    assert_string_equal(fake_last.code, code);
    assert_string_equal(fake_last.param, param);
}

/* The order that the reading relies on, and that every row is documented. */
static void table(void **state) {
    (void)state;
    static const char *const names[PRUNE_N_PARAMS] = {"sparsity", "criterion",    "scope",    "pattern",    "ops",
                                                      "include",  "exclude",      "layers",   "keep_first", "keep_last",
                                                      "masks",    "distribution", "schedule", "start",      "end",
                                                      "every",    "unit",         "batches",  "regrow",     "drop"};
    for (int i = 0; i < PRUNE_N_PARAMS; i++) {
        assert_string_equal(prune_params[i].name, names[i]);
        assert_int_equal(prune_params[i].size, sizeof(pare_param));
        assert_non_null(prune_params[i].doc);
        assert_true(!prune_params[i].dflt == !!(prune_params[i].flags & PARE_PARAM_OPTIONAL));
    }
}

static void how_much(void **state) {
    (void)state;
    pare_arg args[PRUNE_N_PARAMS];
    defaults(args);
    bad(args, "prune.no-sparsity", "sparsity");

    defaults(args);
    args[SPARSITY] = number(0.9);
    prune_options *o = good(args);
    assert_true(o->has_sparsity && o->sparsity == 0.9 && o->m == 0 && !o->global && !o->random && !o->bake);
    free(o);

    args[PATTERN] = text("2:4");
    bad(args, "prune.sparsity-pattern", "sparsity");
    args[SPARSITY] = number(0.5);
    free(good((defaults(args), args[SPARSITY] = number(0.5), args[PATTERN] = text("2:4"), args)));
    args[SPARSITY] = absent;
    o = good(args);
    assert_true(o->n == 2 && o->m == 4);
    free(o);
    args[SCOPE] = yes;
    bad(args, "prune.scope-pattern", "scope");

    defaults(args);
    args[PATTERN] = text("4:2");
    bad(args, "prune.pattern", "pattern");
    defaults(args);
    args[SPARSITY] = number(0);
    free(good(args));
}

static void rows(void **state) {
    (void)state;
    pare_arg args[PRUNE_N_PARAMS], row[8] = {text("a"), number(0.25), absent, no, text("b"), absent, text("1:4"), no};
    defaults(args);
    args[LAYERS] = (pare_arg){{.list = row}, 2}; /* rows alone are enough */
    prune_options *o = good(args);
    assert_int_equal(o->n_rules, 2);
    assert_ptr_equal(o->rules[0].match, &row[0]);
    assert_true(o->rules[0].sparsity == 0.25 && o->rules[0].m == 0);
    assert_true(o->rules[1].n == 1 && o->rules[1].m == 4);
    free(o);

    row[7] = yes; /* skip beside a pattern */
    bad(args, "prune.row", "layers[1]");
    row[7] = no;
    row[6] = absent; /* says nothing */
    bad(args, "prune.row", "layers[1]");
    row[7] = yes; /* skip alone */
    o = good((memset(&fake_last, 0, sizeof fake_last), args));
    assert_true(o->rules[1].skip);
    free(o);
    row[2] = text("3:4"); /* with sparsity 0.25: the same thing twice */
    free(good(args));
    row[2] = text("2:4");
    bad(args, "prune.sparsity-pattern", "layers[0].sparsity");
    row[2] = text("2/4");
    bad(args, "prune.pattern", "layers[0].pattern");
    row[1] = absent;
    row[2] = text("none"); /* the step gives no sparsity either */
    bad(args, "prune.row", "layers[0]");
    memset(&fake_last, 0, sizeof fake_last);
    args[SPARSITY] = number(0.75);
    o = good(args);
    assert_true(o->rules[0].sparsity == 0.75 && o->rules[0].m == 0);
    free(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(how_much), cmocka_unit_test(rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
