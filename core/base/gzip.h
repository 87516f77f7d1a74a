/* base/gzip.h - gzip at zlib level 6, deterministic, on several threads.
 *
 * The stream is cut in blocks of a fixed size that are deflated independently (each primed with the 32 KiB before it)
 * and joined to one ordinary gzip member: the bytes do not depend on the number of threads. Header: mtime 0, no name,
 * OS 255 (unknown). May use: os.
 */
#ifndef PARE_BASE_GZIP_H
#define PARE_BASE_GZIP_H

#include "base/os.h"

/* Compresses what is written to its sink and passes it on to `to` (to.write NULL: bytes are only counted). */
typedef struct pare_gzip pare_gzip;
pare_gzip *pare_gzip_new(pare_sink to, pare_diags *d);
pare_sink pare_gzip_sink(pare_gzip *z);
/* Flushes, writes the trailer, frees z. *bytes (may be NULL): the size of the gzip file. */
pare_status pare_gzip_end(pare_gzip *z, uint64_t *bytes);
void pare_gzip_abort(pare_gzip *z); /* frees z; NULL is fine */

#endif
