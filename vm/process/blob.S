/* SPDX-License-Identifier: MIT */
/* blob.S - the linked image of stubs and zygote as bytes of the library.  World: host (data). */
	.section .rodata
	.globl stub_blob, stub_blob_end
	.balign 4096
stub_blob:
	.incbin "stub.bin"
stub_blob_end:

	.section .note.GNU-stack, "", @progbits
