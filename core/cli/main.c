/* cli/main.c - the `pare` executable: finds the command, sets up diagnostics and threads, maps status to exit code. */
#include "base/json.h"
#include "base/os.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static const pare_command *const commands[] = {
    &pare_cmd_run,   &pare_cmd_check, &pare_cmd_inspect, &pare_cmd_compare, &pare_cmd_infer,  &pare_cmd_eval,
    &pare_cmd_bench, &pare_cmd_pack,  &pare_cmd_unpack,  &pare_cmd_plugins, &pare_cmd_schema,
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

const pare_command *const *pare_commands(size_t *n) {
    *n = N_COMMANDS;
    return commands;
}

static void usage(FILE *out) {
    fprintf(out, "pare %s: makes neural networks smaller and faster. ONNX in, ONNX out.\n\n", PARE_VERSION);
    fprintf(out, "usage: pare COMMAND ... [options]\n\ncommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        pare_sb b = {0};
        pare_sb_printf(&b, "%s %s", commands[i]->name, commands[i]->operands);
        fprintf(out, "  %-22s %s\n", pare_sb_str(&b), commands[i]->summary);
        pare_sb_free(&b);
    }
    fprintf(out, "\n`pare COMMAND --help` says more. Exit codes: 0 done, 1 the run failed, 2 the input is wrong.\n");
}

static bool has_flag(int argc, char **argv, const char *flag) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], flag) == 0) return true;
    return false;
}

static pare_status no_command(const char *word, pare_diags *d) {
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
    const char *near = pare_nearest(word, names, N_COMMANDS);
    pare_sb hint = {0};
    if (near) pare_sb_printf(&hint, "did you mean `pare %s`? ", near);
    pare_sb_add(&hint, "`pare --help` lists the commands");
    pare_status st = pare_fail(d, PARE_EINVAL, "cli.command", pare_sb_str(&hint), "there is no command '%s'", word);
    pare_sb_free(&hint);
    return st;
}

static pare_status run_command(const pare_command *cmd, int argc, char **argv, pare_cli *c) {
    pare_status st = pare_args_parse(cmd, argc, argv, c->diags, &c->args);
    if (st) return st;
    if (c->args.help) {
        pare_command_help(cmd, stdout);
        return PARE_OK;
    }
    pare_diags_set_quiet(c->diags, c->args.quiet);
    if (c->args.threads) pare_threads_set((uint32_t)c->args.threads);
    if (c->args.threads > pare_cpu_count())
        pare_say(c->diags, PARE_WARNING, "cli.threads",
                 "--threads %llu: this process may run on %u core%s; more threads than that wait for each other",
                 (unsigned long long)c->args.threads, pare_cpu_count(), pare_cpu_count() == 1 ? "" : "s");
    c->progress = pare_progress_new(c->args.quiet  ? PARE_PROGRESS_OFF
                                    : c->args.json ? PARE_PROGRESS_JSON
                                                   : PARE_PROGRESS_AUTO,
                                    stderr);
    pare_cancel_install();
    st = cmd->run(c);
    pare_progress_free(c->progress);
    return st;
}

/* libgomp reads this once, when a backend brings it in. Its own choice, spinning for long, costs a hundredfold where
 * two threads meet on one core; a short spin costs nothing where they don't. */
static void set_openmp_waiting(void) {
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT")) pare_env_set("GOMP_SPINCOUNT", "1000");
}

int main(int argc, char **argv) {
    set_openmp_waiting();
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        usage(word ? stdout : stderr);
        return !word ? 2 : fflush(stdout) || ferror(stdout) ? 1 : 0;
    }
    if (strcmp(word, "--version") == 0) {
        printf("pare %s\n", PARE_VERSION);
        return fflush(stdout) || ferror(stdout) ? 1 : 0;
    }
    bool json = has_flag(argc - 2, argv + 2, "--json");
    pare_cli c = {.diags = pare_diags_new(json ? PARE_DIAG_JSON : PARE_DIAG_HUMAN, stderr)};
    const pare_command *cmd = NULL;
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, word) == 0) cmd = commands[i];
    pare_status st = cmd ? run_command(cmd, argc - 2, argv + 2, &c) : no_command(word, c.diags);
    if ((fflush(stdout) || ferror(stdout)) && !st) /* a full disk, a closed pipe: now, or at an earlier write */
        st = pare_fail(c.diags, PARE_EIO, "cli.stdout", NULL, "stdout can't be written");
    pare_args_free(&c.args);
    pare_diags_free(c.diags);
    return pare_exit_code(st);
}

/* ---- shared pieces ---- */

pare_plugins *pare_cli_plugins(pare_cli *c) {
    return pare_plugins_load(c->args.plugin_dir.data, c->args.plugin_dir.len, c->diags);
}

static const pare_technique *find_technique(void *ctx, const char *id) { return pare_plugins_technique(ctx, id, NULL); }

pare_technique_set pare_cli_techniques(pare_plugins *plugins) {
    pare_technique_set s = {.find = find_technique, .ctx = plugins};
    s.ids = pare_plugins_technique_ids(plugins, &s.n_ids);
    return s;
}

static const pare_loss *find_loss(void *ctx, const char *id) { return pare_plugins_loss(ctx, id, NULL); }

pare_loss_choice pare_cli_losses(pare_plugins *plugins) {
    pare_loss_choice l = {.find = find_loss, .ctx = plugins};
    l.ids = pare_plugins_loss_ids(plugins, &l.n_ids);
    return l;
}

pare_status pare_cli_pipeline(pare_cli *c, pare_plugins *plugins, pare_pipeline **out) {
    const char *path = c->args.rest.data[0];
    size_t len = strlen(path);
    if (len > 5 && strcmp(path + len - 5, ".onnx") == 0)
        return pare_fail_file(c->diags, PARE_EINVAL, path, "cli.not-a-pipeline",
                              "a pipeline names it: models: {net: {onnx: FILE}}; `pare inspect` shows what it holds",
                              "this is a model; a pipeline in YAML is expected");
    pare_pipeline_opts opts = {.techniques = pare_cli_techniques(plugins),
                               .losses = pare_cli_losses(plugins),
                               .sets = c->args.set.data,
                               .n_sets = c->args.set.len};
    return pare_pipeline_open(c->args.rest.data[0], &opts, c->diags, out);
}
