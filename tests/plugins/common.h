/* tests/plugins/common.h - what the test plugins share: the plugin struct around a list of techniques, and WANT. */
#ifndef PARE_TESTS_PLUGINS_COMMON_H
#define PARE_TESTS_PLUGINS_COMMON_H

#include <pare/plugin.h>

#include <string.h>

/* The one exported function, for a plugin of this id with these techniques. */
#define TEST_PLUGIN(plugin_id, ...)                                                                                    \
    static const pare_technique *const techniques[] = {__VA_ARGS__, NULL};                                             \
    static const pare_plugin plugin = {.size = sizeof(pare_plugin),                                                    \
                                       .abi_major = PARE_ABI_MAJOR,                                                    \
                                       .abi_minor = PARE_ABI_MINOR,                                                    \
                                       .id = (plugin_id),                                                              \
                                       .version = "1.0.0",                                                             \
                                       .vendor = "pare tests",                                                         \
                                       .license = "Apache-2.0",                                                        \
                                       .techniques = techniques};                                                      \
    const pare_plugin *pare_plugin_v1(void) { return &plugin; }

/* A technique without parameters. */
#define TEST_TECHNIQUE(technique_id, create_fn, apply_fn)                                                              \
    {                                                                                                                  \
        .size = sizeof(pare_technique), .id = (technique_id), .version = "1.0.0", .summary = "A test.",                \
        .create = (create_fn), .apply = (apply_fn)                                                                     \
    }

/* In a function that has `host` and returns a status. */
#define WANT(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            PARE_REPORT(host, PARE_ERROR, .code = "test.want", .message = #condition);                                 \
            return PARE_EINTERNAL;                                                                                     \
        }                                                                                                              \
    } while (0)

static inline pare_status create_nothing(const pare_host *host, const pare_arg *args, void **self) {
    (void)host;
    (void)args;
    (void)self;
    return PARE_OK;
}

static inline pare_status apply_nothing(void *self, const pare_host *host, pare_model *model) {
    (void)self;
    (void)host;
    (void)model;
    return PARE_OK;
}

#endif
