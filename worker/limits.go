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
