/* quantize/ranges.h - the artefact calibration.yaml: ranges written, read, edited by hand, merged.
 *
 *   format: 1
 *   graph: "<sha256>"
 *   data: {name: train, sha256: "<sha256>", samples: 300}
 *   tensors:
 *     "input": {lo: 0, hi: 1, min: 0, max: 1, samples: 300, clipped: 0, scale: 0.003921569, zero_point: 0, dtype:
 * uint8, method: mse}                    (in the file: one line)
 *
 * Of a tensor only lo and hi are needed; scale and zero_point are worked out from them anew, so that editing lo and hi
 * is enough. What else is left out reads as min = lo, max = hi, samples 0, clipped NaN. Lines of several files may be
 * put together, each name once. A `graph` of another model is refused; whoever knows that the ranges fit takes that
 * line out, and is warned. Tensors that nobody asks for are passed over. May use: calibrate.h, libyaml.
 */
#ifndef QUANTIZE_RANGES_H
#define QUANTIZE_RANGES_H

#include "calibrate.h"

#define RANGES_FILE "calibration.yaml"

/* The file's text, the same bytes for the same ranges. *out: malloc'ed, n bytes and a NUL. PARE_ENOMEM, reported. */
pare_status ranges_text(const pare_host *host, const calibration *c, char **out, uint64_t *n);

/* ranges_text into the step's folder through pare.note/1, where the host has it. */
pare_status ranges_save(const pare_host *host, const calibration *c);

/* Reads `path` for tensors[n] (borrowed by *out). graph: the fingerprint of the model at hand. Reported as PARE_EINVAL
 * at FILE:line:column, with .param "ranges": a file that is no YAML or not of this form, an unknown key (with the
 * nearest one), a name twice, lo > hi, min > max, NaN or infinity, another graph, a tensor that is missing (with the
 * nearest name). PARE_EIO: it can't be read. *out is filled in on success alone. [run] */
pare_status ranges_read(const pare_host *host, const char *path, const char *graph, const calibrate_tensor *tensors,
                        uint64_t n, calibration *out);

/* The same from memory; `path` is for messages. */
pare_status ranges_parse(const pare_host *host, const char *path, const char *text, uint64_t n_text, const char *graph,
                         const calibrate_tensor *tensors, uint64_t n, calibration *out);

#endif
