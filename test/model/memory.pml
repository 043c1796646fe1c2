/*
 * A region from its making to the next tenant who gets its page: handed to the client and sealed, used by commands, taken away (unmapped, revoked, end of
 * the session) in quarantine, freed. The device does DMA by bus address at any moment between the issue of a command and the proof that it ended; it may
 * stop to answer and still write.
 *
 * The engine's tasks are generators: what lies between two `yield`s is one step. Notation as in rings.pml.
 * variant: OWN | a queue pair of its own, which is deleted
 * variant: SHARED | the queue pair that leases share: commands are given up one by one
 */
#define COMMANDS 2

bool dma_into_own_memory = true, answered_once = true, memory_is_private = true, count_is_right = true;
#define PROPERTY(name, condition) assert((condition) || !name)

/* Whose the page is. */
#define POOL 0
#define ALICE 1
#define BOB 2
byte page = ALICE;

/* The file: whether the client has it mapped, whether its pages can be taken out of it, and whether the server still holds it. */
bool mapped, sealed, held = true;

/* src/hw/dma/domain.ts: DeviceDomain: the handle is usable, and requests in flight on the region. */
bool usable;
byte inFlight;

/* src/server/engine/lease.ts: Lease */
bool serving = true, closing;

/* src/server/engine/request-table.ts: RequestTable: who asked (its memory is held), and who is to be answered. */
bool asker[COMMANDS], waits[COMMANDS];
/* The client was not answered yet: for the property alone. */
bool owed[COMMANDS];

/* The device: works on the command, and has written a completion that nobody took. */
bool works[COMMANDS], ended[COMMANDS];

/* src/server/engine/lifecycle.ts: state, and src/server/engine/device.ts: the Mutex of what changes queues. */
bool lost, open = true, busy;

/* src/server/engine/request-path.ts: #letGoOfMemory */
inline letGo(slot) {
  PROPERTY(count_is_right, inFlight > 0);
  inFlight--; asker[slot] = false
}

/* src/server/engine/request-path.ts: #answer */
inline answer(slot) {
  PROPERTY(answered_once, owed[slot]);
  owed[slot] = false
}

/* Answered now, its memory held until the device is done with it. src/server/engine/request-path.ts: abandon */
inline abandon(slot) {
  if
  :: waits[slot] ->
     answer(slot);
#ifndef GIVEN_UP_AND_WAITS // mutant: a request that was given up stays in the table as one that waits for its answer | OWN: answered_once
     waits[slot] = false;
#endif
#ifdef FREED_WITH_ANSWER // mutant: memory is let go with the answer instead of with the command | OWN: dma_into_own_memory
     letGo(slot)
#endif
  :: else
  fi
}

/* src/server/engine/request-path.ts: #settle */
inline settle(slot) {
  if
  :: waits[slot] -> answer(slot); waits[slot] = false
  :: else
  fi;
  if
  :: asker[slot] -> letGo(slot)
  :: else
  fi
}

/* The device can do nothing any more for any command of the pair. src/server/engine/request-path.ts: forget */
inline forget() {
  atomic {
    settle(0); settle(1)
  }
}

inline abandonAll() { atomic { abandon(0); abandon(1) } }

inline stopDevice() { d_step { works[0] = false; works[1] = false; ended[0] = false; ended[1] = false } }

/* src/server/engine/lifecycle.ts: declareLost */
inline declareLost() { atomic { open = false; lost = true; serving = false; abandon(0); abandon(1) } }

/* src/server/engine/lifecycle.ts: goDown, src/hw/nvme/driver.ts: close */
inline goDown() {
  if
  :: stopDevice(); forget() /* bus mastering is off, or the device is proven gone */
  :: skip /* not known: its memory is held */
#ifdef LOST_IS_QUIET // mutant: a device that is lost is taken to be quiet | OWN: dma_into_own_memory
     ; forget()
#endif
  fi
}

/* src/server/engine/lifecycle.ts: reset, src/hw/nvme/driver.ts: disable */
inline resetController() {
  if
  :: open ->
     atomic { open = false; serving = false };
#ifdef FORGOTTEN_BEFORE_DISABLED // mutant: memory is let go when the reset begins | OWN: dma_into_own_memory
     forget();
#endif
     if
     :: stopDevice(); forget();
        if
        :: atomic { !lost -> open = true; serving = !closing }
        :: lost -> declareLost(); goDown() /* somebody found out on the way that it is gone */
        fi
     :: declareLost(); goDown()
     fi
  :: else
  fi
}

/* Makes the file, hands it over, and makes it usable after the client has mapped it. src/server/domains/region.ts: seal */
active proctype Client() {
  if
  :: skip /* never shared */
  :: atomic { held -> mapped = true };
#ifdef USABLE_BEFORE_SEAL // mutant: a shared region is usable before it is sealed | OWN: dma_into_own_memory
     usable = held;
#endif
     sealed = true
  fi;
  atomic {
    if
    :: held -> usable = true
    :: else
    fi
  };
end:
  do
  :: atomic { mapped -> mapped = false; break }
  od
}

/* Takes the page out of the file under the device (MADV_REMOVE), which a seal against writing forbids. Before the region is usable no device knows the page. */
active proctype Puncher() {
end:
  atomic { mapped && !sealed && usable -> page = POOL; mapped = false }
}

#define MAY_ISSUE(slot) (serving && open && usable && !asker[slot])

/* src/server/engine/request-path.ts: #issue */
inline issue(slot) { asker[slot] = true; waits[slot] = true; owed[slot] = true; inFlight++; works[slot] = true }

/* The engine's turn: takes requests, and completions. */
active proctype Engine() {
end:
  do
  :: atomic { MAY_ISSUE(0) -> issue(0) }
  :: atomic { MAY_ISSUE(1) -> issue(1) }
  :: atomic { ended[0] && !lost -> ended[0] = false; settle(0) }
  :: atomic { ended[1] && !lost -> ended[1] = false; settle(1) }
  :: atomic { waits[0] -> abandon(0) } /* timed out. src/server/engine/watchdog.ts: #climb */
  :: atomic { waits[1] -> abandon(1) }
  od
}

active proctype Device() {
end:
  do
  :: atomic { works[0] || works[1] -> PROPERTY(dma_into_own_memory, page == ALICE) }
  :: atomic { works[0] -> works[0] = false; ended[0] = true }
  :: atomic { works[1] -> works[1] = false; ended[1] = true }
  od
}

/* A lease ends: revoked, closed, or with its session. src/server/engine/device.ts: closeLease */
active proctype Closer() {
  atomic { serving = false; closing = true };
  atomic { !busy -> busy = true };
#ifdef OWN
  /* src/server/engine/pairs.ts: #delete, src/hw/nvme/driver.ts: deletePair */
  if
  :: open ->
     abandonAll();
#ifdef FREED_BEFORE_DELETION // mutant: memory is let go before the deletion of the queue pair is confirmed | OWN: dma_into_own_memory
     forget();
#endif
     if
     :: stopDevice(); forget()
     :: resetController() /* no answer */
     fi
  :: else
  fi;
#else
  /* src/server/engine/pairs.ts: #abandonOnShared */
  if
  :: open ->
     abandonAll();
#ifdef ABORT_IS_THE_END // mutant: a command that the device was asked to abort is taken to have ended | SHARED: dma_into_own_memory
     forget();
#endif
     if
     :: skip /* some end later, or never */
     :: resetController()
     fi
  :: else
  fi;
#endif
  busy = false
}

/* A region goes: unmapped by its owner, or with its domain. src/server/domains/quarantine.ts: release, src/server/engine/methods.ts: detachRegion */
active proctype Quarantine() {
#ifndef HANDLE_STAYS_OPEN // mutant: the handle can still be named while its region waits to be freed | OWN: dma_into_own_memory
  atomic { true -> usable = false; held = false };
#else
  held = false;
#endif
#ifndef NO_QUARANTINE // mutant: nobody waits for what is in flight on the region | OWN: dma_into_own_memory
waiting:
  if
  :: inFlight == 0
  :: atomic { inFlight > 0 && !busy -> busy = true };
     resetController(); /* too late: src/server/engine/device.ts: resetController */
     busy = false;
     goto waiting
  fi;
#endif
  skip; /* Backing.detach takes its time */
  /* src/server/domains/region.ts: free. The page dies with the last mapping. */
#ifdef FILE_REUSED // mutant: the file of a region that was shared is used again | OWN: memory_is_private
  page = POOL
#else
end_orphaned:
  atomic { !mapped -> page = POOL }
#endif
}

/* A lost device is opened again, which disables it first. src/server/engine/lifecycle.ts: revive */
active proctype Watchdog() {
end:
  atomic { lost && !busy -> busy = true };
  stopDevice(); forget();
  atomic { lost = false; open = true; serving = !closing; busy = false }
}

/* The device fails at any moment, or never. src/server/engine/device.ts: lose */
active proctype Failure() {
  if
  :: open ->
     declareLost();
     atomic { !busy -> busy = true };
     if
     :: lost -> goDown()
     :: else
     fi;
     busy = false
  :: skip
  fi
}

active proctype NextTenant() {
end:
  atomic { page == POOL -> page = BOB };
  PROPERTY(memory_is_private, !mapped)
}
