/* tests/tools/train_step.c - what a training step costs: time, memory, and which node takes it.
 *
 * Trains a zoo network (or an ONNX file) for some steps through the host's own loop, on an .npy set in the order it
 * lies or on noise, with a plain recipe: SGD with Nesterov momentum 0.9, weight decay 5e-4 on every tensor, one
 * learning rate (or half a cosine after 5 % of warm-up), no Dropout. stdout: one JSON object. Driven by
 * tests/bench/train.py.
 *
 * usage: tool_train_step [--net resnet18 | --model FILE] [--classes N] [--channels N] [--size N] [--stem
 * imagenet|small| cifar] [--seed N] [--save FILE] [--data X.npy Y.npy] [--batch N] [--micro N] [--steps N] [--warmup N]
 * [--lr F]
 *        [--threads N] [--teacher FILE] [--mean F --std F] [--cosine] [--nodes] [--home FILE] [--losses]
 *        [--recompute N (-1: auto)]
 */
#define _POSIX_C_SOURCE 200809L
#include "base/json.h"
#include "data/npy.h"
#include "model/onnx.h"
#include "model/zoo.h"
#include "plugin/compute.h"
#include "plugin/param.h"
#include "train/fit_parts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct options {
    const char *net, *model, *stem, *save, *home, *x, *y, *teacher;
    long classes, channels, size, seed, batch, micro, steps, warmup, threads, recompute;
    double lr, mean, std; /* std 0: samples stay as they are */
    bool nodes, losses, cosine;
} options;

static _Noreturn void usage(const char *what) {
    fprintf(stderr, "train_step: %s; see the head of tests/tools/train_step.c\n", what);
    exit(2);
}

static options read_options(int argc, char **argv) {
    options o = {.net = "resnet18", .stem = "imagenet", .classes = 10, .channels = 1, .size = 28, .seed = 0};
    o.batch = 128;
    o.steps = 30;
    o.warmup = 5;
    o.threads = 2;
    o.lr = 0.05;
    const struct {
        const char *key;
        const char **text;
        long *number;
    } rows[] = {{"--net", &o.net, NULL},           {"--model", &o.model, NULL},
                {"--stem", &o.stem, NULL},         {"--save", &o.save, NULL},
                {"--teacher", &o.teacher, NULL},   {"--classes", NULL, &o.classes},
                {"--channels", NULL, &o.channels}, {"--size", NULL, &o.size},
                {"--seed", NULL, &o.seed},         {"--batch", NULL, &o.batch},
                {"--micro", NULL, &o.micro},       {"--steps", NULL, &o.steps},
                {"--warmup", NULL, &o.warmup},     {"--threads", NULL, &o.threads},
                {"--home", &o.home, NULL},         {"--recompute", NULL, &o.recompute}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof rows / sizeof *rows;
        while (k < n && strcmp(argv[i], rows[k].key) != 0) k++;
        if (strcmp(argv[i], "--nodes") == 0) {
            o.nodes = true;
        } else if (strcmp(argv[i], "--losses") == 0) {
            o.losses = true;
        } else if (strcmp(argv[i], "--cosine") == 0) {
            o.cosine = true;
        } else if (strcmp(argv[i], "--lr") == 0 && i + 1 < argc) {
            o.lr = atof(argv[++i]);
        } else if (strcmp(argv[i], "--mean") == 0 && i + 1 < argc) {
            o.mean = atof(argv[++i]);
        } else if (strcmp(argv[i], "--std") == 0 && i + 1 < argc) {
            o.std = atof(argv[++i]);
        } else if (strcmp(argv[i], "--data") == 0 && i + 2 < argc) {
            o.x = argv[++i];
            o.y = argv[++i];
        } else if (k < n && i + 1 < argc) {
            if (rows[k].text)
                *rows[k].text = argv[++i];
            else
                *rows[k].number = atol(argv[++i]);
        } else {
            usage(argv[i]);
        }
    }
    if (o.batch < 1 || o.steps < 1 || o.warmup < 0) usage("--batch and --steps are at least 1");
    return o;
}

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "train_step: %s\n", what);
    exit(1);
}

/* ---- model and set ---- */

static pare_model *make_model(const options *o, pare_diags *d) {
    static const char *const stems[] = {"imagenet", "small", "cifar"};
    pare_model *m = NULL;
    if (o->model) {
        if (pare_onnx_read(o->model, d, &m)) give_up("the model can't be read");
        return m;
    }
    const pare_zoo_net *net = pare_zoo_find(o->net);
    pare_arg args[8] = {{.u.i = o->classes, .n = 1}, {.u.i = o->channels, .n = 1}, {.u.i = o->size, .n = 1}};
    args[3].n = args[4].n = 1; /* stem; dropout, which stays 0 */
    while (args[3].u.i < 3 && strcmp(stems[args[3].u.i], o->stem) != 0) args[3].u.i++;
    if (!net || net->n_params > 5 || args[3].u.i == 3) usage("no such network or stem");
    if (net->build(args, (uint64_t)o->seed, d, &m)) give_up("the network can't be built");
    if (o->save && pare_onnx_write(m, o->save, NULL, d)) give_up("the network can't be written");
    return m;
}

/* Noise, and labels in turn: as many batches as keep the reader from starting anew too often. */
static void make_noise(const options *o, const char *x_path, const char *y_path, pare_diags *d) {
    int64_t n = o->batch * 8, dims[4] = {n, o->channels, o->size, o->size};
    pare_array *x = pare_array_new(PARE_FLOAT, 4, dims), *y = pare_array_new(PARE_INT64, 1, dims);
    if (!x || !y) give_up("no memory for the samples");
    uint64_t state = 88172645463325252u;
    for (uint64_t i = 0; i < x->count; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            sum += (float)(state >> 40) / 16777216.0f - 0.5f;
        }
        ((float *)pare_array_data_mut(x))[i] = sum * 1.7f;
    }
    for (int64_t i = 0; i < n; i++) ((int64_t *)pare_array_data_mut(y))[i] = i % o->classes;
    if (pare_npy_write(x_path, x, d) || pare_npy_write(y_path, y, d)) give_up("the samples can't be written");
    pare_array_unref(x);
    pare_array_unref(y);
}

static pare_data *open_set(const options *o, pare_diags *d) {
    char dir[] = "/tmp/pare-train-XXXXXX", x[64], y[64];
    pare_data_source src = {.kind = PARE_DATA_NPY, .path = o->x, .labels = o->y};
    pare_data *set = NULL;
    if (!o->x) {
        if (!mkdtemp(dir)) give_up("no folder under /tmp");
        snprintf(x, sizeof x, "%s/x.npy", dir);
        snprintf(y, sizeof y, "%s/y.npy", dir);
        make_noise(o, x, y, d);
        src.path = x;
        src.labels = y;
    }
    pare_status st = pare_data_open(&src, NULL, d, &set);
    if (!o->x) pare_tree_remove(dir, d); /* what is mapped stays */
    if (st) give_up("the samples can't be read");
    return set;
}

/* ---- a teacher ---- */

typedef struct teacher {
    pare_model *m;
    pare_session *session;
    pare_arena arena;
    pare_fit_loss loss;
    const char *ref;
} teacher;

static void add_teacher(const options *o, const pare_plugins *plugins, const pare_compute *c, pare_diags *d, teacher *t,
                        pare_fit_opts *fit) {
    const pare_loss *loss = pare_plugins_loss(plugins, "distill.hinton", NULL);
    if (!loss) give_up("no plugin brings the loss distill.hinton");
    if (pare_onnx_read(o->teacher, d, &t->m)) give_up("the teacher can't be read");
    pare_session_opts so = pare_compute_session(c);
    so.threads = (uint32_t)o->threads;
    so.any_batch = true;
    so.tune = true;
    if (pare_session_open(t->m, &so, d, &t->session)) give_up("the teacher can't be run");
    /* defaults, but for the reference */
    static const char text[] = "teacher: file\n";
    pare_yaml *doc = NULL;
    pare_status st = pare_yaml_parse("teacher", text, sizeof text - 1, d, &doc);
    pare_params_ctx ctx = {.d = d, .arena = &t->arena, .prefix = "with"};
    pare_params *params = NULL;
    pare_param_table table = {loss->params, loss->n_params, loss->param_stride};
    if (st || pare_params_parse(doc->root, table, &ctx, &params)) give_up("distill.hinton takes no teacher");
    t->ref = "file";
    t->loss = (pare_fit_loss){.use = loss->id, .component = loss, .args = params->args, .weight = 1};
    t->loss.teachers = &t->ref;
    t->loss.n_teachers = 1;
    fit->losses = &t->loss;
    fit->n_losses = 1;
    pare_yaml_free(doc);
}

/* ---- steps ---- */

typedef struct clocks {
    double *at, *cpu; /* [steps + warmup + 1]; cpu: of all threads, which tells more where others use the machine */
    double *loss;
    long n, warmup;
} clocks;

static double cpu_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static pare_status tick(void *ctx, const pare_host *host, pare_fit *f, const pare_fit_state *s, uint64_t *next) {
    clocks *c = ctx;
    (void)host;
    (void)next;
    c->loss[c->n] = s->loss;
    c->at[++c->n] = pare_clock();
    c->cpu[c->n] = cpu_clock();
    if (c->n == c->warmup) pare_session_profile_reset(f->session);
    return PARE_OK;
}

static int by_number(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median_step(const clocks *c, const double *at) {
    long n = c->n - c->warmup;
    double *d = pare_xcalloc((size_t)n + 1, sizeof *d);
    for (long i = 0; i < n; i++) d[i] = at[c->warmup + i + 1] - at[c->warmup + i];
    qsort(d, (size_t)n, sizeof *d, by_number);
    double m = n ? d[n / 2] : 0;
    free(d);
    return m;
}

static json_t *nodes_json(const pare_fit *f, long steps, double *sum) {
    const pare_profile_node *nodes;
    size_t n = pare_session_profile(f->session, &nodes);
    json_t *all = json_array();
    *sum = 0;
    for (size_t i = 0; i < n; i++) {
        *sum += nodes[i].seconds / (double)steps;
        json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:f,s:I}", "op", nodes[i].op_type, "node", nodes[i].node, "kernel",
                              nodes[i].kernel, "layout", nodes[i].layout, "ms", nodes[i].seconds * 1e3 / (double)steps,
                              "macs", (json_int_t)nodes[i].macs);
        if (j) json_array_append_new(all, j);
    }
    return all;
}

/* This process's own: getrusage also counts the one it was forked from. */
static double peak_mib(void) {
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0) kib = atof(line + 6);
    if (f) fclose(f);
    return kib / 1024;
}

int main(int argc, char **argv) {
    options o = read_options(argc, argv);
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT")) pare_env_set("GOMP_SPINCOUNT", "1000"); /* as pare */
    pare_diags *d = pare_diags_new(PARE_DIAG_HUMAN, stderr);
    pare_plugins *plugins = pare_plugins_load(NULL, 0, d);
    pare_compute compute;
    if (!plugins || pare_compute_open(plugins, "cpu", d, &compute)) give_up("no cpu backend");
    pare_model *m = make_model(&o, d);
    pare_data *set = open_set(&o, d);
    pare_fit_opts fit = pare_fit_defaults();
    teacher t = {0};
    fit.batch = (uint32_t)o.batch;
    fit.micro_batch = (uint32_t)o.micro;
    fit.recompute = (int32_t)o.recompute;
    fit.epochs = 0;
    fit.steps = (uint64_t)(o.steps + o.warmup);
    fit.lr = o.lr;
    fit.decay_all = true;
    fit.drop_last = true;
    if (!o.cosine) {
        fit.schedule.kind = PARE_SCHEDULE_CONSTANT;
        fit.schedule.warmup = 0;
    }
    pare_data_preprocess pre = {.n_mean = 1, .n_std = 1, .mean = {o.mean}, .std = {o.std}};
    if (o.teacher) add_teacher(&o, plugins, &compute, d, &t, &fit);
    pare_fit_env env = {.compute = &compute, .threads = (uint32_t)o.threads, .set = set, .profile = o.nodes};
    if (o.std > 0) env.preprocess = &pre;
    env.loss.host.diags = d;
    env.teachers = &t.session;
    env.n_teachers = o.teacher ? 1 : 0;
    pare_fit *f = NULL;
    double begin = pare_clock();
    if (pare_fit_open(m, &fit, &env, 0, d, &f)) give_up("training can't begin");
    clocks c = {.warmup = o.warmup};
    c.at = pare_xcalloc((size_t)fit.steps + 2, sizeof *c.at);
    c.cpu = pare_xcalloc((size_t)fit.steps + 2, sizeof *c.cpu);
    c.loss = pare_xcalloc((size_t)fit.steps + 2, sizeof *c.loss);
    pare_fit_hook_add(f, PARE_FIT_AFTER_UPDATE, 0, tick, &c, NULL);
    double opened = pare_clock();
    c.at[0] = opened;
    c.cpu[0] = cpu_clock();
    if (pare_fit_run(f, 0)) give_up("training failed");
    json_t *j = json_object();
    json_object_set_new(j, "step_ms", json_real(median_step(&c, c.at) * 1e3));
    json_object_set_new(j, "cpu_ms", json_real(median_step(&c, c.cpu) * 1e3));
    json_object_set_new(j, "mean_ms", json_real((c.at[c.n] - c.at[c.warmup]) * 1e3 / (double)o.steps));
    json_object_set_new(j, "first_ms", json_real((c.at[1] - opened) * 1e3));
    json_object_set_new(j, "open_ms", json_real((opened - begin) * 1e3));
    json_object_set_new(j, "peak_mib", json_real(peak_mib()));
    pare_session_memory memory = pare_session_memory_of(f->session);
    json_object_set_new(j, "arena_mib", json_real((double)memory.arena / 1048576));
    if (o.recompute) {
        json_object_set_new(j, "segments", json_integer(f->g.recomputed.segments));
        json_object_set_new(j, "copies", json_integer(f->g.recomputed.copies));
    }
    if (o.losses) {
        json_t *losses = json_array();
        for (long i = 0; i < c.n; i++) json_array_append_new(losses, json_real(c.loss[i]));
        json_object_set_new(j, "losses", losses);
    }
    if (o.nodes) {
        double sum;
        json_object_set_new(j, "nodes", nodes_json(f, o.steps, &sum));
        json_object_set_new(j, "nodes_ms", json_real(sum * 1e3));
    }
    json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(j);
    if (o.home && (pare_fit_home(f, m) || pare_onnx_write(m, o.home, NULL, d))) give_up("the weights can't be written");
    pare_fit_close(f);
    pare_session_close(t.session);
    pare_model_free(t.m);
    pare_arena_free(&t.arena);
    pare_data_free(set);
    pare_model_free(m);
    free(c.at);
    free(c.cpu);
    free(c.loss);
    pare_compute_close(&compute);
    pare_plugins_free(plugins);
    pare_diags_free(d);
    return 0;
}
