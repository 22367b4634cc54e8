package leases

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is the time since this machine started, suspended time included.
// Neither a person nor NTP can set it.
func Boottime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(now.Nano())
}
