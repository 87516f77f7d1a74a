/* cpu.c - opens the cpu plugin for tests, as a host does. See far.h. */
#include "far.h"

#include <pare/plugin.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const pare_backend *backend;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void open_it(void) {
    const char *path = getenv("PARE_TEST_CPU");
    if (!path || !*path) path = PARE_CPU_PLUGIN;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol = object ? dlsym(object, "pare_plugin_v1") : NULL;
    const pare_plugin *(*entry)(void) = NULL;
    memcpy(&entry, &symbol, sizeof entry);
    if (!entry) {
        fprintf(stderr, "the cpu plugin can't be opened: %s\n", dlerror());
        exit(1);
    }
    backend = entry()->backends[0];
}

const pare_backend *far_cpu_backend(void) {
    pthread_once(&once, open_it);
    return backend;
}
