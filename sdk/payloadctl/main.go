// The command payloadctl is the operator's way into Payload Manager: it puts,
// shows, reads, leases, moves and removes payloads.
//
// It exists so that everything the daemon offers can be done, scripted and
// looked at from a shell. It speaks to the daemon alone, as any other client
// does; what it prints comes from there.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	// Without this a reader of our output that has seen enough would end us
	// before a lease is released.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends us at once
	t := &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		watched: term.IsTerminal(int(os.Stderr.Fd())), now: time.Now,
	}
	os.Exit(t.run(ctx, os.Args[1:]))
}
