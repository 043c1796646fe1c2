/*
 * The request and completion rings of one queue, the doorbell between its two sides, and the end of the lease.
 *
 * Each step names what it models, as `file: function`; `npm run model` looks that the function is there. Every access to an index or a flag is a step of
 * its own; what the other side cannot see before an index is stored is one step with its like. Spin runs the steps of all in every order, as if there were
 * one processor. That no processor sees things in another order is the business of the sequentially consistent accesses on both sides: what happens
 * without show the mutants with BEFORE in their names.
 *
 * Variants must pass (variant: definitions | what it is), and each mutant must fail in the way it says (mutant: what is wrong | variant: what Spin finds).
 * variant: PAIR=2 BYTES=1 TAGS=3 | a queue pair of its own
 * variant: PAIR=1 BYTES=1 TAGS=4 | requests wait for room on the queue pair
 * variant: PAIR=2 BYTES=1 REVOKE TAGS=3 | the lease ends at any time
 * variant: PAIR=1 BYTES=2 FLOOD TAGS=3 | a client that rings without reason
 * variant: PAIR=1 BYTES=1 LIVENESS TAGS=3 | every request is answered in the end, though the engine has other work for ever
 */
#define ENTRIES 2
/* Indices run freely and wrap: at 2^32 there, here at the least at which an empty ring differs from a full one. */
#define WRAP 4
#define AFTER(index) ((index + 1) % WRAP)
#define BETWEEN(from, to) ((to + WRAP - from) % WRAP)
/* Requests that a client has on the way: a ring of them waits, and a ring of completions was not taken. */

/* Where a request is. */
#define FREE 0
#define WRITTEN 1
#define AT_DEVICE 2
#define DONE 3
#define ANSWERED 4
byte request[4];
#define IS_DONE (request[0] == DONE || request[1] == DONE || request[2] == DONE || request[3] == DONE)

/* Properties: an assertion that fails names its own. */
bool judged_once = true, answered_once = true, nothing_overwritten = true, nothing_stale = true;
bool contract_kept = true, nothing_after_truncation = true;
#define PROPERTY(name, condition) assert((condition) || !name)

/* Request memory: the client writes. src/protocol/ring.ts: RequestRing */
byte entry[ENTRIES];
byte requestTail, completionHead;
bool clientSleeps;

/* Completion memory: the server writes. src/protocol/ring.ts: CompletionRing */
byte completion[ENTRIES];
byte requestHead, completionTail;
bool engineSleeps = true;
/* Whether the completion in a slot was not taken yet. Nobody knows it: it is there for the property. */
bool untaken[ENTRIES];

/* The doorbell: a socket pair that holds so many bytes each way.
   The engine hears its end by edge-triggered epoll, the client waits until its own is readable. */
byte toEngine, toClient;
bool edge, closed;

/* The end of the lease: asked for; the engine has let go; the completion ring is gone. */
bool revoking, quiet, truncated;

/* A client that touches what was truncated gets a fault, which its SDK turns into an error. */
#define TOUCH if :: truncated -> goto ended :: else fi

/* One byte; more than the socket holds are turned away (EAGAIN). examples/c/ringwarden.h: rw_ring_ring, src/client/reaper.ts: ring */
inline ring() {
  atomic {
    if
    :: toEngine < BYTES -> toEngine++; edge = true
    :: else
    fi
  }
}

/* After an index was stored: rings if the engine sleeps. examples/c/ringwarden.h: rw_ring_wake_engine */
inline wakeEngine() {
  atomic { TOUCH; sleeping = engineSleeps };
  ringIf()
}

inline ringIf() {
  if
  :: sleeping -> sleeping = false; ring()
  :: else
  fi
}

/* Writes a request, with a tag that is free. examples/c/ringwarden.h: rw_ring_put, src/client/shared-ring.ts: next */
inline put() {
  do
  :: request[tag] != FREE -> tag++
  :: else -> break
  od;
  request[tag] = WRITTEN;
  entry[tail % ENTRIES] = tag;
  tail = AFTER(tail); outstanding++; tag = 0
}

/* Takes a completion. examples/c/ringwarden.h: rw_ring_take, src/client/shared-ring.ts: take */
inline takeCompletion() {
  tag = completion[head % ENTRIES];
  PROPERTY(nothing_stale, request[tag] == ANSWERED && untaken[head % ENTRIES]);
  untaken[head % ENTRIES] = false;
  request[tag] = FREE;
  head = AFTER(head); outstanding--; tag = 0
}

#define ROOM (BETWEEN(requestHead, tail) < ENTRIES && outstanding < TAGS)

active proctype Client() {
  byte tail, head, seen, tag, outstanding;
  bool sleeping;

  do
  :: truncated -> break

#ifdef TAIL_BEFORE_ENTRY // mutant: the client shows a tail before it wrote the entry | PAIR=2: judged_once
  :: atomic { !truncated && ROOM -> requestTail = AFTER(tail) };
     atomic { put() };
#else
  :: atomic { /* requests, one or several */
       !truncated && ROOM ->
       put();
       if
       :: ROOM -> put()
       :: true
       fi
     };
#endif
     /* examples/c/ringwarden.h: rw_ring_commit, src/client/shared-ring.ts: commit */
#ifdef REQUEST_FLAG_BEFORE_TAIL // mutant: the client looks whether the engine sleeps before its tail can be seen | PAIR=2: invalid end state
     atomic { TOUCH; sleeping = engineSleeps };
     requestTail = tail;
     ringIf()
#else
     requestTail = tail;
     wakeEngine()
#endif

  :: /* completions, one or several */
     atomic { !truncated && completionTail != head -> seen = completionTail };
     atomic {
       TOUCH;
       do
       :: head != seen -> takeCompletion()
       :: head == seen -> break
#ifndef LIVENESS
       :: head != completionHead -> break
#endif
       od;
       seen = 0
     };
     /* examples/c/ringwarden.h: rw_ring_make_room, src/client/shared-ring.ts: #sayThereIsRoom */
#ifdef ROOM_FLAG_BEFORE_HEAD // mutant: the client looks whether the engine sleeps before the room that it made can be seen | PAIR=2: invalid end state
     atomic { TOUCH; sleeping = engineSleeps };
     completionHead = head;
     ringIf()
#else
     completionHead = head;
#ifndef ROOM_IN_SILENCE // mutant: the client makes room for completions and does not ring | PAIR=2: invalid end state
     atomic { TOUCH; sleeping = engineSleeps };
     atomic { TOUCH; sleeping = (sleeping && requestHead != tail) }; /* with nothing to take, room is of no use */
     ringIf()
#endif
#endif

  :: !truncated && outstanding > 0 && completionTail == head ->
     /* examples/c/ringwarden.h: rw_ring_wait, src/client/reaper.ts: #goOn */
#ifdef CLIENT_FLAG_AFTER_LOOK // mutant: the client looks at the tail, and only then says that it sleeps | PAIR=2: invalid end state
     atomic { TOUCH; seen = completionTail };
     clientSleeps = true;
#else
     clientSleeps = true;
     atomic { TOUCH; seen = completionTail };
#endif
#ifdef CLIENT_NO_SECOND_LOOK // mutant: the client says that it sleeps, and does not look again | PAIR=2: invalid end state
     seen = head;
#endif
#ifdef CLIENT_EMPTIES_LATE // mutant: the client empties its doorbell between its last look and its sleep | PAIR=2: invalid end state
     toClient = 0;
#endif
     if
     :: seen != head
     :: atomic { seen == head && toClient > 0 -> toClient = 0 }
     :: atomic { seen == head && toClient == 0 && closed -> goto ended }
     fi;
     atomic { clientSleeps = false; seen = 0 }

#ifdef FLOOD
  :: ring()
#endif
  od;
ended:
  skip
}

/* How many requests can be taken: written, and with a completion slot free for each answer. src/server/engine/client-queue.ts: available */
inline look() {
  available = BETWEEN(head, requestTail);
  atomic {
    PROPERTY(contract_kept, available <= ENTRIES && BETWEEN(completionHead, tail) <= ENTRIES);
#ifndef SLOT_NOT_RESERVED // mutant: requests are taken without a completion slot for each that is in flight | PAIR=2: nothing_overwritten
    if
    :: available > ENTRIES - BETWEEN(completionHead, tail) - inFlight -> available = ENTRIES - BETWEEN(completionHead, tail) - inFlight
    :: else
    fi
#endif
  }
}

/* src/server/engine/client-queue.ts: complete */
inline answer(which) {
  PROPERTY(nothing_after_truncation, !truncated);
  PROPERTY(nothing_overwritten, !untaken[tail % ENTRIES]);
  PROPERTY(answered_once, request[which] == AT_DEVICE || request[which] == DONE);
  completion[tail % ENTRIES] = which; untaken[tail % ENTRIES] = true;
  request[which] = ANSWERED;
  tail = AFTER(tail); inFlight--
}

/* Copies the next request, and judges the copy: refused at once, or handed to the device. src/server/engine/request-path.ts: takeOne */
inline takeOne() {
  tag = entry[head % ENTRIES];
  head = AFTER(head); available--;
  PROPERTY(judged_once, request[tag] == WRITTEN);
  inFlight++;
  if
  :: request[tag] = AT_DEVICE; onPair++
  :: request[tag] = DONE; answer(tag)
  fi;
  tag = 0
}

/* Shows completions and wakes the client, once for a batch. src/server/engine/engine.ts: #publish, src/server/engine/client-queue.ts: publishCompletions */
inline publish() {
  if
  :: tail != completionTail ->
#ifdef COMPLETION_FLAG_BEFORE_TAIL // mutant: the engine looks whether the client sleeps before its tail can be seen | PAIR=2: invalid end state
     sleeping = clientSleeps;
     atomic { PROPERTY(nothing_after_truncation, !truncated); completionTail = tail };
#else
     atomic { PROPERTY(nothing_after_truncation, !truncated); completionTail = tail };
     sleeping = clientSleeps;
#endif
     atomic { /* src/server/engine/client-queue.ts: wakeClient */
       if
       :: sleeping && toClient < BYTES -> toClient++
       :: else
       fi;
       sleeping = false
     }
  :: else
  fi
}

active proctype Engine() {
  byte head, tail, inFlight, onPair, available, tag;
  bool polled, sleeping, awake;

  do
  :: revoking -> break
  :: else -> /* src/server/engine/engine.ts: turn */
     /* A doorbell that rang, also while there is other work. src/server/engine/engine.ts: #takeEvents */
     if
     :: atomic {
          edge -> edge = false;
#ifndef BYTES_STAY // mutant: the engine hears the doorbell and takes no byte, so that a full one cannot ring again | PAIR=2: invalid end state
          if /* all that arrived, or the most that one look takes. src/server/engine/doorbell.ts: take */
          :: toEngine--
          :: toEngine > 1 -> toEngine = 0
          fi;
#endif
        };
        if
        :: !polled ->
           look(); /* src/server/engine/engine.ts: #answerDoorbell */
           if
           :: available > 0 -> available = 0; polled = true; engineSleeps = false /* src/server/engine/scheduler.ts: activate */
           :: else
           fi
        :: else
        fi
#ifdef DEAF_WHILE_BUSY // mutant: the engine listens to doorbells only when it has no other work | LIVENESS: acceptance cycle
     :: true
#else
     :: !edge
#endif
     fi;

     /* src/server/engine/scheduler.ts: #drain */
     if
     :: polled ->
        look();
#ifdef HEAD_BEFORE_COPY // mutant: the engine gives the entry back before it copied it | PAIR=2: contract_kept
        if
        :: available > 0 -> requestHead = AFTER(head)
        :: else
        fi;
#endif
        atomic {
          do
          :: available > 0 && onPair < PAIR -> takeOne()
          :: available == 0 || onPair == PAIR -> break
#ifndef LIVENESS
          :: head != requestHead -> break /* the turn of others */
#endif
          od;
          available = 0
        };
#ifdef HEAD_NOT_KEPT // mutant: the engine goes by the head in memory, which it stores once a batch | PAIR=2: judged_once
        head = requestHead;
#endif
        requestHead = head /* src/server/engine/client-queue.ts: publishHead */
     :: else
     fi;

#ifdef TAIL_BEFORE_COMPLETION // mutant: the engine shows a tail before it wrote the completion | PAIR=2: nothing_stale
     if
     :: IS_DONE -> completionTail = AFTER(tail)
     :: else
     fi;
#endif
     atomic { /* src/server/engine/engine.ts: #reap */
       do
       :: tag < TAGS && request[tag] == DONE -> onPair--; answer(tag)
       :: tag < TAGS && request[tag] != DONE -> tag++
       :: tag == TAGS -> tag = 0; break
       od
     };
     publish();

     if
     :: skip /* polls on */
     :: /* src/server/engine/engine.ts: #idle, src/server/engine/scheduler.ts: rest, src/server/engine/client-queue.ts: sleep */
        if
        :: polled ->
#ifdef ENGINE_FLAG_AFTER_LOOK // mutant: the engine looks at the ring, and only then says that it sleeps | PAIR=2: invalid end state
           look();
           engineSleeps = true;
#else
           engineSleeps = true;
           look();
#endif
#ifdef ENGINE_NO_SECOND_LOOK // mutant: the engine says that it sleeps, and does not look again | PAIR=2: invalid end state
           available = 0;
#endif
           if
           :: available > 0 -> engineSleeps = false; awake = (onPair < PAIR); available = 0
           :: else -> polled = false
           fi
        :: else
        fi;
        if
        :: awake -> awake = false
        :: else ->
#ifndef LIVENESS
           (edge || revoking || IS_DONE) /* the one waiting place: doorbells, control, interrupts */
#else
           skip
#endif
        fi
     fi
  od;

  /* Nothing more is taken; what is in flight is answered, and the device no longer works for it. src/server/engine/lease-steps.ts: closeQueue */
#ifdef QUIET_BEFORE_LAST_ANSWERS // mutant: the engine says that it has let go before its last answers | REVOKE: nothing_after_truncation
  quiet = true;
#endif
  atomic {
    do
    :: tag < TAGS && (request[tag] == AT_DEVICE || request[tag] == DONE) -> answer(tag)
    :: tag < TAGS && request[tag] != AT_DEVICE && request[tag] != DONE -> tag++
    :: tag == TAGS -> tag = 0; break
    od
  };
  publish();
  /* src/server/engine/client-queue.ts: leaveRings, src/server/engine/shared-rings.ts: end */
#ifndef DOORBELL_STAYS_OPEN // mutant: the lease ends, and its doorbell is not closed: a client that sleeps is not told | REVOKE: invalid end state
  closed = true;
#endif
  quiet = true
}

active proctype Device() {
end:
  do
  :: atomic { request[0] == AT_DEVICE -> request[0] = DONE }
  :: atomic { request[1] == AT_DEVICE -> request[1] = DONE }
  :: atomic { request[2] == AT_DEVICE -> request[2] = DONE }
  :: atomic { request[3] == AT_DEVICE -> request[3] = DONE }
  od
}

#ifdef REVOKE
/* The main thread ends the lease, then takes the completion ring back. src/server/engine/host.ts: closeLease, src/server/handover/queue-files.ts: revoke */
active proctype Main() {
  revoking = true;
#ifndef TRUNCATED_BEFORE_QUIET // mutant: the completion ring is truncated before the engine has let go of it | REVOKE: nothing_after_truncation
  quiet;
#endif
  truncated = true
}
#endif

#ifdef LIVENESS
ltl answered { [] (request[0] == WRITTEN -> <> (request[0] == FREE)) }
#endif
