/* cpu/cpu.c - the CPU backend as the host sees it: a thin object that opens the implementation when a device is opened.
 *
 * The implementation, backends/cpu_impl.so beside the folder of plugins, links oneDNN and the OpenMP runtime: mapping
 * these takes longer than a command that computes nothing should. Is not: any computing. May use: sdk, dlopen.
 */
#define _GNU_SOURCE /* dladdr: where this object lies */
#include "impl.h"

#include <pare/plugin.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cpu_impl *impl; /* set once, under the lock, before any other function of the backend can be called */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* FOLDER/plugins/cpu.so -> FOLDER/backends/cpu_impl.so, malloc'ed; NULL: this object's path can't be had. */
static char *impl_path(void) {
    static const char tail[] = "/../backends/cpu_impl.so";
    Dl_info info;
    if (!dladdr((const void *)&impl, &info) || !info.dli_fname) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    const char *dir = slash ? info.dli_fname : ".";
    size_t n = slash ? (size_t)(slash - info.dli_fname) : 1;
    char *path = malloc(n + sizeof tail);
    if (!path) return NULL;
    memcpy(path, dir, n);
    memcpy(path + n, tail, sizeof tail);
    return path;
}

static uint32_t cpu_count(const pare_host *host) {
    char *path = impl_path();
    bool there = path && access(path, R_OK) == 0;
    if (!there) {
        char text[1024];
        snprintf(text, sizeof text, "the cpu backend's implementation is missing: %s", path ? path : "cpu_impl.so");
        PARE_REPORT(host, PARE_INFO, .code = "cpu.no-implementation", .message = text,
                    .hint = "it is installed as lib/pare/backends/cpu_impl.so, beside the folder of plugins");
    }
    free(path);
    return there;
}

static pare_status load(const pare_host *host) {
    char *path = impl_path(), text[1024];
    if (!path) return PARE_ENOMEM;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const cpu_impl *(*entry)(void) = NULL;
    if (object) {
        void *symbol = dlsym(object, CPU_IMPL_ENTRY);
        memcpy(&entry, &symbol, sizeof entry); /* POSIX: a function's address fits */
    }
    const cpu_impl *found = entry ? entry() : NULL;
    bool fits = found && found->size == sizeof *found && strcmp(found->build, CPU_IMPL_BUILD) == 0;
    if (fits) {
        impl = found;
    } else {
        const char *why = object ? "it belongs to another build of pare" : dlerror();
        snprintf(text, sizeof text, "the cpu backend's implementation %s can't be used: %s", path,
                 why ? why : "no reason given");
        PARE_REPORT(host, PARE_ERROR, .code = "cpu.implementation", .message = text,
                    .hint = "it needs oneDNN (Debian: libdnnl2) and libgomp");
    }
    free(path);
    return fits ? PARE_OK : PARE_EUNSUPPORTED;
}

static pare_status cpu_open(const pare_host *host, const pare_device_opts *opts, void **device) {
    pthread_mutex_lock(&lock);
    pare_status st = impl ? PARE_OK : load(host);
    pthread_mutex_unlock(&lock);
    return st ? st : impl->open(host, opts, device);
}

static void cpu_close(void *device) { impl->close(device); }
static const char *cpu_describe(void *device) { return impl->describe(device); }
static pare_status cpu_alloc(void *device, uint64_t bytes, void **memory) { return impl->alloc(device, bytes, memory); }
static void cpu_free(void *device, void *memory) { impl->free(device, memory); }
static pare_status cpu_copy(void *device, void *dst, const void *src, uint64_t bytes, uint32_t kind) {
    return impl->copy(device, dst, src, bytes, kind);
}
static pare_status cpu_fill(void *device, void *dst, int value, uint64_t bytes) {
    return impl->fill(device, dst, value, bytes);
}
static pare_status cpu_sync(void *device) { return impl->sync(device); }
static pare_status cpu_kernel(void *device, const pare_kernel_spec *spec, uint32_t candidate, void **kernel) {
    return impl->kernel(device, spec, candidate, kernel);
}
static pare_status cpu_kernel_info(void *kernel, pare_kernel_info *out) { return impl->kernel_info(kernel, out); }
static void cpu_kernel_free(void *kernel) { impl->kernel_free(kernel); }
static pare_status cpu_pack(void *kernel, uint32_t i, const void *src, void *dst) {
    return impl->pack(kernel, i, src, dst);
}
static pare_status cpu_run(void *kernel, const void *const *in, void *const *out, void *scratch) {
    return impl->run(kernel, in, out, scratch);
}

static const char *cpu_layout_name(void *device, uint64_t id) { return impl->layout_name(device, id); }

static const pare_backend cpu = {
    .size = sizeof(pare_backend),
    .host_memory = 1,
    .id = "cpu",
    .version = "0.1.0",
    .summary = "oneDNN for what is heavy, plain C for the rest",
    .count = cpu_count,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .sync = cpu_sync,
    .kernel = cpu_kernel,
    .kernel_info = cpu_kernel_info,
    .kernel_free = cpu_kernel_free,
    .pack = cpu_pack,
    .run = cpu_run,
    .layout_name = cpu_layout_name,
};
static const pare_backend *const backends[] = {&cpu, NULL};

static const pare_plugin plugin = {
    .size = sizeof(pare_plugin),
    .abi_major = PARE_ABI_MAJOR,
    .abi_minor = PARE_ABI_MINOR,
    .id = "cpu",
    .version = "0.1.0",
    .vendor = "pare",
    .license = "Apache-2.0",
    .backends = backends,
};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
