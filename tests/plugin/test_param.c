/* tests/plugin/test_param.c - core/plugin/param.h: tables that are wrong, values that are wrong, places, schema, help.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/param.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROW(...)                                                                                                       \
    { .size = sizeof(pare_param), .doc = "What it does.", __VA_ARGS__ }

static const char *const criteria[] = {"magnitude", "random", NULL};
static const char *const bits[] = {"4", "8", "auto", NULL};
static const char *const switches[] = {"auto", "on", "off", NULL};

static const pare_param columns[] = {
    ROW(.name = "match", .type = PARE_PARAM_PATTERN),
    ROW(.name = "sparsity", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MAX | PARE_PARAM_OPTIONAL, .max = 1),
    ROW(.name = "skip", .type = PARE_PARAM_BOOL, .dflt = "false"),
};

/* Rows lie wider than this host's: a plugin built with newer headers. */
typedef struct wide {
    pare_param p;
    double later[2];
} wide;

#define WIDE(...)                                                                                                      \
    {                                                                                                                  \
        .p = {.size = sizeof(wide), .doc = "What it does.", __VA_ARGS__}, .later = { 1, 2 }                            \
    }

static const wide rows[] = {
    WIDE(.name = "sparsity", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MAX, .max = 1, .unit = "fraction"),
    WIDE(.name = "criterion", .type = PARE_PARAM_ENUM, .choices = criteria, .dflt = "magnitude"),
    WIDE(.name = "ops", .type = PARE_PARAM_STRING, .flags = PARE_PARAM_LIST | PARE_PARAM_NONEMPTY,
         .dflt = "[Conv, Gemm]"),
    WIDE(.name = "include", .type = PARE_PARAM_PATTERN, .flags = PARE_PARAM_LIST | PARE_PARAM_OPTIONAL),
    WIDE(.name = "layers", .type = PARE_PARAM_TABLE, .flags = PARE_PARAM_OPTIONAL, .columns = columns, .n_columns = 3,
         .column_stride = sizeof(pare_param)),
    WIDE(.name = "steps", .type = PARE_PARAM_INT, .min = 1, .max = 64, .dflt = "3"),
    WIDE(.name = "bits", .type = PARE_PARAM_ENUM, .choices = bits, .dflt = "8", .flags = PARE_PARAM_ADVANCED),
    WIDE(.name = "bias", .type = PARE_PARAM_BOOL, .dflt = "false"),
    WIDE(.name = "teacher", .type = PARE_PARAM_MODEL, .flags = PARE_PARAM_OPTIONAL),
    WIDE(.name = "rates", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_LIST | PARE_PARAM_EXCL_MIN, .min = 0,
         .max = INFINITY, .dflt = "[]"),
    WIDE(.name = "old", .type = PARE_PARAM_INT, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_DEPRECATED),
    WIDE(.name = "data", .type = PARE_PARAM_DATA, .dflt = "random"),
    WIDE(.name = "ranges", .type = PARE_PARAM_FILE, .flags = PARE_PARAM_OPTIONAL),
    WIDE(.name = "more", .type = PARE_PARAM_FILE, .flags = PARE_PARAM_OPTIONAL | PARE_PARAM_LIST),
    WIDE(.name = "portable", .type = PARE_PARAM_ENUM, .choices = switches, .dflt = "auto"),
};
enum {
    SPARSITY,
    CRITERION,
    OPS,
    INCLUDE,
    LAYERS,
    STEPS,
    BITS,
    BIAS,
    TEACHER,
    RATES,
    OLD,
    DATA,
    RANGES,
    MORE,
    PORTABLE,
    N_ROWS
};

static pare_param_table table(void) { return (pare_param_table){&rows[0].p, N_ROWS, sizeof(wide)}; }

typedef struct parsed {
    pare_yaml *y;
    pare_diags *d;
    pare_arena arena;
    pare_params *p;
    pare_status st;
} parsed;

static const char *model_ref(void *user, const char *ref, pare_span at, const char *param) {
    if (strcmp(ref, "known") == 0) return "resolved";
    pare_fail_at(((parsed *)user)->d, PARE_EINVAL, at, "config.unknown-model", NULL, "%s", param);
    return NULL;
}

static const char *set_ref(void *user, const char *ref, pare_span at, const char *param) {
    if (strcmp(ref, "train") == 0 || strcmp(ref, "random") == 0) return ref;
    pare_fail_at(((parsed *)user)->d, PARE_EINVAL, at, "config.unknown-set", NULL, "%s", param);
    return NULL;
}

static const char *file_ref(void *user, const char *ref, pare_span at, const char *param) {
    if (strcmp(ref, "gone") != 0) return pare_arena_printf(&((parsed *)user)->arena, "/abs/%s", ref);
    pare_fail_at(((parsed *)user)->d, PARE_EINVAL, at, "config.no-file", NULL, "%s", param);
    return NULL;
}

static void parse(parsed *r, const char *text) {
    *r = (parsed){.d = pare_diags_new(PARE_DIAG_SILENT, NULL)};
    pare_yaml_node *with = NULL;
    pare_span use = {.line = 99, .col = 9};
    if (text) {
        assert_int_equal(pare_yaml_parse("t.yaml", text, strlen(text), r->d, &r->y), PARE_OK);
        with = r->y->root;
    }
    pare_params_ctx ctx = {.d = r->d,
                           .arena = &r->arena,
                           .prefix = "with",
                           .at = use,
                           .model = model_ref,
                           .set = set_ref,
                           .file = file_ref,
                           .user = r};
    r->st = pare_params_parse(with, table(), &ctx, &r->p);
}

static void done(parsed *r) {
    pare_yaml_free(r->y);
    pare_diags_free(r->d);
    pare_arena_free(&r->arena);
}

static void good_values(void **state) {
    (void)state;
    parsed r;
    parse(&r, "sparsity: 0.9\n"
              "criterion: random\nops: Conv\ninclude: ['layer1.*', \"re:^fc\"]\nsteps: 6.4e1\nbits: 4\nbias: true\n"
              "teacher: known\nrates: [1, 0.5]\n"
              "layers:\n  - {match: fc, sparsity: 0}\n  - {match: conv1, skip: true}\n");
    if (r.st != PARE_OK) fail_msg("%s", pare_diags_get(r.d, 0)->message);
    const pare_arg *a = r.p->args;
    assert_true(a[SPARSITY].u.f == 0.9 && a[SPARSITY].n == 1);
    assert_int_equal(a[CRITERION].u.i, 1);
    assert_int_equal(a[OPS].n, 1);
    assert_string_equal(a[OPS].u.list[0].u.s, "Conv");
    assert_int_equal(a[INCLUDE].n, 2);
    assert_string_equal(a[INCLUDE].u.list[1].u.s, "re:^fc");
    assert_int_equal(a[STEPS].u.i, 64);
    assert_int_equal(a[BITS].u.i, 0);
    assert_int_equal(a[BIAS].u.i, 1);
    assert_string_equal(a[TEACHER].u.s, "resolved");
    assert_true(a[RATES].n == 2 && a[RATES].u.list[0].u.f == 1);
    assert_int_equal(a[OLD].n, 0);
    assert_int_equal(a[LAYERS].n, 2);
    const pare_arg *row = a[LAYERS].u.list + 3;
    assert_string_equal(row[0].u.s, "conv1");
    assert_int_equal(row[1].n, 0); /* optional, absent */
    assert_int_equal(row[2].u.i, 1);
    assert_true(a[LAYERS].u.list[1].n == 1 && a[LAYERS].u.list[1].u.f == 0);

    static const struct {
        const char *name;
        uint32_t line, col;
    } places[] = {{"sparsity", 1, 11},       {"layers[1].skip", 12, 26}, {"layers[1].sparsity", 12, 5},
                  {"include[1]", 4, 23},     {"include[9]", 4, 10},      {"layers[0]", 11, 5},
                  {"layers[0].nope", 11, 5}, {"ops[0]", 3, 6},           {"old", 1, 1},
                  {"unknown", 1, 1},         {"layers[x]", 11, 3},       {"", 1, 1},
                  {"layers", 11, 3},         {"sparsity.x.y", 1, 11}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        pare_span at = pare_params_locate(r.p, places[i].name);
        if (at.line != places[i].line || at.col != places[i].col)
            fail_msg("%s is at %u:%u", places[i].name, at.line, at.col);
    }
    assert_int_equal(pare_params_locate(r.p, NULL).line, 1);
    assert_int_equal(pare_params_locate(NULL, "x").line, 0);

    json_t *j = pare_params_json(r.p);
    char *text = json_dumps(j, JSON_COMPACT);
    assert_string_equal(
        text, "{\"sparsity\":0.90000000000000002,\"criterion\":\"random\",\"ops\":[\"Conv\"],"
              "\"include\":[\"layer1.*\",\"re:^fc\"],\"layers\":[{\"match\":\"fc\",\"sparsity\":0.0,"
              "\"skip\":false},{\"match\":\"conv1\",\"skip\":true}],\"steps\":64,\"bits\":\"4\","
              "\"bias\":true,\"teacher\":\"resolved\",\"rates\":[1.0,0.5],\"data\":\"random\",\"portable\":\"auto\"}");
    free(text);
    json_decref(j);
    done(&r);
}

static void add_file(void *ctx, const char *param, const char *written) {
    pare_sb_printf(ctx, "%s=%s;", param, written);
}

/* Sets and files; a record that stands alone. */
static void references(void **state) {
    (void)state;
    parsed r;
    parse(&r, "sparsity: 0\ndata: train\nranges: a/b.yaml\nmore: [c, d]\nlayers: {match: fc, skip: true}\n");
    if (r.st != PARE_OK) fail_msg("%s", pare_diags_get(r.d, 0)->message);
    const pare_arg *a = r.p->args;
    assert_string_equal(a[DATA].u.s, "train");
    assert_string_equal(a[RANGES].u.s, "/abs/a/b.yaml");
    assert_true(a[MORE].n == 2 && strcmp(a[MORE].u.list[1].u.s, "/abs/d") == 0);
    assert_true(a[LAYERS].n == 1 && strcmp(a[LAYERS].u.list[0].u.s, "fc") == 0 && a[LAYERS].u.list[2].u.i == 1);
    assert_int_equal(pare_params_locate(r.p, "layers[0].skip").col, 27);
    assert_int_equal(pare_params_locate(r.p, "layers.skip").col, 27);
    json_t *j = pare_params_json(r.p);
    assert_string_equal(json_string_value(json_object_get(j, "ranges")), "a/b.yaml"); /* as it was written */
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "more"), 1)), "d");
    assert_int_equal(json_array_size(json_object_get(j, "layers")), 1);
    json_decref(j);
    pare_sb b = {0};
    pare_params_files(r.p, add_file, &b);
    assert_string_equal(pare_sb_str(&b), "with.ranges=a/b.yaml;with.more[0]=c;with.more[1]=d;");
    b.len = 0;
    done(&r);
    parse(&r, "sparsity: 0\nmore: e\n");
    pare_params_files(r.p, add_file, &b);
    assert_string_equal(pare_sb_str(&b), "with.more[0]=e;");
    assert_string_equal(r.p->args[DATA].u.s, "random");
    pare_sb_free(&b);
    done(&r);
}

/* on and off, which tools that write YAML 1.1 make bools of. */
static void switches_are_bools_too(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int want;
    } cases[] = {{"on", 1}, {"off", 2}, {"true", 1}, {"false", 2}, {"auto", 0}, {"\"off\"", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        parsed r;
        snprintf(text, sizeof text, "sparsity: 0\nportable: %s", cases[i].text);
        parse(&r, text);
        if (r.st || r.p->args[PORTABLE].u.i != cases[i].want) fail_msg("%s", cases[i].text);
        done(&r);
    }
    json_t *s = pare_params_schema(table());
    char *text = json_dumps(json_object_get(json_object_get(s, "properties"), "portable"), JSON_COMPACT);
    assert_non_null(strstr(text, "{\"enum\":[\"auto\",\"on\",true,\"off\",false]}"));
    free(text);
    json_decref(s);
}

static void defaults(void **state) {
    (void)state;
    parsed r;
    parse(&r, "sparsity: 0");
    assert_int_equal(r.st, PARE_OK);
    const pare_arg *a = r.p->args;
    assert_int_equal(a[OPS].n, 2);
    assert_string_equal(a[OPS].u.list[1].u.s, "Gemm");
    assert_int_equal(a[STEPS].u.i, 3);
    assert_int_equal(a[BITS].u.i, 1);
    assert_int_equal(a[RATES].n, 0);
    assert_int_equal(a[INCLUDE].n, 0);
    assert_null(r.p->node[OPS]);
    assert_int_equal(pare_params_locate(r.p, "ops").line, 1);
    done(&r);
    /* nothing given: what is missing is located at `use:` */
    const char *const nothing[] = {NULL, "~"};
    for (int i = 0; i < 2; i++) {
        parse(&r, nothing[i]);
        assert_int_equal(r.st, PARE_EINVAL);
        assert_null(r.p);
        assert_int_equal(pare_diags_errors(r.d), 1);
        const pare_diag_item *it = pare_diags_get(r.d, 0);
        assert_string_equal(it->code, "config.missing");
        assert_string_equal(it->param, "with.sparsity");
        assert_int_equal(it->at.line, 99);
        assert_non_null(strstr(it->message, "a float in [0, 1)"));
        done(&r);
    }
}

static void bad_values(void **state) {
    (void)state;
    static const struct {
        const char *text, *code, *says;
        uint32_t line, col;
    } cases[] = {
        {"sparsity: lots", "config.type", "must be a float in [0, 1), got the string \"lots\"", 1, 11},
        {"sparsity: \"0.9\"", "config.type", "without quotes", 1, 11},
        {"sparsity: 90%", "config.type", "a share", 1, 11},
        {"sparsity: 1", "config.range", "got the int 1", 1, 11},
        {"sparsity: 90", "config.range", "0.9 means 90 %", 1, 11},
        {"sparsity: -0.1", "config.range", "[0, 1)", 1, 11},
        {"sparsity: .nan", "config.type", ".nan", 1, 11},
        {"sparsity: .inf", "config.type", ".inf", 1, 11},
        {"sparsity: true", "config.type", "the bool true", 1, 11},
        {"sparsity: [0.5]", "config.type", "got a list", 1, 11},
        {"sparsity:", "config.type", "got nothing", 1, 10},
        {"sparsity: 0\nsparsty: 1", "config.unknown-key", "did you mean \"sparsity\"", 2, 1},
        {"sparsity: 0\nzzz: 1", "config.unknown-key", "allowed are: sparsity, criterion", 2, 1},
        {"sparsity: 0\ncriterion: magnitud", "config.choice", "did you mean \"magnitude\"", 2, 12},
        {"sparsity: 0\ncriterion: zebra", "config.choice", "one of magnitude, random", 2, 12},
        {"sparsity: 0\ncriterion:", "config.type", "leave the key out", 2, 11},
        {"sparsity: 0\ncriterion: true", "config.choice", "one of magnitude, random", 2, 12},
        {"sparsity: 0\ncriterion: [random]", "config.type", "got a list", 2, 12},
        {"sparsity: 0\nbits: 16", "config.choice", "one of 4, 8, auto", 2, 7},
        {"sparsity: 0\nops: []", "config.range", "not empty", 2, 6},
        {"sparsity: 0\nops: [Conv, 3]", "config.type", "quotes", 2, 13},
        {"sparsity: 0\nops: {a: 1}", "config.type", "got a map", 2, 6},
        {"sparsity: 0\ninclude: ['']", "config.range", "got the string \"\"", 2, 11},
        {"sparsity: 0\nsteps: 0", "config.range", "an int from 1 to 64", 2, 8},
        {"sparsity: 0\nsteps: 1.5", "config.type", "got the float 1.5", 2, 8},
        {"sparsity: 0\nsteps: 99999999999999999999", "config.range", "64 bits", 2, 8},
        {"sparsity: 0\nbias: yes", "config.type", "write true or false", 2, 7},
        {"sparsity: 0\nbias: 1", "config.type", "got the int 1", 2, 7},
        {"sparsity: 0\nrates: [1, 0]", "config.range", "a float above 0", 2, 12},
        {"sparsity: 0\nteacher: other", "config.unknown-model", "with.teacher", 2, 10},
        {"sparsity: 0\nlayers: x", "config.type", "a record or a list of records", 2, 9},
        {"sparsity: 0\nlayers: {match: x, sparsity: 2}", "config.range", "[0, 1)", 2, 30},
        {"sparsity: 0\nlayers: {sparsity: 0}", "config.missing", "match is missing in with.layers", 2, 9},
        {"sparsity: 0\ndata: trian", "config.unknown-set", "with.data", 2, 7},
        {"sparsity: 0\ndata: [train]", "config.type", "a set of samples", 2, 7},
        {"sparsity: 0\ndata: 3", "config.type", "quotes", 2, 7},
        {"sparsity: 0\nranges: gone", "config.no-file", "with.ranges", 2, 9},
        {"sparsity: 0\nranges: ''", "config.range", "a file", 2, 9},
        {"sparsity: 0\nmore: [a, gone]", "config.no-file", "with.more[1]", 2, 11},
        {"sparsity: 0\nlayers: [x]", "config.type", "{match: ...}", 2, 10},
        {"sparsity: 0\nlayers: [{match: x, sparsity: 2}]", "config.range", "[0, 1)", 2, 31},
        {"sparsity: 0\nlayers: [{sparsity: 0}]", "config.missing", "match is missing in with.layers[0]", 2, 10},
        {"sparsity: 0\nlayers: [{match: x}, {match: y, spars: 0}]", "config.unknown-key", "in with.layers[1]", 2, 33},
        {"[1]", "config.type", "map of parameters", 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parsed r;
        parse(&r, cases[i].text);
        if (r.st != PARE_EINVAL || r.p || pare_diags_errors(r.d) != 1)
            fail_msg("%s: status %d, %zu errors", cases[i].text, r.st, pare_diags_errors(r.d));
        const pare_diag_item *it = pare_diags_get(r.d, 0);
        if (strcmp(it->code, cases[i].code) != 0 || it->at.line != cases[i].line || it->at.col != cases[i].col)
            fail_msg("%s: %s at %u:%u: %s", cases[i].text, it->code, it->at.line, it->at.col, it->message);
        if (!strstr(it->message, cases[i].says) && !(it->hint && strstr(it->hint, cases[i].says)))
            fail_msg("%s: \"%s\" (%s)", cases[i].text, it->message, it->hint ? it->hint : "");
        done(&r);
    }
    parsed r;
    parse(&r, "sparsity: x\ncriterion: y\nsteps: 0\nnope: 1\nlayers: [{match: 1, skip: 2}]");
    assert_int_equal(pare_diags_errors(r.d), 6);
    done(&r);
    parse(&r, "sparsity: 0\nold: 1");
    assert_int_equal(r.st, PARE_OK);
    assert_int_equal(pare_diags_count(r.d), 1);
    assert_int_equal(pare_diags_get(r.d, 0)->severity, PARE_WARNING);
    done(&r);
}

static void bad_tables(void **state) {
    (void)state;
    char *why = pare_params_check(table());
    if (why) fail_msg("%s", why);
    assert_null(pare_params_check((pare_param_table){NULL, 0, 0}));
    static const char *const none[] = {NULL}, *const twice[] = {"a", "a", NULL};
    static const pare_param nested[] = {ROW(.name = "t", .type = PARE_PARAM_TABLE, .columns = columns, .n_columns = 3,
                                            .column_stride = sizeof(pare_param))};
    static const pare_param bad_column[] = {ROW(.name = "Bad")};
    static const struct {
        pare_param p;
        const char *says;
    } cases[] = {
        {ROW(.name = "Sparsity"), "lower case"},
        {ROW(.name = "9a"), "lower case"},
        {ROW(.name = ""), "lower case"},
        {ROW(.name = NULL), "lower case"},
        {{.size = sizeof(pare_param), .name = "a"}, "doc"},
        {{.size = sizeof(pare_param), .name = "a", .doc = "\xff"}, "UTF-8"},
        {{.size = 8, .name = "a", .doc = "d"}, "size 8"},
        {{.size = 4096, .name = "a", .doc = "d"}, "size 4096"},
        {ROW(.name = "a", .type = 10), "type 10"},
        {ROW(.name = "a", .type = PARE_PARAM_FILE, .dflt = "x.yaml"), "a file has no default"},
        {ROW(.name = "a", .type = PARE_PARAM_DATA, .dflt = "train"), "only be \"random\""},
        {ROW(.name = "a", .flags = 1u << 20), "flags"},
        {ROW(.name = "a", .unit = ""), "unit"},
        {ROW(.name = "a", .type = PARE_PARAM_ENUM), "choices"},
        {ROW(.name = "a", .type = PARE_PARAM_ENUM, .choices = none), "choices"},
        {ROW(.name = "a", .type = PARE_PARAM_ENUM, .choices = twice), "twice"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .choices = criteria), "only an enum"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .min = 2, .max = 1), "holds no value"},
        {ROW(.name = "a", .type = PARE_PARAM_FLOAT, .min = 1, .max = 1, .flags = PARE_PARAM_EXCL_MIN),
         "holds no value"},
        {ROW(.name = "a", .type = PARE_PARAM_FLOAT, .flags = PARE_PARAM_EXCL_MIN), "no range"},
        {ROW(.name = "a", .type = PARE_PARAM_FLOAT, .max = NAN), "not a number"},
        {ROW(.name = "a", .type = PARE_PARAM_STRING, .max = 1), "only ints and floats"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .flags = PARE_PARAM_NONEMPTY), "not to be empty"},
        {ROW(.name = "a", .type = PARE_PARAM_FLOAT, .max = 1, .dflt = "2"), "must be a float"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .dflt = "[1"), "not allowed"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .dflt = "x"), "got the string"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .dflt = ""), "empty"},
        {ROW(.name = "a", .type = PARE_PARAM_ENUM, .choices = criteria, .dflt = "l1"), "one of"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .dflt = "1", .flags = PARE_PARAM_OPTIONAL), "optional"},
        {ROW(.name = "a", .type = PARE_PARAM_TABLE), "columns"},
        {ROW(.name = "a", .type = PARE_PARAM_INT, .columns = columns, .n_columns = 3), "only a table"},
        {ROW(.name = "a", .type = PARE_PARAM_TABLE, .columns = columns, .n_columns = 3, .column_stride = 8),
         "rows of 8"},
        {ROW(.name = "a", .type = PARE_PARAM_TABLE, .columns = NULL, .n_columns = 3, .column_stride = 96), "NULL"},
        {ROW(.name = "a", .type = PARE_PARAM_TABLE, .columns = nested, .n_columns = 1,
             .column_stride = sizeof(pare_param)),
         "can't hold tables"},
        {ROW(.name = "a", .type = PARE_PARAM_TABLE, .columns = bad_column, .n_columns = 1,
             .column_stride = sizeof(pare_param)),
         "a: row 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        why = pare_params_check((pare_param_table){&cases[i].p, 1, sizeof(pare_param)});
        if (!why || !strstr(why, cases[i].says)) fail_msg("case %zu: %s", i, why ? why : "no error");
        free(why);
    }
    const pare_param same[] = {ROW(.name = "a"), ROW(.name = "a")};
    const struct {
        pare_param_table t;
        const char *says;
    } tables[] = {{{same, 2, sizeof(pare_param)}, "there twice"},
                  {{NULL, 2, sizeof(pare_param)}, "NULL"},
                  {{same, 2, 16}, "rows of 16"},
                  {{same, 1, sizeof(pare_param) + 1}, "rows of"},
                  {{same, 4000000000u, sizeof(pare_param)}, "at most"}};
    for (size_t i = 0; i < 5; i++) {
        why = pare_params_check(tables[i].t);
        if (!why || !strstr(why, tables[i].says)) fail_msg("table %zu: %s", i, why ? why : "no error");
        free(why);
    }
}

static void words(void **state) {
    (void)state;
    pare_sb b = {0};
    pare_params_help((pare_param_table){&rows[0].p, 7, sizeof(wide)}, 2, &b);
    assert_string_equal(b.data,
                        "  sparsity: a float in [0, 1) (fraction); required\n"
                        "      What it does.\n"
                        "  criterion: one of magnitude, random; default magnitude\n"
                        "      What it does.\n"
                        "  ops: a list that is not empty, each element a string; default [Conv, Gemm]\n"
                        "      What it does.\n"
                        "  include: a list, each element a name pattern (\"layer1.*\", \"re:^fc\", \"Conv#3\"); "
                        "optional\n"
                        "      What it does.\n"
                        "  layers: a record or a list of records with match, sparsity and skip; optional\n"
                        "      What it does.\n"
                        "      match: a name pattern (\"layer1.*\", \"re:^fc\", \"Conv#3\"); required\n"
                        "          What it does.\n"
                        "      sparsity: a float in [0, 1); optional\n"
                        "          What it does.\n"
                        "      skip: true or false; default false\n"
                        "          What it does.\n"
                        "  steps: an int from 1 to 64; default 3\n"
                        "      What it does.\n"
                        "  bits: one of 4, 8, auto; default 8\n"
                        "      What it does.\n");
    pare_sb_free(&b);
}

static void schema(void **state) {
    (void)state;
    json_t *s = pare_params_schema(table());
    assert_true(json_is_false(json_object_get(s, "additionalProperties")));
    assert_int_equal(json_array_size(json_object_get(s, "required")), 1);
    json_t *props = json_object_get(s, "properties");
    assert_int_equal(json_object_size(props), N_ROWS);
    char *text = json_dumps(json_object_get(props, "sparsity"), JSON_COMPACT);
    assert_string_equal(text, "{\"anyOf\":[{\"type\":\"number\",\"minimum\":0.0,\"exclusiveMaximum\":1.0},{\"type\":"
                              "\"string\",\"pattern\":\"\\\\$\\\\{[^}]+\\\\}\"}],\"description\":\"What it does. "
                              "(fraction)\"}");
    free(text);
    text = json_dumps(json_object_get(json_object_get(props, "bits"), "anyOf"), JSON_COMPACT);
    assert_non_null(strstr(text, "{\"enum\":[\"4\",4,\"8\",8,\"auto\"]}"));
    free(text);
    text = json_dumps(json_object_get(props, "layers"), JSON_COMPACT);
    assert_non_null(strstr(text, "\"items\":{\"type\":\"object\",\"additionalProperties\":false"));
    assert_non_null(strstr(text, "},{\"type\":\"object\",\"additionalProperties\":false")); /* or a lone record */
    free(text);
    text = json_dumps(json_object_get(json_object_get(props, "ops"), "default"), JSON_COMPACT);
    assert_string_equal(text, "[\"Conv\",\"Gemm\"]");
    free(text);
    json_decref(s);
    json_t *one = pare_param_describe(&rows[LAYERS].p);
    assert_string_equal(json_string_value(json_object_get(one, "type")), "table");
    assert_int_equal(json_array_size(json_object_get(one, "columns")), 3);
    json_decref(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references),  cmocka_unit_test(switches_are_bools_too),
        cmocka_unit_test(good_values), cmocka_unit_test(defaults),
        cmocka_unit_test(bad_values),  cmocka_unit_test(bad_tables),
        cmocka_unit_test(words),       cmocka_unit_test(schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
