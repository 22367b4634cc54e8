// Package rows is how the catalog's records lie in SQL tables: their columns,
// how instants and absences are written, and how a listing is asked for. The
// SQL stores share it, so that they differ only where their databases do.
//
// It opens no connection and holds no schema: each store has its own
// migrations. Statements number their arguments in the order of appearance,
// which both databases understand.
package rows

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// Columns lists a payload's columns, p, and those of one of its placements, l,
// as [Collect] scans them.
const Columns = `p.id, p.namespace, p.name, p.size, p.crc, p.verified, p.policy, p.state, p.version, p.grp,
	p.created_at, p.commit_by, p.active_at, p.expires_at, p.ended_at,
	l.tier, l.host, l.state, l.attempt, l.location`

// Joined is where Columns come from: one row for each placement, and one for a
// payload that has none.
const Joined = `payloads p ` + Placed

// Placed joins the placements of payloads p.
const Placed = `LEFT JOIN placements l ON l.payload_id = p.id`

// InOrder puts the rows of one payload together and its placements in the
// order in which catalog.Step leaves them.
const InOrder = `p.id, l.tier, l.host`

// Nano writes an instant: nanoseconds since 1970 UTC, and no value for the
// zero time.
func Nano(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixNano()
	return &n
}

// Time is the inverse of Nano.
func Time(nano *int64) time.Time {
	if nano == nil {
		return time.Time{}
	}
	return time.Unix(0, *nano).UTC()
}

// DueNano writes what catalog.Due says: no value for never, and 0 for at once,
// which is before every other instant that a payload can be due at.
func DueNano(at time.Time, ever bool) *int64 {
	if !ever {
		return nil
	}
	var n int64
	if !at.IsZero() {
		n = at.UnixNano()
	}
	return &n
}

// DueTime is the inverse of DueNano.
func DueTime(nano *int64) (at time.Time, ever bool) {
	if nano == nil || *nano == 0 {
		return time.Time{}, nano != nil
	}
	return Time(nano), true
}

// CRC writes a checksum, and no value for none.
func CRC(c payload.Checksum) *int64 {
	if !c.Known() {
		return nil
	}
	n := int64(c.Value())
	return &n
}

// Policy writes a policy.
func Policy(p payload.Policy) (string, error) {
	text, err := json.Marshal(p)
	return string(text), err
}

// A Cursor is the rows of a query, of whichever driver.
type Cursor interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// Collect reads payloads from rows of Columns that are ordered so that those of
// one payload follow each other. Further columns go into more; each is called
// after a payload's first row. The caller closes the rows.
func Collect(c Cursor, each func(), more ...any) ([]payload.Payload, error) {
	var found []payload.Payload
	for c.Next() {
		var r row
		if err := c.Scan(append(r.targets(), more...)...); err != nil {
			return nil, err
		}
		if n := len(found); n == 0 || found[n-1].ID != payload.ID(r.id) {
			p, err := r.payload()
			if err != nil {
				return nil, err
			}
			found = append(found, p)
			each()
		}
		if last := &found[len(found)-1]; r.tier != nil {
			last.Placements = append(last.Placements, r.placement())
		}
	}
	return found, c.Err()
}

type row struct {
	id                                                 id
	record                                             payload.Payload
	crc, createdAt, commitBy, active, expires, endedAt *int64
	policy                                             []byte
	version                                            int64
	tier, host, state, location                        *string
	attempt                                            *int64
}

func (r *row) targets() []any {
	p := &r.record
	return []any{
		&r.id, &p.Namespace, &p.Name, &p.Size, &r.crc, &p.Verified, &r.policy, &p.State, &r.version, &p.Group,
		&r.createdAt, &r.commitBy, &r.active, &r.expires, &r.endedAt,
		&r.tier, &r.host, &r.state, &r.attempt, &r.location,
	}
}

func (r *row) payload() (payload.Payload, error) {
	p := r.record
	p.ID, p.Version = payload.ID(r.id), uint64(r.version)
	p.CreatedAt, p.CommitBy = Time(r.createdAt), Time(r.commitBy)
	p.ActiveAt, p.ExpiresAt, p.EndedAt = Time(r.active), Time(r.expires), Time(r.endedAt)
	if r.crc != nil {
		p.Checksum = payload.CRC32C(uint32(*r.crc))
	}
	return p, json.Unmarshal(r.policy, &p.Policy)
}

func (r *row) placement() payload.Placement {
	return payload.Placement{
		Tier:     payload.Tier(*r.tier),
		Host:     *r.host,
		State:    payload.PlacementState(*r.state),
		Attempt:  uint64(*r.attempt),
		Location: *r.location,
	}
}

// id scans what the databases keep an id as: 16 bytes, or a uuid.
type id payload.ID

func (i *id) Scan(from any) error {
	switch from := from.(type) {
	case []byte:
		if len(from) == len(i) {
			copy(i[:], from)
			return nil
		}
	case string:
		parsed, err := uuid.Parse(from)
		*i = id(parsed)
		return err
	}
	return fmt.Errorf("a payload's id cannot be read from %T", from)
}
