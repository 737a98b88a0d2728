/* SPDX-License-Identifier: MIT */
/* httpd-demo --isolation sthread. World: host. */
#include "tests/httpd/httpd.h"

int main(int argc, char **argv)
{
	return httpd_test(argc, argv, "sthread");
}
