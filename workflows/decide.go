package workflows

import (
	"fmt"
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/sdk/contract"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A sight is all that a decision rests on.
type sight struct {
	group bool             // many payloads, not one
	ahead contract.Outlook // what the catalog said last
	blind string           // why ahead could not be read, if it could not

	// Of the round that began with the last look at the catalog:
	tried   []string  // hosts that did what was due
	waiting int       // placements that leases or readers hold
	leases  int       // how many those are
	until   time.Time // when the first of these hosts is sure to be free of them
	trouble string    // what went wrong on a host

	freed bool      // something, this round
	idle  int       // rounds in a row that freed nothing although something was due
	woken time.Time // when a group was last told of payloads
}

type deed int

const (
	finish deed = iota // nothing is left to do
	reap               // on hosts
	sleep              // until then, or for ever, or until woken
)

// A next is what a lifecycle does now.
type next struct {
	do    deed
	hosts []string
	until time.Time // zero: until woken
	why   string    // for people: what sleeping waits for
	vain  bool      // something is due, and cannot be done now
}

const (
	// tick is how soon a lifecycle looks again when a host says that nothing
	// is due yet, and the least between two rounds of a group. Each round costs
	// a Temporal server some 10 to 30 ms.
	tick = time.Second
	// linger is how long a group that was told of payloads stays, and when it
	// looks again at the latest. The relay tells first and makes members
	// second: a relay that dies in between is made up for by this.
	linger = time.Minute
	// longest is the end of every wait for leases: a lease is granted for ten
	// minutes at most and not renewed once its placement is given up; the rest
	// is for clocks that differ.
	longest = payload.MaxLease + 30*time.Second
)

// decide is the whole of a lifecycle's judgement.
func decide(s sight, now time.Time) next {
	ahead := s.ahead
	switch {
	case s.blind != "":
		return s.again("try again: "+s.blind, now)
	case ahead.Group != "":
		return next{do: finish} // its group carries it
	case ahead.Open == 0 && !s.expectant(now):
		return next{do: finish}
	case ahead.Open == 0, !ahead.Ever:
		return s.capped(next{do: sleep, why: "until somebody asks for something"}, now)
	case ahead.Next.After(now):
		return s.capped(next{do: sleep, until: ahead.Next, why: s.reason()}, now)
	}
	if hosts := s.untried(); len(hosts) > 0 {
		return next{do: reap, hosts: hosts}
	}
	return s.wait(now)
}

// expectant reports whether a group may get members soon.
func (s sight) expectant(now time.Time) bool { return s.group && now.Before(s.woken.Add(linger)) }

// capped keeps a group from rounds that follow on each other's heels, and lets
// it look once more after it was told of payloads.
func (s sight) capped(n next, now time.Time) next {
	if !s.group {
		return n
	}
	if soonest := now.Add(tick); !n.until.IsZero() && n.until.Before(soonest) {
		n.until = soonest
	}
	if again := s.woken.Add(linger); s.expectant(now) && (n.until.IsZero() || again.Before(n.until)) {
		n.until, n.why = again, "for payloads that may join"
	}
	return n
}

// untried are the hosts where something is due and nothing was tried this
// round.
func (s sight) untried() []string {
	return slices.DeleteFunc(slices.Clone(s.ahead.Hosts), func(host string) bool { return slices.Contains(s.tried, host) })
}

// wait is what remains when everything that is due was tried.
func (s sight) wait(now time.Time) next {
	switch {
	case s.trouble != "":
		return s.again("try again: "+s.trouble, now)
	case s.waiting == 0: // this host's clock says: not yet
		return s.again("look again", now)
	}
	until := earlier(s.until, now.Add(longest))
	if s.group { // others fall due meanwhile, which a group's outlook cannot tell
		until = earlier(until, now.Add(s.patience()))
	}
	if s.ahead.ExpiresAt.After(now) {
		until = earlier(until, s.ahead.ExpiresAt)
	}
	if soonest := now.Add(tick); until.Before(soonest) {
		until = soonest
	}
	return next{do: sleep, until: until, why: "wait for " + count(s.leases, "lease"), vain: true}
}

func (s sight) again(why string, now time.Time) next {
	return next{do: sleep, until: now.Add(s.patience()), why: why, vain: true}
}

// patience doubles with every idle round, from a second to four minutes; half a
// minute for a group, whose other members are not to wait long.
func (s sight) patience() time.Duration {
	most := 8
	if s.group {
		most = 5
	}
	return tick << min(s.idle, most)
}

// reason says what will happen when the payload is due.
func (s sight) reason() string {
	switch {
	case s.group:
		return "until the next is due"
	case s.ahead.State == payload.StateAllocated:
		return "until it must be committed"
	default:
		return "until it expires"
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// count reads "1 lease", "2 leases".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
