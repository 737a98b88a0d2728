/* SPDX-License-Identifier: MIT */
/* blob.S - the linked image of the monitor as bytes of the library.  World: host (data). */
	.section .rodata
	.globl monitor_blob, monitor_blob_end
	.balign 4096
monitor_blob:
	.incbin "monitor.bin"
monitor_blob_end:

	.section .note.GNU-stack, "", @progbits
