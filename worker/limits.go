package worker

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// Every payload in ram is a file descriptor of the daemon until slabs hold the
// small ones.
const (
	wantedDescriptors = 1 << 20 // what Linux lets root ask for: fs.nr_open
	scarceDescriptors = 64 << 10
)

// raiseDescriptorLimit raises RLIMIT_NOFILE as far as this process may.
func raiseDescriptorLimit(log *slog.Logger) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("the limit of open files is unknown", "error", err)
		return
	}
	wanted := unix.Rlimit{Cur: wantedDescriptors, Max: max(limit.Max, wantedDescriptors)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &wanted) != nil { // only root may raise the hard limit
		wanted = unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &wanted); err != nil {
			wanted = limit
		}
	}
	if wanted.Cur < scarceDescriptors {
		log.Warn("few open files are allowed, and each payload in ram is one: raise LimitNOFILE", "limit", wanted.Cur)
	}
}

// ballastSize keeps the garbage collector from running all the time on a small
// heap. A daemon of few payloads has some 40 MB of live heap and, at 5,000
// allocations a second, makes 300 MB of garbage a second: eight collections,
// each of a good part of a core's tenth. Counted in, the ballast makes it one or
// two. It is never touched, so that it takes address space and no memory; what
// it costs is up to this much more garbage before a collection.
const ballastSize = 128 << 20
