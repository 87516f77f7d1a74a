/* plugin/compute.h - the device a person asked for, as backends that sessions can use.
 *
 * Finds the backends among the plugins, asks them for devices, and keeps the host handle their functions take.
 * May use: plugin.h, host.h, engine/session.h.
 */
#ifndef PARE_PLUGIN_COMPUTE_H
#define PARE_PLUGIN_COMPUTE_H

#include "engine/session.h"
#include "plugin/plugin.h"

typedef struct pare_compute {
    pare_engine_backend main, host; /* host: the CPU's */
    uint32_t index;                 /* of main's device */
    const char *device;             /* "cpu", "cuda:1" */
    pare_host *main_host, *cpu_host;
} pare_compute;

/* device: "auto" (NULL is the same), "cpu", or a backend's id with :N. PARE_EINVAL, reported with what there is. Free
 * with pare_compute_close, after the sessions. plugins and d must outlive it. */
pare_status pare_compute_open(pare_plugins *plugins, const char *device, pare_diags *d, pare_compute *out);
void pare_compute_close(pare_compute *c);
/* A session's options for it, the rest zero. */
pare_session_opts pare_compute_session(const pare_compute *c);

#endif
