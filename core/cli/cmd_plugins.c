/* cli/cmd_plugins.c - pare plugins and pare schema: what there is to use. */
#include "cli/cli.h"
#include "pipeline/schema.h"

#include <string.h>

static json_t *params_json(pare_param_table table) {
    json_t *params = json_array();
    for (uint32_t i = 0; i < table.n; i++) json_array_append_new(params, pare_param_describe(pare_param_at(table, i)));
    return params;
}

static json_t *technique_json(const pare_technique *t) {
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "id", t->id, "kind", "technique", "version",
                     pare_json_str(t->version), "summary", pare_json_str(t->summary), "params",
                     params_json(pare_technique_params(t)));
}

static pare_param_table loss_params(const pare_loss *l) {
    return (pare_param_table){l->params, l->n_params, l->param_stride};
}

static json_t *loss_json(const pare_loss *l) {
    return json_pack("{s:s, s:s, s:o, s:o, s:b, s:b, s:o}", "id", l->id, "kind", "loss", "version",
                     pare_json_str(l->version), "summary", pare_json_str(l->summary), "labels",
                     (l->flags & PARE_LOSS_LABELS) != 0, "teacher", (l->flags & PARE_LOSS_TEACHER) != 0, "params",
                     params_json(loss_params(l)));
}

static json_t *backend_json(const pare_backend *b) {
    return json_pack("{s:s, s:s, s:o, s:o, s:[]}", "id", b->id, "kind", "backend", "version", pare_json_str(b->version),
                     "summary", pare_json_str(b->summary), "params");
}

static json_t *plugins_json(const pare_plugins *set) {
    json_t *j = json_object(), *list = json_array(), *rejected = json_array(), *searched = json_array();
    for (size_t i = 0; i < pare_plugins_count(set); i++) {
        const pare_loaded *p = pare_plugins_at(set, i);
        json_t *components = json_array();
        for (size_t k = 0; k < p->n_techniques; k++)
            json_array_append_new(components, technique_json(p->techniques[k]));
        for (size_t k = 0; k < p->n_backends; k++) json_array_append_new(components, backend_json(p->backends[k]));
        for (size_t k = 0; k < p->n_losses; k++) json_array_append_new(components, loss_json(p->losses[k]));
        json_array_append_new(list, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "id", pare_json_str(p->id), "version",
                                              pare_json_str(p->version), "vendor", pare_json_str(p->vendor), "license",
                                              pare_json_str(p->license), "path", pare_json_str(p->path), "components",
                                              components));
    }
    for (size_t i = 0; i < pare_plugins_rejected_count(set); i++) {
        const pare_rejected *r = pare_plugins_rejected_at(set, i);
        json_array_append_new(
            rejected, json_pack("{s:o, s:o}", "path", pare_json_str(r->path), "reason", pare_json_str(r->reason)));
    }
    for (size_t i = 0; i < pare_plugins_folder_count(set); i++) {
        const pare_plugin_folder *f = pare_plugins_folder_at(set, i);
        json_array_append_new(searched, json_pack("{s:o, s:s, s:b}", "path", pare_json_str(f->path), "origin",
                                                  pare_folder_origin_text(f->origin), "exists", f->exists));
    }
    json_object_set_new(j, "plugins", list);
    json_object_set_new(j, "rejected", rejected);
    json_object_set_new(j, "searched", searched);
    return j;
}

static void print_line(const char *s) {
    pare_sb b = {0};
    pare_sb_add_safe(&b, s, strlen(s));
    fputs(pare_sb_str(&b), stdout);
    pare_sb_free(&b);
}

static void print_params(pare_param_table table) {
    pare_sb b = {0};
    pare_params_help(table, 4, &b);
    fputs(pare_sb_str(&b), stdout);
    pare_sb_free(&b);
}

static void print_plugin(const pare_loaded *p) {
    print_line(p->id);
    fputs(" ", stdout);
    print_line(p->version);
    fputs("  ", stdout);
    print_line(p->path);
    fputs("\n", stdout);
    for (size_t k = 0; k < p->n_techniques; k++) {
        const pare_technique *t = p->techniques[k];
        printf("\n  %s: %s\n", t->id, t->summary ? t->summary : "");
        print_params(pare_technique_params(t));
    }
    for (size_t k = 0; k < p->n_backends; k++) {
        const pare_backend *b = p->backends[k];
        printf("\n  device %s: %s\n", b->id, b->summary ? b->summary : "");
    }
    for (size_t k = 0; k < p->n_losses; k++) {
        const pare_loss *l = p->losses[k];
        printf("\n  loss %s: %s\n", l->id, l->summary ? l->summary : "");
        print_params(loss_params(l));
    }
    fputs("\n", stdout);
}

static void print_why(const pare_plugins *set) {
    printf("searched, in this order:\n");
    for (size_t i = 0; i < pare_plugins_folder_count(set); i++) {
        const pare_plugin_folder *f = pare_plugins_folder_at(set, i);
        printf("  ");
        print_line(f->path);
        printf("  (%s%s)\n", pare_folder_origin_text(f->origin),
               f->repeated ? "; the same folder again"
               : f->exists ? ""
                           : "; not there");
    }
    printf("taken:\n");
    for (size_t i = 0; i < pare_plugins_count(set); i++) {
        const pare_loaded *p = pare_plugins_at(set, i);
        printf("  ");
        print_line(p->path);
        printf("  as ");
        print_line(p->id);
        printf(" ");
        print_line(p->version);
        printf("\n");
    }
    printf("not taken:%s\n", pare_plugins_rejected_count(set) ? "" : " none");
    for (size_t i = 0; i < pare_plugins_rejected_count(set); i++) {
        const pare_rejected *r = pare_plugins_rejected_at(set, i);
        printf("  ");
        print_line(r->path);
        printf("\n    ");
        print_line(r->reason);
        printf("\n");
    }
}

static pare_status plugins(pare_cli *c) {
    pare_plugins *set = pare_cli_plugins(c);
    if (!set) return PARE_EINVAL;
    if (c->args.json) {
        json_t *j = plugins_json(set);
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (c->args.why) {
        print_why(set);
    } else {
        for (size_t i = 0; i < pare_plugins_count(set); i++) print_plugin(pare_plugins_at(set, i));
        size_t bad = pare_plugins_rejected_count(set);
        if (!pare_plugins_count(set)) printf("no plugins were found; `pare plugins --why` says where pare looked\n");
        if (bad) printf("%zu not taken; `pare plugins --why` says why\n", bad);
    }
    pare_plugins_free(set);
    return PARE_OK;
}

static const pare_opt plugins_opts[] = {
    PARE_OPT("why", PARE_OPT_FLAG, NULL, why, "every candidate, and why it was taken or not"),
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_plugins = {"plugins",
                                       "",
                                       0,
                                       0,
                                       "lists plugins, their techniques, losses and parameters",
                                       "Folders are searched in this order: --plugin-dir, PARE_PLUGIN_PATH, "
                                       "${XDG_DATA_HOME:-~/.local/share}/pare/plugins,\n"
                                       "and the folder beside the executable. The first plugin of a name wins.",
                                       plugins_opts,
                                       sizeof plugins_opts / sizeof *plugins_opts,
                                       plugins};

static pare_status schema(pare_cli *c) {
    pare_plugins *set = pare_cli_plugins(c);
    if (!set) return PARE_EINVAL;
    pare_technique_set techniques = pare_cli_techniques(set);
    pare_loss_choice losses = pare_cli_losses(set);
    json_t *j = pare_pipeline_schema(&techniques, &losses);
    pare_json_print(j, stdout);
    json_decref(j);
    pare_plugins_free(set);
    return PARE_OK;
}

static const pare_opt schema_opts[] = {PARE_OPT_PLUGIN_DIR};

const pare_command pare_cmd_schema = {
    "schema",
    "",
    0,
    0,
    "prints the JSON Schema of pipeline files, for editors",
    "Holds the parameters of every plugin found. In an editor with a YAML language server, put\n"
    "`# yaml-language-server: $schema=pare.schema.json` at the top of a pipeline. A schema can't know your model:\n"
    "`pare check` does.",
    schema_opts,
    sizeof schema_opts / sizeof *schema_opts,
    schema};
