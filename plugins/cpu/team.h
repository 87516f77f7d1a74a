/* cpu/team.h - the one way that our own kernels use several cores: libgomp's team, the same that oneDNN uses.
 *
 * A second pool beside oneDNN's would fight it for the cores. May use: libgomp.
 */
#ifndef PARE_CPU_TEAM_H
#define PARE_CPU_TEAM_H

#include <stdint.h>

/* The size of the calling thread's teams, oneDNN's included. */
void cpu_team_size(uint32_t threads);
/* fn(ctx, begin, end) over 0..n-1 in at most as many parts as the team has threads, none smaller than `grain` but for
 * the last; the split depends on n, grain and threads alone. */
void cpu_team_run(uint32_t threads, uint64_t n, uint64_t grain, void (*fn)(void *ctx, uint64_t begin, uint64_t end),
                  void *ctx);

#endif
