package leases

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

// A Journal says where a table keeps its leases, so that they outlive its
// process. The path, and the path with ".new" behind it, belong to one table
// alone.
type Journal struct {
	Path string
	// BootID tells one start of the machine from another: leases of another
	// have ended. At most 96 bytes.
	BootID string

	// Step, if set, hears of every step of a compaction as it is done.
	Step func(step string)
	// Allocate sets blocks of the file aside; nil: fallocate.
	Allocate func(f *os.File, offset, size int64) error
}

// journal is a table's own side of its Journal: the files that every record is
// appended to. There is none without a Journal, one with it, and two while a
// compaction changes over.
//
// Appending is a copy into a mapping, under the table's mutex and without a
// system call. Whatever takes longer happens without that mutex.
type journal struct {
	Journal

	// Guarded by the table's mutex.
	files    []*file
	scratch  []byte        // for one record
	live     int           // bytes of records that say what still holds
	full     error         // how the disk refused to give more room, if it did
	askAgain time.Duration // when to ask it again
	closed   bool

	compacting sync.Mutex    // held by one compaction; taken before growing
	growing    sync.Mutex    // held while a file grows or is unmapped; taken before the table's
	low        chan struct{} // room runs short
	waste      chan struct{} // there may be enough garbage to compact
	workers    sync.WaitGroup
}

// Open makes a table from its journal, or begins one. Every lease whose Grant
// had returned, and whose end had not begun, is there again, with its id, its
// session, its request and a deadline that is not earlier; closed placements
// are closed, and those that hold nothing are reported as drained. The journal
// counts up to the first record that was torn or damaged. Where it was written
// before the machine started anew, no lease is left, and ids start over.
//
// Codes: Unsupported for a journal of another format, Corrupt for what is no
// journal, Invalid for a boot id that is none, and Unavailable.
func Open(j Journal, now func() time.Duration) (*Table, error) {
	t := newTable(now)
	if err := t.open(j); err != nil {
		return nil, payload.Wrap("open leases", payload.ID{}, err)
	}
	t.journal.workers.Go(t.keepRoom)
	t.journal.workers.Go(t.keepSmall)
	go t.watch()
	return t, nil
}

func (t *Table) open(o Journal) error {
	if o.BootID == "" || len(o.BootID) > headerSize-bootIDAt {
		return payload.Errorf(payload.Invalid, "leases are kept only where the machine's boot id can be read")
	}
	if o.Allocate == nil {
		o.Allocate = fallocate
	}
	t.journal.Journal = o
	f, err := t.resume()
	if errors.Is(err, errAnew) {
		f, err = t.begin(newHeader(o.BootID))
	}
	if err != nil {
		return unreadable(err)
	}
	t.journal.files = []*file{f}
	t.journal.remind(f, stride)
	return nil
}

// errAnew says that nothing is left of what an earlier table held.
var errAnew = errors.New("leases: begin anew")

// resume takes over an earlier table's journal and what it holds.
func (t *Table) resume() (*file, error) {
	if err := os.Remove(t.journal.fresh()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // what a compaction left when it died
	}
	f, err := openFile(t.journal.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errAnew
	case err != nil:
		return nil, err
	case f.bootID != t.journal.BootID:
		return nil, errors.Join(errAnew, f.close())
	}
	ix, tail := scan(f, f.size)
	t.adopt(f.header)
	t.restore(ix, f.data)
	f.tail = tail
	if err := f.cut(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// adopt names leases as the journal's header says.
func (t *Table) adopt(h header) {
	t.nonce = hex.EncodeToString(h.nonce[:]) + "-"
	t.next = h.last
}

// begin puts an empty journal in place.
func (t *Table) begin(h header) (*file, error) {
	f, err := createFile(t.journal.fresh(), h)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(t.journal.fresh(), t.journal.Path); err != nil {
		return nil, errors.Join(err, f.close())
	}
	t.adopt(h)
	return f, nil
}

func (j *Journal) fresh() string { return j.Path + ".new" }

// restore fills an empty table. A lease that ran out is left out: only its
// placement may have to be reported.
func (t *Table) restore(ix *index, data []byte) {
	t.next = ix.last
	living := ix.living(t.now())
	t.leases = make(map[uint64]*lease, len(living))
	t.due = make(deadlines, 0, len(living))
	for _, number := range living {
		g := ix.grants[number]
		l := recordAt(data, g.at).body().lease()
		l.id, l.until = t.name(number), g.until
		t.supersede(l)
		t.add(l, t.home(ix, g, l.asked.Key))
	}
	for k := range ix.closed {
		p := t.place(k)
		t.shut(p)
		if p.held == 0 {
			t.report(k)
		}
	}
}

func (t *Table) home(ix *index, g grantAt, k Key) *place {
	if ix.homeless(g, k) {
		return &place{key: k, closed: true}
	}
	return t.place(k)
}

// supersede ends the lease that the same request got before: that it was given
// another shows that the first was over, though the record of that found no
// room.
func (t *Table) supersede(l *lease) {
	if earlier := t.requests[l.asked.request()]; l.asked.Request != "" && earlier != nil {
		t.end(earlier)
	}
}

// unreadable gives an error of the operating system its code.
func unreadable(err error) error {
	if _, known := errors.AsType[*payload.Error](err); known {
		return err
	}
	return payload.Errorf(payload.Unavailable, "the lease journal cannot be opened: %w", unnamed(err))
}

// The rest is called under the table's mutex.

// fits reports whether n bytes can be appended now.
func (j *journal) fits(n int) bool {
	for _, f := range j.files {
		if f.room() < n {
			return false
		}
	}
	return !j.closed
}

// write appends a record wherever it fits. Grants and renewals are refused
// where they do not; an end, a close or a forget without room is forgotten by a
// restart, which lengthens a lease, or has its owner close a placement again.
func (j *journal) write(encode func(b []byte) record) {
	if len(j.files) == 0 {
		return
	}
	r := encode(j.scratch)
	j.scratch = r
	for _, f := range j.files {
		if room := f.room(); room >= len(r) {
			f.append(r)
			j.remind(f, room)
		}
	}
	j.weigh(0)
}

// remind has the file grow ahead, once as its room comes below a stride.
func (j *journal) remind(f *file, before int) {
	if before >= stride && f.room() < stride {
		poke(j.low)
	}
}

// weigh notes that n bytes of records began to hold, or ceased to.
func (j *journal) weigh(n int) {
	j.live += n
	if j.wasteful() {
		poke(j.waste)
	}
}

// garbageBound is how much of a small journal may be garbage; of a large one it
// is half. Reading that much again takes some 20 ms at a start.
const garbageBound = 8 << 20

func (j *journal) wasteful() bool {
	if len(j.files) != 1 {
		return false // none, or at it
	}
	garbage := j.files[0].tail - headerSize - j.live
	return garbage > max(garbageBound, j.live) || j.full != nil && garbage >= stride
}

// poke wakes a goroutine that listens to c, unless it is on its way.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
