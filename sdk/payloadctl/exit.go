package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Exit codes are part of the interface: scripts branch on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitExhausted   = 5
	exitUnavailable = 6
	exitLost        = 7
)

const exitHelp = `Exit codes:
  0  it went well
  1  another failure
  2  the command or its arguments can never succeed as they are
  3  there is no such payload, lease or host, or its time is over
  4  somebody else was faster, or still holds or writes the payload
  5  there is no room now
  6  the daemon or a part behind it does not answer now
  7  the bytes are lost or damaged`

var exitCodes = map[payload.Code]int{
	payload.Invalid:       exitUsage,
	payload.NotFound:      exitNotFound,
	payload.Expired:       exitNotFound,
	payload.Conflict:      exitConflict,
	payload.Busy:          exitConflict,
	payload.AlreadyExists: exitConflict,
	payload.Exhausted:     exitExhausted,
	payload.Unavailable:   exitUnavailable,
	payload.Lost:          exitLost,
	payload.Corrupt:       exitLost,
}

// nextSteps tell what can be done where the message of the daemon, which does
// not know this program, cannot.
var nextSteps = map[error]string{
	payload.NotFound: "`payloadctl ls` shows what there is",
	payload.Expired:  "`payloadctl extend` lengthens a life before it is over",
	payload.Conflict: "`payloadctl get` shows how it stands now",
	payload.Lost:     "its bytes have to be put again",
	payload.Corrupt:  "do not use these bytes; put the payload again",
}

// A usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() + " (see --help)" }
func (e usageError) Unwrap() error { return e.err }

// exitCode judges how a command ended.
func exitCode(err error) int {
	if err == nil || enough(err) {
		return exitOK
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, context.Canceled) {
		return exitFailed // by Ctrl-C: nothing is wrong with the daemon
	}
	if code, listed := exitCodes[payload.CodeOf(err)]; listed {
		return code
	}
	return exitFailed
}

// enough reports whether whoever reads our output went away, as head does.
func enough(err error) bool { return errors.Is(err, syscall.EPIPE) }

// report writes one line: what was wrong, and what to do next.
func report(w io.Writer, err error) {
	if err == nil || enough(err) {
		return
	}
	line := strings.Join(strings.Fields(err.Error()), " ")
	if next := nextStep(err); next != "" {
		line += "; " + next
	}
	fmt.Fprintln(w, "payloadctl: "+line)
}

func nextStep(err error) string {
	if payload.ReasonOf(err) == payload.TooSlow {
		return "`payloadctl promote` or --wait brings it into a faster tier"
	}
	return nextSteps[payload.CodeOf(err)]
}
