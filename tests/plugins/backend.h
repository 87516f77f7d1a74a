/* tests/plugins/backend.h - a backend that is declared in full and does nothing, for test plugins. */
#ifndef PARE_TESTS_PLUGINS_BACKEND_H
#define PARE_TESTS_PLUGINS_BACKEND_H

#include "common.h"

static uint32_t no_devices(const pare_host *host) {
    (void)host;
    return 0;
}
static pare_status no_open(const pare_host *host, const pare_device_opts *opts, void **device) {
    (void)host;
    (void)opts;
    (void)device;
    return PARE_EUNSUPPORTED;
}
static void no_close(void *device) { (void)device; }
static const char *no_words(void *device) {
    (void)device;
    return "";
}
static pare_status no_alloc(void *device, uint64_t bytes, void **memory) {
    (void)device;
    (void)bytes;
    (void)memory;
    return PARE_ENOMEM;
}
static void no_free(void *device, void *memory) {
    (void)device;
    (void)memory;
}
static pare_status no_copy(void *device, void *dst, const void *src, uint64_t bytes, uint32_t kind) {
    (void)device;
    (void)dst;
    (void)src;
    (void)bytes;
    (void)kind;
    return PARE_EUNSUPPORTED;
}
static pare_status no_fill(void *device, void *dst, int value, uint64_t bytes) {
    (void)device;
    (void)dst;
    (void)value;
    (void)bytes;
    return PARE_EUNSUPPORTED;
}
static pare_status no_sync(void *device) {
    (void)device;
    return PARE_OK;
}
static pare_status no_kernel(void *device, const pare_kernel_spec *spec, uint32_t candidate, void **kernel) {
    (void)device;
    (void)spec;
    (void)candidate;
    (void)kernel;
    return PARE_EUNSUPPORTED;
}
static pare_status no_info(void *kernel, pare_kernel_info *out) {
    (void)kernel;
    (void)out;
    return PARE_EUNSUPPORTED;
}
static pare_status no_pack(void *kernel, uint32_t i, const void *src, void *dst) {
    (void)kernel;
    (void)i;
    (void)src;
    (void)dst;
    return PARE_EUNSUPPORTED;
}

/* All but `run`. */
#define TEST_BACKEND(backend_id, ...)                                                                                  \
    {                                                                                                                  \
        .size = sizeof(pare_backend), .id = (backend_id), .version = "1.0.0", .summary = "A test.",                    \
        .count = no_devices, .open = no_open, .close = no_close, .describe = no_words, .alloc = no_alloc,              \
        .free = no_free, .copy = no_copy, .fill = no_fill, .sync = no_sync, .kernel = no_kernel,                       \
        .kernel_info = no_info, .kernel_free = no_close, .pack = no_pack, __VA_ARGS__                                  \
    }

/* The one exported function, for a plugin that offers these backends alone. */
#define TEST_BACKEND_PLUGIN(plugin_id, ...)                                                                            \
    static const pare_backend *const backends[] = {__VA_ARGS__, NULL};                                                 \
    static const pare_plugin plugin = {.size = sizeof(pare_plugin),                                                    \
                                       .abi_major = PARE_ABI_MAJOR,                                                    \
                                       .id = (plugin_id),                                                              \
                                       .version = "1.0.0",                                                             \
                                       .backends = backends};                                                          \
    const pare_plugin *pare_plugin_v1(void) { return &plugin; }

#endif
