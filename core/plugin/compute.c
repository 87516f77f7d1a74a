/* plugin/compute.c - see compute.h. */
#include "plugin/compute.h"

#include "plugin/host.h"

#include <stdlib.h>
#include <string.h>

static const char CPU[] = "cpu";

static pare_status no_such(pare_plugins *plugins, const char *device, pare_diags *d) {
    pare_sb b = {0};
    pare_sb_add(&b, "there are: auto");
    for (size_t i = 0; i < pare_plugins_count(plugins); i++) {
        const pare_loaded *p = pare_plugins_at(plugins, i);
        for (size_t k = 0; k < p->n_backends; k++) pare_sb_printf(&b, ", %s", p->backends[k]->id);
    }
    pare_status st = pare_fail(d, PARE_EINVAL, "device.unknown", pare_sb_str(&b), "there is no device '%s'", device);
    pare_sb_free(&b);
    return st;
}

static pare_host *host_for(pare_plugins *plugins, const char *backend, pare_diags *d) {
    const pare_loaded *from = NULL;
    pare_plugins_backend(plugins, backend, &from);
    pare_host_env env = {.diags = d, .plugin = from ? from->id : NULL};
    return pare_host_new(&env);
}

pare_status pare_compute_open(pare_plugins *plugins, const char *device, pare_diags *d, pare_compute *out) {
    *out = (pare_compute){0};
    const char *want = device && strcmp(device, "auto") != 0 ? device : CPU, *colon = strchr(want, ':');
    char *id = pare_xstrndup(want, colon ? (size_t)(colon - want) : strlen(want));
    char *end = NULL;
    unsigned long index = colon ? strtoul(colon + 1, &end, 10) : 0;
    const pare_backend *cpu = pare_plugins_backend(plugins, CPU, NULL), *b = pare_plugins_backend(plugins, id, NULL);
    pare_status st = PARE_OK;
    if (!cpu)
        st = pare_fail(d, PARE_EINVAL, "device.no-cpu", "`pare plugins --why` says where pare looked",
                       "the plugin with the CPU backend was not found");
    else if (!b || (colon && (!colon[1] || *end || index > 1023)))
        st = no_such(plugins, want, d);
    if (!st) {
        out->cpu_host = host_for(plugins, CPU, d);
        out->main_host = b == cpu ? out->cpu_host : host_for(plugins, id, d);
        out->host = (pare_engine_backend){cpu, out->cpu_host};
        out->main = (pare_engine_backend){b, out->main_host};
        out->index = (uint32_t)index;
        out->device = device && strcmp(device, "auto") != 0 ? device : b->id;
        uint32_t n = b->count(out->main_host);
        if (index >= n)
            st = pare_fail(d, PARE_EINVAL, "device.absent", "use --device cpu", "device %s can't be used: %s has %u",
                           want, id, n);
    }
    free(id);
    if (st) pare_compute_close(out);
    return st;
}

void pare_compute_close(pare_compute *c) {
    if (c->main_host != c->cpu_host) pare_host_free(c->main_host);
    pare_host_free(c->cpu_host);
    *c = (pare_compute){0};
}

pare_session_opts pare_compute_session(const pare_compute *c) {
    return (pare_session_opts){.backend = c->main, .host_backend = c->host, .device = c->index};
}
