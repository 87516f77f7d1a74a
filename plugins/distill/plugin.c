/* distill/plugin.c - the plugin's one exported function: which losses and techniques are here. */
#include <pare/plugin.h>

#include "common.h"

static const pare_technique *const techniques[] = {&distill_hinton_technique, NULL};
static const pare_loss *const losses[] = {&distill_hinton, &distill_dkd, &distill_dist, NULL};

static const pare_plugin plugin = {
    .size = sizeof(pare_plugin),
    .abi_major = PARE_ABI_MAJOR,
    .abi_minor = PARE_ABI_MINOR,
    .id = "distill",
    .version = "1.0.0",
    .vendor = "pare",
    .license = "Apache-2.0",
    .techniques = techniques,
    .losses = losses,
};

const pare_plugin *pare_plugin_v1(void) { return &plugin; }
