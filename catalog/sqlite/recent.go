package sqlite

import (
	"github.com/payload-manager/payload-manager/catalog"
	"github.com/payload-manager/payload-manager/catalog/batch"
	"github.com/payload-manager/payload-manager/sdk/payload"
)

// recent is what the writer wrote last, so that a commit finds its allocation
// without asking SQLite: that would be a third of a step's cost. It is the
// writer's alone, is forgotten with every transaction that failed, and whenever
// SQLite's data_version says that another process wrote.
type recent struct {
	version int64 // of the file, as of the last look
	records map[payload.ID]payload.Payload
}

// mostRecent bounds the records, of about half a kilobyte each. When there are
// more, all are forgotten: an allocation is committed soon or much later.
const mostRecent = 16 << 10

func (r *recent) learn(changes []*batch.Change) {
	if r.records == nil || len(r.records)+len(changes) > mostRecent {
		r.forget()
	}
	for _, c := range changes {
		if catalog.Open(c.After) {
			r.records[c.After.ID] = c.After
		} else {
			delete(r.records, c.After.ID)
		}
	}
}

func (r *recent) forget() { r.records = map[payload.ID]payload.Payload{} }
