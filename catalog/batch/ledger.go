package batch

import (
	"bytes"
	"slices"
	"time"

	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Ledger holds the records of one batch while its steps are judged. Of
// several steps on one payload, or with one request id, each sees the one
// before it. It is not safe for concurrent use.
//
//	ledger := batch.NewLedger(steps)
//	… load ledger.IDs() and ledger.Requests() with Found and Answered …
//	outcomes := ledger.Judge()
//	… write ledger.Changes() and ledger.Answers(), commit …
type Ledger struct {
	steps   []catalog.Step
	records map[payload.ID]*Change
	answers map[Request]*Answer
}

// A Change is what a batch did to one payload.
type Change struct {
	Before, After payload.Payload
	New           bool      // there was no record before
	Wake          bool      // an outbox entry is due
	Since         time.Time // the oldest change that it stands for
	creates       bool      // the first step makes the payload
	found         bool
	written       bool
}

// A Request names an answer to be kept.
type Request struct{ Scope, ID string }

// An Answer is the first answer to a request.
type Answer struct {
	Request
	Digest  []byte
	Payload payload.Payload
	MadeAt  time.Time
	fresh   bool
}

// NewLedger returns the ledger of a batch, with nothing loaded yet.
func NewLedger(steps []catalog.Step) *Ledger {
	l := &Ledger{
		steps:   steps,
		records: make(map[payload.ID]*Change, len(steps)),
		answers: make(map[Request]*Answer, len(steps)),
	}
	for _, s := range steps {
		if l.records[s.ID] == nil {
			l.records[s.ID] = &Change{creates: s.If.Absent && s.Then.Create != nil}
		}
	}
	return l
}

// IDs returns the payloads that the steps are about, in order: stores that
// lock, lock in this order.
func (l *Ledger) IDs() []payload.ID {
	ids := make([]payload.ID, 0, len(l.records))
	for id := range l.records {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compare)
	return ids
}

// Creates reports whether the first step about a payload makes it.
func (l *Ledger) Creates(id payload.ID) bool { return l.records[id].creates }

// Requests returns the requests whose answers may be known already.
func (l *Ledger) Requests() []Request {
	var asked []Request
	seen := make(map[Request]bool, len(l.steps))
	for _, s := range l.steps {
		if r := requestOf(s); r.ID != "" && !seen[r] {
			seen[r] = true
			asked = append(asked, r)
		}
	}
	return asked
}

// Found enters a record as it is before the batch.
func (l *Ledger) Found(p payload.Payload) {
	l.records[p.ID] = &Change{Before: p, After: p, found: true}
}

// Answered enters an answer from before the batch.
func (l *Ledger) Answered(a Answer) { l.answers[a.Request] = &a }

// Judge carries out the steps in order and returns their outcomes.
func (l *Ledger) Judge() []Outcome {
	outcomes := make([]Outcome, len(l.steps))
	for i, s := range l.steps {
		outcomes[i].Payload, outcomes[i].Err = l.judge(s)
	}
	return outcomes
}

func (l *Ledger) judge(s catalog.Step) (payload.Payload, error) {
	asked := requestOf(s)
	if first, repeated := l.answers[asked]; repeated && asked.ID != "" {
		return first.repeat(s)
	}
	c := l.records[s.ID]
	after, err := s.Apply(c.After, c.found)
	if err != nil {
		return payload.Payload{}, err
	}
	c.write(after, s)
	if asked.ID != "" {
		l.answers[asked] = &Answer{Request: asked, Digest: s.Request.Digest, Payload: after, MadeAt: s.Now, fresh: true}
	}
	return own(after), nil
}

func (a *Answer) repeat(s catalog.Step) (payload.Payload, error) {
	if !bytes.Equal(a.Digest, s.Request.Digest) {
		err := payload.Errorf(payload.Conflict, "this request id came with another body before").Because(payload.RequestReuse)
		return payload.Payload{}, payload.Wrap(s.Op, s.ID, err)
	}
	return own(a.Payload), nil
}

func (c *Change) write(after payload.Payload, s catalog.Step) {
	c.New = c.New || !c.found
	c.After, c.found, c.written = after, true, true
	if s.Then.Wake && (!c.Wake || s.Now.Before(c.Since)) {
		c.Wake, c.Since = true, s.Now
	}
}

// Changes returns what has to be written, ordered by payload.
func (l *Ledger) Changes() []*Change {
	changes := make([]*Change, 0, len(l.records))
	for _, id := range l.IDs() {
		if c := l.records[id]; c.written {
			changes = append(changes, c)
		}
	}
	return changes
}

// Answers returns the answers that have to be kept, in the order of the steps.
func (l *Ledger) Answers() []Answer {
	var fresh []Answer
	for _, r := range l.Requests() {
		if a := l.answers[r]; a != nil && a.fresh {
			fresh = append(fresh, *a)
		}
	}
	return fresh
}

// Put returns the placements that are new or differ from before.
func (c *Change) Put() []payload.Placement {
	return slices.DeleteFunc(slices.Clone(c.After.Placements), func(at payload.Placement) bool {
		return slices.Contains(c.Before.Placements, at)
	})
}

// Gone returns the placements that are no more.
func (c *Change) Gone() []payload.Placement {
	return slices.DeleteFunc(slices.Clone(c.Before.Placements), func(was payload.Placement) bool {
		return slices.ContainsFunc(c.After.Placements, func(at payload.Placement) bool {
			return at.Tier == was.Tier && at.Host == was.Host
		})
	})
}

func requestOf(s catalog.Step) Request { return Request{Scope: s.Request.Scope, ID: s.Request.ID} }

// own is p without sharing placements with the ledger or another caller.
func own(p payload.Payload) payload.Payload {
	p.Placements = slices.Clone(p.Placements)
	return p
}

func compare(a, b payload.ID) int { return bytes.Compare(a[:], b[:]) }
