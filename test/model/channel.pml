/*
 * The rings of a socket session, whose other end is the main thread of the server: the same rings as in rings.pml, and other wake-ups. Each thread tells the
 * other by a ring of queue numbers; the engine is woken by an eventfd when it says that it is asleep, the main thread by its event loop when it says that it
 * does not look by itself. The main thread has no more requests on the way than the ring is long, so a completion slot is always free.
 *
 * Notation as in rings.pml. A store of one word is a step.
 * variant: CHANNEL | a socket session
 */
#define ENTRIES 2
#define WRAP 4
#define AFTER(index) ((index + 1) % WRAP)
#define BETWEEN(from, to) ((to + WRAP - from) % WRAP)

bool no_overflow = true, nothing_stale = true;
#define PROPERTY(name, condition) assert((condition) || !name)

/* src/protocol/ring.ts: RequestRing, src/protocol/ring.ts: CompletionRing. What the entries hold is the business of rings.pml. */
byte requestTail, completionTail;
bool needsWakeup = true;
/* Commands at the device, and those that it has ended. */
byte atDevice, ended;

/* src/server/engine/id-ring.ts: IdRing: with one queue, its flag and how far the two sides are. It stands there once at most: parity is enough. */
typedef Ids {
  bool flag;
  bool head, tail
}
Ids activations, ready;

/* src/server/engine/signals.ts: Signals, and what the kernel keeps of a wake-up. */
bool asleep, watching, eventfd, waker;

/* src/server/engine/id-ring.ts: push */
inline push(ring) {
  atomic { pushed = !ring.flag; ring.flag = true };
  if
  :: pushed -> ring.tail = !ring.tail
  :: else
  fi
}

/* src/server/engine/id-ring.ts: pop */
inline pop(ring) {
  atomic { popped = (ring.head != ring.tail); ring.head = (popped -> !ring.head : ring.head) }
#ifndef FLAG_STAYS // mutant: a number can be pushed again only after its queue was looked at | CHANNEL: invalid end state
  if
  :: popped -> ring.flag = false
  :: else
  fi
#endif
}

/* Takes the completions of every queue that has some. src/server/engine/host.ts: takeReady, src/server/engine/channel.ts: take */
inline takeReady() {
  pop(ready);
  if
  :: popped ->
     atomic {
       seen = BETWEEN(head, completionTail);
       PROPERTY(nothing_stale, seen <= outstanding);
       head = completionTail; outstanding = outstanding - seen; seen = 0
     };
#ifdef FLAG_STAYS
     ready.flag = false;
#endif
     popped = false
  :: else
  fi
}

active proctype Main() {
  byte tail, head, seen, outstanding;
  bool pushed, popped, looks, patient;

  do
  :: !patient && outstanding < ENTRIES ->
     /* src/server/engine/channel.ts: push, src/server/engine/channel.ts: commit */
     atomic { tail = AFTER(tail); outstanding++ };
#ifdef NEEDS_WAKEUP_BEFORE_TAIL // mutant: the main thread looks whether the queue is polled before its tail can be seen | CHANNEL: invalid end state
     looks = needsWakeup;
     requestTail = tail;
#else
     requestTail = tail;
     looks = needsWakeup;
#endif
     if
     :: looks ->
        /* src/server/engine/signals.ts: wakeEngine */
#ifdef WOKEN_BEFORE_PUSH // mutant: the engine is woken before the queue's number is there | CHANNEL: invalid end state
        atomic { eventfd = (asleep -> true : eventfd) };
        push(activations);
#else
        push(activations);
        atomic { eventfd = (asleep -> true : eventfd) };
#endif
        pushed = false; looks = false
     :: else
     fi;
     /* src/server/engine/completion-watch.ts: start */
     watching = true;
     /* Has nothing more to ask for until all is answered, or goes on. */
     if
     :: patient = true
     :: skip
     fi

  :: watching -> takeReady() /* src/server/engine/completion-watch.ts: #turn */

  :: watching ->
     /* src/server/engine/completion-watch.ts: #stop */
#ifdef WATCHES_PAST_LAST_LOOK // mutant: the main thread looks a last time, and only then says that it no longer looks | CHANNEL: invalid end state
     takeReady();
     watching = false
#else
     watching = false;
#ifndef NO_LAST_LOOK // mutant: the main thread says that it no longer looks, and does not look a last time | CHANNEL: invalid end state
     takeReady()
#endif
#endif

  :: atomic { waker -> waker = false }; takeReady()

  :: atomic { patient && outstanding == 0 -> patient = false }
  od
}

active proctype Engine() {
  byte head, tail;
  bool polled, pushed, popped, rests;

  do
  :: /* src/server/engine/engine.ts: #takeActivations, src/server/engine/scheduler.ts: activate, src/server/engine/client-queue.ts: awake */
     pop(activations);
     if
     :: popped && !polled -> polled = true; needsWakeup = false
     :: else
     fi;
#ifdef FLAG_STAYS
     if
     :: popped -> activations.flag = false
     :: else
     fi;
#endif
     popped = false;

     /* src/server/engine/scheduler.ts: #drain */
     if
     :: polled -> atomic { atDevice = atDevice + BETWEEN(head, requestTail); PROPERTY(no_overflow, atDevice + ended <= ENTRIES); head = requestTail }
     :: else
     fi;

     /* src/server/engine/engine.ts: #reap, src/server/engine/engine.ts: #publish */
     if
     :: ended > 0 ->
        atomic { tail = (tail + ended) % WRAP; ended = 0 };
#ifdef TOLD_BEFORE_TAIL // mutant: the engine tells of completions before they can be seen | CHANNEL: invalid end state
        push(ready);
        completionTail = tail;
#else
        completionTail = tail;
        push(ready);
#endif
        if
        :: pushed -> pushed = false; atomic { waker = (watching -> waker : true) } /* src/server/engine/signals.ts: wakeMain */
        :: else
        fi
     :: ended == 0
     fi;

     if
     :: skip /* polls on */
     :: /* src/server/engine/engine.ts: #idle */
#ifndef ASLEEP_AFTER_LOOK // mutant: the engine looks for activations, and only then says that it is asleep | CHANNEL: invalid end state
        asleep = true;
#endif
        rests = (activations.head == activations.tail);
#ifdef ASLEEP_AFTER_LOOK
        asleep = true;
#endif
        /* src/server/engine/scheduler.ts: rest, src/server/engine/client-queue.ts: sleep */
        if
        :: rests && polled ->
#ifdef NEEDS_WAKEUP_AFTER_LOOK // mutant: the engine looks at the tail, and only then says that it does not poll | CHANNEL: invalid end state
           rests = (requestTail == head);
           needsWakeup = true;
#else
           needsWakeup = true;
           rests = (requestTail == head);
#endif
           if
           :: rests -> polled = false
           :: else -> needsWakeup = false
           fi
        :: else
        fi;
        if
        :: rests -> atomic { (eventfd || ended > 0) -> eventfd = false }
        :: else
        fi;
        atomic { rests = false; asleep = false }
     fi
  od
}

active proctype Device() {
end:
  do
  :: atomic { atDevice > 0 -> atDevice--; ended++ }
  od
}
