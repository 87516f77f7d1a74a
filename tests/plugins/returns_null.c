/* tests/plugins/returns_null.c - a test plugin: its entry returns NULL. */
#include <pare/plugin.h>

const pare_plugin *pare_plugin_v1(void) { return NULL; }
