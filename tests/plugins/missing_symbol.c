/* tests/plugins/missing_symbol.c - a test plugin: a shared object that is no plugin. */
#include <pare/status.h>

PARE_EXPORT int something_else(void);
int something_else(void) { return 1; }
