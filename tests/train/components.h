/* components.h - losses and techniques of the plugins that are built, with arguments from YAML. May use: core, cmocka.
 */
#ifndef PARE_TESTS_COMPONENTS_H
#define PARE_TESTS_COMPONENTS_H

#include "base/yaml.h"
#include "plugin/param.h"
#include "plugin/plugin.h"

#include <stdlib.h>
#include <string.h>

static pare_plugins *plugins;

/* Those of a folder (NULL: none) and those beside the executable. */
static inline void plugins_open_with(const char *dir) {
    setenv("XDG_DATA_HOME", "/nonexistent", 1);
    unsetenv("PARE_PLUGIN_PATH");
    plugins = pare_plugins_load(&dir, dir != NULL, NULL);
    assert_non_null(plugins);
}

static inline void plugins_open(void) { plugins_open_with(NULL); }

static inline void plugins_close(void) {
    pare_plugins_free(plugins);
    plugins = NULL;
}

static inline const pare_loss *loss_of(const char *id) {
    const pare_loss *l = pare_plugins_loss(plugins, id, NULL);
    if (!l) fail_msg("no plugin brings the loss %s", id);
    return l;
}

static inline const pare_technique *technique_of(const char *id) {
    const pare_technique *t = pare_plugins_technique(plugins, id, NULL);
    if (!t) fail_msg("no plugin brings the technique %s", id);
    return t;
}

/* What is read from a text; freed as a whole. */
typedef struct arguments {
    pare_yaml *y;
    pare_arena arena;
    const pare_arg *args;
} arguments;

/* with: as in a pipeline's `with:`. */
static inline void arguments_read(const char *with, const pare_param *rows, uint32_t n, uint32_t stride,
                                  arguments *out) {
    *out = (arguments){0};
    assert_int_equal(pare_yaml_parse("with", with, strlen(with), NULL, &out->y), PARE_OK);
    pare_params *p = NULL;
    pare_params_ctx ctx = {.arena = &out->arena, .prefix = "with"};
    pare_status st = pare_params_parse(out->y->root, (pare_param_table){rows, n, stride}, &ctx, &p);
    if (st) fail_msg("with: {%s}", with);
    out->args = p->args;
}

static inline arguments loss_arguments(const pare_loss *l, const char *with) {
    arguments a;
    arguments_read(with, l->params, l->n_params, l->param_stride, &a);
    return a;
}

static inline arguments technique_arguments(const pare_technique *t, const char *with) {
    arguments a;
    arguments_read(with, t->params, t->n_params, t->param_stride, &a);
    return a;
}

static inline void arguments_free(arguments *a) {
    pare_yaml_free(a->y);
    pare_arena_free(&a->arena);
}

#endif
