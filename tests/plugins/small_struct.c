/* tests/plugins/small_struct.c - a test plugin: its plugin struct ends before the fields every plugin has. */
#include <pare/plugin.h>

static const pare_plugin plugin = {.size = 16, .abi_major = PARE_ABI_MAJOR};
const pare_plugin *pare_plugin_v1(void) { return &plugin; }
