/* quantize/static.h - the technique quantize.static. May use: the SDK. */
#ifndef QUANTIZE_STATIC_H
#define QUANTIZE_STATIC_H

#include <pare/technique.h>

extern const pare_technique quantize_static;

#endif
