/* Kernels chosen by measurement: over a backend of four candidates whose speeds and faults are known. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "far/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[256];

static pare_diags *diags(void) { return pare_diags_new(PARE_DIAG_SILENT, stderr); }

/* ---- a backend of several candidates: near's kernels, made slow or wrong ---- */

enum { FIRST, NO_SUCH, WRONG, FAST, CANDIDATES };

typedef struct choice {
    void *inner;
    uint32_t which;
    uint64_t n_out;
    bool eight; /* it gives 8-bit numbers */
    char name[16];
} choice;

static struct {
    uint32_t made[CANDIDATES], runs[CANDIDATES];
    bool slow_fast; /* FAST is as slow as FIRST: no reason to leave it */
} seen;

static pare_status many_kernel(void *device, const pare_kernel_spec *s, uint32_t candidate, void **kernel) {
    bool conv = strcmp(s->op_type, "Conv") == 0;
    if (candidate >= (conv ? CANDIDATES : 1)) return PARE_ENOTFOUND;
    if (candidate == NO_SUCH) return PARE_EUNSUPPORTED;
    choice *c = calloc(1, sizeof *c);
    pare_status st = near_backend.kernel(device, s, 0, &c->inner);
    if (st) {
        free(c);
        return st;
    }
    c->which = conv ? candidate : CANDIDATES;
    c->n_out = 1;
    for (uint32_t i = 0; i < s->out[0]->ndim; i++) c->n_out *= (uint64_t)s->out[0]->dims[i];
    c->eight = s->out[0]->dtype != PARE_FLOAT;
    snprintf(c->name, sizeof c->name, "many:%u", c->which);
    if (conv) seen.made[candidate]++;
    *kernel = c;
    return PARE_OK;
}

static pare_status many_info(void *kernel, pare_kernel_info *out) {
    choice *c = kernel;
    pare_status st = near_backend.kernel_info(c->inner, out);
    out->name = c->name;
    return st;
}

static void many_free(void *kernel) {
    near_backend.kernel_free(((choice *)kernel)->inner);
    free(kernel);
}

static pare_status many_pack(void *kernel, uint32_t i, const void *src, void *dst) {
    return near_backend.pack(((choice *)kernel)->inner, i, src, dst);
}

static pare_status many_run(void *kernel, const void *const *in, void *const *out, void *scratch) {
    choice *c = kernel;
    double start = pare_clock();
    pare_status st = near_backend.run(c->inner, in, out, scratch);
    if (c->which < CANDIDATES) seen.runs[c->which]++;
    if (c->which == WRONG && c->eight) ((uint8_t *)out[0])[c->n_out / 2] ^= 2;
    if (c->which == WRONG && !c->eight) ((float *)out[0])[c->n_out / 2] += 0.01f;
    while (c->which == FIRST && !seen.slow_fast && pare_clock() - start < 3e-3) {
    }
    while (c->which == FAST && seen.slow_fast && pare_clock() - start < 3e-3) {
    }
    return st;
}

static pare_backend many;

static pare_session *open_many(const pare_model *m, bool tune, pare_diags *d) {
    many = near_backend;
    many.id = "many";
    many.kernel = many_kernel;
    many.kernel_info = many_info;
    many.kernel_free = many_free;
    many.pack = many_pack;
    many.run = many_run;
    pare_session_opts o = {.backend = {&many, &far_host}, .host_backend = {&many, &far_host}, .threads = 1};
    o.tune = tune;
    o.profile = true;
    pare_session *s = NULL;
    pare_status st = pare_session_open(m, &o, d, &s);
    assert_true((st == PARE_OK) == (s != NULL));
    return s;
}

/* Three convolutions, two of them of one shape. */
static pare_model *three(void) {
    const pare_dim x[] = {{1, NULL}, {2, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w1[] = {4, 2, 3, 3}, w2[] = {4, 4, 1, 1};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 4, x);
    net_floats(m, "w1", 4, w1, 1);
    net_floats(m, "w2", 4, w2, 2);
    net_floats(m, "w3", 4, w2, 3);
    net2(m, "Conv", "a", "x", "w1");
    net2(m, "Conv", "b", "a", "w2");
    net2(m, "Conv", "y", "b", "w3");
    net_output(m, "y");
    return m;
}

static pare_array *run(pare_session *s) {
    const int64_t dims[] = {1, 2, 6, 6};
    pare_array *x = net_filled(4, dims, 5), *y = NULL;
    pare_diags *d = diags();
    assert_int_equal(pare_session_run(s, &x, d, &y), PARE_OK);
    pare_diags_free(d);
    pare_array_unref(x);
    return y;
}

static void assert_kernels(const pare_session *s, const char *name) {
    const pare_profile_node *rows;
    size_t n = pare_session_profile(s, &rows);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) assert_string_equal(rows[i].kernel, name);
}

static pare_session *opened(const pare_model *m, bool tune) {
    pare_diags *d = diags();
    pare_session *s = open_many(m, tune, d);
    assert_int_equal(pare_diags_errors(d), 0);
    pare_diags_free(d);
    return s;
}

/* ---- the cache ---- */

/* The one file of choices; false: there is none. */
static bool cache_file(char *path, size_t room) {
    char dir[300];
    size_t n;
    snprintf(dir, sizeof dir, "%s/pare", folder);
    char **names = pare_dir_list(dir, &n);
    bool found = false;
    for (size_t i = 0; names && i < n; i++) {
        size_t len = strlen(names[i]);
        assert_null(strstr(names[i], ".tmp")); /* nothing half-written is left behind */
        if (len > 4 && strcmp(names[i] + len - 4, ".txt") == 0) {
            snprintf(path, room, "%s/%s", dir, names[i]);
            found = true;
        }
    }
    pare_dir_list_free(names);
    return found;
}

static char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 16);
    assert_non_null(f);
    assert_true(fread(text, 1, (1 << 16) - 1, f) > 0);
    fclose(f);
    return text;
}

static void spill(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/pare-tune-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    memset(&seen, 0, sizeof seen);
    pare_env_set("XDG_CACHE_HOME", folder);
    pare_env_set("PARE_TUNE", "");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    pare_diags *d = diags();
    pare_tree_remove(folder, d);
    pare_diags_free(d);
    return 0;
}

/* ---- tests ---- */

static void off_by_default(void **state) {
    (void)state;
    char path[600];
    pare_model *m = three();
    pare_session *s = opened(m, false);
    pare_array_unref(run(s));
    assert_kernels(s, "many:0");
    assert_false(pare_session_tuned(s));
    assert_int_equal(seen.made[WRONG] + seen.made[FAST], 0);
    assert_false(cache_file(path, sizeof path));
    pare_session_close(s);
    pare_model_free(m);
}

/* The fast one; not the wrong one that is as fast; one shape once. */
static void fastest_that_agrees(void **state) {
    (void)state;
    pare_model *m = three();
    pare_session *s = opened(m, false), *t = opened(m, true);
    pare_array *a = run(s), *b = run(t);
    assert_true(pare_session_tuned(t));
    assert_kernels(t, "many:3");
    assert_memory_equal(net_f(a), net_f(b), a->nbytes);
    assert_int_equal(seen.made[WRONG], 2 * 2); /* two shapes, each as it likes and as it is given */
    pare_array_unref(a);
    pare_array_unref(b);
    pare_session_close(s);
    pare_session_close(t);
    pare_model_free(m);
}

static void a_draw_changes_nothing(void **state) {
    (void)state;
    seen.slow_fast = true;
    pare_model *m = three();
    pare_session *s = opened(m, true);
    pare_array_unref(run(s));
    assert_kernels(s, "many:0");
    pare_session_close(s);
    pare_model_free(m);
}

static void remembered(void **state) {
    (void)state;
    char path[600];
    pare_model *m = three();
    pare_session *s = opened(m, true);
    pare_array *a = run(s), *b;
    pare_session_close(s);
    assert_true(cache_file(path, sizeof path));
    char *before = slurp(path);
    memset(&seen, 0, sizeof seen);
    seen.slow_fast = true; /* it would choose otherwise now, if it measured */
    s = opened(m, true);
    b = run(s);
    assert_kernels(s, "many:3");
    assert_int_equal(seen.made[WRONG], 0);
    assert_int_equal(seen.runs[FIRST], 0);
    assert_int_equal(seen.runs[FAST], 3);
    assert_memory_equal(net_f(a), net_f(b), a->nbytes);
    char *after = slurp(path);
    assert_string_equal(before, after);
    free(before);
    free(after);
    pare_array_unref(a);
    pare_array_unref(b);
    pare_session_close(s);
    pare_model_free(m);
}

/* Lines that say nothing, too much, or stop in the middle are measured again. */
static void damaged(void **state) {
    static const char *const bad[] = {"", "\n\n#\n", "garbage",
                                      "Conv\n\t\n\t0:1\nConv x\t0:\nConv\t99:5\nConv\t0:-1 2:nan\n",
                                      "Conv\t6:1 0:2 6:3 x\n\xff\xfe\t0:1e999\n"};
    (void)state;
    char path[600];
    pare_model *m = three();
    pare_session_close(opened(m, true));
    assert_true(cache_file(path, sizeof path));
    char *whole = slurp(path);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spill(path, bad[i]);
        pare_session *s = opened(m, true);
        assert_kernels(s, "many:3");
        pare_session_close(s);
    }
    whole[strlen(whole) - 3] = 0; /* the last line cut off: measured again, the others not */
    spill(path, whole);
    memset(&seen, 0, sizeof seen);
    pare_session *s = opened(m, true);
    assert_kernels(s, "many:3");
    assert_int_equal(seen.made[WRONG], 2);
    pare_session_close(s);
    free(whole);
    pare_model_free(m);
}

static void nowhere_to_write(void **state) {
    (void)state;
    char file[300];
    snprintf(file, sizeof file, "%s/file", folder);
    spill(file, "no folder");
    pare_env_set("XDG_CACHE_HOME", file);
    pare_model *m = three();
    pare_session *s = opened(m, true);
    assert_kernels(s, "many:3");
    pare_session_close(s);
    pare_model_free(m);
}

static void environment(void **state) {
    (void)state;
    pare_model *m = three();
    pare_env_set("PARE_TUNE", "off");
    pare_session *s = opened(m, true);
    assert_false(pare_session_tuned(s));
    pare_session_close(s);
    pare_env_set("PARE_TUNE", "on");
    s = opened(m, false);
    assert_true(pare_session_tuned(s));
    pare_session_close(s);
    pare_env_set("PARE_TUNE", "ON");
    pare_diags *d = diags();
    assert_null(open_many(m, false, d));
    assert_int_equal(pare_diags_errors(d), 1);
    assert_string_equal(pare_diags_get(d, 0)->code, "engine.tune");
    assert_non_null(strstr(pare_diags_get(d, 0)->message, "\"ON\""));
    pare_diags_free(d);
    pare_model_free(m);
}

/* Several processes at once: each finds a kernel, and the file is whole. */
static void at_once(void **state) {
    (void)state;
    enum { PROCESSES = 4 };
    char path[600];
    pid_t child[PROCESSES];
    pare_model *m = three();
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i]) continue;
        for (int k = 0; k < 5; k++) {
            pare_diags *d = diags();
            pare_session *s = open_many(m, true, d);
            if (!s) _exit(1);
            pare_session_close(s);
            pare_diags_free(d);
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(cache_file(path, sizeof path));
    memset(&seen, 0, sizeof seen);
    pare_session_close(opened(m, true));
    assert_int_equal(seen.made[WRONG], 0);
    pare_model_free(m);
}

/* A residual block of 3x3 convolutions that Winograd could do. */
static pare_model *block(void) {
    const pare_dim x[] = {{2, NULL}, {16, NULL}, {14, NULL}, {14, NULL}};
    const int64_t w[] = {16, 16, 3, 3}, pads[] = {1, 1, 1, 1};
    pare_model *m = net_new(17);
    net_input(m, "x", PARE_FLOAT, 4, x);
    net_floats(m, "w1", 4, w, 1);
    net_floats(m, "w2", 4, w, 2);
    pare_attr_set_ints(m, net2(m, "Conv", "a", "x", "w1"), "pads", pads, 4);
    net1(m, "Relu", "b", "a");
    pare_attr_set_ints(m, net2(m, "Conv", "c", "b", "w2"), "pads", pads, 4);
    net2(m, "Add", "d", "c", "b");
    net1(m, "Relu", "y", "d");
    net_output(m, "y");
    return m;
}

/* On the cpu plugin. *winograd counts kernels of that name. */
static pare_array *on_cpu(const pare_model *m, bool tune, uint32_t *winograd) {
    const int64_t dims[] = {2, 16, 14, 14};
    const pare_backend *cpu = far_cpu_backend();
    pare_session_opts o = {.backend = {cpu, &far_host}, .host_backend = {cpu, &far_host}, .threads = 1, .tune = tune};
    pare_array *x = net_filled(4, dims, 9), *y = NULL;
    pare_session *s = NULL;
    pare_diags *d = diags();
    const pare_profile_node *rows;
    assert_int_equal(pare_session_open(m, &o, d, &s), PARE_OK);
    assert_int_equal(pare_session_run(s, &x, d, &y), PARE_OK);
    *winograd = 0;
    for (size_t n = pare_session_profile(s, &rows); n-- > 0;) *winograd += strstr(rows[n].kernel, "wino") != NULL;
    pare_session_close(s);
    pare_array_unref(x);
    pare_diags_free(d);
    return y;
}

/* Makes way 2 (Winograd, where a line has it) ten times as fast as it was. Returns how many lines have it. */
static uint32_t prefer_winograd(void) {
    char path[600];
    uint32_t n = 0;
    assert_true(cache_file(path, sizeof path));
    char *text = slurp(path);
    for (char *at = text; (at = strstr(at, " 2:")); at += 3) {
        char *end = strpbrk(at + 3, " \n");
        assert_non_null(end);
        memset(at + 3, ' ', (size_t)(end - at - 3));
        at[3] = '9'; /* nanoseconds */
        n++;
    }
    spill(path, text);
    free(text);
    return n;
}

/* With a filled cache every session computes the same bytes; what it computes is right, with Winograd too. */
static void bytes_repeat(void **state) {
    (void)state;
    uint32_t winograd, lines;
    pare_model *m = block();
    pare_array *plain = on_cpu(m, false, &winograd), *again = on_cpu(m, false, &winograd);
    assert_int_equal(winograd, 0);
    assert_memory_equal(net_f(plain), net_f(again), plain->nbytes);
    pare_array_unref(again);
    for (int forced = 0; forced < 2; forced++) {
        pare_array *first = on_cpu(m, true, &winograd);
        if (forced) {
            lines = prefer_winograd();
            pare_array_unref(first);
            first = on_cpu(m, true, &winograd);
            assert_true((winograd > 0) == (lines > 0)); /* a CPU with AVX2 only has none */
        }
        assert_true(net_distance(first, plain) < 1e-5);
        for (int i = 0; i < 2; i++) {
            again = on_cpu(m, true, &winograd);
            assert_memory_equal(net_f(first), net_f(again), first->nbytes);
            pare_array_unref(again);
        }
        pare_array_unref(first);
    }
    pare_array_unref(plain);
    pare_model_free(m);
}

/* On a device of its own memory, with layouts of its own and little of it: the best guess stays. */
static void far_away(void **state) {
    (void)state;
    pare_model *m = net_residual(2);
    const int64_t dims[] = {2, 2, 6, 6};
    pare_array *x = net_filled(4, dims, 9), *y[2] = {0};
    pare_diags *d = diags();
    memset(&far_ctl, 0, sizeof far_ctl);
    for (int i = 0; i < 2; i++) {
        pare_session_opts o = net_opts(NET_FAR);
        o.tune = i == 1;
        pare_session *s = NULL;
        assert_int_equal(pare_session_open(m, &o, d, &s), PARE_OK);
        assert_int_equal(pare_session_run(s, &x, d, &y[i]), PARE_OK);
        pare_session_close(s);
    }
    assert_memory_equal(net_f(y[0]), net_f(y[1]), y[0]->nbytes);
    assert_int_equal(far_ctl.wrong, 0);
    assert_int_equal(far_ctl.live, 0);
    pare_array_unref(x);
    pare_array_unref(y[0]);
    pare_array_unref(y[1]);
    pare_diags_free(d);
    pare_model_free(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- 8 bits ---- */

static uint32_t with_params(pare_model *m, const char *op, const char *in, const char *params, const char *out) {
    char s[32], z[32];
    snprintf(s, sizeof s, "%s_s", params);
    snprintf(z, sizeof z, "%s_z", params);
    return net_node(m, op, out, 3, in, s, z);
}

static void params(pare_model *m, const char *name, uint32_t dtype, float scale, int zero) {
    char s[32], z[32];
    const int8_t byte = (int8_t)zero;
    snprintf(s, sizeof s, "%s_s", name);
    snprintf(z, sizeof z, "%s_z", name);
    net_tensor(m, s, PARE_FLOAT, 0, NULL, &scale);
    net_tensor(m, z, dtype, 0, NULL, &byte);
}

/* Two convolutions of one shape with other scales; uint8 comes out of the first, float of the second. */
static pare_model *two_in_eight_bits(void) {
    const pare_dim x[] = {{1, NULL}, {2, NULL}, {6, NULL}, {6, NULL}};
    const int64_t w[] = {2, 2, 3, 3}, pads[] = {1, 1, 1, 1};
    int8_t codes[36];
    pare_model *m = net_new(21);
    net_input(m, "x", PARE_FLOAT, 4, x);
    for (int i = 0; i < 36; i++) codes[i] = (int8_t)(i * 37 % 100 - 50);
    params(m, "x", PARE_UINT8, 0.01f, 128);
    params(m, "a", PARE_UINT8, 0.02f, 120);
    params(m, "w1", PARE_INT8, 0.01f, 0);
    params(m, "w2", PARE_INT8, 0.015f, 0);
    net_tensor(m, "w1_q", PARE_INT8, 4, w, codes);
    net_tensor(m, "w2_q", PARE_INT8, 4, w, codes);
    with_params(m, "DequantizeLinear", "w1_q", "w1", "w1");
    with_params(m, "DequantizeLinear", "w2_q", "w2", "w2");
    with_params(m, "QuantizeLinear", "x", "x", "x_q");
    with_params(m, "DequantizeLinear", "x_q", "x", "x_d");
    pare_attr_set_ints(m, net2(m, "Conv", "a", "x_d", "w1"), "pads", pads, 4);
    with_params(m, "QuantizeLinear", "a", "a", "a_q");
    with_params(m, "DequantizeLinear", "a_q", "a", "a_d");
    pare_attr_set_ints(m, net2(m, "Conv", "y", "a_d", "w2"), "pads", pads, 4);
    net_output(m, "y");
    return m;
}

/* The same choice for kernels of 8-bit numbers, and the same bytes with them. */
static void eight_bits(void **state) {
    (void)state;
    far_ctl.quantized_but = "";
    pare_model *m = two_in_eight_bits();
    pare_session *s = opened(m, false), *t = opened(m, true), *again;
    pare_array *a = run(s), *b = run(t);
    assert_memory_equal(pare_array_data(a), pare_array_data(b), a->nbytes);
    const pare_profile_node *rows;
    size_t n = pare_session_profile(t, &rows), convs = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].op_type, "Conv") != 0) continue;
        assert_string_equal(rows[i].kernel, "many:3");
        assert_string_equal(rows[i].dtype, "uint8");
        convs++;
    }
    assert_int_equal(convs, 2);
    pare_session_close(t);
    uint32_t made = seen.made[WRONG]; /* what was measured is remembered */
    again = opened(m, true);
    pare_array_unref(run(again));
    assert_int_equal(seen.made[WRONG], made);
    far_ctl.quantized_but = NULL;
    pare_array_unref(a);
    pare_array_unref(b);
    pare_session_close(s);
    pare_session_close(again);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(off_by_default),
        TEST(fastest_that_agrees),
        TEST(a_draw_changes_nothing),
        TEST(remembered),
        TEST(damaged),
        TEST(nowhere_to_write),
        TEST(environment),
        TEST(at_once),
        TEST(bytes_repeat),
        TEST(far_away),
        TEST(eight_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
