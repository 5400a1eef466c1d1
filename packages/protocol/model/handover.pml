/*
 * Who may run the guest: one migration, one guest, source, target, coordinator.
 *
 * The phases are those of the tables in src/cores, with a letter for the role; a test compares the
 * names. The tables' own product is walked elsewhere with every message in a queue; this model is
 * written apart from them, by hand, so that a mistake in a table is not a mistake here too.
 *
 * Abstractions. The control link between the agents is FIFO until it is cut, then everything in
 * flight is gone. An exchange with the coordinator is one step (question, durable record, answer), or
 * the record is written and the answer is lost. Deadlines pass at any time. A stopped process takes no
 * step and wakes again; its harts count as executing. Pages: `complete` says that the target misses
 * none, `s_pages` that the source still holds them.
 *
 *   -DPOSTCOPY    pages are missing at the target when it runs
 *   -DHEAL        cut links come back, a killed coordinator restarts; then all must come to an end
 *   -DFAULTS=n    how many faults may happen (default 1); above 1 only -DSAFE_ONLY makes sense:
 *   -DSAFE_ONLY   checks "never two" and "no page lost" alone, as two faults may leave no guest
 *
 * Mutations, each of which must be caught:
 *   -DM_ASK_AFTER_RUN      the source asks for the guest although RUN is out
 *   -DM_RUN_AFTER_ASK      the source sends RUN on a late LANDED after it asked
 *   -DM_RUN_ON_LANDED      the target runs without waiting for RUN
 *   -DM_DROPPED_RUNS       a target that renounced runs on a late RUN
 *   -DM_DEADLINE_DECIDES   the source takes a deadline in doubt for an answer
 *   -DM_LAST_WRITER_WINS   a later DECIDE overwrites the verdict
 *   -DM_STORE_ROLLED_BACK  the coordinator's store goes back in time once
 *   -DM_FREE_ON_VERDICT    the source frees on VERDICT target, before RUNNING
 *   -DM_FREE_ON_LOST_PEER  the source frees pages because the peer is out of reach
 *   -DM_NO_RENOUNCE        the target waits for a coordinator that is away, with the source in reach
 *   -DM_NO_PROOF           nobody proves the death of an incarnation
 *   -DM_RAN_FORGOTTEN      RAN is not journalled before the harts start
 */
#ifndef FAULTS
#define FAULTS 1
#endif
#ifdef POSTCOPY
#define WHOLE 0
#else
#define WHOLE 1
#endif

/* Messages between the agents, and what the coordinator can answer. */
mtype = { ACCEPT, HANDOVER, LANDED, RUN, RUNNING, ALL_PRESENT, REFUSED, CANCEL, QUERY,
          VERDICT_SOURCE, VERDICT_TARGET, SOURCE_DIED, TARGET_DIED_RAN, SUPERSEDED, UNDECIDED };

mtype = { s_preparing, s_rounds, s_stopping, s_offered, s_cancelling, s_asking, s_released, s_serving,
          s_freed, s_kept, s_ended, s_lost };
mtype = { t_preparing, t_landing, t_landed, t_asking, t_running, t_done, t_dropped, t_lost };
mtype = { c_granted, c_verdictSource, c_verdictTarget, c_refused, c_running, c_complete, c_moved,
          c_kept, c_ended, c_lost };

mtype s = s_preparing, t = t_preparing, c = c_granted;
chan st = [10] of { mtype };
chan ts = [10] of { mtype };
bool s_up = 1, t_up = 1, c_up = 1;       /* the process lives */
bool s_stop = 0, t_stop = 0;             /* SIGSTOP */
bool l_st = 1, l_sc = 1, l_tc = 1;       /* the three links stand */
byte faults = FAULTS;
bool complete = 0, s_pages = 1;
bool ran = 0;                            /* the target's journal: outlives the process */
bool s_told = 0, t_told = 0;             /* the last report is on the coordinator's record */
bool s_query = 0;                        /* after a reconnect the source asks its peer */
bool cancelled = 0;                      /* a person cancels at most once */
bool owner_died = 0;                     /* rule 2's exception: a holder of the only copy was killed */
bool c_source_dead = 0, c_target_dead = 0;  /* proof on the coordinator's record */
bool rolled_back = 0;

#define S_STEP (s_up && !s_stop)
#define T_STEP (t_up && !t_stop)
#define S_ASKS (S_STEP && c_up && l_sc)
#define T_ASKS (T_STEP && c_up && l_tc)
#define IN_DOUBT (s == s_offered || s == s_cancelling || s == s_asking || s == s_released)
#define S_EXECUTES (s_up && (s == s_preparing || s == s_rounds || s == s_kept))
#define T_EXECUTES (t_up && (t == t_running || t == t_done))
#define C_SETTLED (c == c_moved || c == c_kept || c == c_ended || c == c_lost)

/* The rules, by name: pan prints the name of the one that was violated. Hidden: no part of a state. */
hidden byte never_two, no_page_lost, no_lost_write, never_none, all_end, room_in_channel;

inline check_never_two() { never_two = !(S_EXECUTES && T_EXECUTES); assert(never_two) }
inline check_pages() { no_page_lost = !(T_EXECUTES && !complete && s_up && !s_pages); assert(no_page_lost) }
inline send(link, m) {                                    /* must not block inside a step */
  if :: l_st -> room_in_channel = nfull(link); assert(room_in_channel); link!m :: else fi
}
inline drain(link) { do :: nempty(link) -> link?_ :: empty(link) -> break od }

/* ------------------------------------------------------------- the coordinator's record: one step */

inline c_decide_source() {
  if :: c == c_granted && !c_source_dead -> c = c_verdictSource
     :: c == c_granted && c_source_dead -> c = c_lost
#ifdef M_LAST_WRITER_WINS
     :: c == c_verdictTarget -> c = c_verdictSource
#endif
     :: else fi
}
inline c_decide_target() {
  if :: c == c_granted -> c = c_verdictTarget
#ifdef M_LAST_WRITER_WINS
     :: c == c_verdictSource -> c = c_verdictTarget
#endif
     :: else fi
}
inline c_hear_refused() {
  if :: (c == c_granted || c == c_verdictTarget) && c_source_dead -> c = c_lost
     :: (c == c_granted || c == c_verdictSource || c == c_verdictTarget) && !c_source_dead -> c = c_refused
     :: else fi
}
inline c_hear_running() { if :: c == c_granted || c == c_verdictTarget -> c = c_running :: else fi }
inline c_hear_all_present() {
  if :: (c == c_granted || c == c_verdictTarget || c == c_running) && !c_source_dead -> c = c_complete
     :: (c == c_granted || c == c_verdictTarget || c == c_running) && c_source_dead -> c = c_moved
     :: else fi
}
inline c_hear_source() {
  if :: s == s_freed && (c == c_granted || c == c_verdictTarget || c == c_running || c == c_complete) -> c = c_moved
     :: s == s_kept && (c == c_granted || c == c_verdictSource || c == c_verdictTarget || c == c_refused) -> c = c_kept
     :: s == s_ended && (c == c_granted || c == c_verdictSource || c == c_refused) -> c = c_ended
     :: s == s_lost && !C_SETTLED -> c = c_lost
     :: else fi
}
inline c_answer_source() {
  if :: c == c_granted -> answer = UNDECIDED
     :: c == c_verdictSource -> answer = VERDICT_SOURCE
     :: c == c_verdictTarget -> answer = VERDICT_TARGET
     :: c == c_refused -> answer = REFUSED
     :: c == c_running -> answer = RUNNING
     :: c == c_complete || c == c_moved -> answer = ALL_PRESENT
     :: c == c_kept || c == c_ended -> answer = SUPERSEDED
     :: c == c_lost -> answer = TARGET_DIED_RAN fi
}
inline c_answer_target() {
  if :: c == c_granted -> answer = UNDECIDED
     :: c == c_verdictSource -> answer = VERDICT_SOURCE
     :: c == c_verdictTarget || c == c_complete || c == c_moved -> answer = VERDICT_TARGET
     :: c == c_running -> if :: c_source_dead -> answer = SOURCE_DIED :: else -> answer = VERDICT_TARGET fi
     :: c == c_refused || c == c_kept || c == c_ended || c == c_lost -> answer = SUPERSEDED fi
}

/* ------------------------------------------------------------------------------------ the source */

inline s_keep() {
  s = s_kept; check_never_two();
  no_lost_write = !ran; assert(no_lost_write)             /* the image here would be a stale one */
}
inline s_free() { s = s_freed; s_pages = 0; check_pages() }

inline s_hear(m) {
  if
  :: m == ACCEPT && s == s_preparing -> s = s_rounds
  :: m == LANDED && s == s_offered ->
       if :: s = s_released; send(st, RUN)
          :: faults > 0 -> faults--; s = s_cancelling; send(st, CANCEL)             /* digest unequal */
       fi
#ifdef M_RUN_AFTER_ASK
  :: m == LANDED && s == s_asking -> s = s_released; send(st, RUN)
#endif
  :: m == RUNNING && IN_DOUBT && WHOLE -> s_free()
  :: m == RUNNING && IN_DOUBT && !WHOLE -> s = s_serving
  :: m == ALL_PRESENT && (IN_DOUBT || s == s_serving) -> s_free()
  :: m == REFUSED && (s == s_preparing || s == s_rounds || s == s_stopping || IN_DOUBT) -> s_keep()
  :: m == VERDICT_SOURCE && (s == s_asking || s == s_released) -> s_keep(); send(st, CANCEL)
#ifdef M_FREE_ON_VERDICT
  :: m == VERDICT_TARGET && s == s_asking -> s_free()
#else
  :: m == VERDICT_TARGET && s == s_asking -> s = s_released
#endif
  :: m == TARGET_DIED_RAN && (IN_DOUBT || s == s_serving) -> s = s_lost
  :: else
  fi
}

active proctype Source() {
  mtype m, answer;
  do
  :: atomic { S_STEP && s == s_rounds -> s = s_stopping }
  :: atomic { S_STEP && s == s_stopping -> s = s_offered; send(st, HANDOVER) }
  :: atomic { S_STEP && (s == s_preparing || s == s_rounds || s == s_stopping) ->   /* gives up */
       s_keep(); send(st, CANCEL) }
  :: atomic { S_STEP && (s == s_preparing || s == s_rounds || s == s_stopping) ->   /* powers off */
       s = s_ended; send(st, CANCEL) }
  :: atomic { S_STEP && s == s_offered && !cancelled -> cancelled = 1; s = s_cancelling; send(st, CANCEL) }
  :: atomic { S_STEP && (s == s_offered || s == s_cancelling) -> s = s_asking }     /* deadline, lost peer */
  :: atomic { S_STEP && nempty(ts) -> ts?m; s_hear(m) }
  :: atomic { S_STEP && s_query && l_st -> s_query = 0;
       if :: s == s_asking || s == s_released || s == s_serving -> send(st, QUERY) :: else fi }

  :: atomic { S_ASKS && s == s_asking -> c_decide_source(); c_answer_source(); s_hear(answer) }
  :: atomic { S_ASKS && s == s_asking && faults > 0 -> faults--;                    /* the answer is lost */
       c_decide_source(); if :: l_sc = 0 :: c_up = 0 fi }
  :: atomic { S_ASKS && (s == s_released || s == s_serving) && c != c_granted && c != c_verdictTarget &&
              !(s == s_serving && c == c_running) -> c_answer_source(); s_hear(answer) }
  :: atomic { S_ASKS && !s_told && (s == s_freed || s == s_kept || s == s_ended || s == s_lost) ->
       c_hear_source(); s_told = 1 }
#ifdef M_ASK_AFTER_RUN
  :: atomic { S_STEP && s == s_released -> s = s_asking }
#endif
#ifdef M_DEADLINE_DECIDES
  :: atomic { S_STEP && s == s_released -> s_keep() }
#endif
#ifdef M_FREE_ON_LOST_PEER
  :: atomic { S_STEP && s == s_serving && !l_st -> s_free() }
#endif
  :: !s_up -> break
  od
}

/* ------------------------------------------------------------------------------------ the target */

inline t_run() {
#ifndef M_RAN_FORGOTTEN
  ran = 1;
#endif
  t = t_running; check_never_two(); send(ts, RUNNING);
  if :: complete -> send(ts, ALL_PRESENT) :: else fi
}
inline t_drop() { t = t_dropped; send(ts, REFUSED) }

inline t_hear(m) {
  if
  :: t == t_dropped && m != SUPERSEDED && m != VERDICT_SOURCE -> send(ts, REFUSED)
#ifdef M_DROPPED_RUNS
     ; if :: m == RUN -> t_run() :: else fi
#endif
  :: m == HANDOVER && t == t_landing ->
       if :: complete = WHOLE; t = t_landed; send(ts, LANDED)
#ifdef M_RUN_ON_LANDED
             ; t_run()
#endif
          :: faults > 0 -> faults--; t_drop()                                       /* manifest bad */
       fi
  :: m == RUN && (t == t_landed || t == t_asking) -> t_run()
  :: m == CANCEL && (t == t_preparing || t == t_landing || t == t_landed) -> t_drop()
  :: (m == QUERY || m == CANCEL) && (t == t_running || t == t_done) ->
       send(ts, RUNNING); if :: complete -> send(ts, ALL_PRESENT) :: else fi
  :: m == VERDICT_TARGET && t == t_asking -> t_run()
  :: (m == VERDICT_SOURCE || m == SUPERSEDED) && t == t_asking -> t_drop()
  :: m == SOURCE_DIED && t == t_running && !complete -> t = t_lost
  :: else
  fi
}

active proctype Target() {
  mtype m, answer;
  do
  :: atomic { T_STEP && t == t_preparing -> t = t_landing; send(ts, ACCEPT) }
  :: atomic { T_STEP && (t == t_preparing || t == t_landing) -> t_drop() }          /* deadline, lost peer */
  :: atomic { T_STEP && nempty(st) -> st?m; t_hear(m) }
  :: atomic { T_STEP && t == t_landed && complete -> t = t_asking }                 /* deadline, lost peer */
  :: atomic { T_STEP && t == t_landed && !complete -> t_drop() }                    /* DECIDE: with the report */

  :: atomic { T_ASKS && t == t_asking -> c_decide_target(); c_answer_target(); t_hear(answer) }
  :: atomic { T_ASKS && t == t_asking && faults > 0 -> faults--;                    /* the answer is lost */
       c_decide_target(); if :: l_tc = 0 :: c_up = 0 fi }
#ifndef M_NO_RENOUNCE
  :: atomic { T_STEP && t == t_asking && !(c_up && l_tc) && l_st -> t_drop() }
#endif
  :: atomic { T_STEP && t == t_running && !complete && l_st && s_up && s_pages &&
              (s == s_released || s == s_serving) ->
       complete = 1; send(ts, ALL_PRESENT) }
  :: atomic { T_ASKS && t == t_running && !complete && c == c_running && c_source_dead ->
       c_answer_target(); t_hear(answer) }
  :: atomic { T_ASKS && t == t_running && !t_told -> c_hear_running(); t_told = 1 }
  :: atomic { T_ASKS && t == t_running && complete -> c_hear_all_present(); t = t_done }
  :: atomic { T_ASKS && t == t_dropped && !t_told -> c_hear_refused(); t_told = 1 }
  :: atomic { T_ASKS && t == t_lost && !C_SETTLED -> c = c_lost }
  :: !t_up -> break
  od
}

/* ---------------------------------------------------------------- the coordinator: proofs, restart */

active proctype Coordinator() {
  do
#ifndef M_NO_PROOF
  :: atomic { c_up && !s_up && !c_source_dead -> c_source_dead = 1;
       if :: c == c_verdictSource || c == c_refused -> c = c_lost
          :: c == c_complete -> c = c_moved
          :: else fi }
  :: atomic { c_up && !t_up && !c_target_dead -> c_target_dead = 1;
       if :: ran && (c == c_granted || c == c_verdictTarget || c == c_running || c == c_complete) -> c = c_lost
          :: !ran && (c == c_running || c == c_complete) -> c = c_lost
          :: !ran && (c == c_granted || c == c_verdictTarget) && c_source_dead -> c = c_lost
          :: !ran && (c == c_granted || c == c_verdictTarget) && !c_source_dead -> c = c_refused
          :: else fi }
#endif
#ifdef M_STORE_ROLLED_BACK
  :: atomic { c_up && !rolled_back && (c == c_verdictSource || c == c_verdictTarget) ->
       rolled_back = 1; c = c_granted }
#endif
#ifdef HEAL
  :: atomic { !c_up -> c_up = 1 }                         /* the record is all it needs */
#endif
  :: atomic { timeout -> break }
  od
}

/* ---------------------------------------------------------------------------------------- faults */

/* Killed, the source takes the guest along unless the target holds all of it and the source had not
 * claimed it: a CANCEL or a DECIDE that is out makes the target drop its copy. */
inline note_owner_of_source() {
  if :: !(t == t_landed || t == t_asking || t == t_running || t == t_done) || !complete -> owner_died = 1
     :: !ran && (s == s_cancelling || s == s_asking || s == s_kept) -> owner_died = 1
     :: else fi
}

active proctype Faults() {
  do
  :: atomic { s_up && faults > 0 -> faults--; note_owner_of_source(); s_up = 0; s_stop = 0; l_st = 0; drain(ts) }
  :: atomic { t_up && faults > 0 -> faults--;
       if :: T_EXECUTES -> owner_died = 1 :: else fi; t_up = 0; t_stop = 0; l_st = 0; drain(st) }
  :: atomic { c_up && faults > 0 -> faults--; c_up = 0 }
  :: atomic { l_st && faults > 0 -> faults--; l_st = 0; drain(st); drain(ts) }
  :: atomic { l_sc && faults > 0 -> faults--; l_sc = 0 }
  :: atomic { l_tc && faults > 0 -> faults--; l_tc = 0 }
  :: atomic { s_up && !s_stop && faults > 0 -> faults--; s_stop = 1 }
  :: atomic { t_up && !t_stop && faults > 0 -> faults--; t_stop = 1 }
  :: atomic { s_stop -> s_stop = 0 }
  :: atomic { t_stop -> t_stop = 0 }
#ifdef HEAL
  :: atomic { !l_st && s_up && t_up -> drain(st); drain(ts); l_st = 1; s_query = 1 }
  :: atomic { !l_sc && s_up -> l_sc = 1 }
  :: atomic { !l_tc && t_up -> l_tc = 1 }
#endif
  :: atomic { timeout ->                                  /* nobody can take a step any more */
       check_never_two(); check_pages();
#ifndef SAFE_ONLY
       never_none = S_EXECUTES || T_EXECUTES || s == s_ended || (owner_died && C_SETTLED);
       assert(never_none);
#ifdef HEAL
       all_end = C_SETTLED &&
         (!s_up || s == s_freed || s == s_kept || s == s_ended || s == s_lost) &&
         (!t_up || t == t_done || t == t_dropped || t == t_lost);
       assert(all_end);
#endif
#endif
       break }
  od
}
