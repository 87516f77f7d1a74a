/* tests/plugins/wrong_major.c - a test plugin: made for another major of the ABI. */
#include <pare/plugin.h>

PARE_EXPORT const void *pare_plugin_v2(void);
const void *pare_plugin_v2(void) { return NULL; }
