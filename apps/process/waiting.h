// How threads wait for each other at the end of a parallel loop.
#pragma once

namespace mixgrad::app {

// Call it first in main, with main's argv. GCC's OpenMP (libgomp) lets a waiting thread spin for several milliseconds
// before it sleeps. On an idle machine that costs nothing. Beside another busy process the spinning thread takes the
// core from the thread that it waits for, once for each of the hundreds of parallel loops of a step. So, unless
// OMP_WAIT_POLICY or GOMP_SPINCOUNT is set, this sets GOMP_SPINCOUNT to 5000 (100 to 300 us). The library reads that
// only while it is loaded: therefore the program executes itself once more. Where the system refuses (no /proc), it
// continues unchanged.
void spin_briefly(char** argv);

}  // namespace mixgrad::app
