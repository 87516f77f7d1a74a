/* pare/pass.h - interface "pare.pass/1": the host's graph passes by name. [run]. May include: host.h. */
#ifndef PARE_PASS_H
#define PARE_PASS_H

#include <pare/host.h>

#define PARE_PASS_V1 "pare.pass/1"

typedef struct pare_pass_api {
    uint32_t size, reserved;
    const char *(*name)(const pare_host *, uint32_t i); /* i-th pass, NULL past the last. [static] */
    /* Runs a pass on the step's view; *changed counts its edits. PARE_ENOTFOUND, reported: no such pass. */
    pare_status (*run)(const pare_host *, pare_model *, const char *pass, uint64_t *changed);
} pare_pass_api;

#endif
