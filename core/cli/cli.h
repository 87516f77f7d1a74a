/* cli/cli.h - what the commands share: options, help, the state of one call.
 *
 * stdout carries the result alone; progress and diagnostics go to stderr. Exit codes: 0 done, 1 the run failed, 2 the
 * input is wrong. May use: everything in core/.
 */
#ifndef PARE_CLI_CLI_H
#define PARE_CLI_CLI_H

#include "base/progress.h"
#include "pipeline/config.h"
#include "plugin/plugin.h"

/* ---- options as data: parsing and --help from one table ---- */
typedef enum { PARE_OPT_FLAG, PARE_OPT_VALUE, PARE_OPT_LIST, PARE_OPT_COUNT, PARE_OPT_MANY } pare_opt_kind;

typedef struct pare_opt {
    const char *name; /* "out", without dashes */
    pare_opt_kind kind;
    const char *meta; /* "DIR", what --help shows for the value; NULL for flags */
    const char *doc;
    size_t offset; /* of the field in pare_args: bool, const char *, pare_strings or uint64_t */
} pare_opt;

typedef PARE_VEC(const char *) pare_strings;

/* Every option of every command; a command's table says which of them it takes. */
typedef struct pare_args {
    bool json, quiet, force, why, nodes, help;
    const char *out, *device, *data;
    uint64_t threads, batch, runs, memory; /* 0: not given */
    pare_strings set, plugin_dir, in, image, shape;
    pare_strings rest; /* what is no option */
} pare_args;

#define PARE_OPT(name, kind, meta, field, doc)                                                                         \
    { name, kind, meta, doc, offsetof(pare_args, field) }
#define PARE_OPT_JSON PARE_OPT("json", PARE_OPT_FLAG, NULL, json, "print JSON on stdout, diagnostics as JSON lines")
#define PARE_OPT_QUIET PARE_OPT("quiet", PARE_OPT_FLAG, NULL, quiet, "no notes and no progress")
#define PARE_OPT_PLUGIN_DIR                                                                                            \
    PARE_OPT("plugin-dir", PARE_OPT_LIST, "DIR", plugin_dir, "look for plugins here first; may be given again")
#define PARE_OPT_THREADS PARE_OPT("threads", PARE_OPT_COUNT, "N", threads, "use N threads (default: every core)")
#define PARE_OPT_MEMORY                                                                                                \
    PARE_OPT("memory", PARE_OPT_MANY, "MIB", memory, "take no more than this for activations and packed weights")
#define PARE_OPT_SET                                                                                                   \
    PARE_OPT("set", PARE_OPT_LIST, "KEY=VALUE", set, "replace a value, e.g. steps.pruned.with.sparsity=0.8")
#define PARE_OPT_FORCE PARE_OPT("force", PARE_OPT_FLAG, NULL, force, "replace what is there")

/* ---- commands ---- */
typedef struct pare_cli {
    pare_args args;
    pare_diags *diags;
    pare_progress *progress;
} pare_cli;

typedef struct pare_command {
    const char *name;
    const char *operands; /* "FILE", "A B" */
    size_t min, max;      /* how many operands */
    const char *summary;  /* one line */
    const char *help;     /* more, for --help */
    const pare_opt *opts;
    size_t n_opts;
    pare_status (*run)(pare_cli *c);
} pare_command;

extern const pare_command pare_cmd_run, pare_cmd_check, pare_cmd_plugins, pare_cmd_schema, pare_cmd_inspect,
    pare_cmd_compare, pare_cmd_pack, pare_cmd_unpack, pare_cmd_infer, pare_cmd_bench, pare_cmd_eval;

const pare_command *const *pare_commands(size_t *n);

/* Parses argv after the command's name. Reports what is wrong. */
pare_status pare_args_parse(const pare_command *cmd, int argc, char **argv, pare_diags *d, pare_args *out);
void pare_args_free(pare_args *a);
void pare_command_help(const pare_command *cmd, FILE *out);

/* ---- shared pieces ---- */

/* Plugins by --plugin-dir and the usual folders; NULL after a report. */
pare_plugins *pare_cli_plugins(pare_cli *c);
pare_technique_set pare_cli_techniques(pare_plugins *plugins);
pare_loss_choice pare_cli_losses(pare_plugins *plugins);
/* The pipeline file of operand 0 with --set. */
pare_status pare_cli_pipeline(pare_cli *c, pare_plugins *plugins, pare_pipeline **out);

#endif
