/* quantize/dynamic.h - the technique quantize.dynamic. */
#ifndef QUANTIZE_DYNAMIC_H
#define QUANTIZE_DYNAMIC_H

#include <pare/technique.h>

extern const pare_technique quantize_dynamic;

#endif
