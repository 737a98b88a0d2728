/* SPDX-License-Identifier: MIT */
/*
 * process.pml - how a stub asks, is answered, kicked, edited and recycled, on the process
 * machine.
 *
 * Modelled: one stub behind a filter that only asks, and the host thread that serves it; the
 * kernel's notifications; one page of memory, mapped by an edit or at a fault, taken away by
 * the compartment's own call, by another thread or at a recycle; runs one after the other;
 * kicks; and, at any moment, SIGSTOP and SIGCONT, a signal that nobody ordered, SIGKILL. The
 * compartment is hostile: from ring 3 it jumps to every call in the stub's text, with any
 * reason and argument, and to the text that begins runs.
 *
 * The kernel: a signal takes away a call that the host has not received. With SA_RESTART, and
 * after a stop, the call is made again, as a new notification. One that was received is taken
 * away likewise, and SEND says so (ENOENT); or (-DKILLABLE,
 * SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) it stays until answered. RECV counts notifications
 * that were made, so it fails with ENOENT also for one that was taken away. CONTINUE has the
 * kernel execute the call at some later time, or fail, or never.
 *
 * Abstracted: of registers, whether those in the record are the newest; signal frames are
 * believed (they fool only their compartment); faults within the resume text; limits of time
 * can pass at any time.
 *
 * M_... are mutations: README.md has the rule that each leaves out, and what then fails.
 */
#ifdef KILLABLE
#define DISTURBANCES 2 /* from outside: stops and signals */
#else
#define DISTURBANCES 1
#endif

mtype = { NOTHING };
mtype = { INIT, SENT, REPLIED };			 /* a notification's state */
mtype = { REPORT, EDIT, FAULT, CALL, UNMAP, ELSEWHERE }; /* which call, at which instruction */
/* REPORT's reason; IN_TEXT: kicked, in the resume text */
mtype = { END, KICKED, IN_TEXT, EDITED, FAILED };
mtype = { MAP, CLEAR };					 /* edits */
mtype = { ANSWER, CONTINUE, REFUSE, INTERRUPTED };
mtype = { LANE, PARKED, FREE };				 /* whose the page is */

/* The kernel's: the notification, RECV's surplus, a signal for the stub, its end, what it maps */
mtype note = NOTHING, what = NOTHING, arg = NOTHING, reply = NOTHING;
bool surplus, signal, killed, dying, dead, mapped;
byte disturbances = DISTURBANCES; /* that are left */
/* The request page: the edit to make; registers of a run that was not begun yet; not the newest */
mtype p_edit = NOTHING;
bool p_next, p_old;
/* The host's */
mtype page = LANE, kept = NOTHING;
bool editing, open_map, open_clear, wanted, kicked, impatient, revoked;
/* What is true of ring 3: it is not in the run that was begun last; its call was performed; ... */
bool elsewhere = true, performed, forged, unmapped, in_earnest;

bool page_reused, twice, not_performed, not_begun, run_lost, went_back, stale; /* must never be */

/* Mutations that are conditions */
#ifndef M_PERFORM_AGAIN
#define M_PERFORM_AGAIN false
#endif
#ifndef M_KEPT_TOO_LONG
#define M_KEPT_TOO_LONG false
#endif
#ifndef M_FAULT_NOT_COMPARED
#define M_FAULT_NOT_COMPARED false
#endif
#ifndef M_EDIT_NOT_COMPARED
#define M_EDIT_NOT_COMPARED false
#endif
#ifndef M_IP_NOT_COMPARED
#define M_IP_NOT_COMPARED false
#endif

#ifdef KILLABLE
#define waits (note == INIT)
#elif defined(M_NO_WAIT_KILLABLE)
#define waits (note != NOTHING) /* seen: SEND succeeded, and yet the call was made again */
#else
#define waits (note == INIT || note == SENT)
#endif

/* Kernel: a call of the stub's, until it is answered or a signal came first. */
inline ask(w, a)
{
	atomic { what = w; arg = a; note = INIT };
	atomic {
		do
		:: note == REPLIED -> result = reply; break
		:: waits && signal ->
			signal = false;
			surplus = surplus || note == INIT;
			result = INTERRUPTED;
			break
		:: waits && disturbances ->
			disturbances--;
			surplus = surplus || note == INIT;
			note = INIT
		od;
		note = NOTHING;
		what = NOTHING;
		arg = NOTHING;
		reply = NOTHING
	}
}

/* Kernel: an edit that was let go on is executed. */
inline execute(e)
{
	d_step {
		mapped = e == MAP;
		page_reused = mapped && page == FREE;
		assert(!page_reused);
		result = NOTHING
	}
}

/* Stub: its text, its signal handler, ring 3; and the kernel beneath */
proctype Stub()
{
	mtype why = END, result = NOTHING, at_call = NOTHING; /* ring 3 stands at this call */

	{
		skip;
report:		ask(REPORT, why);
		atomic {
			if
			:: result == INTERRUPTED -> /* the handler reports what was being reported */
				result = NOTHING;
#ifdef M_NESTED_IS_RESUME
				why = IN_TEXT;
#endif
				goto report
			:: result == ANSWER -> result = NOTHING; why = NOTHING; in_earnest = false
			:: else -> goto gone /* it faults, where no frame fits */
			fi
		};

		/* The resume text */
		if
		:: p_edit != NOTHING ->
			ask(EDIT, p_edit);
			if
			:: atomic { result == INTERRUPTED -> goto in_text }
			:: result == CONTINUE -> execute(p_edit)
			:: atomic { result == CONTINUE -> why = FAILED; result = NOTHING; goto report }
			:: atomic { result == REFUSE -> why = FAILED; result = NOTHING; goto report }
			fi;
			if
			:: atomic { p_edit == CLEAR -> why = EDITED; in_earnest = true; goto report }
			:: p_edit != CLEAR
			fi
		:: p_edit == NOTHING
		fi;
load:		atomic {
			if
			:: signal -> signal = false; goto in_text
			:: else
			fi;
			not_begun = p_next;
			assert(!not_begun);
			went_back = p_old && !elsewhere && !forged;
			assert(!went_back);
			if
			:: elsewhere -> at_call = NOTHING; performed = false; unmapped = false
			:: else
			fi;
			elsewhere = false;
			p_old = false;
			forged = false;
			if
			:: at_call == CALL -> at_call = NOTHING; goto call
			:: at_call == UNMAP -> at_call = NOTHING; goto unmap
			:: else
			fi
		};

		/* Ring 3. A signal that came while it was in the kernel is handled first. */
back:		atomic {
			result = NOTHING;
			if
			:: signal -> signal = false; goto handler
			:: else
			fi
		};
		do
		:: d_step {
			not_begun = elsewhere;
			assert(!not_begun);
			page_reused = mapped && page == FREE;
			assert(!page_reused);
			stale = mapped && unmapped;
			assert(!stale) }
		:: atomic { signal -> signal = false; goto handler }
		:: true -> atomic { signal -> signal = false; goto handler } /* until then it computes */
		:: goto call
		:: goto unmap
		:: atomic { !mapped -> goto fault }
		:: atomic { why = END; goto report }
		/* as an attacker */
		:: atomic { why = EDITED; goto report }
		:: atomic { why = FAILED; goto report }
		:: goto handler
		:: atomic { forged = true; goto in_text }
		:: atomic { forged = true; goto load }
		:: goto edit_map
		:: goto at_no_report
		od;

call:		ask(CALL, NOTHING);
		atomic {
			if
			:: result == INTERRUPTED -> at_call = CALL
			:: result == ANSWER ->
				not_performed = !performed;
				assert(!not_performed)
			:: else -> goto back
			fi;
			goto answered
		};
unmap:		ask(UNMAP, NOTHING);
		atomic {
			if
			:: result == INTERRUPTED -> at_call = UNMAP
			:: result == ANSWER ->
				not_performed = !performed;
				assert(!not_performed);
				unmapped = true
			:: else -> goto back
			fi
		};
answered:	atomic {
			if
			:: result == INTERRUPTED -> /* the frame stands at the call */
#ifdef M_NO_SA_RESTART
				not_performed = !performed; /* behind it: EINTR */
				assert(!not_performed);
#endif
				goto handler
			:: else -> performed = false; p_old = true; goto back
			fi
		};

		/* The handler of a fault: the call that would resolve it */
fault:		ask(FAULT, MAP);
		if
		:: atomic { result == INTERRUPTED -> goto handler }
		:: result == CONTINUE -> execute(MAP)
		:: atomic { result == REFUSE -> result = NOTHING; why = END; goto report }
		fi;
		goto back;

edit_map:	ask(EDIT, MAP);
		if
		:: atomic { result == INTERRUPTED -> forged = true; goto in_text }
		:: result == CONTINUE -> execute(MAP)
		:: result == REFUSE
		fi;
		goto back;

at_no_report:	ask(ELSEWHERE, END); /* REPORT's number, at an instruction of its own */
		if
		:: atomic { result == INTERRUPTED -> goto handler }
		:: result == REFUSE || result == ANSWER -> goto back
		fi;

handler:	atomic { why = KICKED; result = NOTHING; goto report };
in_text:	atomic { why = IN_TEXT; result = NOTHING; goto report }
	} unless { dying };
gone:	atomic {
		dying = true;
		dead = true;
		note = NOTHING;
		what = NOTHING;
		arg = NOTHING;
		mapped = false;
		signal = false
	}
}

#ifdef M_ENOENT_IS_DELIVERED
#define delivered true
#else
#define delivered (note == SENT) /* SEND succeeds */
#endif

/* The host's: pages that went can be reached no more. */
#define edits_are_made() page = (page == PARKED -> FREE : page)

/* REPORT arrived: the stub is held.  Within an atomic. */
inline held()
{
	if
#ifdef M_ANY_REPORT_IS_AN_ACK
	:: editing ->
#else
	:: editing && arg == EDITED ->
#endif
		p_edit = NOTHING;
#ifdef M_DONE_BEFORE_ANSWER
		editing = false;
#endif
		edits_are_made()
	:: editing && arg == FAILED -> goto kill
#ifndef M_ANY_REPORT_IS_AN_ACK
	:: editing && arg != EDITED && arg != FAILED /* it was interrupted, and begins again */
#endif
#ifdef M_FORGED_ACK
	:: !editing && arg == EDITED -> wanted = false; edits_are_made(); ended = true
#endif
	:: !editing && arg == END && !ended ->
		run_lost = elsewhere;
		assert(!run_lost);
		ended = true
	:: !editing && arg == KICKED && !ended -> p_old = false; p_edit = NOTHING
	:: !editing && arg == IN_TEXT && !ended /* the record stays */
	:: !editing && (arg == FAILED || arg == EDITED || ended) ->
		/* ring 3 made it up: its run is over */
		run_lost = in_earnest && !ended;
		assert(!run_lost);
		ended = true
	fi
}

/* What it is to do next: an edit; or to begin a run, or go on.  Within an atomic. */
inline decide()
{
	if
	:: (kicked || ended) && page == LANE -> page = PARKED; wanted = true /* recycled */
	:: !kicked							 /* or kept */
	:: kicked && page != LANE
	fi;
	if
	:: wanted || p_edit == CLEAR -> p_edit = CLEAR
	:: else ->
		if
		:: kicked -> goto rest
		:: !kicked && ended -> p_edit = (page == LANE -> MAP : NOTHING); p_next = true
		:: !kicked && !ended
		fi
	fi
}

/* It was told so. */
inline told()
{
#ifdef M_ORDERS_STAY_OPEN
	open_map = open_map || p_edit == MAP;
#else
	open_map = p_edit == MAP;
#endif
	open_clear = p_edit == CLEAR;
	editing = p_edit == CLEAR;
	if
	:: p_edit == CLEAR -> wanted = false
	:: p_edit != CLEAR && ended ->
		ended = false;
		kept = NOTHING;
		p_next = false;
		elsewhere = true;
		p_old = false
	:: p_edit != CLEAR && !ended
	fi
}

/* Host thread: serves the stub from its first REPORT until it was kicked or is dead. */
proctype Host()
{
	mtype w = NOTHING, r = NOTHING;
	bool ended = true;

receive: if
	:: atomic {
		note == INIT -> note = SENT; w = what; r = REFUSE;
		if
		:: w == CALL || w == UNMAP ->
#ifdef M_BEGIN_AT_A_CALL
			ended = true; w = REPORT; decide();
#endif
			r = ANSWER;
			if
			:: kept != w || M_PERFORM_AGAIN ->
				twice = performed;
				assert(!twice);
				performed = true;
				if
				:: w == UNMAP && page == LANE -> page = PARKED; wanted = true
				:: else
				fi
			:: else
			fi
#ifdef M_FREE_AT_ANSWER
			; edits_are_made()
#endif
		:: w == FAULT && (page == LANE || M_FAULT_NOT_COMPARED) -> r = CONTINUE
		:: w == EDIT && (arg == MAP && open_map || arg == CLEAR && open_clear || M_EDIT_NOT_COMPARED) ->
			r = CONTINUE
		:: w == REPORT || (w == ELSEWHERE && M_IP_NOT_COMPARED) ->
			w = REPORT; held(); decide(); r = ANSWER
		:: else
		fi }
	:: atomic { note != INIT && surplus -> surplus = false;
#ifdef M_RECV_ENOENT_IS_DEATH
		goto over
#else
		goto receive
#endif
		}
#ifndef M_NO_PIDFD
	:: atomic { dead -> goto over }
#endif
	:: atomic { kicked && impatient -> goto kill }
	fi;
#ifndef M_NO_OWN_KICK
	if
	:: atomic { w == UNMAP && wanted -> signal = true }
	:: else
	fi;
#endif
#ifdef M_LEFT_UNANSWERED
	if
	:: w == UNMAP && wanted -> kept = w; goto receive
	:: else
	fi;
#endif
	/* SEND */
	atomic {
		if
		:: w == CALL || w == UNMAP -> kept = (delivered && !M_KEPT_TOO_LONG -> NOTHING : w)
		:: w == EDIT && r == CONTINUE && delivered ->
			open_map = open_map && arg != MAP;
			open_clear = open_clear && arg != CLEAR
#ifdef M_FREE_AT_CONTINUE
			; edits_are_made()
#endif
		:: w == REPORT && delivered -> told()
		:: else
		fi;
		if
		:: note == SENT -> note = REPLIED; reply = r
		:: else
		fi;
#ifdef M_RECORD_EARLY
		p_next = p_next || w == CALL;
#endif
		w = NOTHING;
		r = NOTHING;
		goto receive
	};

kill:	killed = true;
#ifdef M_FREE_AT_SIGKILL
	page = FREE;
#endif
	dead; /* its pidfd */
over:	page = FREE;
rest:	atomic { w = NOTHING; r = NOTHING; killed = true }
}

/* A thread that ends the run. */
proctype Killer()
{
	if
	:: true
	:: true -> revoked /* or only then */
	fi;
#ifndef M_KICK_BEFORE_WORD
	kicked = true;
	signal = true
#else
	signal = true;
	kicked = true
#endif
}

/* A thread that takes the page from a running compartment. */
proctype Revoker()
{
	if
	:: atomic { page == LANE -> page = PARKED; wanted = true };
#ifndef M_REVOKED_WITHOUT_KICK
		signal = true;
#endif
		page == FREE
	:: page != LANE
	fi;
	revoked = true
}

/* Outside, and kernel: the stub dies, at any moment, or some time after the host killed it. */
proctype Death()
{
	if
	:: dying = true
	:: impatient = true; end1: killed -> dying = true
	:: true -> end2: killed -> dying = true
	fi
}

/* Outside: a signal that nobody ordered */
proctype Outside()
{
end:	do
	:: atomic { disturbances && !signal && !dead -> disturbances--; signal = true }
	od
}

init { atomic { run Stub(); run Host(); run Killer(); run Revoker(); run Death(); run Outside() } }
