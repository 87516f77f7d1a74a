/* cpu/impl.h - what the thin plugin object and the implementation object say to each other. Both are of one build. */
#ifndef PARE_CPU_IMPL_H
#define PARE_CPU_IMPL_H

#include <pare/backend.h>
#include <stdbool.h>

#define CPU_IMPL_ENTRY "pare_cpu_impl_v1"
#define CPU_IMPL_BUILD "0.1.0"

/* pare_backend's functions of the same names, less count. */
typedef struct cpu_impl {
    size_t size;
    const char *build; /* CPU_IMPL_BUILD */
    pare_status (*open)(const pare_host *, const pare_device_opts *, void **device);
    void (*close)(void *device);
    const char *(*describe)(void *device);
    pare_status (*alloc)(void *device, uint64_t bytes, void **memory);
    void (*free)(void *device, void *memory);
    pare_status (*copy)(void *device, void *dst, const void *src, uint64_t bytes, uint32_t kind);
    pare_status (*fill)(void *device, void *dst, int value, uint64_t bytes);
    pare_status (*sync)(void *device);
    pare_status (*kernel)(void *device, const pare_kernel_spec *, uint32_t candidate, void **kernel);
    pare_status (*kernel_info)(void *kernel, pare_kernel_info *out);
    void (*kernel_free)(void *kernel);
    pare_status (*pack)(void *kernel, uint32_t i, const void *src, void *dst);
    pare_status (*run)(void *kernel, const void *const *in, void *const *out, void *scratch);
    const char *(*layout_name)(void *device, uint64_t id);
} cpu_impl;

PARE_EXPORT const cpu_impl *pare_cpu_impl_v1(void);

#endif
