/* SPDX-License-Identifier: MIT */
/* From samples to figures.  World: host. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Linear between the two nearest; v is sorted, n > 0. */
static double quantile(const uint64_t *v, unsigned n, double q)
{
	double at = q * (n - 1);
	unsigned i = (unsigned)at;

	if (i + 1 >= n)
		return (double)v[n - 1];
	return (double)v[i] + (at - i) * ((double)v[i + 1] - (double)v[i]);
}

struct figures figures_of(uint64_t *v, unsigned n)
{
	qsort(v, n, sizeof(*v), ascending);
	return (struct figures){
		.median = quantile(v, n, 0.5),
		.p5 = quantile(v, n, 0.05),
		.p95 = quantile(v, n, 0.95),
		.n = n,
	};
}

#define RESAMPLES 2000

/* A fixed start: the same samples give the same interval. */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static int ascending_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct ratio figures_ratio(const uint64_t *a, const uint64_t *b, unsigned n)
{
	uint64_t *x = calloc(n, sizeof(*x)), *y = calloc(n, sizeof(*y)), seed = 0x9e3779b97f4a7c15;
	double *ratios = calloc(RESAMPLES, sizeof(*ratios));
	struct ratio r = { 0 };

	if (x && y && ratios && n) {
		memcpy(x, a, n * sizeof(*x));
		memcpy(y, b, n * sizeof(*y));
		r.value = figures_of(x, n).median / figures_of(y, n).median;
		for (unsigned i = 0; i < RESAMPLES; i++) {
			for (unsigned k = 0; k < n; k++) {
				unsigned pair = (unsigned)(next_random(&seed) % n);

				x[k] = a[pair];
				y[k] = b[pair];
			}
			ratios[i] = figures_of(x, n).median / figures_of(y, n).median;
		}
		qsort(ratios, RESAMPLES, sizeof(*ratios), ascending_double);
		r.low = ratios[RESAMPLES * 25 / 1000];
		r.high = ratios[RESAMPLES * 975 / 1000];
	}
	free(x);
	free(y);
	free(ratios);
	return r;
}
