/* quantize/plugin.c - the plugin's one exported function: which techniques are here. */
#include <pare/plugin.h>

#include "dynamic.h"
#include "float16.h"
#include "static.h"
#include "weight_only.h"

static const pare_technique *const techniques[] = {&quantize_static, &quantize_dynamic, &quantize_weights,
                                                   &quantize_float16, NULL};

static const pare_plugin plugin = {
    .size = sizeof(pare_plugin),
    .abi_major = PARE_ABI_MAJOR,
    .abi_minor = PARE_ABI_MINOR,
    .id = "quantize",
    .version = "1.0.0",
    .vendor = "pare",
    .license = "Apache-2.0",
    .techniques = techniques,
};

const pare_plugin *pare_plugin_v1(void) { return &plugin; }
