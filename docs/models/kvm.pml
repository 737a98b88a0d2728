/* SPDX-License-Identifier: MIT */
/*
 * kvm.pml - how page-table entries change and vCPUs are kicked, on the KVM machine.
 *
 * Modelled: one space; one entry of its tables, which maps one of two pages or none; the edits
 * of it, staged, handed over, taken back, made by a vCPU on its way in or by the service vCPU;
 * the generation; shootdown; what a processor remembers of the entry; kicks, at every point of
 * an entry. Two vCPUs run the space, or (-DRING0) one, whose ring 0 decides faults without a
 * lock.
 *
 * Abstracted: generations are only "the newest" or not; what ring 0 decides is only the moment
 * at which it does; other spaces (their CR3 loads flush), page tables that die, vCPUs that are
 * lost, vm->lock. A thread that waits for a vCPU interrupts it once; vm/ does now and then,
 * which can only help.
 *
 * M_... are mutations: README.md has the rule that each leaves out, and what then fails.
 */
#if defined(RING0) || defined(ONE)
#define VCPUS 1
#define EACH(what) what(0)
#define step_by_step
#define CHANGES 3 /* of the tables */
#else
#define VCPUS 2
#define EACH(what) what(0); what(1)
#define step_by_step atomic
#define CHANGES 2
#endif
#define NOBODY 255

mtype = { SPACE, PARKED, FREE };			 /* whose a page is */
mtype = { APPLY, EDITS, FLUSH, RESTORE, RING3, DECIDE }; /* where a vCPU is in the guest */

typedef vcpu {
	bool thread, kicked, newest;	/* c->thread, kicked; its generation is the space's */
	bool root, space;		/* c->cr3, cr3_space: they are this space's */
	bool v_cr3, v_flush, v_kick;	/* c->mon->cr3, flush, kick */
	byte v_value[2], v_nedits;	/* c->mon->edits, nedits */
	bool immediate, signal;		/* c->run->immediate_exit; a signal that is pending */
	byte remembers;			/* the processor's copy of the entry */
};
vcpu c[VCPUS];

bool locked;				   /* s->lock */
mtype page[3] = SPACE;			   /* pages 1 and 2; 0 is none */
byte entry = 1;				   /* the entry in memory: the page that it maps */
byte value[2], nedits, handed, editor = NOBODY; /* s->edits, nedits, handed, editor */
byte runners, inside = NOBODY;		   /* s->runners, inside */
byte said = 1;				   /* what the entry was last said to be */
byte changes_left = CHANGES;
bool more[VCPUS];			   /* a run comes after the one that is kicked */
bool changing;				   /* somebody who changes tables relies on the lock */

bool page_reused, edit_lost, tables_raced; /* what must never be */
#define never_(what, when) d_step { what = (when); assert(!what) }

#define take_lock() atomic { !locked -> locked = true }
#define seen() (nedits -> value[nedits - 1] : entry) /* vm/edits.c:ops_get, which reads through */

/* vm/edits.c:edits_done.  Within a d_step. */
inline edits_done()
{
	nedits = 0;
	value[0] = 0;
	value[1] = 0;
	page[1] = (page[1] == PARKED -> FREE : page[1]);
	page[2] = (page[2] == PARKED -> FREE : page[2])
}

/* vm/vcpu.c:interrupt */
inline interrupt(i)
{
#if !defined(M_NO_IMMEDIATE_EXIT) && !defined(M_SIGNAL_FIRST)
	c[i].immediate = true;
#endif
	c[i].v_kick = true;
	if
	:: c[i].thread -> c[i].signal = true
	:: else
	fi
#ifdef M_SIGNAL_FIRST
	; c[i].immediate = true
#endif
}

#define outdated(i) c[i].newest = false

/* vm/vcpu.c:vcpu_shootdown */
inline shoot(i)
{
	if
	:: atomic { c[i].thread && !c[i].newest -> interrupt(i) }; !c[i].thread || c[i].newest
	:: else
	fi
}

/* vm/edits.c:edits_flush; vm/monitor/ring0.c:ring0_apply, on the service vCPU */
inline edits_flush()
{
	if
	:: editor != NOBODY ->
#ifndef M_NO_AWAIT_EDITS
		interrupt(editor);
		!c[editor].thread || !c[editor].v_nedits; /* vm/vcpu.c:vcpu_await_edits */
#endif
		atomic { editor = NOBODY; handed = 0 }
	:: else
	fi;
	if
	:: nedits ->
		entry = value[0];
		d_step { entry = seen(); EACH(outdated) };
#ifndef M_NO_SHOOTDOWN
		EACH(shoot)
#endif
	:: else
	fi;
	d_step { edits_done() }
}

/* vm/run.c:prepare, vm/edits.c:edits_hand_over.  Within a d_step: others need the lock. */
inline prepare(i)
{
	c[i].v_nedits = nedits;
	if
	:: nedits ->
		c[i].v_value[0] = value[0];
		c[i].v_value[1] = value[1];
		editor = i;
		handed = nedits;
#ifndef M_NO_GENERATION
		EACH(outdated)
#endif
	:: else
	fi;
	at = RING3; /* by `resume` */
	if
	:: !c[i].root -> c[i].v_cr3 = true; at = APPLY
#ifndef M_OLD_GENERATION
	:: c[i].root && !(c[i].space && c[i].newest) -> c[i].v_flush = true; at = APPLY
#endif
	:: else
	fi;
#ifdef RING0
	at = APPLY;
#endif
	at = (nedits -> APPLY : at);
	c[i].root = true;
	c[i].space = true;
	c[i].newest = true
}

/* vm/run.c:settle, vm/edits.c:edits_taken_back.  Within a d_step. */
inline settle(i)
{
	if
	:: editor != i && !nedits -> edits_done()
	:: editor != i && nedits
#ifndef M_TAKEN_BACK_AS_MADE
	:: editor == i && c[i].v_nedits ->
		c[i].v_nedits = 0;
		c[i].space = false;
		editor = NOBODY;
		handed = 0
	:: editor == i && !c[i].v_nedits ->
#else
	:: editor == i ->
#endif
		nedits = nedits - handed;
		value[0] = value[1];
		value[1] = 0;
		editor = NOBODY;
		handed = 0;
		if
		:: !nedits -> edits_done()
		:: else
		fi
	fi
}

/* Of a load of CR3 that was not made, nothing is said to have been loaded. */
#define not_loaded(i) c[i].root = c[i].root && !c[i].v_cr3; c[i].v_cr3 = false

/* vm/run.c:came_out */
inline came_out(i) { not_loaded(i); settle(i); inside = NOBODY }

/* vm/run.c:dune_vcpu_run, run_once; vm/enter.c:vcpu_enter; the guest, between `guest` and `out` */
proctype Runner(byte i)
{
	mtype at = APPLY; /* where it is in the guest */
	byte made; /* edits, of those that were handed over */
	bool held; /* signals are held up */

call:	runners++;
	take_lock();
again:	atomic {
		if
#ifndef M_TWO_RUNNERS
		:: nedits && (editor != NOBODY || runners > 1) -> edits_flush()
#else
		:: nedits && editor != NOBODY -> edits_flush()
#endif
		:: else
		fi;
#ifndef M_THREAD_LATE
		c[i].thread = true;
#endif
		d_step { prepare(i) }
	};
	atomic {
		if
		:: c[i].kicked ->
			c[i].thread = false;
			settle(i);
#ifndef M_KICKED_AS_FLUSHED
			c[i].space = false;
#endif
			not_loaded(i);
			goto kicked
		:: else
		fi;
#ifdef RING0
		inside = i;
#endif
		locked = false
	};
#ifdef M_THREAD_LATE
	c[i].thread = true;
#endif

	/* KVM_RUN. A signal from before it was handled outside, to no effect. */
enter:	atomic {
		c[i].signal = c[i].signal && held;
		if
		:: c[i].immediate -> goto interrupted
		:: else
		fi
	};
guest:	do
	:: atomic { c[i].signal && !held -> goto interrupted }
	/* vm/monitor/ring0.c:ring0_apply */
	:: d_step { at == APPLY ->
			c[i].remembers = (c[i].v_cr3 -> 0 : c[i].remembers);
			c[i].v_cr3 = false;
			at = EDITS
		}
	:: d_step { at == EDITS && made < c[i].v_nedits ->
			entry = c[i].v_value[made];
			c[i].v_value[made] = 0;
			c[i].remembers = 0;
			made++
		}
	:: d_step { at == EDITS && made == c[i].v_nedits -> c[i].v_nedits = 0; made = 0; at = FLUSH }
	:: d_step { at == FLUSH ->
			c[i].remembers = (c[i].v_flush -> 0 : c[i].remembers);
			c[i].v_flush = false;
			at = RESTORE
		}
	/* arch/x86_64/ring0/entry.S:restore */
	:: atomic { at == RESTORE && c[i].v_kick -> goto out }
	:: atomic { at == RESTORE && !c[i].v_kick -> at = RING3 }
	/* The compartment: touches its memory, traps, or does neither until it is interrupted. */
	:: d_step { at == RING3 ->
			c[i].remembers = (c[i].remembers -> c[i].remembers : entry);
			page_reused = page[c[i].remembers] == FREE;
			assert(!page_reused)
		}
	:: atomic { at == RING3 -> goto out }
	:: at == RING3 -> atomic { c[i].signal && !held -> goto interrupted }
#ifdef RING0
	/* vm/monitor/ring0.c:ring0_trap */
	:: at == RING3 -> at = DECIDE
	:: at == DECIDE -> never_(tables_raced, changing); at = RESTORE
#endif
	od;

interrupted: /* EINTR */
	atomic {
		c[i].immediate = false;
		c[i].signal = c[i].signal && held;
		if
#ifdef M_LEFT_HALF_DONE
		:: at == FLUSH
#endif
		:: at == APPLY || at == EDITS || at == FLUSH || at == DECIDE ->
#ifndef M_NO_KICK_WORD
			c[i].v_kick = true;
#endif
			held = true;
			goto enter
		:: else
		fi
	};

out:	atomic { c[i].thread = false; at = APPLY; made = 0; held = false };
	atomic {
		!locked -> locked = true;
		c[i].v_kick = false;
		c[i].immediate = false;
#ifdef RING0
		if
		:: inside == i -> came_out(i)
		:: else
		fi;
#else
		came_out(i);
#endif
		if
		:: goto again
		:: locked = false
		fi;
		runners--;
		goto call
	};

kicked:	atomic {
		c[i].kicked = false;
		locked = false;
		runners--;
		if
		:: more[i] -> more[i] = false; goto call
		:: else
		fi
	}
}

/* A thread that changes the space: vm/mapping.c:dune_vm_map, dune_vm_unmap, dune_vm_sync */
proctype Changer()
{
	byte new, old;

	do
	:: changes_left ->
		atomic { !locked -> locked = true; changes_left-- };
#if defined(RING0) && !defined(M_NO_HOLD)
		if /* vm/run.c:run_hold */
		:: inside != NOBODY -> interrupt(inside); atomic { !c[inside].thread -> came_out(inside) }
		:: else
		fi;
#endif
		atomic {
			changing = true;
			edit_lost = seen() != said;
			assert(!edit_lost);
			if
			:: new = 0
			:: page[1] == FREE -> new = 1; page[1] = SPACE
			:: page[2] == FREE -> new = 2; page[2] = SPACE
			:: goto sync
			fi;
			old = seen();
			said = new;
			/* vm/edits.c:ops_set, ops_page_free */
			if
			:: nedits > handed -> value[nedits - 1] = new
			:: nedits == handed && !nedits && !old -> entry = new
			:: else -> value[nedits] = new; nedits++
			fi;
#ifndef M_FREE_AT_ONCE
			page[old] = (old -> PARKED : SPACE);
#else
			page[old] = (old -> FREE : SPACE);
#endif
			goto changed
		};
sync:		edits_flush();
changed:	atomic { changing = false; locked = false; new = 0; old = 0 }
	:: !changes_left -> break
	od
}

/* vm/vcpu.c:dune_vcpu_kick */
inline kick(i)
{
	step_by_step {
#ifndef M_KICK_BEFORE_WORD
	c[i].kicked = true;
	interrupt(i)
#else
	interrupt(i);
	c[i].kicked = true
#endif
	}
}

/* A thread that ends runs: vCPU 0's at any time, and at the end the last of each. */
proctype Killer()
{
	kick(0);
	atomic { changes_left == 0 && !c[0].kicked };
	EACH(kick)
}

#if VCPUS == 1
/* A timer of the program's: a signal that is no kick */
proctype Timer() { c[0].signal = true }
#endif

init {
	atomic {
		page[2] = FREE;
		more[0] = true;
		run Runner(0);
#if VCPUS == 2
		run Runner(1);
#endif
		run Changer();
#if VCPUS == 1
		run Timer();
#endif
		run Killer()
	}
}
