/* tests/plugin/test_runner.c - core/plugin/runner.h and pare.run/1 over it: order, values, fixed batches, memory that
 * runs out on a device, samples that hold NaN, tokens, misuse. */
#define _POSIX_C_SOURCE 200809L
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/tmpdir.h"
#include "data/npy.h"
#include "far/check.h"
#include "plugin/runner.h"
#include "plugin/step.h"

#include <math.h>
#include <pare/note.h>

/* ---- services as a pipeline would fill them in ---- */

typedef struct fixture {
    pare_diags *d;
    pare_data *set; /* what "set" means */
    pare_data *noise;
    pare_compute device, cpu; /* far or near */
    int asked_cpu;
} fixture;

static pare_status give_set(void *ctx, const char *name, const pare_data_target *target, uint64_t samples,
                            const pare_data **out, const pare_data_preprocess **pre) {
    static const pare_data_preprocess plain = {0};
    fixture *f = ctx;
    *pre = &plain;
    if (strcmp(name, "random") == 0) {
        pare_data_source src = {.kind = PARE_DATA_RANDOM, .count = samples ? samples : 300, .seed = 11};
        pare_data_free(f->noise);
        f->noise = NULL;
        pare_status st = pare_data_open(&src, target, f->d, &f->noise);
        *out = f->noise;
        return st;
    }
    *out = f->set;
    return strcmp(name, "set") == 0 ? PARE_OK
                                    : pare_fail(f->d, PARE_ENOTFOUND, "run.set", NULL, "there is no set %s", name);
}

static pare_status give_compute(void *ctx, bool cpu, const pare_compute **out) {
    fixture *f = ctx;
    f->asked_cpu += cpu;
    *out = cpu ? &f->cpu : &f->device;
    return PARE_OK;
}

static pare_status evaluate(void *ctx, const pare_model *m, const char *data, const char *metric, uint64_t samples,
                            double *out) {
    (void)ctx;
    (void)m;
    (void)data;
    (void)metric;
    *out = (double)samples;
    return PARE_OK;
}

static pare_run_services services_of(fixture *f) { return (pare_run_services){give_set, give_compute, evaluate, f}; }

static fixture fixture_of(int device) {
    pare_session_opts o = net_opts(device), host = net_opts(device == NET_FAR ? NET_NEAR : device);
    return (fixture){.d = pare_diags_new(PARE_DIAG_SILENT, NULL),
                     .device = {.main = o.backend, .host = o.host_backend, .device = "far"},
                     .cpu = {.main = host.backend, .host = host.host_backend, .device = "cpu"}};
}

static void fixture_free(fixture *f) {
    pare_data_free(f->set);
    pare_data_free(f->noise);
    pare_diags_free(f->d);
}

/* n samples of 2x6x6 with labels i % 3; sample `odd` holds a NaN. */
static pare_data *numbers(uint64_t n, int64_t odd, bool labels) {
    const int64_t dims[] = {(int64_t)n, 2, 6, 6}, one[] = {(int64_t)n};
    pare_array *x = net_filled(4, dims, 5), *y = pare_array_new(PARE_INT64, 1, one);
    if (odd >= 0) ((float *)pare_array_data_mut(x))[(uint64_t)odd * 72 + 7] = NAN;
    for (uint64_t i = 0; i < n; i++) ((int64_t *)pare_array_data_mut(y))[i] = (int64_t)(i % 3);
    assert_int_equal(pare_npy_write(in_tmp("x.npy"), x, NULL), PARE_OK);
    assert_int_equal(pare_npy_write(in_tmp("y.npy"), y, NULL), PARE_OK);
    pare_array_unref(x);
    pare_array_unref(y);
    pare_data_source src = {.kind = PARE_DATA_NPY,
                            .name = "train",
                            .path = in_tmp("x.npy"),
                            .labels = labels ? in_tmp("y.npy") : NULL,
                            .layout = PARE_DATA_LAYOUT_NCHW};
    pare_data *set = NULL;
    assert_int_equal(pare_data_open(&src, NULL, NULL, &set), PARE_OK);
    return set;
}

static pare_runner *opened(fixture *f, const pare_model *m, const pare_runner_opts *o) {
    static pare_run_services s;
    pare_runner *r = NULL;
    s = services_of(f);
    if (pare_runner_open(m, o, &s, f->d, &r)) print_all(f->d);
    assert_non_null(r);
    return r;
}

static pare_runner_batch next(fixture *f, pare_runner *r) {
    pare_runner_batch b;
    if (pare_runner_next(r, f->d, &b)) print_all(f->d);
    return b;
}

static pare_view value(pare_runner *r, uint64_t i) {
    pare_view v;
    assert_int_equal(pare_runner_value(r, i, &v), PARE_OK);
    return v;
}

/* ---- tests ---- */

/* Any value, of any kind; the same samples in the same order for whoever asks, part by part or at once. */
static void values_and_order(void **state) {
    (void)state;
    enum { N = 23, SAMPLES = 10 };
    pare_model *m = net_residual(-1);
    fixture f = fixture_of(NET_NEAR);
    f.set = numbers(N, -1, true);
    const uint32_t ids[] = {net_value(m, "r1"), net_value(m, "x"), net_value(m, "w1"), net_value(m, "y"),
                            net_value(m, "r1")};
    const pare_runner_opts by4 = {ids, 5, "set", SAMPLES, 7, 4, false}, all = {ids, 5, "set", SAMPLES, 7, 16, false},
                           other = {ids, 5, "set", SAMPLES, 8, 16, false};
    pare_runner *a = opened(&f, m, &by4), *b = opened(&f, m, &all);
    pare_runner_batch whole = next(&f, b);
    assert_true(whole.n == SAMPLES && whole.total == SAMPLES && !whole.first);
    uint64_t samples[SAMPLES], seen = 0, classes[3] = {0};
    for (uint64_t i = 0; i < SAMPLES; i++) {
        samples[i] = whole.samples[i];
        assert_true(samples[i] < N && whole.labels[i] == (int64_t)(samples[i] % 3));
        classes[whole.labels[i]]++;
        for (uint64_t k = 0; k < i; k++) assert_true(samples[k] != samples[i]);
    }
    assert_true(classes[0] >= 3 && classes[1] >= 3 && classes[2] >= 3); /* in proportion, whatever the file's order */
    const pare_view full = value(b, 0), input = value(b, 1), w = value(b, 2);
    assert_true(full.ndim == 4 && full.dims[0] == SAMPLES && full.dims[1] == 4 && full.strides[0] == 4 * 36);
    assert_true(w.ndim == 4 && w.dims[0] == 4 && w.count == 4 * 2 * 9 && w.dtype == PARE_FLOAT);
    assert_int_equal(((uintptr_t)full.data | (uintptr_t)w.data) % 64, 0);
    assert_ptr_equal(value(b, 4).data, full.data);
    const float *first = (const float *)input.data; /* the sample as the file has it */
    assert_true(first[0] == net_number(samples[0] * 72 * 31 + 5));
    for (int round = 0; round < 2; round++, pare_runner_rewind(a)) {
        pare_runner_batch part;
        for (seen = 0; !pare_runner_next(a, f.d, &part); seen += part.n) {
            assert_true(part.first == seen && part.total == SAMPLES && part.n <= 4);
            const pare_view v = value(a, 0), y = value(a, 3);
            assert_true(v.dims[0] == (int64_t)part.n && y.dims[1] == 3);
            assert_memory_equal(part.samples, samples + seen, part.n * sizeof *samples);
            for (uint64_t i = 0; i < v.count; i++)
                assert_true(((float *)v.data)[i] == ((float *)full.data)[seen * 144 + i]);
        }
        assert_int_equal(seen, SAMPLES);
        assert_int_equal(pare_runner_next(a, f.d, &part), PARE_ENOTFOUND);
        pare_view none;
        assert_int_equal(pare_runner_value(a, 0, &none), PARE_EINVAL);
    }
    pare_runner *c = opened(&f, m, &other);
    assert_true(memcmp(next(&f, c).samples, samples, sizeof samples) != 0); /* another seed */
    assert_string_equal(pare_runner_sample_name(c, 22), "sample 22 of train");
    assert_null(pare_runner_sample_name(c, 23));
    assert_int_equal(pare_diags_count(f.d), 0);
    pare_runner_close(a);
    pare_runner_close(b);
    pare_runner_close(c);
    pare_runner_close(NULL);
    pare_model_free(m);
    fixture_free(&f);
}

/* Outputs where nothing else is asked; noise by its own count; only inputs: nothing is run. */
static void outputs_and_noise(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    fixture f = fixture_of(NET_NEAR);
    const uint32_t x = net_value(m, "x");
    const pare_runner_opts some = {.data = "random", .samples = 5, .seed = 1},
                           any = {.values = &x, .n_values = 1, .data = "random", .seed = 1};
    pare_runner *r = opened(&f, m, &some);
    pare_runner_batch b = next(&f, r);
    assert_true(b.n == 5 && b.total == 5 && !b.labels);
    assert_true(value(r, 0).ndim == 2 && value(r, 0).dims[0] == 5);
    pare_runner_close(r);
    r = opened(&f, m, &any);
    uint64_t n = 0;
    double sum = 0, squares = 0;
    while (!pare_runner_next(r, f.d, &b)) {
        const pare_view v = value(r, 0);
        n += b.n;
        for (uint64_t i = 0; i < v.count; i++) {
            float q = ((float *)v.data)[i];
            sum += (double)q;
            squares += (double)q * (double)q;
        }
    }
    assert_int_equal(n, 300);
    n *= 72;
    assert_true(fabs(sum / (double)n) < 0.03 && fabs(squares / (double)n - 1) < 0.03);
    pare_runner_close(r);
    pare_model_free(m);
    fixture_free(&f);
}

/* Rows that know of each other: x times the mean over the batch. */
static pare_model *tied_net(int64_t batch) {
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{batch, NULL}, {4, NULL}};
    const int64_t axes[] = {0};
    net_input(m, "x", PARE_FLOAT, 2, dims);
    uint32_t n = net1(m, "ReduceMean", "mean", "x");
    pare_attr_set_ints(m, n, "axes", axes, 1);
    net2(m, "Mul", "y", "x", "mean");
    net_output(m, "y");
    return m;
}

static void fixed_batches(void **state) {
    (void)state;
    fixture f = fixture_of(NET_NEAR);
    pare_model *one = net_residual(1), *four = net_residual(4), *tied = tied_net(4);
    f.set = numbers(10, -1, true);
    const pare_runner_opts o = {.data = "set", .batch = 8, .seed = 1}, noise = {.data = "random", .samples = 10},
                           few = {.data = "random", .samples = 3};
    pare_run_services s = services_of(&f);
    pare_runner *r;
    const pare_model *const open_ones[] = {one, four}; /* fixed, and proven to be free */
    for (int i = 0; i < 2; i++) {
        uint64_t n = 0;
        pare_runner_batch b;
        r = opened(&f, open_ones[i], &o);
        for (; !pare_runner_next(r, f.d, &b); n += b.n)
            assert_true(value(r, 0).dims[0] == (int64_t)b.n && b.n <= 8 && b.total == 10);
        assert_int_equal(n, 10);
        pare_runner_close(r);
    }
    pare_runner_batch b;
    for (uint32_t batch = 0; batch <= 8; batch += 8) {
        /* fixed, and it must be: two batches of it, and what is left can't be run */
        pare_runner_opts some = noise;
        some.batch = batch;
        r = opened(&f, tied, &some);
        assert_said(f.d, "run.short", "8 of 10 samples");
        b = next(&f, r);
        assert_true(b.n == 4 && b.total == 8);
        assert_int_equal(next(&f, r).first, 4);
        assert_int_equal(pare_runner_next(r, f.d, &b), PARE_ENOTFOUND);
        pare_runner_close(r);
    }
    r = NULL;
    assert_int_equal(pare_runner_open(tied, &few, &s, f.d, &r), PARE_EINVAL);
    assert_said(f.d, "run.batch", "fixed at 4, and there are 3 samples");
    pare_model_free(one);
    pare_model_free(four);
    pare_model_free(tied);
    fixture_free(&f);
}

/* Memory of a device that runs out: the engine runs a batch piece by piece where it may; else half the batch and again,
 * from where it was; then the CPU. */
static void memory_runs_out(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    const pare_runner_opts o = {.data = "set", .batch = 16, .seed = 1};
    float want[32 * 3];
    uint64_t order[32];
    for (int round = 0; round < 3; round++) {
        fixture f = fixture_of(round ? NET_FAR : NET_NEAR);
        f.set = numbers(32, -1, true);
        pare_runner *r = opened(&f, m, &o);
        far_ctl.cap = round == 2; /* bytes: there is room for nothing */
        uint64_t n = 0, most = 0;
        pare_runner_batch b;
        for (; !pare_runner_next(r, f.d, &b); n += b.n) {
            const pare_view y = value(r, 0);
            for (uint64_t i = 0; i < y.count; i++) {
                float got = ((float *)y.data)[i];
                if (!round) want[n * 3 + i] = got;
                assert_true(fabsf(got - want[n * 3 + i]) < 1e-4f);
            }
            if (!round) memcpy(order + n, b.samples, b.n * sizeof *order);
            assert_memory_equal(order + n, b.samples, b.n * sizeof *order);
            if (b.n > most) most = b.n;
        }
        assert_int_equal(n, 32);
        assert_int_equal(most, 16);
        if (round == 2) assert_said(f.d, "run.memory", "goes on with the CPU");
        assert_int_equal(f.asked_cpu, round == 2);
        assert_int_equal(pare_diags_errors(f.d), 0);
        pare_runner_close(r);
        fixture_free(&f);
    }
    far_ctl.cap = 0;
    pare_model_free(m);
    m = tied_net(-1);
    far_ctl.peak_bytes = 0;
    for (int round = 0; round < 2; round++) {
        fixture f = fixture_of(NET_FAR);
        const pare_runner_opts noise = {.data = "random", .samples = 32, .batch = 16};
        pare_runner *r = opened(&f, m, &noise);
        far_ctl.cap = round ? far_ctl.peak_bytes - 1 : 0;
        uint64_t n = 0, most = 0;
        pare_runner_batch b;
        for (; !pare_runner_next(r, f.d, &b); n += b.n) most = b.n > most ? b.n : most;
        assert_int_equal(n, 32);
        assert_int_equal(most, round ? 8 : 16);
        if (round) assert_said(f.d, "run.memory", "a batch of 16 does not fit in memory: it goes on with 8");
        assert_int_equal(pare_diags_errors(f.d), 0);
        pare_runner_close(r);
        fixture_free(&f);
    }
    far_ctl.cap = 0;
    pare_model_free(m);
}

static void odd_samples_are_named(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    fixture f = fixture_of(NET_NEAR);
    f.set = numbers(9, 6, false);
    const pare_runner_opts lax = {.data = "set", .seed = 1}, strict = {.data = "set", .seed = 1, .finite = true};
    pare_runner *r = opened(&f, m, &lax);
    assert_int_equal(next(&f, r).n, 9);
    pare_runner_close(r);
    r = opened(&f, m, &strict);
    pare_runner_batch b;
    assert_int_equal(pare_runner_next(r, f.d, &b), PARE_EINVAL);
    assert_said(f.d, "run.not-finite", "sample 6 of train holds NaN");
    pare_runner_close(r);
    pare_model_free(m);
    fixture_free(&f);
}

static void tokens_and_several_inputs(void **state) {
    (void)state;
    fixture f = fixture_of(NET_NEAR);
    pare_model *m = net_new(17);
    const pare_dim dims[] = {{-1, "N"}, {5, NULL}};
    const int64_t table[] = {9, 3}, ids_dims[] = {7, 5};
    net_input(m, "ids", PARE_INT64, 2, dims);
    net_floats(m, "words", 2, table, 3);
    net2(m, "Gather", "y", "words", "ids");
    net_output(m, "y");
    int64_t ids[35];
    for (int i = 0; i < 35; i++) ids[i] = i % 9;
    pare_array *a = net_array(PARE_INT64, 2, ids_dims, ids);
    assert_int_equal(pare_npy_write(in_tmp("ids.npy"), a, NULL), PARE_OK);
    pare_array_unref(a);
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = in_tmp("ids.npy")};
    assert_int_equal(pare_data_open(&src, NULL, NULL, &f.set), PARE_OK);
    const pare_runner_opts o = {.data = "set", .seed = 1}, noise = {.data = "random"}, none = {.data = "sets"};
    pare_runner *r = opened(&f, m, &o);
    assert_int_equal(next(&f, r).n, 7);
    assert_true(value(r, 0).ndim == 3 && value(r, 0).dims[2] == 3);
    pare_runner_close(r);
    r = NULL;
    pare_run_services s = services_of(&f);
    assert_int_equal(pare_runner_open(m, &noise, &s, f.d, &r), PARE_EUNSUPPORTED);
    assert_said(f.d, "data.random", "takes int64");
    assert_int_equal(pare_runner_open(m, &none, &s, f.d, &r), PARE_ENOTFOUND);
    net_input(m, "mask", PARE_FLOAT, 2, dims);
    net1(m, "Relu", "masked", "mask");
    net_output(m, "masked");
    assert_int_equal(pare_runner_open(m, &o, &s, f.d, &r), PARE_EUNSUPPORTED);
    assert_said(f.d, "run.inputs", "2 inputs (ids, mask)");
    pare_model_free(m);
    fixture_free(&f);
}

/* ---- the interface ---- */

typedef pare_status (*body)(const pare_host *host, pare_model *m);
static body in_apply, in_check;
static const pare_run_api *api;

static pare_status call_create(const pare_host *host, const pare_arg *args, void **self) {
    (void)args;
    (void)self;
    api = host->ext(host, PARE_RUN_V1);
    return PARE_OK;
}
static pare_status call_check(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    return in_check ? in_check(host, m) : PARE_OK;
}
static pare_status call_apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    return in_apply ? in_apply(host, m) : PARE_OK;
}
static const pare_technique technique = {.size = sizeof technique,
                                         .id = "test.run",
                                         .version = "1",
                                         .summary = "A test.",
                                         .create = call_create,
                                         .check = call_check,
                                         .apply = call_apply};

static json_t *kept_files; /* name -> text */

static pare_status keep_file(void *ctx, const char *name, const void *bytes, uint64_t n) {
    (void)ctx;
    json_object_set_new(kept_files, name, json_stringn(n ? bytes : "", (size_t)n));
    return PARE_OK;
}

/* What was said stays in f. */
static void run_step(fixture *f, const pare_model *in, body check, body apply, pare_status want) {
    pare_run_services s = services_of(f);
    pare_host_env env = {.diags = f->d, .step = "s", .plugin = "test", .seed = 42, .runs = &s, .file = keep_file};
    pare_model *out = NULL;
    in_check = check;
    in_apply = apply;
    pare_status st = pare_step_run(&env, &technique, NULL, in, &out);
    if (st != want) {
        print_all(f->d);
        fail_msg("status %d, not %d", st, want);
    }
    pare_model_free(out);
}

#define WANT(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            PARE_REPORT(host, PARE_ERROR, .code = "test.want", .message = #condition);                                 \
            return PARE_EINTERNAL;                                                                                     \
        }                                                                                                              \
    } while (0)

static pare_runner_request request(const char *data) {
    return (pare_runner_request){.size = sizeof(pare_runner_request), .data = data};
}

/* Before and after side by side; the first still sees the model as it was. */
static pare_status looks(const pare_host *host, pare_model *m) {
    const pare_tensors_api *t = host->ext(host, PARE_TENSORS_V1);
    pare_runner_request q = request("set");
    pare_runner *before = NULL, *after = NULL;
    pare_runner_batch a = {.size = sizeof a}, b = {.size = sizeof b};
    pare_view va = {.size = sizeof va}, vb = {.size = sizeof vb};
    char one[65], two[65];
    q.samples = 4;
    WANT(api->open(host, m, &q, &before) == PARE_OK && api->fingerprint(host, m, one) == PARE_OK);
    uint32_t w = t->find(host, m, "fc");
    WANT(t->borrow(host, m, w, PARE_WRITE, &va) == PARE_OK);
    memset(va.data, 0, va.nbytes);
    t->release(host, m, w);
    WANT(api->open(host, m, &q, &after) == PARE_OK && api->fingerprint(host, m, two) == PARE_OK);
    WANT(strcmp(one, two) != 0 && strlen(one) == 64);
    WANT(api->next(host, before, &a) == PARE_OK && api->next(host, after, &b) == PARE_OK);
    WANT(a.n == 4 && b.n == 4 && memcmp(a.samples, b.samples, 4 * sizeof *a.samples) == 0);
    WANT(api->value(host, before, 0, &va) == PARE_OK && api->value(host, after, 0, &vb) == PARE_OK);
    WANT(va.count == 12 && vb.count == 12 && memcmp(va.data, vb.data, va.nbytes) != 0);
    WANT(api->next(host, before, &a) == PARE_ENOTFOUND && api->rewind(host, before) == PARE_OK);
    WANT(api->next(host, before, &a) == PARE_OK && a.first == 0);
    WANT(strcmp(api->sample_name(host, before, 3), "sample 3 of train") == 0);
    api->close(host, before);
    api->close(host, NULL);
    pare_runner_set set = {.size = sizeof set}, again = {.size = sizeof again}, noise = {.size = sizeof noise};
    WANT(api->set(host, "set", 1, &set) == PARE_OK && set.labelled && set.count == 9 && strlen(set.sha256) == 64);
    WANT(api->set(host, "set", 0, &again) == PARE_OK && !again.sha256[0] && again.count == 9);
    WANT(api->set(host, "random", 1, &noise) == PARE_OK && !noise.count && !noise.labelled && noise.sha256[0]);
    WANT(strcmp(noise.sha256, set.sha256) != 0);
    double x = 0;
    WANT(api->evaluate(host, m, "set", "accuracy", 5, &x) == PARE_OK && x == 5);
    const pare_note_api *note = host->ext(host, PARE_NOTE_V1);
    WANT(note->file(host, "ranges.yaml", "a: 1\n", 5) == PARE_OK && note->file(host, "empty", NULL, 0) == PARE_OK);
    return PARE_OK; /* `after` is the host's to close */
}

static pare_status asks_int8(const pare_host *host, pare_model *m) {
    (void)m;
    uint32_t fast = 9;
    WANT(api->int8(host, "Cos", PARE_UINT8, PARE_INT8, &fast) == PARE_OK && fast == 0);
    WANT(api->int8(host, "Conv", PARE_FLOAT, PARE_INT8, &fast) == PARE_OK && fast == 0);
    WANT(api->int8(host, "Conv", PARE_UINT8, PARE_INT8, &fast) == PARE_OK);
    WANT(fast == (far_ctl.quantized_but ? 2u : 0u)); /* its name says nothing of exact products */
    WANT(api->int8(host, "Add", PARE_UINT8, PARE_UINT8, &fast) == PARE_OK);
    WANT(fast == (far_ctl.quantized_but ? 1u : 0u));
    return PARE_OK;
}

static pare_status checks(const pare_host *host, pare_model *m) {
    pare_runner_set set = {.size = sizeof set};
    char hex[65];
    WANT(api->set(host, "set", 0, &set) == PARE_OK && api->fingerprint(host, m, hex) == PARE_OK);
    return asks_int8(host, m);
}

static pare_status opens_in_check(const pare_host *host, pare_model *m) {
    pare_runner_request q = request("set");
    pare_runner *r;
    return api->open(host, m, &q, &r);
}

static pare_status unknown_set(const pare_host *host, pare_model *m) {
    pare_runner_request q = request("nowhere");
    pare_runner *r;
    WANT(api->open(host, m, &q, &r) == PARE_ENOTFOUND);
    return PARE_ENOTFOUND;
}

#define MISUSE(name, ...)                                                                                              \
    static pare_status name(const pare_host *host, pare_model *m) {                                                    \
        pare_runner_request q = request("set");                                                                        \
        pare_runner *r = NULL;                                                                                         \
        (void)r;                                                                                                       \
        (void)q;                                                                                                       \
        (void)m;                                                                                                       \
        __VA_ARGS__                                                                                                    \
        return PARE_OK;                                                                                                \
    }
MISUSE(no_data, q.data = NULL; api->open(host, m, &q, &r);)
MISUSE(no_size, q.size = 4; api->open(host, m, &q, &r);)
MISUSE(bad_flags, q.flags = 0x80; api->open(host, m, &q, &r);)
MISUSE(bad_value, const uint32_t v[] = {9999}; q.values = v; q.n_values = 1; api->open(host, m, &q, &r);)
MISUSE(no_values, const uint32_t v[] = {1}; q.values = v; api->open(host, m, &q, &r);)
MISUSE(closed, api->open(host, m, &q, &r); api->close(host, r); api->rewind(host, r);)
MISUSE(no_batch, pare_view v = {.size = sizeof v}; api->open(host, m, &q, &r); api->value(host, r, 0, &v);)
MISUSE(no_fast, api->int8(host, "Conv", PARE_UINT8, PARE_INT8, NULL);)
MISUSE(bad_sample, api->open(host, m, &q, &r); api->sample_name(host, r, 1u << 30);)
MISUSE(model_file, const pare_note_api *n = host->ext(host, PARE_NOTE_V1); n->file(host, "model.onnx", "", 0);)
MISUSE(file_above, const pare_note_api *n = host->ext(host, PARE_NOTE_V1); n->file(host, "../x", "", 0);)
MISUSE(hidden_file, const pare_note_api *n = host->ext(host, PARE_NOTE_V1); n->file(host, ".x", "", 0);)

static void the_interface(void **state) {
    (void)state;
    pare_model *m = net_residual(-1);
    kept_files = json_object();
    for (int with = 0; with < 2; with++) {
        fixture f = fixture_of(NET_NEAR);
        f.set = numbers(9, -1, true);
        far_ctl.quantized_but = with ? "" : NULL;
        run_step(&f, m, checks, looks, PARE_OK);
        assert_int_equal(pare_diags_count(f.d), 0);
        assert_string_equal(json_string_value(json_object_get(kept_files, "ranges.yaml")), "a: 1\n");
        assert_int_equal(json_object_size(kept_files), 2);
        fixture_free(&f);
    }
    far_ctl.quantized_but = NULL;
    json_decref(kept_files);
    static const struct {
        body check, apply;
        pare_status want;
        const char *code, *says;
    } cases[] = {
        {opens_in_check, NULL, PARE_EINTERNAL, "plugin.misuse", "in apply alone"},
        {NULL, unknown_set, PARE_ENOTFOUND, "run.set", "no set nowhere"},
        {NULL, no_data, PARE_EINTERNAL, "plugin.misuse", "data is NULL"},
        {NULL, no_size, PARE_EINTERNAL, "plugin.misuse", "request->size is 4"},
        {NULL, bad_flags, PARE_EINTERNAL, "plugin.misuse", "no flags 0x80"},
        {NULL, bad_value, PARE_EINTERNAL, "plugin.misuse", "no value 9999"},
        {NULL, no_values, PARE_EINTERNAL, "plugin.misuse", "number of them"},
        {NULL, closed, PARE_EINTERNAL, "plugin.misuse", "not open, or not any more"},
        {NULL, no_batch, PARE_EINTERNAL, "plugin.misuse", "no batch was run"},
        {NULL, no_fast, PARE_EINTERNAL, "plugin.misuse", "fast is NULL"},
        {NULL, bad_sample, PARE_EINTERNAL, "plugin.misuse", "no sample 1073741824"},
        {NULL, model_file, PARE_EINTERNAL, "plugin.misuse", "one of the host's own"},
        {NULL, file_above, PARE_EINTERNAL, "plugin.misuse", "no plain name"},
        {NULL, hidden_file, PARE_EINTERNAL, "plugin.misuse", "no plain name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f = fixture_of(NET_NEAR);
        f.set = numbers(9, -1, true);
        run_step(&f, m, cases[i].check, cases[i].apply, cases[i].want);
        assert_said(f.d, cases[i].code, cases[i].says);
        fixture_free(&f);
    }
    pare_model_free(m);
}

/* A host without services has no such interface. */
static void no_services(void **state) {
    (void)state;
    pare_model *m = net_residual(-1), *out = NULL;
    pare_host_env env = {.step = "s"};
    in_check = in_apply = NULL;
    assert_int_equal(pare_step_run(&env, &technique, NULL, m, &out), PARE_OK);
    assert_null(api);
    pare_model_free(out);
    pare_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_and_order, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(outputs_and_noise, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(fixed_batches, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(memory_runs_out, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(odd_samples_are_named, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(tokens_and_several_inputs, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(the_interface, far_setup, far_teardown),
        cmocka_unit_test_setup_teardown(no_services, far_setup, far_teardown),
    };
    return cmocka_run_group_tests(tests, tmpdir_make, tmpdir_remove);
}
