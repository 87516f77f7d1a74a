/* cli/cmd_run.c - pare run and pare check: a pipeline file, done or looked at. */
#include "cli/cli.h"
#include "pipeline/run.h"
#include "plugin/compute.h"

#include <stdlib.h>
#include <string.h>

static void print_report(const pare_cli *c, const pare_report *report, const char *dir) {
    if (c->args.json) {
        json_t *j = pare_report_json(report);
        json_object_set_new(j, "dir", pare_json_str(dir));
        pare_json_print(j, stdout);
        json_decref(j);
    } else {
        pare_report_print(report, dir, stdout);
    }
}

static pare_status run(pare_cli *c) {
    pare_plugins *plugins = pare_cli_plugins(c);
    if (!plugins) return PARE_EINVAL;
    pare_pipeline *p = NULL;
    pare_report *report = NULL;
    char *dir = NULL;
    pare_compute compute = {0};
    pare_status st = pare_cli_pipeline(c, plugins, &p);
    if (!st && c->args.device) { /* a wrong one is said before any work */
        st = pare_compute_open(plugins, c->args.device, c->diags, &compute);
        pare_compute_close(&compute);
    }
    if (!st) {
        pare_run_opts o = {.out = c->args.out,
                           .device = c->args.device,
                           .force = c->args.force,
                           .plugins = plugins,
                           .progress = c->progress,
                           .diags = c->diags};
        st = pare_pipeline_run(p, &o, &report, &dir);
    }
    if (!st) print_report(c, report, dir);
    free(dir);
    pare_report_free(report);
    pare_pipeline_free(p);
    pare_plugins_free(plugins);
    return st;
}

static const pare_opt run_opts[] = {
    PARE_OPT_SET,
    PARE_OPT("out", PARE_OPT_VALUE, "DIR", out, "the run folder, instead of the file's `output:`"),
    PARE_OPT("force", PARE_OPT_FLAG, NULL, force, "replace a finished run in that folder"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_run = {
    "run",
    "FILE",
    1,
    1,
    "runs a pipeline and writes its run folder",
    "FILE is a pipeline in YAML. The run folder holds model.onnx, model.onnx.gz, model.packed.onnx where that is\n"
    "smaller, report.json, pipeline.lock.yaml, log.txt and each step's result under steps/. Without --out a repeated\n"
    "run takes the next free name (NAME-2, NAME-3).",
    run_opts,
    sizeof run_opts / sizeof *run_opts,
    run};

static pare_status check(pare_cli *c) {
    pare_plugins *plugins = pare_cli_plugins(c);
    if (!plugins) return PARE_EINVAL;
    pare_pipeline *p = NULL;
    pare_status st = pare_cli_pipeline(c, plugins, &p);
    if (!st) st = pare_pipeline_check(p, plugins, c->diags);
    if (!st && c->args.json) {
        json_t *j = pare_pipeline_json(p);
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        pare_sb b = {0};
        pare_sb_add_safe(&b, p->path, strlen(p->path));
        printf("%s: fine: %zu model%s, %zu step%s\n", pare_sb_str(&b), p->n_models, p->n_models == 1 ? "" : "s",
               p->n_steps, p->n_steps == 1 ? "" : "s");
        pare_sb_free(&b);
    }
    pare_pipeline_free(p);
    pare_plugins_free(plugins);
    return st;
}

static const pare_opt check_opts[] = {PARE_OPT_SET, PARE_OPT_THREADS, PARE_OPT_PLUGIN_DIR, PARE_OPT_QUIET,
                                      PARE_OPT_JSON};

const pare_command pare_cmd_check = {"check",
                                     "FILE",
                                     1,
                                     1,
                                     "says what is wrong with a pipeline, without running it",
                                     "Looks at keys, types, files, shapes, patterns, and asks each technique about the "
                                     "model it will work on. With --json\n"
                                     "a file that is fine is printed with every default filled in.",
                                     check_opts,
                                     sizeof check_opts / sizeof *check_opts,
                                     check};
