/* quantize/report.h - what quantize.static says: per layer, for the whole, and about the machine. May use: work.h. */
#ifndef QUANTIZE_REPORT_H
#define QUANTIZE_REPORT_H

#include "work.h"

/* Says what was asked for and stays in float, and why. */
void report_float(const quantize_work *w, uint32_t severity);
/* Warns where this machine's device gains nothing from int8. */
pare_status report_machine(const quantize_work *w);
/* All of the step's notes. */
void report_all(const quantize_work *w);

#endif
