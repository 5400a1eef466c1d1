/*
 * Dirty-log harvest against a hart that stores, parks and wakes: is a write ever lost?
 *
 * One hart, one page, HARVESTS rounds while it runs and a last one when it has stopped. Names are those
 * of the guest memory map: the hart's state word, CONTROL_FLUSH, HART_FLUSH_SEEN. A write entry of the
 * TLB is filled only after the page is marked, so a store through an entry leaves no mark of its own;
 * the harvest therefore takes the bits, asks for a flush, and reads pages after the acknowledgement.
 * A hart that sleeps cannot acknowledge: the harvester holds it and drops its entries.
 *
 * Mutations, each of which must lose a write:
 *   -DM_PARKED_COUNTS      a parked hart counts as acknowledged; it wakes with its entry
 *   -DM_FLUSH_BEFORE_TAKE  the flush is asked for before the bits are taken
 *   -DM_READ_BEFORE_ACK    pages are read before the acknowledgement
 *   -DM_WAKE_WHILE_HELD    a hart leaves PARKED by a plain store, not by compare-and-set
 */
#ifndef STORES
#define STORES 3
#endif
#ifndef HARVESTS
#define HARVESTS 2
#endif

mtype = { RUNNING, PARKED, STOPPED, HELD };
mtype hart = RUNNING;
bool dirty = 0;                /* the page's bit in the log */
bool entry = 0;                /* the hart holds a write entry for the page */
byte flush = 0, seen = 0;      /* flushes asked for; the last one this hart obeyed */
hidden byte no_lost_write;     /* named, so that a violation says what it violates */
byte ram = 0, sent = 0;        /* the page here; what the target got of it */

inline obey() {
  if
  :: seen != flush -> asked = flush; entry = 0; seen = asked
  :: else
  fi
}

inline store() {
  if
  :: !entry -> dirty = 1; entry = 1
  :: else
  fi;
  ram++; stores++
}

active proctype Hart() {
  byte stores = 0, asked = 0;
  do
  :: stores < STORES && hart == RUNNING -> obey(); store()
  :: stores < STORES && hart == RUNNING -> hart = PARKED
  :: hart == PARKED || hart == HELD ->
#ifdef M_WAKE_WHILE_HELD
       hart = RUNNING;
#else
       atomic { hart == PARKED -> hart = RUNNING };      /* compare-and-set: waits while it is held */
#endif
       obey()
  :: stores == STORES && hart == RUNNING -> break
  od;
  hart = STOPPED
}

inline take() { atomic { taken = dirty; dirty = 0 } }    /* one exchange of the bitmap word */

inline acknowledged() {
  do
  :: seen == flush -> break
#ifdef M_PARKED_COUNTS
  :: hart == PARKED || hart == STOPPED -> seen = flush; break
#else
  :: atomic { hart == PARKED || hart == STOPPED -> was = hart; hart = HELD };
     entry = 0; seen = flush; hart = was; break
#endif
  od
}

inline send() { if :: taken -> sent = ram :: else fi }

active proctype Harvester() {
  byte round = 0;
  bool taken;
  mtype was;
  do
  :: round < HARVESTS ->
#ifdef M_FLUSH_BEFORE_TAKE
       flush++; acknowledged(); take(); send();
#else
#ifdef M_READ_BEFORE_ACK
       take(); flush++; send(); acknowledged();
#else
       take(); flush++; acknowledged(); send();
#endif
#endif
       round++
  :: round == HARVESTS -> break
  od;
  hart == STOPPED;                                       /* the switchover: last harvest */
  take(); send();
  no_lost_write = (sent == ram);
  assert(no_lost_write)
}
