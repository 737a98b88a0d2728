/* SPDX-License-Identifier: MIT */
/*
 * Dates without libc: gmtime() takes a lock, which a forked child may find held, and reads the
 * time zone's file, which a compartment may not. World: inside the compartment.
 */
#include "date.h"

#include <stdint.h>
#include <string.h>

#define DAY 86400

static void put2(char *to, unsigned value)
{
	to[0] = (char)('0' + value / 10 % 10);
	to[1] = (char)('0' + value % 10);
}

void date_format(char text[DATE_SIZE], time_t when)
{
	static const char days[] = "ThuFriSatSunMonTueWed"; /* day 0 was a Thursday */
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const int64_t first = -62135596800, last = 253402300799;
	int64_t t = when < first ? first : when > last ? last : when;
	int64_t day = t / DAY - (t % DAY < 0);
	unsigned second = (unsigned)(t - day * DAY);
	/*
	 * Years that begin in March, so that the leap day comes last, counted in eras of 400 years
	 * from 0000-03-01, which is day -719468.
	 */
	int64_t shifted = day + 719468;
	int64_t era = shifted / 146097; /* never negative in our range */
	unsigned doe = (unsigned)(shifted - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned march_month = (5 * doy + 2) / 153;
	unsigned month = march_month < 10 ? march_month + 2 : march_month - 10; /* 0: January */
	unsigned year = (unsigned)(era * 400) + yoe + (month < 2);

	memcpy(text, "Thu, 01 Jan 1970 00:00:00 GMT", DATE_SIZE);
	memcpy(text, days + 3 * ((day % 7 + 7) % 7), 3);
	put2(text + 5, doy - (153 * march_month + 2) / 5 + 1);
	memcpy(text + 8, months + 3 * month, 3);
	put2(text + 12, year / 100);
	put2(text + 14, year);
	put2(text + 17, second / 3600);
	put2(text + 20, second / 60 % 60);
	put2(text + 23, second % 60);
}
