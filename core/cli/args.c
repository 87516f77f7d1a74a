/* cli/args.c - options from tables: parsing, "did you mean", --help. See cli.h. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const pare_opt *opt_find(const pare_command *cmd, const char *name, size_t len) {
    for (size_t i = 0; i < cmd->n_opts; i++)
        if (strlen(cmd->opts[i].name) == len && strncmp(cmd->opts[i].name, name, len) == 0) return &cmd->opts[i];
    return NULL;
}

static pare_status unknown_opt(const pare_command *cmd, const char *dashes, const char *arg, size_t len,
                               pare_diags *d) {
    const char *names[32];
    size_t n = 0;
    for (; n < cmd->n_opts && n < 31; n++) names[n] = cmd->opts[n].name;
    names[n++] = "help";
    char *word = pare_xstrndup(arg, len);
    const char *near = pare_nearest(word, names, n);
    pare_sb hint = {0};
    if (near) pare_sb_printf(&hint, "did you mean --%s? ", near);
    pare_sb_printf(&hint, "`pare %s --help` lists them", cmd->name);
    pare_status st = pare_fail(d, PARE_EINVAL, "cli.option", pare_sb_str(&hint), "pare %s has no option %s%s",
                               cmd->name, dashes, word);
    pare_sb_free(&hint);
    free(word);
    return st;
}

static pare_status store(const pare_opt *o, const char *value, pare_args *out, pare_diags *d) {
    char *field = (char *)out + o->offset;
    switch (o->kind) {
    case PARE_OPT_FLAG: *(bool *)(void *)field = true; break;
    case PARE_OPT_VALUE: *(const char **)(void *)field = value; break;
    case PARE_OPT_LIST: pare_vec_push((pare_strings *)(void *)field, value); break;
    case PARE_OPT_COUNT:
    case PARE_OPT_MANY: {
        unsigned long long most = o->kind == PARE_OPT_MANY ? 1 << 30 : 1024;
        char *end;
        errno = 0;
        unsigned long long v = strtoull(value, &end, 10);
        if (*value < '0' || *value > '9' || *end || errno || v < 1 || v > most)
            return pare_fail(d, PARE_EINVAL, "cli.value", NULL, "--%s: expected a number from 1 to %llu, got '%s'",
                             o->name, most, value);
        *(uint64_t *)(void *)field = v;
        break;
    }
    }
    return PARE_OK;
}

pare_status pare_args_parse(const pare_command *cmd, int argc, char **argv, pare_diags *d, pare_args *out) {
    pare_status st = PARE_OK;
    bool only_rest = false;
    for (int i = 0; i < argc && !st; i++) {
        const char *arg = argv[i];
        if (only_rest || arg[0] != '-' || !arg[1]) {
            pare_vec_push(&out->rest, arg);
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_rest = true;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            out->help = true;
            return PARE_OK;
        }
        const char *name = arg + (arg[1] == '-' ? 2 : 1), *eq = strchr(name, '=');
        size_t len = eq ? (size_t)(eq - name) : strlen(name);
        const pare_opt *o = arg[1] == '-' ? opt_find(cmd, name, len) : NULL;
        if (!o) {
            st = unknown_opt(cmd, arg[1] == '-' ? "--" : "-", name, len, d);
        } else if (o->kind == PARE_OPT_FLAG && eq) {
            st = pare_fail(d, PARE_EINVAL, "cli.value", NULL, "--%s takes no value", o->name);
        } else if (o->kind != PARE_OPT_FLAG && !eq && i + 1 >= argc) {
            st = pare_fail(d, PARE_EINVAL, "cli.value", NULL, "--%s needs a value: --%s %s", o->name, o->name, o->meta);
        } else {
            st = store(o, o->kind == PARE_OPT_FLAG ? NULL : eq ? eq + 1 : argv[++i], out, d);
        }
    }
    if (st) return st;
    if (out->rest.len < cmd->min || out->rest.len > cmd->max) {
        pare_sb hint = {0};
        pare_sb_printf(&hint, "usage: pare %s %s [options]; `pare %s --help` says more", cmd->name, cmd->operands,
                       cmd->name);
        st = pare_fail(d, PARE_EINVAL, "cli.operands", pare_sb_str(&hint),
                       out->rest.len < cmd->min ? "pare %s: %s is missing" : "pare %s takes %s and nothing more",
                       cmd->name, cmd->operands[0] ? cmd->operands : "no operand");
        pare_sb_free(&hint);
    }
    return st;
}

void pare_args_free(pare_args *a) {
    pare_vec_free(&a->set);
    pare_vec_free(&a->plugin_dir);
    pare_vec_free(&a->in);
    pare_vec_free(&a->image);
    pare_vec_free(&a->shape);
    pare_vec_free(&a->rest);
}

void pare_command_help(const pare_command *cmd, FILE *out) {
    fprintf(out, "usage: pare %s%s%s [options]\n\n%s\n", cmd->name, cmd->operands[0] ? " " : "", cmd->operands,
            cmd->summary);
    if (cmd->help) fprintf(out, "\n%s\n", cmd->help);
    fprintf(out, "\noptions:\n");
    for (size_t i = 0; i < cmd->n_opts; i++) {
        const pare_opt *o = &cmd->opts[i];
        pare_sb b = {0};
        pare_sb_printf(&b, "--%s", o->name);
        if (o->meta) pare_sb_printf(&b, " %s", o->meta);
        fprintf(out, "  %-22s %s\n", pare_sb_str(&b), o->doc);
        pare_sb_free(&b);
    }
    fprintf(out, "  %-22s %s\n", "--help", "show this");
}
