/*
 * First instruction of a guest program, and its trap entry. Machine mode throughout.
 *
 * Entered with a0 = hart id, on every hart at once. Hart 0 becomes the program; the others wait
 * with all interrupts disabled, so that they cost nothing and touch no memory.
 */
  .section .text.start, "ax"
  .globl _start
_start:
  csrw  mie, zero
  csrci mstatus, 8                 # MIE off
  bnez  a0, park

  la    t0, trap_entry
  csrw  mtvec, t0
  la    sp, __stack_top

  # RAM holds anything at start: on a host it may have belonged to another guest.
  la    t0, __bss_start
  la    t1, __bss_end
1:
  bgeu  t0, t1, 2f
  sd    zero, 0(t0)
  addi  t0, t0, 8
  j     1b
2:
  call  main
  call  machine_exit               # a0 = what main returned

park:
  wfi
  j     park

/*
 * Saves what C may clobber, calls `trap(cause, pc, value)` and returns to the pc it answers.
 */
  .balign 4
trap_entry:
  addi  sp, sp, -128
  sd    ra, 0(sp)
  sd    t0, 8(sp)
  sd    t1, 16(sp)
  sd    t2, 24(sp)
  sd    t3, 32(sp)
  sd    t4, 40(sp)
  sd    t5, 48(sp)
  sd    t6, 56(sp)
  sd    a0, 64(sp)
  sd    a1, 72(sp)
  sd    a2, 80(sp)
  sd    a3, 88(sp)
  sd    a4, 96(sp)
  sd    a5, 104(sp)
  sd    a6, 112(sp)
  sd    a7, 120(sp)
  csrr  a0, mcause
  csrr  a1, mepc
  csrr  a2, mtval
  call  trap
  csrw  mepc, a0
  ld    ra, 0(sp)
  ld    t0, 8(sp)
  ld    t1, 16(sp)
  ld    t2, 24(sp)
  ld    t3, 32(sp)
  ld    t4, 40(sp)
  ld    t5, 48(sp)
  ld    t6, 56(sp)
  ld    a0, 64(sp)
  ld    a1, 72(sp)
  ld    a2, 80(sp)
  ld    a3, 88(sp)
  ld    a4, 96(sp)
  ld    a5, 104(sp)
  ld    a6, 112(sp)
  ld    a7, 120(sp)
  addi  sp, sp, 128
  mret

/*
 * int memory_readable(const void *address): whether a load there succeeds. `trap` turns an access
 * fault at probe_load into a return through probe_failed. A load, so that asking dirties no page.
 */
  .text
  .globl memory_readable, probe_load, probe_failed
memory_readable:
probe_load:
  lbu   a1, 0(a0)
  li    a0, 1
  ret
probe_failed:
  li    a0, 0
  ret

/*
 * The exit convention RISC-V simulators share: a doubleword (code << 1) | 1 stored here ends the
 * program. The symbol survives stripping; that is how the loader finds it.
 */
  .section .tohost, "aw", @progbits
  .balign 64
  .globl tohost
tohost:
  .dword 0
  .size tohost, 8
